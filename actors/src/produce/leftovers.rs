//! What a producer gives up at its end, as records again, in the order in which they were accepted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Undelivered;

/// A record's place among all that one intake accepted: the number of its batch, and its place in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Accepted {
    pub(super) batch: u64,
    pub(super) place: usize,
}

/// See the module. Until it is told to keep, nothing is kept: senders hear of their records one by one.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    keeps: AtomicBool,
    kept: Mutex<Vec<(Accepted, Undelivered)>>,
}

impl Leftovers {
    /// From now on what is given up is kept.
    pub(super) fn keep(&self) {
        self.keeps.store(true, Ordering::Release);
    }

    pub(super) fn keeps(&self) -> bool {
        self.keeps.load(Ordering::Acquire)
    }

    pub(super) fn add(&self, at: Accepted, record: Undelivered) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push((at, record));
    }

    /// All that was kept, in order.
    pub(super) fn take(&self) -> impl Iterator<Item = Undelivered> + use<> {
        let mut kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        kept.sort_by_key(|(at, _)| *at);
        kept.into_iter().map(|(_, record)| record)
    }
}
