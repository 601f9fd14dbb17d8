use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// What is printed to, and how much of it is printed.
///
/// Nothing is buffered: a record that was taken is with the system, one write for each, and no line is cut by another partition's.
#[derive(Debug)]
pub(super) struct Output<W = File> {
    sink: Mutex<Sink<W>>,
    /// Beside the lock: a reader that stands still keeps it, and the command has to come to an end nevertheless.
    records: AtomicU64,
    bytes: AtomicU64,
    over: CancellationToken,
}

#[derive(Debug)]
struct Sink<W> {
    out: W,
    /// How many records more may be printed.
    left: Option<u64>,
    closed: bool,
}

/// What has been written, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Printed {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Output {
    /// This process's stdout, for at most `most` records.
    pub(super) fn stdout(most: Option<u64>) -> io::Result<Self> {
        // Not `io::Stdout`, which buffers lines.
        Ok(Self::new(io::stdout().as_fd().try_clone_to_owned()?.into(), most))
    }
}

impl<W: Write> Output<W> {
    fn new(out: W, most: Option<u64>) -> Self {
        let sink = Mutex::new(Sink { out, left: most, closed: false });
        Self { sink, records: AtomicU64::new(0), bytes: AtomicU64::new(0), over: CancellationToken::new() }
    }

    /// Writes one record's line, all of it; false where no more is taken: enough is printed, or the reader went away.
    ///
    /// # Errors
    /// The system's. No more is taken then either, for the line may have been written in part.
    pub(super) fn write(&self, line: &[u8]) -> io::Result<bool> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if sink.closed {
            return Ok(false);
        }
        let written = sink.out.write_all(line);
        if written.is_ok() {
            self.records.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(line.len() as u64, Ordering::Relaxed);
            sink.left = sink.left.map(|left| left.saturating_sub(1));
        }
        if written.is_err() || sink.left == Some(0) {
            sink.closed = true;
            self.over.cancel();
        }
        match written {
            // A reader that has had enough closed the pipe on purpose.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true),
        }
    }

    /// Cancelled when no more is taken.
    pub(super) fn over(&self) -> &CancellationToken {
        &self.over
    }

    pub(super) fn printed(&self) -> Printed {
        Printed { records: self.records.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    /// Takes this many bytes in all, and then fails.
    struct Narrow(usize, ErrorKind);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(self.1.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_more_than_asked_for_is_taken() {
        let output = Output::new(Vec::new(), Some(2));
        assert_eq!([1, 2, 3].map(|_| output.write(b"abc\n").unwrap()), [true, true, false]);
        assert!(output.over().is_cancelled());
        assert_eq!(output.printed(), Printed { records: 2, bytes: 8 });
    }

    #[test]
    fn a_line_cut_by_a_reader_that_left_is_not_taken_and_nothing_after_it() {
        let output = Output::new(Narrow(6, ErrorKind::BrokenPipe), None);
        assert_eq!([1, 2, 3].map(|_| output.write(b"abc\n").unwrap()), [true, false, false]);
        assert!(output.over().is_cancelled());
        assert_eq!(output.printed(), Printed { records: 1, bytes: 4 });
    }

    #[test]
    fn any_other_error_is_told_and_nothing_is_written_behind_it() {
        let output = Output::new(Narrow(6, ErrorKind::StorageFull), None);
        assert!(output.write(b"abc\n").unwrap());
        assert_eq!(output.write(b"abc\n").unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(!output.write(b"abc\n").unwrap());
    }
}
