//! The board: what the engine's parts publish, and how a snapshot is made of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use super::{BlockedThread, CommitState, ConsumerState, Counters, InFlightRecord, PartitionState, WatermarkHolder};
use crate::consume::control::crew::InHandler;
use crate::consume::control::stuck::Sample;
use crate::consume::control::{Budget, ControlCell};
use crate::consume::dead_letters::Letterbox;
use crate::consume::membership::Membership;
use crate::consume::naming::{Named, NamingLimits, Plight};
use crate::ids::{Epoch, Offset, TopicPartition};
use crate::invariants::{At, InvariantCounts};
use crate::offsets::limit::ClusterLimit;

/// Slow records that the state names of a partition.
const SLOW: usize = 16;

/// The cluster that the engine works with.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Empty where the cluster has none.
    pub(crate) id: String,
    pub(crate) limit: ClusterLimit,
}

/// What the engine's parts publish and [`ConsumerState`] is read from. One owner writes each entry; none is touched per record.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) membership: Membership,
    pub(crate) budget: Arc<Budget>,
    pub(crate) partitions: DashMap<TopicPartition, Arc<ControlCell>>,
    pub(crate) counters: Counters,
    pub(crate) invariants: Arc<InvariantCounts>,
    pub(crate) stopping: AtomicBool,
    /// Known once the first start positions are.
    pub(crate) cluster: OnceLock<Cluster>,
    /// The partitions that the topics of the assigned ones have in all; 0 while that is not known.
    pub(crate) topic_partitions: AtomicU64,
    commit_pause_ms: AtomicU64,
    /// How many pumps each partition has: never two, or its handlers could overlap.
    pumps: DashMap<TopicPartition, u32>,
    /// The epochs whose pumps have not ended, fenced ones included.
    pumping: DashMap<Epoch, Arc<ControlCell>>,
    pub(crate) naming: NamingLimits,
    /// `None`: there is no topic for dead letters.
    pub(crate) letterbox: Option<Arc<Letterbox>>,
}

impl Board {
    pub(crate) fn new(membership: Membership, budget: Arc<Budget>) -> Self {
        Self {
            membership,
            budget,
            partitions: DashMap::new(),
            counters: Counters::default(),
            invariants: Arc::default(),
            stopping: AtomicBool::new(false),
            cluster: OnceLock::new(),
            topic_partitions: AtomicU64::new(0),
            commit_pause_ms: AtomicU64::new(0),
            pumps: DashMap::new(),
            pumping: DashMap::new(),
            naming: NamingLimits::default(),
            letterbox: None,
        }
    }

    /// One whose invariants may be broken.
    #[cfg(test)]
    pub(crate) fn counting() -> Self {
        Self {
            invariants: Arc::new(InvariantCounts::counting()),
            ..Self::new(
                Membership::default(),
                crate::consume::control::Budget::unbounded(Arc::new(crate::consume::wake::Wake::new())),
            )
        }
    }

    /// For how long the records of this topic wait, if it is a retry topic.
    pub(crate) fn retry_delay(&self, topic: &str) -> Option<Duration> {
        self.letterbox.as_ref()?.retries().delay_of(topic)
    }

    /// A round of commits was sent, and the next one waits for `pause` at least.
    pub(crate) fn note_pause(&self, pause: Duration) {
        self.commit_pause_ms.store(pause.as_millis() as u64, Ordering::Relaxed);
    }

    /// Counts a partition's pump for as long as the guard lives.
    pub(crate) fn pump_began(self: &Arc<Self>, cell: &Arc<ControlCell>) -> PumpGuard {
        let partition = cell.partition.clone();
        let running = *self.pumps.entry(partition.clone()).and_modify(|pumps| *pumps += 1).or_insert(1);
        let at = At { partition: &partition, epoch: cell.epoch };
        self.invariants.one_call_per_key(at, Offset(cell.start.0), running);
        // Only now: what is looked at has a pump.
        let (board, epoch) = (Arc::clone(self), cell.epoch);
        self.pumping.insert(epoch, Arc::clone(cell));
        PumpGuard { board, partition, epoch }
    }

    pub(crate) fn snapshot(&self, now: Instant) -> ConsumerState {
        let mut cells: Vec<_> = self.partitions.iter().map(|entry| Arc::clone(entry.value())).collect();
        cells.sort_by(|a, b| a.partition.cmp(&b.partition));
        let in_use = self.budget.in_use();
        ConsumerState {
            stopping: self.stopping.load(Ordering::Acquire),
            partitions: cells.iter().map(|cell| self.partition_state(cell, now)).collect(),
            buffered_records: in_use.records,
            buffered_bytes: in_use.bytes,
            blocked_threads: self
                .pumps_of(now)
                .iter()
                .filter_map(|(cell, sample)| self.blocked(cell, sample))
                .filter(|named| named.age >= self.naming.thread)
                .map(BlockedThread::from)
                .collect(),
            commits: CommitState {
                paused_ms: self.commit_pause_ms.load(Ordering::Relaxed),
                metadata_limit: self
                    .cluster
                    .get()
                    .map(|cluster| cluster.limit.with(|limit| limit.next()).map_or(0, |(_, length)| length as u64)),
            },
            dead_letters: self.letterbox.as_ref().map(|letterbox| letterbox.state()),
            counters: self.counters.snapshot(),
            invariants: self.invariants.snapshot(),
        }
    }

