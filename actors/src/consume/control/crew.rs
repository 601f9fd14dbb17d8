//! What a worker has in hand where several records of its partition are handled at once: the chunks that are not finished, and the records
//! that handlers hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{ControlCell, NONE};
use crate::consume::record::{Record, RecordChunk};
use crate::ids::NextOffset;
use crate::offsets::{Finished, TileProgress};

/// A chunk whose records are finished in any order. Anyone may look how far it is.
#[derive(Debug)]
pub(crate) struct OpenChunk {
    pub(crate) chunk: Arc<RecordChunk>,
    /// A bit per finished record, as in [`Finished::Bitmap`].
    marks: Box<[AtomicU64]>,
    left: AtomicU32,
    /// Made when first asked for: most chunks are finished before anyone asks.
    offsets: OnceLock<Option<Arc<[i64]>>>,
}

impl OpenChunk {
    pub(crate) fn new(chunk: Arc<RecordChunk>) -> Self {
        let (records, words) = (chunk.len(), chunk.len().div_ceil(64));
        let marks = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { chunk, marks, left: AtomicU32::new(records as u32), offsets: OnceLock::new() }
    }

    /// A record is finished; whether it was the last. At most once for each.
    #[inline]
    pub(crate) fn finish(&self, position: u32) -> bool {
        let bit = 1 << (position % 64);
        let before = self.marks[position as usize / 64].fetch_or(bit, Ordering::Release);
        debug_assert_eq!(before & bit, 0, "a record is finished once");
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The position of the first record that is not finished, or that behind the chunk.
    pub(crate) fn position(&self) -> NextOffset {
        let first = self.marks.iter().zip(0_usize..).find_map(|(word, at)| {
            let unfinished = !word.load(Ordering::Acquire);
            (unfinished != 0).then(|| at * 64 + unfinished.trailing_zeros() as usize)
        });
        first.map_or(self.chunk.tile.to, |first| self.chunk.position_after(first))
    }

    /// Which of its records are finished by now.
    pub(crate) fn progress(&self) -> TileProgress {
        let offsets = self.offsets.get_or_init(|| self.chunk.offsets());
        let marks = self.marks.iter().map(|word| word.load(Ordering::Acquire)).collect();
        TileProgress {
            tile: self.chunk.tile,
            records: self.chunk.len() as u32,
            offsets: offsets.clone(),
            finished: Finished::Bitmap(marks),
        }
    }

    fn is_begun(&self) -> bool {
        self.left.load(Ordering::Acquire) < self.chunk.len() as u32
    }
}

/// Where a handler holds a record, or none.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Post {
    offset: AtomicI64,
    /// The attempt at it that a handler is at; 0 while no handler holds it.
    attempt: AtomicU32,
    /// The sampler's memory of `offset`, so that no record costs a clock call.
    sampled: Mutex<Option<(i64, Instant)>>,
}

impl Default for Post {
    fn default() -> Self {
        Self { offset: AtomicI64::new(NONE), attempt: AtomicU32::new(0), sampled: Mutex::new(None) }
    }
}

impl Post {
    #[inline]
    pub(crate) fn takes(&self, offset: i64, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
        self.offset.store(offset, Ordering::Release);
    }

    /// The handler has returned, and the record is not finished, or not looked at yet.
    #[inline]
    pub(crate) fn rests(&self) {
        self.attempt.store(0, Ordering::Relaxed);
    }

    pub(crate) fn puts_down(&self) {
        self.rests();
        self.offset.store(NONE, Ordering::Release);
    }

    pub(crate) fn offset(&self) -> i64 {
        self.offset.load(Ordering::Acquire)
    }

