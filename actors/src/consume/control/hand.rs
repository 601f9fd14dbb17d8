//! What a worker has in hand: its chunk, how far it is with it, and whether anything is under way at all.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{ControlCell, NONE};
use crate::consume::record::RecordChunk;
use crate::offsets::TileProgress;

/// Written by the worker: the chunk it has in hand, and how far it is with it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Handling {
    pub(super) chunk: Mutex<Option<Arc<RecordChunk>>>,
    /// The record that is next to finish; all of the chunk's before it are finished. -1: no chunk.
    pub(super) offset: AtomicI64,
    /// The pump waits for the chunk's next attempt, or for its partition's end.
    pub(super) resting: AtomicBool,
    /// The attempt at it that a handler is at; 0 while no handler holds it.
    pub(super) attempt: AtomicU32,
    /// The sampler's memory of `offset`, so that no record costs a clock call.
    pub(super) sampled: Mutex<Option<(i64, Instant)>>,
}

/// The record that a handler holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InHandler {
    pub(crate) offset: i64,
    pub(crate) attempt: u32,
    pub(crate) age: Duration,
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
        self.handling.resting.load(Ordering::SeqCst) || self.lock_chunk().is_none()
    }

    /// A handler gets this record of the chunk in hand; those before it are finished.
    #[inline]
    pub(crate) fn handler_holds(&self, offset: i64, attempt: u32) {
        self.handling.attempt.store(attempt, Ordering::Relaxed);
        self.handling.offset.store(offset, Ordering::Release);
    }

    /// No handler holds a record: it waits for its next attempt, or for its partition's end.
    pub(crate) fn handler_rests(&self) {
        self.handling.attempt.store(0, Ordering::Relaxed);
        self.handling.resting.store(true, Ordering::SeqCst);
    }

    /// The rest is over. To be called before the look that tells whether another attempt may begin.
    pub(crate) fn rest_ends(&self) {
        self.handling.resting.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The worker has reported the chunk in hand.
    pub(crate) fn put_down(&self) {
        self.handling.attempt.store(0, Ordering::Relaxed);
        self.handling.offset.store(NONE, Ordering::Release);
        *self.lock_chunk() = None;
    }

    /// How far the worker is with the chunk in hand. The tracker asks before each commit, for a worker cannot report while a handler
    /// keeps its thread.
    pub(crate) fn in_hand(&self) -> Option<TileProgress> {
        let chunk = self.lock_chunk();
        let chunk = chunk.as_ref()?;
        let offset = self.handling.offset.load(Ordering::Acquire);
        // The offset may still be that of the chunk before, or of none: then nothing of this one is finished.
        let finished = chunk.index.partition_point(|entry| entry.offset < offset);
        (finished > 0 && finished < chunk.len()).then(|| chunk.progress(finished))
    }

    fn lock_chunk(&self) -> std::sync::MutexGuard<'_, Option<Arc<RecordChunk>>> {
        self.handling.chunk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record in the handler and its age, exact to the time between two samples.
    pub(crate) fn sample_handler(&self, now: Instant) -> Option<InHandler> {
        let offset = self.handling.offset.load(Ordering::Relaxed);
        let attempt = self.handling.attempt.load(Ordering::Relaxed);
        let mut sampled = self.handling.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == NONE || attempt == 0 {
            *sampled = None;
            return None;
        }
        let since = match *sampled {
            Some((at, since)) if at == offset => since,
            _ => now,
        };
        *sampled = Some((offset, since));
        Some(InHandler { offset, attempt, age: now.saturating_duration_since(since) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::cell;
    use super::*;
    use crate::ids::NextOffset;

    #[test]
    fn the_age_of_the_record_in_the_handler_counts_from_the_first_sample_that_saw_it() {
        let (cell, now) = (cell(), Instant::now());
        assert_eq!(cell.sample_handler(now), None);
        cell.handler_holds(7, 2);
        cell.sample_handler(now);
        let seen = cell.sample_handler(now + Duration::from_secs(3));
        assert_eq!(seen, Some(InHandler { offset: 7, attempt: 2, age: Duration::from_secs(3) }));
        cell.handler_holds(8, 1);
        assert_eq!(cell.sample_handler(now + Duration::from_secs(4)).map(|held| held.age), Some(Duration::ZERO));
    }

    #[test]
    fn a_partition_counted_as_at_rest_never_starts_a_chunk() {
        // The race of `is_at_rest`, many times over: whatever the interleaving, not both may win.
        for _ in 0..2_000 {
            let cell = Arc::new(cell());
            let tile = crate::offsets::Tile::new(NextOffset(0), NextOffset(1));
            let mut builder = crate::consume::record::ChunkBuilder::new(1, 1, 1, 1);
            builder.push(0, 0, None, None);
            let chunk = Arc::new(builder.finish(cell.partition.clone(), cell.epoch, tile));
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