    fn partition_state(&self, cell: &ControlCell, now: Instant) -> PartitionState {
        let committed = cell.committed();
        let end = cell.end_offset();
        let Sample { handlers: held, holder, .. } = cell.sample(now);
        let (buffered_records, buffered_bytes) = cell.in_use();
        let reached = if self.membership.commits() { committed.unwrap_or(cell.start) } else { cell.watermark() };
        PartitionState {
            topic: cell.partition.topic.to_string(),
            partition: cell.partition.partition.0,
            epoch: cell.epoch.0,
            phase: cell.phase(),
            paused: cell.is_paused(),
            watermark: cell.watermark().0,
            committed: committed.map(|offset| offset.0),
            end_offset: end.map(|offset| offset.0),
            lag: end.map(|end| (end.0 - reached.0).max(0)),
            in_flight: held.len() as u64,
            buffered_records,
            buffered_bytes,
            oldest_in_flight: held.first().map(InFlightRecord::from),
            slow: held.iter().take_while(|held| held.age >= self.naming.record).take(SLOW).map(Into::into).collect(),
            watermark_holder: holder.map(|holder| WatermarkHolder {
                offset: holder.offset,
                attempt: holder.attempt,
                in_handler: held.iter().any(|held| held.offset == holder.offset),
                age_ms: holder.age.as_millis() as u64,
            }),
            last_error: cell.last_error(),
            stopped_at: cell.stopped_at(),
            waits_until: cell.waits_until(),
        }
    }

    /// Samples what handlers hold, so that ages are known when somebody asks; gives what may have to be named.
    pub(crate) fn sample(&self, now: Instant) -> Vec<Named> {
        let mut named = Vec::new();
        for (cell, sample) in self.pumps_of(now) {
            let blocking = self.blocked(&cell, &sample);
            let holder = sample.holder.map(|holder| holder.offset);
            let plight = |offset| match holder == Some(offset) {
                true => Plight::HoldsWatermark { in_handler: true },
                false => Plight::InHandler,
            };
            let name = |held: &InHandler, plight| Named {
                partition: cell.partition.clone(),
                plight,
                offset: held.offset,
                attempt: held.attempt,
                age: held.age,
                waiting: Vec::new(),
            };
            named.extend(sample.handlers.iter().map(|held| name(held, plight(held.offset))));
            let waits = sample.holder.filter(|holder| sample.handlers.iter().all(|held| held.offset != holder.offset));
            named.extend(waits.iter().map(|held| name(held, Plight::HoldsWatermark { in_handler: false })));
            named.extend(blocking);
        }
        named
    }

    /// Every pump that has not ended, sampled.
    fn pumps_of(&self, now: Instant) -> Vec<(Arc<ControlCell>, Sample)> {
        // Collected first: a sample takes locks, and others wait for this map's.
        let cells: Vec<_> = self.pumping.iter().map(|entry| Arc::clone(entry.value())).collect();
        cells.into_iter().map(|cell| (Arc::clone(&cell), cell.sample(now))).collect()
    }

    /// The record whose handler keeps its thread, with who waits for that.
    fn blocked(&self, cell: &ControlCell, sample: &Sample) -> Option<Named> {
        let held = sample.blocking?;
        let of_thread = |other: &ControlCell| other.thread() == cell.thread() && other.epoch != cell.epoch;
        let mut waiting: Vec<_> = match cell.thread() {
            Some(_) => self.pumping.iter().filter(|other| of_thread(other)).map(|o| o.partition.clone()).collect(),
            None => Vec::new(),
        };
        waiting.sort();
        Some(Named {
            partition: cell.partition.clone(),
            plight: Plight::KeepsThread,
            offset: held.offset,
            attempt: held.attempt,
            age: held.age,
            waiting,
        })
    }
}

/// A pump that is counted.
pub(crate) struct PumpGuard {
    board: Arc<Board>,
    partition: TopicPartition,
    epoch: Epoch,
}

impl Drop for PumpGuard {
    fn drop(&mut self) {
        self.board.pumping.remove(&self.epoch);
        if let Some(mut pumps) = self.board.pumps.get_mut(&self.partition) {
            *pumps -= 1;
        }
    }
}
