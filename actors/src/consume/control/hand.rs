//! What a worker has in hand in partition order: its chunk, how far it is with it, and whether anything is under way at all. [`crew`] is the
//! same for several records at once.
//!
//! [`crew`]: super::crew

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use super::crew::Post;
use super::{ControlCell, NONE};
use crate::consume::record::RecordChunk;
use crate::offsets::TileProgress;

/// Written by the worker: the chunk it has in hand, and how far it is with it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Handling {
    pub(super) chunk: Mutex<Option<Arc<RecordChunk>>>,
    /// The pump waits for the chunk's next attempt, or for its partition's end.
    pub(super) resting: AtomicBool,
    /// The record that is next to finish; all of the chunk's before it are finished.
    pub(super) post: Post,
}

impl ControlCell {
    /// The worker begins a chunk; false when its partition is to be given up instead.
    pub(crate) fn take_in_hand(&self, chunk: &Arc<RecordChunk>) -> bool {
        *self.lock_chunk() = Some(Arc::clone(chunk));
        fence(Ordering::SeqCst);
        if self.is_ending() {
            self.put_down();
            return false;
        }
        true
    }

    /// Whether nothing is under way here, and nothing will be: asked after [`revoke`](Self::revoke), by who need not wait for a worker whose
    /// thread another partition's handler keeps.
    ///
    /// The pump and who asks, at the same moment:
    /// 1. pump: takes a chunk in hand, or ends its rest; 2. pump: looks whether the partition is ending.
    ///
    /// Who asks has marked the partition ending first, then looks here. Whichever comes second sees the other: either the pump sees the
    /// mark and starts nothing, or the chunk in hand is seen here.
    pub(crate) fn is_at_rest(&self) -> bool {
        fence(Ordering::SeqCst);
        !self.crew.is_busy() && (self.handling.resting.load(Ordering::SeqCst) || self.lock_chunk().is_none())
    }

    /// A handler gets this record of the chunk in hand; those before it are finished.
    #[inline]
    pub(crate) fn handler_holds(&self, offset: i64, attempt: u32) {
        self.handling.post.takes(offset, attempt);
    }

    /// The record is next, and waits for something before it is tried.
    pub(crate) fn comes_next(&self, offset: i64) {
        self.handling.post.takes(offset, 0);
    }

    /// The record of the chunk in hand that is next to finish.
    pub(super) fn next_of_hand(&self) -> Option<i64> {
        Some(self.handling.post.offset()).filter(|offset| *offset != NONE)
    }

    /// No handler holds a record: it waits for its next attempt, or for its partition's end.
    pub(crate) fn handler_rests(&self) {
        self.handling.post.rests();
        self.handling.resting.store(true, Ordering::SeqCst);
    }

    /// The rest is over. To be called before the look that tells whether another attempt may begin.
    pub(crate) fn rest_ends(&self) {
        self.handling.resting.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The worker has reported the chunk in hand.
    pub(crate) fn put_down(&self) {
        self.handling.post.puts_down();
        *self.lock_chunk() = None;
    }

    /// How far the worker is with the chunk in hand.
    pub(super) fn chunk_in_hand(&self) -> Option<TileProgress> {
        let chunk = self.lock_chunk();
        let chunk = chunk.as_ref()?;
        let offset = self.handling.post.offset();
        // The offset may still be that of the chunk before, or of none: then nothing of this one is finished.
        let finished = chunk.index.partition_point(|entry| entry.offset < offset);
        (finished > 0 && finished < chunk.len()).then(|| chunk.progress(finished))
    }

    fn lock_chunk(&self) -> std::sync::MutexGuard<'_, Option<Arc<RecordChunk>>> {
        self.handling.chunk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::cell;
    use super::*;
    use crate::ids::NextOffset;

    #[test]
    fn a_partition_counted_as_at_rest_never_starts_a_chunk() {
        // The race of `is_at_rest`, many times over: whatever the interleaving, not both may win.
        for _ in 0..2_000 {
            let cell = Arc::new(cell());
            let tile = crate::offsets::Tile::new(NextOffset(0), NextOffset(1));
            let mut builder = crate::consume::record::ChunkBuilder::new(1, 1, 1, 1);
            builder.push(0, 0, None, None);
            let chunk = Arc::new(builder.finish(cell.partition.clone(), cell.epoch, tile, cell.revoking.clone()));
            let pump = std::thread::spawn({
                let cell = Arc::clone(&cell);
                move || cell.take_in_hand(&chunk)
            });
            cell.revoke();
            let at_rest = cell.is_at_rest();
            let started = pump.join().unwrap_or(true);
            assert!(!(at_rest && started), "counted as at rest, and started");
        }
    }
}
