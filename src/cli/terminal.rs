use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::error::ErrorKind;
use clap::{ArgAction, Args, ValueEnum};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What a worker has to say is its own, and not for us to silence.
const WORKER: &str = "troupe::worker";

/// What a person may ask of any command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output on stderr")]
pub(crate) struct Manners {
    /// Log more; repeat it for more still
    ///
    /// The variable RUST_LOG says it per module, as in RUST_LOG=info,rdkafka=debug, and then
    /// decides alone.
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "quiet")]
    #[arg(verbatim_doc_comment)]
    verbose: u8,
    /// Log errors only; no progress, no summary
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Log for people, or one object a line for programs
    #[arg(long, value_enum, value_name = "text|json", default_value_t = LogFormat::Text, global = true)]
    #[arg(hide_possible_values = true)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Manners {
    /// `expected`: modules whose warnings tell what the command itself brings about.
    fn log_filter(&self, expected: &[&'static str]) -> Result<Targets, clap::Error> {
        if let Ok(directives) = env::var("RUST_LOG")
            && !directives.is_empty()
        {
            return directives.parse().map_err(|error| {
                clap::Error::raw(ErrorKind::InvalidValue, format!("RUST_LOG={directives}: {error}\n"))
            });
        }
        let everything = Targets::new();
        Ok(match (self.quiet, self.verbose) {
            (true, _) => everything.with_default(LevelFilter::ERROR).with_target(WORKER, LevelFilter::INFO),
            // What the command itself has to say is for everybody. (A target is a prefix: the colons keep `troupe_actors` out.)
            (false, 0) => everything
                .with_default(LevelFilter::WARN)
                .with_target("troupe::", LevelFilter::INFO)
                .with_targets(expected.iter().map(|module| (*module, LevelFilter::ERROR))),
            (false, 1) => everything.with_default(LevelFilter::INFO).with_target("troupe::", LevelFilter::DEBUG),
            (false, 2) => everything.with_default(LevelFilter::DEBUG),
            (false, _) => everything.with_default(LevelFilter::TRACE),
        })
    }
}

/// The stderr of this process: the log, progress bars and summaries.
#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    bars: MultiProgress,
    quiet: bool,
    verbose: bool,
    log_format: LogFormat,
}

impl Terminal {
    /// Whether more was asked for.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Starts the log. Warnings of the modules `expected` are left to who asks for more.
    pub(crate) fn set_up(manners: &Manners, expected: &[&'static str]) -> Result<Self, clap::Error> {
        let filter = manners.log_filter(expected)?;
        let text = manners.log_format == LogFormat::Text;
        let on_terminal = io::stderr().is_terminal();
        let bars = MultiProgress::with_draw_target(if on_terminal && text && !manners.quiet {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let log = tracing_subscriber::fmt::layer()
            .with_writer(AboveTheBars(bars.clone()))
            // A stderr that was closed must not bring the process down.
            .log_internal_errors(false);
        let registry = tracing_subscriber::registry().with(filter);
        if text {
            registry.with(log.with_ansi(on_terminal && !no_color)).init();
        } else {
            registry.with(log.json()).init();
        }
        Ok(Self { bars, quiet: manners.quiet, verbose: manners.verbose > 0, log_format: manners.log_format })
    }

    /// A bar up to `length`, seen only where stderr is a terminal.
    pub(crate) fn progress(&self, length: u64) -> ProgressBar {
        let style =
            ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bars.add(ProgressBar::new(length).with_style(style))
    }

    /// A bar up to so many bytes, or a mark that moves where nobody knows how many there are; seen only where stderr is a terminal.
    pub(crate) fn transfer(&self, bytes: Option<u64>) -> ProgressBar {
        let (bar, template) = match bytes {
            Some(bytes) => (ProgressBar::new(bytes), "{bar:40} {bytes}/{total_bytes} {msg}"),
            None => (ProgressBar::new_spinner(), "{spinner} {bytes} {msg}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bars.add(bar.with_style(style))
    }

    /// Shows how it went: as `text` to a person, as an event to a log that programs read.
    pub(crate) fn summarize(&self, text: impl Display, event: impl FnOnce()) {
        match self.log_format {
            LogFormat::Json => event(),
            LogFormat::Text if !self.quiet => self.print(text),
            LogFormat::Text => {}
        }
    }

    /// Somebody who passes on what other processes say, from any thread.
    pub(crate) fn pass_on(&self) -> PassOn {
        PassOn { bars: self.bars.clone(), log_format: self.log_format }
    }

    /// Says why the command could not do its work.
    pub(crate) fn report(&self, error: &anyhow::Error) {
        match self.log_format {
            LogFormat::Json => tracing::error!("{error:#}"),
            LogFormat::Text => self.print(format_args!("error: {error:#}")),
        }
    }

    fn print(&self, text: impl Display) {
        // Nobody is left to be told that stderr is closed.
        let _ = AboveTheBars(self.bars.clone()).write_all(format!("{text}\n").as_bytes());
    }
}

/// Passes on to stderr what workers write to theirs.
#[derive(Clone, Debug)]
pub(crate) struct PassOn {
    bars: MultiProgress,
    log_format: LogFormat,
}

impl PassOn {
    #[cfg(test)]
    pub(crate) fn to_nobody() -> Self {
        Self { bars: MultiProgress::new(), log_format: LogFormat::Json }
    }

    /// A line of the worker with this number: as it is to a person, as an event to a log that programs read.
    pub(crate) fn line(&self, worker: usize, line: &str) {
        match self.log_format {
            LogFormat::Json => tracing::info!(target: WORKER, worker, "{line}"),
            LogFormat::Text => {
                // Nobody is left to be told that stderr is closed.
                let _ = AboveTheBars(self.bars.clone()).write_all(format!("worker {worker}: {line}\n").as_bytes());
            }
        }
    }
}

/// Writes whole lines to stderr, with the bars out of the way meanwhile.
struct AboveTheBars(MultiProgress);

impl Write for AboveTheBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for AboveTheBars {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self(self.0.clone())
    }
}
