//! The control cell: what poller, worker and tracker share of one partition's epoch, beside the data.

mod credits;
pub(crate) mod crew;
mod hand;
pub(crate) mod stuck;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::task::AtomicWaker;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::consume::start::StartPosition;
use crate::consume::state::StoppedRecord;
use crate::consume::topic_id::TopicId;
#[cfg(test)]
use crate::consume::wake::Wake;
use crate::ids::{Epoch, NextOffset, TopicPartition};
use crate::offsets::remembered::Remembered;

use credits::Flow;
pub(crate) use credits::{Budget, Credits};
use crew::Crew;
use hand::Handling;
use stuck::Turns;

/// Where a partition stands in its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartitionPhase {
    /// Assigned; its worker is not ready yet, or the worker of an earlier epoch has not ended.
    Starting,
    /// Records flow.
    Running,
    /// To be given up, or to go on elsewhere after a seek: records that a handler holds are waited for, no others are started.
    Revoking,
    /// Over: what is still reported of it changes nothing.
    Fenced,
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
    /// Finished by an earlier owner: not handled again.
    pub(crate) remembered: Remembered,
    /// A person put it at its start: that is committed even where the group is further.
    pub(crate) chosen: bool,
    pub(crate) credits: Credits,
    /// Cancelled at revoke: for handlers that want to know.
    pub(crate) revoking: CancellationToken,
    /// What all partitions share; with the poller's wake-up.
    budget: Arc<Budget>,
    phase: AtomicU8,
    abandoned: AtomicBool,
    /// Written by the poller, for those who look.
    paused: AtomicBool,
    pump: AtomicWaker,
    end_offset: AtomicI64,
    topic_id: OnceLock<TopicId>,
    last_error: Mutex<Option<String>>,
    parked: AtomicBool,
    /// The record that stopped the partition.
    stopped_at: Mutex<Option<StoppedRecord>>,
    flow: Flow,
    tracked: Tracked,
    handling: Handling,
    crew: Crew,
    turns: Turns,
}

/// Written by the tracker; what is committed by the poller, where librdkafka commits by itself.
#[derive(Debug)]
#[repr(align(128))]
struct Tracked {
    watermark: AtomicI64,
    committed: AtomicI64,
    /// The offset whose commit is waited for before the worker goes on.
    awaited: AtomicI64,
}

const NONE: i64 = -1;

impl ControlCell {
    pub(crate) fn new(
        StartPosition { partition, position: start, committed, remembered, chosen, topic_id }: StartPosition,
        epoch: Epoch,
        slot: usize,
        credits: Credits,
        budget: Arc<Budget>,
    ) -> Self {
        Self {
            partition,
            epoch,
            slot,
            start,
            remembered,
            chosen,
            credits,
            revoking: CancellationToken::new(),
            budget,
            phase: AtomicU8::new(PartitionPhase::Starting as u8),
            abandoned: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            pump: AtomicWaker::new(),
            end_offset: AtomicI64::new(NONE),
            topic_id: topic_id.map_or_else(OnceLock::new, OnceLock::from),
            last_error: Mutex::new(None),
            parked: AtomicBool::new(false),
            stopped_at: Mutex::new(None),
            flow: Flow::new(credits),
            tracked: Tracked {
                watermark: AtomicI64::new(start.0),
                committed: AtomicI64::new(committed.map_or(NONE, |offset| offset.0)),
                awaited: AtomicI64::new(NONE),
            },
            handling: Handling::default(),
            crew: Crew::default(),
            turns: Turns::default(),
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

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
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

    pub(crate) fn set_watermark(&self, watermark: NextOffset) {
        self.tracked.watermark.store(watermark.0, Ordering::Release);
    }

    pub(crate) fn watermark(&self) -> NextOffset {
        NextOffset(self.tracked.watermark.load(Ordering::Acquire))
    }

    pub(crate) fn set_committed(&self, committed: NextOffset) {
        self.tracked.committed.store(committed.0, Ordering::Release);
        if self.tracked.awaited.load(Ordering::Relaxed) != NONE {
            self.pump.wake();
        }
    }

    /// The worker is to go on only when this is committed.
    pub(crate) fn await_commit(&self, next: NextOffset) {
        self.tracked.awaited.fetch_max(next.0, Ordering::AcqRel);
    }

    /// Whether the worker is to wait for a commit.
    #[inline]
    pub(crate) fn awaits_commit(&self) -> bool {
        self.tracked.awaited.load(Ordering::Acquire) > self.tracked.committed.load(Ordering::Acquire)
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

    /// Told once it is known; it is the same for the epoch's life.
    pub(crate) fn set_topic_id(&self, id: TopicId) {
        let _ = self.topic_id.set(id);
    }

    pub(crate) fn topic_id(&self) -> Option<TopicId> {
        self.topic_id.get().copied()
    }

    /// A record has stopped the partition: nothing is started until it is [resumed](Self::unpark).
    pub(crate) fn park(&self, record: StoppedRecord) {
        let mut stopped_at = self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner);
        stopped_at.get_or_insert(record);
        self.parked.store(true, Ordering::Release);
    }

    pub(crate) fn unpark(&self) {
        let mut stopped_at = self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner);
        *stopped_at = None;
        self.parked.store(false, Ordering::Release);
        drop(stopped_at);
        self.pump.wake();
    }

    #[inline]
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Acquire)
    }

    pub(crate) fn stopped_at(&self) -> Option<StoppedRecord> {
        self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_last_error(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn cell() -> ControlCell {
        ControlCell::new(
            StartPosition::at(TopicPartition::new("t", 0), NextOffset(0)),
            Epoch(1),
            0,
            Credits { records: 10, bytes: 1000 },
            Budget::unbounded(Arc::new(Wake::new())),
        )
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
}
