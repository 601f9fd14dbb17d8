//! A member's side of the pipe to its run.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use tokio_util::sync::CancellationToken;

use super::frame::Frame;

/// The stdout of a process that is a member. Without a buffer: what is not told is not done.
#[derive(Debug)]
pub(crate) struct Relay {
    pipe: File,
    /// Cancelled where nobody listens any more.
    pub(crate) gone: CancellationToken,
}

impl Relay {
    /// # Errors
    /// Of the system.
    pub(crate) fn stdout() -> io::Result<Self> {
        Ok(Self { pipe: io::stdout().as_fd().try_clone_to_owned()?.into(), gone: CancellationToken::new() })
    }

    pub(crate) fn say(&self, frame: Frame) {
        if (&self.pipe).write_all(&frame.write()).is_err() {
            self.gone.cancel();
        }
    }
}
