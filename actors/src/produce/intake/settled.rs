//! What became of records, in numbers.

use super::super::SendError;
use super::super::completion::{CallbackPanicked, Verdict};

/// What became of some records of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::produce) struct Settled {
    pub(super) confirmed: u64,
    pub(super) failed: u64,
    pub(super) abandoned: u64,
    pub(in crate::produce) bytes: usize,
    pub(super) callback_panics: u64,
}

impl Settled {
    /// Counts a record of `bytes` that is answered with `verdict`.
    pub(in crate::produce) fn count(&mut self, verdict: &Verdict, bytes: usize) {
        match verdict {
            Ok(_) => self.confirmed += 1,
            Err(error) if matches!(**error, SendError::Abandoned { .. }) => self.abandoned += 1,
            Err(_) => self.failed += 1,
        }
        self.bytes += bytes;
    }

    /// Counts the end of a callback.
    pub(in crate::produce) fn called(&mut self, end: Result<(), CallbackPanicked>) {
        self.callback_panics += u64::from(end.is_err());
    }

    pub(in crate::produce) fn records(self) -> u64 {
        self.confirmed + self.failed + self.abandoned
    }
}

/// Counters of one intake since its start, and what it holds now.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::produce) struct IntakeCounts {
    pub(in crate::produce) accepted: u64,
    pub(in crate::produce) confirmed: u64,
    pub(in crate::produce) failed: u64,
    pub(in crate::produce) abandoned: u64,
    pub(in crate::produce) callback_panics: u64,
    pub(in crate::produce) in_flight_records: usize,
    pub(in crate::produce) in_flight_bytes: usize,
    pub(in crate::produce) waiting_senders: usize,
    pub(in crate::produce) open: bool,
}
