//! The control cell: what poller, worker and tracker share of one partition's epoch, beside the data.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::consume::record::RecordChunk;
use crate::consume::wake::Wake;
use crate::ids::{Epoch, NextOffset, TopicPartition};
use crate::offsets::TileProgress;

/// Where a partition stands in its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartitionPhase {
    /// Assigned; its worker is not ready yet, or the worker of an earlier epoch has not ended.
    Starting,
    /// Records flow.
    Running,
    /// To be given up: records that a handler holds are waited for, no others are started.
    Revoking,
    /// Over: what is still reported of it changes nothing.
    Fenced,
}

/// How many records and bytes of one partition may be handed out and not finished.
///
/// The bytes are checked before a chunk is taken, and a chunk ends with the record that reaches a limit: the bound is passed by at most
/// that one record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credits {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// One partition's epoch, seen from all sides. Control is read between records, so that it never queues behind data.
///
/// Each field has one writer, named at its group; anyone may read.
#[derive(Debug)]
pub(crate) struct ControlCell {
    pub(crate) partition: TopicPartition,
    pub(crate) epoch: Epoch,
    pub(crate) slot: usize,
    pub(crate) start: NextOffset,
    pub(crate) credits: Credits,
    /// Cancelled at revoke: for handlers that want to know.
    pub(crate) revoking: CancellationToken,
    wake: Arc<Wake>,
    phase: AtomicU8,
    abandoned: AtomicBool,
    pump: AtomicWaker,
    end_offset: AtomicI64,
    last_error: Mutex<Option<String>>,
    flow: Flow,
    tracked: Tracked,
    handling: Handling,
}

/// Written by poller and worker: records and bytes handed out and not finished.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Flow {
    records: AtomicU64,
    bytes: AtomicU64,
    starved: AtomicBool,
}

/// Written by the tracker.
#[derive(Debug)]
#[repr(align(128))]
struct Tracked {
    watermark: AtomicI64,
    committed: AtomicI64,
}

/// Written by the worker: the chunk it has in hand, and how far it is with it.
#[derive(Debug)]
#[repr(align(128))]
struct Handling {
    chunk: Mutex<Option<Arc<RecordChunk>>>,
    /// The record that is next to finish; all of the chunk's before it are finished. -1: no chunk.
    offset: AtomicI64,
    /// The pump waits for the chunk's next attempt, or for its partition's end.
    resting: AtomicBool,
    /// The attempt at it that a handler is at; 0 while no handler holds it.
    attempt: AtomicU32,
    /// The sampler's memory of `offset`, so that no record costs a clock call.
    sampled: Mutex<Option<(i64, Instant)>>,
}

/// The record that a handler holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InHandler {
    pub(crate) offset: i64,
    pub(crate) attempt: u32,
    pub(crate) age: Duration,
}

const NONE: i64 = -1;

impl ControlCell {
    pub(crate) fn new(
        partition: TopicPartition,
        epoch: Epoch,
        slot: usize,
        start: NextOffset,
        committed: Option<NextOffset>,
        credits: Credits,
        wake: Arc<Wake>,
    ) -> Self {
        Self {
            partition,
            epoch,
            slot,
            start,
            credits,
            revoking: CancellationToken::new(),
            wake,
            phase: AtomicU8::new(PartitionPhase::Starting as u8),
            abandoned: AtomicBool::new(false),
            pump: AtomicWaker::new(),
            end_offset: AtomicI64::new(NONE),
            last_error: Mutex::new(None),
            flow: Flow::default(),
            tracked: Tracked {
                watermark: AtomicI64::new(start.0),
                committed: AtomicI64::new(committed.map_or(NONE, |offset| offset.0)),
            },
            handling: Handling {
                chunk: Mutex::new(None),
                offset: AtomicI64::new(NONE),
                resting: AtomicBool::new(false),
                attempt: AtomicU32::new(0),
                sampled: Mutex::new(None),
            },
        }
    }

