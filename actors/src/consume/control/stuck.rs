//! What keeps a partition's records, seen from outside. Samples tell for how long: no record costs a look at the clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::crew::InHandler;
use super::{ControlCell, NONE};

/// The thread of a pump that runs on the app's runtime.
const NOT_OURS: usize = usize::MAX;

/// Written by the worker, but for the samples.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Turns {
    /// Begun and ended turns of the pump: odd while one lasts.
    count: AtomicU64,
    /// The record whose handler was polled last, where several run.
    polled: AtomicI64,
    thread: AtomicUsize,
    /// The record that is next and not due yet, and when it is, in milliseconds since the Unix epoch.
    waits: Mutex<Option<(i64, i64)>>,
    /// The attempts of records that have failed and are not finished.
    failed: Mutex<BTreeMap<i64, u32>>,
    sampled: Mutex<Sampled>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            polled: AtomicI64::new(NONE),
            thread: AtomicUsize::new(NOT_OURS),
            waits: Mutex::default(),
            failed: Mutex::default(),
            sampled: Mutex::default(),
        }
    }
}

/// The sampler's memory: what it saw, and when it saw it first.
#[derive(Debug, Default)]
struct Sampled {
    turn: Option<(u64, Instant)>,
    holder: Option<(i64, Instant)>,
}

/// What a look found, with ages that are exact to the time between two looks.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The records that handlers hold, oldest first.
    pub(crate) handlers: Vec<InHandler>,
    /// The record that holds the watermark. Its attempt: which it is at, or how often it was tried.
    pub(crate) holder: Option<InHandler>,
    /// The record whose handler has not let go of its thread since the turn began, and for how long.
    pub(crate) blocking: Option<InHandler>,
}

impl ControlCell {
    /// The pump is polled, on this thread of the engine's; `None`: on one of the app's.
    pub(crate) fn runs_on(&self, thread: Option<usize>) {
        self.turns.thread.store(thread.unwrap_or(NOT_OURS), Ordering::Relaxed);
    }

    pub(crate) fn thread(&self) -> Option<usize> {
        Some(self.turns.thread.load(Ordering::Relaxed)).filter(|thread| *thread != NOT_OURS)
    }

    #[inline]
    pub(crate) fn turn_begins(&self) {
        let count = self.turns.count.load(Ordering::Relaxed);
        self.turns.count.store(count | 1, Ordering::Release);
    }

    #[inline]
    pub(crate) fn turn_ends(&self) {
        let count = self.turns.count.load(Ordering::Relaxed);
        self.turns.count.store((count | 1) + 1, Ordering::Release);
    }

    /// Of several handlers, that of this record is polled now.
    #[inline]
    pub(crate) fn polls(&self, offset: i64) {
        self.turns.polled.store(offset, Ordering::Relaxed);
    }

    /// The record has failed at this attempt, and is tried again.
    pub(crate) fn has_failed(&self, offset: i64, attempt: u32) {
        self.failed().insert(offset, attempt);
    }

    /// It is finished after all.
    pub(crate) fn failed_no_more(&self, offset: i64) {
        self.failed().remove(&offset);
    }

    /// This record is next, and not due before that time, in milliseconds since the Unix epoch. It was meant to wait: for as long as it does, it is not
    /// named as one that takes long.
    pub(crate) fn waits(&self, offset: i64, until: i64) {
        *self.waiting() = Some((offset, until));
    }

    pub(crate) fn waits_no_more(&self) {
        *self.waiting() = None;
    }

    /// Until when the partition's next record waits.
    pub(crate) fn waits_until(&self) -> Option<i64> {
        self.waiting().map(|(_, until)| until)
    }

