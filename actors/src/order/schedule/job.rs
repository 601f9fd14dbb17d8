//! A record that is under way.

use std::sync::Arc;

use crate::consume::control::crew::OpenChunk;
use crate::consume::record::Record;
use crate::order::lanes::HeldLane;

/// A record that is taken in and not finished.
#[derive(Debug)]
pub(crate) struct Job {
    pub(super) open: Arc<OpenChunk>,
    pub(super) position: u32,
    pub(super) attempt: u32,
    /// Of its attempts, those that count as failures of its own.
    pub(super) failed: u32,
    /// Its key's lane, which it holds.
    pub(super) lane: Option<HeldLane>,
    /// It was in a batch whose call failed as a whole: it is given alone from now on.
    pub(super) alone: bool,
    /// Finished ahead of the schedule's own word, and whether it was its chunk's last.
    pub(super) finished: Option<bool>,
}

impl Job {
    /// Of this record, before its first attempt.
    pub(super) fn first(open: Arc<OpenChunk>, position: u32) -> Self {
        Self { open, position, attempt: 1, failed: 0, lane: None, alone: false, finished: None }
    }

    pub(crate) fn record(&self) -> Record {
        Record {
            chunk: Arc::clone(&self.open.chunk),
            position: self.position,
            attempt: self.attempt,
            failed: self.failed,
        }
    }

    pub(crate) fn offset(&self) -> i64 {
        self.open.chunk.index[self.position as usize].offset
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// The bytes of key and value.
    pub(crate) fn bytes(&self) -> usize {
        let entry = &self.open.chunk.index[self.position as usize];
        entry.key_len.max(0) as usize + entry.value_len.max(0) as usize
    }

    /// From here on a commit counts it, whenever the schedule comes to hear of it.
    pub(crate) fn finish(&mut self) {
        self.finished.get_or_insert_with(|| self.open.finish(self.position));
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        self.open.chunk.key(self.position)
    }

    /// In partition order all records are of one lane.
    pub(super) fn only_lane(&self) -> Option<&[u8]> {
        Some(&[])
    }
}