    /// The record in the handler and its age, exact to the time between two samples.
    fn sample(&self, now: Instant) -> Option<InHandler> {
        let offset = self.offset.load(Ordering::Relaxed);
        let attempt = self.attempt.load(Ordering::Relaxed);
        let mut sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
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

/// A record that a handler holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InHandler {
    pub(crate) offset: i64,
    pub(crate) attempt: u32,
    pub(crate) age: Duration,
}

type Batches = BTreeMap<i64, (Arc<[Record]>, Instant)>;

/// Written by the worker.
#[derive(Debug, Default)]
pub(super) struct Crew {
    /// Handlers run, or may be started.
    busy: AtomicBool,
    /// By where their tiles begin. Locked per chunk.
    open: Mutex<BTreeMap<NextOffset, Arc<OpenChunk>>>,
    posts: Mutex<Vec<Arc<Post>>>,
    /// What an app that pulls has, by offset: the attempt, and since when. Locked per batch.
    taken: Mutex<BTreeMap<i64, (u32, Instant)>>,
    /// The batches that a handler has, by their first offsets, and since when. Locked per batch.
    batches: Mutex<Batches>,
}

impl Crew {
    fn taken(&self) -> MutexGuard<'_, BTreeMap<i64, (u32, Instant)>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst)
    }
}