    fn waiting(&self) -> MutexGuard<'_, Option<(i64, i64)>> {
        self.turns.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<i64, u32>> {
        self.turns.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sample(&self, now: Instant) -> Sample {
        let handlers = self.sample_handlers(now);
        let first = self.first_open().map(|open| open.0).or_else(|| self.next_of_hand());
        let waits = self.waiting().map(|(offset, _)| offset);
        let first = first.filter(|first| Some(*first) != waits);
        let turn = self.turns.count.load(Ordering::Acquire);
        let mut sampled = self.turns.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        let holder = first.map(|offset| (offset, age(&mut sampled.holder, offset, now)));
        if holder.is_none() {
            sampled.holder = None;
        }
        let turn_age = age(&mut sampled.turn, turn, now);
        drop(sampled);
        let holder = holder.map(|(offset, age)| {
            let held = handlers.iter().find(|held| held.offset == offset).map(|held| held.attempt);
            let stopped =
                || self.stopped_at().filter(|stopped| stopped.offset == offset).map(|stopped| stopped.attempts);
            let attempt = held.or_else(|| self.failed().get(&offset).copied()).or_else(stopped).unwrap_or(0);
            InHandler { offset, attempt, age }
        });
        let blocking = (turn % 2 == 1 && !turn_age.is_zero()).then(|| self.polled_of(&handlers)).flatten();
        let blocking = blocking.map(|held| InHandler { age: turn_age, ..held });
        Sample { handlers, holder, blocking }
    }

    /// The record whose handler runs, of those that wait too.
    fn polled_of(&self, handlers: &[InHandler]) -> Option<InHandler> {
        let polled = self.turns.polled.load(Ordering::Relaxed);
        handlers.iter().find(|held| held.offset == polled).or(handlers.first()).copied()
    }
}

/// For how long it has been seen to be this.
fn age<T: Copy + PartialEq>(memory: &mut Option<(T, Instant)>, seen: T, now: Instant) -> Duration {
    let since = match *memory {
        Some((before, since)) if before == seen => since,
        _ => now,
    };
    *memory = Some((seen, since));
    now.saturating_duration_since(since)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::crew::OpenChunk;
    use super::super::tests::cell;
    use super::*;
    use crate::consume::record::ChunkBuilder;
    use crate::ids::NextOffset;
    use crate::offsets::Tile;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_turn_that_lasts_names_the_record_whose_handler_was_polled_last() {
        let (cell, now) = (cell(), Instant::now());
        let posts = [cell.new_post(), cell.new_post()];
        cell.turn_begins();
        posts[0].takes(3, 1);
        posts[1].takes(4, 2);
        cell.polls(4);
        assert!(cell.sample(now).blocking.is_none(), "seen for the first time");
        let blocking = cell.sample(now + 2 * SECOND).blocking;
        assert_eq!(blocking, Some(InHandler { offset: 4, attempt: 2, age: 2 * SECOND }));
        cell.turn_ends();
        assert!(cell.sample(now + 3 * SECOND).blocking.is_none(), "both wait, and neither keeps the thread");
        cell.turn_begins();
        assert!(cell.sample(now + 4 * SECOND).blocking.is_none(), "another turn");
    }

    #[test]
    fn a_record_that_is_not_due_is_none_that_takes_long_and_its_age_begins_when_it_is() {
        let (cell, now) = (cell(), Instant::now());
        cell.comes_next(5);
        cell.waits(5, 1_700_000_000_000);
        for seconds in 0..3 {
            assert!(cell.sample(now + seconds * SECOND).holder.is_none());
        }
        assert_eq!(cell.waits_until(), Some(1_700_000_000_000));
        cell.waits_no_more();
        let age = |after: u32| cell.sample(now + after * SECOND).holder.map(|holder| holder.age);
        assert_eq!([age(10), age(11)], [Some(Duration::ZERO), Some(SECOND)]);
        assert_eq!(cell.waits_until(), None);
    }

    #[test]
    fn the_record_that_holds_the_watermark_is_told_with_its_attempt_whether_a_handler_has_it_or_not() {
        let (cell, now) = (cell(), Instant::now());
        assert!(cell.sample(now).holder.is_none());
        let mut builder = ChunkBuilder::new(10, 1000, 2, 1);
        (5..8).for_each(|offset| builder.push(offset, 0, None, None));
        let chunk = builder.finish(
            cell.partition.clone(),
            cell.epoch,
            Tile::new(NextOffset(5), NextOffset(8)),
            Default::default(),
        );
        let open = Arc::new(OpenChunk::new(Arc::new(chunk)));
        cell.open_chunk(&open);
        open.finish(0);
        open.finish(2);
        cell.sample(now);
        let held = |after: u32| cell.sample(now + after * SECOND).holder;
        assert_eq!(held(1), Some(InHandler { offset: 6, attempt: 0, age: SECOND }), "not tried yet");
        cell.has_failed(6, 3);
        assert_eq!(held(2), Some(InHandler { offset: 6, attempt: 3, age: 2 * SECOND }), "waits for its next attempt");
        let post = cell.new_post();
        post.takes(6, 4);
        assert_eq!(held(3), Some(InHandler { offset: 6, attempt: 4, age: 3 * SECOND }));
        open.finish(1);
        cell.close_chunk(&open);
        assert_eq!(held(4), None);
    }
}
