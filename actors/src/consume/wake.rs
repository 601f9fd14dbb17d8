//! How the poller is woken: every source sets its ready bit, then unparks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

/// The most partitions that one engine can hold over its life.
pub(crate) const MAX_SLOTS: usize = 65_536;

/// A source other than a partition's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Source {
    /// librdkafka's main queue: rebalances, errors, logs.
    Main = 0,
    /// Results of commits.
    Commits = 1,
    /// The command channel.
    Commands = 2,
    /// The budget of all partitions.
    Budget = 3,
}

/// The ready bits. Set from any thread, also from librdkafka's under its queue lock: setting is an atomic `or` and an unpark, nothing else.
///
/// No wake-up can be lost: a source sets its bit before it unparks, and the poller takes the bits after it was unparked; a token that
/// arrives between the poller's last look and its `park` makes that `park` return at once.
#[derive(Debug)]
pub(crate) struct Wake {
    sources: AtomicU64,
    slots: Box<[AtomicU64]>,
    poller: OnceLock<Thread>,
}

impl Wake {
    pub(crate) fn new() -> Self {
        Self {
            sources: AtomicU64::new(0),
            slots: (0..MAX_SLOTS / 64).map(|_| AtomicU64::new(0)).collect(),
            poller: OnceLock::new(),
        }
    }

    /// Names the calling thread as the one to unpark. Bits set before are found by its first look.
    pub(crate) fn attach(&self) {
        let _ = self.poller.set(std::thread::current());
    }

    pub(crate) fn source(&self, source: Source) {
        self.set(&self.sources, source as u32);
    }

    pub(crate) fn slot(&self, slot: usize) {
        self.set(&self.slots[slot / 64], (slot % 64) as u32);
    }

    fn set(&self, word: &AtomicU64, bit: u32) {
        // Only who sets the first bit since the poller's last look need unpark it.
        if word.fetch_or(1 << bit, Ordering::SeqCst) == 0
            && let Some(poller) = self.poller.get()
        {
            poller.unpark();
        }
    }

    #[cfg(test)]
    pub(crate) fn peek_slot(&self, slot: usize) -> bool {
        self.slots[slot / 64].load(Ordering::SeqCst) & (1 << (slot % 64)) != 0
    }

    #[cfg(test)]
    pub(crate) fn peek_source(&self, source: Source) -> bool {
        Ready(self.sources.load(Ordering::SeqCst)).has(source)
    }

    /// Takes the sources' bits.
    pub(crate) fn take_sources(&self) -> Ready {
        Ready(take(&self.sources))
    }

    /// Takes the bits of slots `64 * word ..`.
    pub(crate) fn take_slots(&self, word: usize) -> u64 {
        take(&self.slots[word])
    }
}

fn take(word: &AtomicU64) -> u64 {
    // The plain look first: most words are 0 at most looks, and a swap would take the cache line from the setters.
    match word.load(Ordering::SeqCst) {
        0 => 0,
        _ => word.swap(0, Ordering::SeqCst),
    }
}

/// Sources that were ready at a look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready(u64);

impl Ready {
    pub(crate) fn has(self, source: Source) -> bool {
        self.0 & (1 << source as u32) != 0
    }
}