impl ControlCell {
    /// The pump may start handlers from here on. To be called before it looks whether the partition is ending.
    ///
    /// The pump and who asks [`is_at_rest`](Self::is_at_rest), at the same moment:
    /// 1. pump: says that it is busy; 2. pump: looks whether the partition is ending, and starts nothing if it is.
    ///
    /// Who asks has marked the partition ending first, then looks here. Whichever comes second sees the other.
    pub(crate) fn crew_begins(&self) {
        self.crew.busy.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// No handler runs, and the pump starts none before it [begins](Self::crew_begins) again.
    pub(crate) fn crew_rests(&self) {
        self.crew.busy.store(false, Ordering::SeqCst);
    }

    pub(crate) fn open_chunk(&self, open: &Arc<OpenChunk>) {
        self.open().insert(open.chunk.tile.from, Arc::clone(open));
    }

    pub(crate) fn close_chunk(&self, open: &OpenChunk) {
        self.open().remove(&open.chunk.tile.from);
    }

    /// The position of the first record that is not finished, of those that are in hand.
    pub(crate) fn first_open(&self) -> Option<NextOffset> {
        self.open().first_key_value().map(|(_, open)| open.position())
    }

    /// A new place for a record in a handler.
    pub(crate) fn new_post(&self) -> Arc<Post> {
        let post = Arc::new(Post::default());
        self.crew.posts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&post));
        post
    }

    /// An app that pulls has taken these records, at these attempts.
    pub(crate) fn crew_takes(&self, records: impl Iterator<Item = (i64, u32)>, now: Instant) {
        self.crew.taken().extend(records.map(|(offset, attempt)| (offset, (attempt, now))));
    }

    /// It has answered these.
    pub(crate) fn crew_lets_go(&self, offsets: impl Iterator<Item = i64>) {
        let mut taken = self.crew.taken();
        for offset in offsets {
            taken.remove(&offset);
        }
    }

    /// A handler has these records.
    pub(crate) fn crew_takes_batch(&self, records: &Arc<[Record]>, now: Instant) {
        if let Some(first) = records.first() {
            self.crew.batches().insert(first.offset().0, (Arc::clone(records), now));
        }
    }

    /// It has answered for the batch that begins there.
    pub(crate) fn crew_lets_go_batch(&self, first: i64) {
        self.crew.batches().remove(&first);
    }

    /// How far the worker is with what it has in hand. The tracker asks before each commit, for a worker cannot report while a handler
    /// keeps its thread.
    pub(crate) fn in_hand(&self) -> Vec<TileProgress> {
        let open = self.open();
        let open = open.values().filter(|open| open.is_begun()).map(|open| open.progress());
        self.chunk_in_hand().into_iter().chain(open).collect()
    }

    /// The records that handlers hold, oldest first.
    pub(crate) fn sample_handlers(&self, now: Instant) -> Vec<InHandler> {
        let posts = self.crew.posts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held: Vec<_> = posts.iter().filter_map(|post| post.sample(now)).collect();
        drop(posts);
        let age = |since| now.saturating_duration_since(since);
        let taken = self.crew.taken();
        held.extend(taken.iter().map(|(offset, (attempt, since))| InHandler {
            offset: *offset,
            attempt: *attempt,
            age: age(*since),
        }));
        drop(taken);
        for (records, since) in self.crew.batches().values() {
            held.extend(records.iter().map(|record| InHandler {
                offset: record.offset().0,
                attempt: record.attempt(),
                age: age(*since),
            }));
        }
        held.extend(self.handling.post.sample(now));
        held.sort_by_key(|held| (std::cmp::Reverse(held.age), held.offset));
        held
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<NextOffset, Arc<OpenChunk>>> {
        self.crew.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::cell;
    use super::*;
    use crate::consume::record::ChunkBuilder;
    use crate::ids::{Epoch, TopicPartition};
    use crate::offsets::{OffsetLedger, Tile};

    fn chunk(offsets: &[i64], from: i64, to: i64) -> Arc<RecordChunk> {
        let mut builder = ChunkBuilder::new(1000, 1000, 1, 1);
        offsets.iter().for_each(|offset| builder.push(*offset, 0, None, None));
        let tile = Tile::new(NextOffset(from), NextOffset(to));
        Arc::new(builder.finish(TopicPartition::new("t", 0), Epoch(1), tile, Default::default()))
    }

    #[test]
    fn the_age_of_a_record_in_a_handler_counts_from_the_first_sample_that_saw_it() {
        let (cell, now) = (cell(), Instant::now());
        assert_eq!(cell.sample_handlers(now), []);
        cell.handler_holds(7, 2);
        let post = cell.new_post();
        cell.sample_handlers(now);
        let later = now + Duration::from_secs(3);
        post.takes(9, 1);
        let seen = [(7, 2, 3), (9, 1, 0)].map(|(offset, attempt, age)| InHandler {
            offset,
            attempt,
            age: Duration::from_secs(age),
        });
        assert_eq!(cell.sample_handlers(later), seen);
        cell.handler_holds(8, 1);
        post.puts_down();
        assert_eq!(cell.sample_handlers(now + Duration::from_secs(4))[0].age, Duration::ZERO);
    }

    proptest! {
        #[test]
        fn what_is_in_hand_brings_the_ledger_to_where_the_chunk_is(
            gaps in prop::collection::vec(1..4_i64, 1..200),
            finished in prop::collection::vec(any::<bool>(), 200),
        ) {
            let offsets: Vec<_> = gaps.iter().scan(10, |at, gap| { *at += gap; Some(*at) }).collect();
            let cell = cell();
            let to = offsets[offsets.len() - 1] + 3;
            let open = Arc::new(OpenChunk::new(chunk(&offsets, 10, to)));
            cell.open_chunk(&open);
            let mut last = false;
            for position in (0..offsets.len()).rev().filter(|position| finished[*position]) {
                prop_assert!(!last);
                last = open.finish(position as u32);
            }
            let done = finished.iter().take(offsets.len()).filter(|finished| **finished).count();
            prop_assert_eq!(last, done == offsets.len());
            let mut ledger = OffsetLedger::new(NextOffset(10));
            let in_hand = cell.in_hand();
            prop_assert_eq!(in_hand.len(), usize::from(done > 0));
            for progress in in_hand {
                ledger.record(progress).map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(ledger.finished(), done as u64);
                // The ledger counts from the tile's begin, the position names a record.
                let first = offsets.iter().zip(&finished).find(|(_, finished)| !**finished).map(|(offset, _)| *offset);
                prop_assert_eq!(ledger.watermark().0, first.unwrap_or(to));
                prop_assert_eq!(cell.first_open(), Some(ledger.watermark()));
            }
            cell.close_chunk(&open);
            prop_assert_eq!(cell.first_open(), None);
        }
    }

    #[test]
    fn a_crew_counted_as_at_rest_never_starts_a_record() {
        // The race of `crew_begins`, many times over: whatever the interleaving, not both may win.
        for _ in 0..2_000 {
            let cell = Arc::new(cell());
            let pump = std::thread::spawn({
                let cell = Arc::clone(&cell);
                move || {
                    cell.crew_begins();
                    !cell.is_ending()
                }
            });
            cell.revoke();
            let at_rest = cell.is_at_rest();
            let started = pump.join().unwrap_or(true);
            assert!(!(at_rest && started), "counted as at rest, and started");
        }
    }
}