    #[inline]
    pub(crate) fn phase(&self) -> PartitionPhase {
        match self.phase.load(Ordering::Acquire) {
            0 => PartitionPhase::Starting,
            1 => PartitionPhase::Running,
            2 => PartitionPhase::Revoking,
            _ => PartitionPhase::Fenced,
        }
    }

    /// Goes on to a later phase; phases never go back.
    fn advance(&self, phase: PartitionPhase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.pump.wake();
    }

    pub(crate) fn run(&self) {
        self.advance(PartitionPhase::Running);
    }

    pub(crate) fn revoke(&self) {
        self.advance(PartitionPhase::Revoking);
        self.revoking.cancel();
    }

    pub(crate) fn fence(&self) {
        self.advance(PartitionPhase::Fenced);
        self.revoking.cancel();
    }

    /// The worker's actor died under its pump: whatever that does from here on, the epoch has to be replaced.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.fence();
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// No further record may be started.
    #[inline]
    pub(crate) fn is_ending(&self) -> bool {
        self.phase() >= PartitionPhase::Revoking
    }

    #[inline]
    pub(crate) fn is_fenced(&self) -> bool {
        self.phase() == PartitionPhase::Fenced
    }

    /// Wakes the worker's pump: a chunk arrived.
    pub(crate) fn wake_pump(&self) {
        self.pump.wake();
    }

    /// To be called before the pump's last look at what it waits for.
    pub(crate) fn register_pump(&self, waker: &std::task::Waker) {
        self.pump.register(waker);
    }

    /// Records that may be drained now; 0 when records or bytes have run out.
    ///
    /// Where it is 0, the cell is marked starved, and the worker's next [`free`](Self::free) past the low-water mark sets the slot's ready
    /// bit. The poller and a worker that frees its last credit at the same moment:
    /// 1. poller: no room; 2. poller: sets `starved`; 3. poller: looks again.
    ///
    /// The worker subtracts, then looks at `starved`. Whichever comes second sees the other: either the poller's second look finds the
    /// room, or the worker finds the flag and wakes it.
    pub(crate) fn room(&self) -> u64 {
        self.room_while(|| ())
    }

    /// `meanwhile` is what the worker does between the first look and the flag: nothing, but in the test of that.
    fn room_while(&self, meanwhile: impl FnOnce()) -> u64 {
        let room = self.look();
        if room > 0 {
            return room;
        }
        meanwhile();
        self.flow.starved.store(true, Ordering::SeqCst);
        if self.above_low_water() {
            return 0;
        }
        self.flow.starved.store(false, Ordering::SeqCst);
        self.look()
    }

    fn look(&self) -> u64 {
        let records = self.flow.records.load(Ordering::SeqCst);
        let bytes = self.flow.bytes.load(Ordering::SeqCst);
        if bytes >= self.credits.bytes { 0 } else { self.credits.records.saturating_sub(records) }
    }

    fn above_low_water(&self) -> bool {
        self.flow.records.load(Ordering::SeqCst) > self.credits.records / 2
            || self.flow.bytes.load(Ordering::SeqCst) > self.credits.bytes / 2
    }

    /// Bytes that may be drained now.
    pub(crate) fn room_bytes(&self) -> u64 {
        self.credits.bytes.saturating_sub(self.flow.bytes.load(Ordering::SeqCst))
    }

    /// Takes credits for a chunk that is about to be handed out; returns records in use with it.
    pub(crate) fn take(&self, records: u64, bytes: u64) -> u64 {
        self.flow.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.flow.records.fetch_add(records, Ordering::SeqCst) + records
    }

    /// Gives credits back, and wakes the poller if it went without.
    pub(crate) fn free(&self, records: u64, bytes: u64) {
        self.flow.records.fetch_sub(records, Ordering::SeqCst);
        self.flow.bytes.fetch_sub(bytes, Ordering::SeqCst);
        if self.flow.starved.load(Ordering::SeqCst)
            && !self.above_low_water()
            && self.flow.starved.swap(false, Ordering::SeqCst)
        {
            self.wake.slot(self.slot);
        }
    }

