use std::error::Error;
use std::fmt::{self, Write};
use std::process::ExitCode;

/// What a command's exit code means, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Fine = 0,
    Failed = 1,
    Usage = 2,
    Environment = 3,
    Invalid = 4,
}

impl Exit {
    const ALL: [Self; 5] = [Self::Fine, Self::Failed, Self::Usage, Self::Environment, Self::Invalid];

    fn meaning(self) -> &'static str {
        match self {
            Self::Fine => "all is well, or a signal ended it in good order",
            Self::Failed => "a verdict or a gate failed, or a record was not sent or not done",
            Self::Usage => "the command line was not understood",
            Self::Environment => "the environment or the broker failed",
            Self::Invalid => "the measurement is not valid",
        }
    }

    /// Shows what clap has to say, help or complaint, on the stream that it belongs on.
    pub(crate) fn after(message: &clap::Error) -> Self {
        // A closed stream is no reason to say more.
        let _ = message.print();
        if message.use_stderr() { Self::Usage } else { Self::Fine }
    }

    /// What an error that ended a command means.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<Misuse>() {
            Self::Usage
        } else if error.is::<Interrupted>() {
            Self::Fine
        } else {
            Self::Environment
        }
    }
}

/// What was asked for cannot be: an option, or a property, has to change.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Misuse {}

/// A signal came before there was anything to finish.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by a signal")
    }
}

impl Error for Interrupted {}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What stands below a command's help: its examples, then the exit codes.
pub(crate) fn help(examples: &str) -> String {
    help_of(examples, "second")
}

/// The same of a command that only the `last` signal ends at once.
pub(crate) fn help_of(examples: &str, last: &str) -> String {
    let mut help = format!("Examples:\n{examples}\n\nExit codes:\n");
    for exit in Exit::ALL {
        let _ = writeln!(help, "  {:3}  {}", exit as u8, exit.meaning());
    }
    let _ = write!(help, "  130  a {last} SIGINT ended it at once\n  143  a {last} SIGTERM ended it at once");
    help
}
