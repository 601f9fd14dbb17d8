//! A thread whose end can be waited for with a bound.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

/// A thread of the engine's own.
#[derive(Debug)]
pub(crate) struct BoundedThread {
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

/// The thread did not end within the time given; something on it does not return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread did not end in time")]
pub(crate) struct StillRunning;

impl BoundedThread {
    /// Starts a thread.
    ///
    /// # Errors
    /// The operating system's, where it refuses one.
    pub(crate) fn start(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (end, ended) = crossbeam_channel::bounded::<()>(1);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Dropped last, on an unwind too, and what the body owns before it.
            let _end = end;
            body();
        })?;
        Ok(Self { thread, ended })
    }

    /// Waits for the thread until `deadline`; one that has ended is joined also after it. A panic of the thread counts as an end.
    ///
    /// # Errors
    /// [`StillRunning`] at the deadline; the thread then ends on its own, when what holds it returns.
    pub(crate) fn join(self, deadline: Instant) -> Result<(), StillRunning> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.ended.recv_timeout(left.max(Duration::from_millis(1))) {
            Err(RecvTimeoutError::Timeout) => Err(StillRunning),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                let _ = self.thread.join();
                Ok(())
            }
        }
    }
}