    /// Records and bytes handed out and not finished.
    pub(crate) fn in_use(&self) -> (u64, u64) {
        (self.flow.records.load(Ordering::Relaxed), self.flow.bytes.load(Ordering::Relaxed))
    }

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

    pub(crate) fn set_watermark(&self, watermark: NextOffset) {
        self.tracked.watermark.store(watermark.0, Ordering::Release);
    }

    pub(crate) fn watermark(&self) -> NextOffset {
        NextOffset(self.tracked.watermark.load(Ordering::Acquire))
    }

    pub(crate) fn set_committed(&self, committed: NextOffset) {
        self.tracked.committed.store(committed.0, Ordering::Release);
    }

    pub(crate) fn committed(&self) -> Option<NextOffset> {
        Some(self.tracked.committed.load(Ordering::Acquire)).filter(|offset| *offset != NONE).map(NextOffset)
    }

    pub(crate) fn set_end_offset(&self, end: i64) {
        self.end_offset.store(end, Ordering::Relaxed);
    }

    pub(crate) fn end_offset(&self) -> Option<NextOffset> {
        Some(self.end_offset.load(Ordering::Relaxed)).filter(|offset| *offset >= 0).map(NextOffset)
    }

    pub(crate) fn set_last_error(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell() -> ControlCell {
        ControlCell::new(
            TopicPartition::new("t", 0),
            Epoch(1),
            0,
            NextOffset(0),
            None,
            Credits { records: 10, bytes: 1000 },
            Arc::new(Wake::new()),
        )
    }

    #[test]
    fn a_partition_without_credits_has_no_room_until_half_of_them_are_back() {
        let cell = cell();
        assert_eq!(cell.take(10, 100), 10);
        assert_eq!(cell.room(), 0);
        cell.free(4, 40);
        assert_eq!(cell.wake.take_slots(0), 0, "above the low-water mark nobody is woken");
        cell.free(1, 10);
        assert_eq!(cell.wake.take_slots(0), 1, "at the low-water mark the poller is woken");
        assert_eq!(cell.room(), 5);
    }

    #[test]
    fn bytes_run_out_like_records() {
        let cell = cell();
        cell.take(1, 1200);
        assert_eq!((cell.room(), cell.room_bytes()), (0, 0));
        cell.free(1, 1200);
        assert_eq!(cell.room(), 10);
    }

    #[test]
    fn room_that_is_freed_between_the_pollers_look_and_its_flag_is_found() {
        let cell = cell();
        cell.take(10, 100);
        let room = cell.room_while(|| cell.free(10, 100));
        // The worker saw no flag and woke nobody: the poller must find the room itself.
        assert_eq!((room, cell.wake.take_slots(0)), (10, 0));
    }

    #[test]
    fn hand_overs_between_two_threads_never_wait_for_a_wake_up_that_is_lost() {
        // One credit: every hand-over sleeps and is woken.
        let cell = Arc::new(ControlCell::new(
            TopicPartition::new("t", 0),
            Epoch(1),
            0,
            NextOffset(0),
            None,
            Credits { records: 1, bytes: 1000 },
            Arc::new(Wake::new()),
        ));
        let (chunks, inbox) = crossbeam_channel::unbounded::<()>();
        let worker = {
            let cell = Arc::clone(&cell);
            std::thread::spawn(move || inbox.into_iter().for_each(|()| cell.free(1, 1)))
        };
        cell.wake.attach();
        let begun = Instant::now();
        for _ in 0..20_000 {
            while cell.room() == 0 {
                if cell.wake.take_slots(0) == 0 {
                    let slept = Instant::now();
                    std::thread::park_timeout(Duration::from_secs(10));
                    assert!(slept.elapsed() < Duration::from_secs(5), "the wake-up was lost");
                }
            }
            cell.take(1, 1);
            let _ = chunks.send(());
        }
        drop(chunks);
        assert!(worker.join().is_ok());
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn phases_never_go_back() {
        let cell = cell();
        cell.fence();
        cell.run();
        cell.revoke();
        assert_eq!(cell.phase(), PartitionPhase::Fenced);
        assert!(cell.revoking.is_cancelled());
    }

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
