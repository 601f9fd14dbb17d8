use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Writes a command's data, the only thing that goes to stdout.
///
/// A reader that has had enough (`troupe … | head`) closed the pipe on purpose: what is left is dropped, and the exit code still tells
/// what became of the work.
pub(super) fn print(data: impl Display) -> anyhow::Result<()> {
    offer(data).map(drop)
}

/// Prints, for a command that has no reason to go on without a reader: false where it has gone.
pub(super) fn offer(data: impl Display) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{data}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}
