//! What anyone may know of a running consumer: a snapshot, readable from any thread, that later parts (metrics, health, a page) read too.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use serde::Serialize;

use crate::consume::control::crew::InHandler;
use crate::consume::control::stuck::Sample;
use crate::consume::control::{Budget, ControlCell, PartitionPhase};
use crate::consume::dead_letters::Letterbox;
use crate::consume::membership::Membership;
use crate::consume::naming::{Named, NamingLimits, Plight};
use crate::ids::{Epoch, Offset, TopicPartition};
use crate::invariants::{At, InvariantCounts, InvariantSnapshot};
use crate::offsets::limit::ClusterLimit;

/// A consumer at one moment. Partitions are read one after the other: each is consistent in itself to within a report.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConsumerState {
    /// A stop has begun.
    pub stopping: bool,
    /// The assigned partitions, by topic and number.
    pub partitions: Vec<PartitionState>,
    /// Records handed out and not finished, of all partitions, those included that are given up and whose handlers have not returned.
    pub buffered_records: u64,
    /// The bytes of the chunks that hold them, with what the engine needs for each.
    pub buffered_bytes: u64,
    /// Threads that a handler has kept for longer than [`blocked_thread_after`](crate::consume::ConsumerBuilder::blocked_thread_after).
    pub blocked_threads: Vec<BlockedThread>,
    /// How commits go.
    pub commits: CommitState,
    /// How records go to the dead letters and the retry topics, where there are such.
    pub dead_letters: Option<DeadLetterState>,
    /// Counted since the start.
    pub counters: CounterState,
    /// Breaches of the engine's invariants since the start: all 0, or there is a bug.
    pub invariants: InvariantSnapshot,
}

/// How records go to the dead letters, and to the retry topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeadLetterState {
    /// The topic for dead letters; `None` where there are retry topics only.
    pub topic: Option<String>,
    /// Records that are stored there, since the start.
    pub written: u64,
    /// Records that are stored in retry topics, since the start.
    pub retried: u64,
    /// Records that are being written now, and not confirmed.
    pub on_the_way: u64,
    /// How often one could not be written, since the start.
    pub failures: u64,
    /// Why they cannot be written, and what to do, until one is written again, of each topic that it is so with.
    pub trouble: Option<String>,
}

/// How commits go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CommitState {
    /// The least time between two rounds of commits that the commit rate allows, milliseconds, as of the last round: above the interval
    /// that was asked for, commits are being stretched.
    pub paused_ms: u64,
    /// The longest metadata that the cluster is known to take, in characters; `None` before anything is known of the cluster.
    pub metadata_limit: Option<u64>,
}

/// One assigned partition.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PartitionState {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// This stay of the partition at the engine.
    pub epoch: u64,
    /// Where it stands.
    pub phase: PartitionPhase,
    /// A person has [paused](crate::consume::ConsumerHandle::pause) it.
    pub paused: bool,
    /// Every record below is finished.
    pub watermark: i64,
    /// The group's committed position as far as this member knows; `None` before the first, and for a standalone consumer.
    pub committed: Option<i64>,
    /// The end of the log as the last fetch told; `None` before the first.
    pub end_offset: Option<i64>,
    /// `end_offset` less `committed` (less the start position, before the first commit; less `watermark`, where a standalone consumer
    /// commits nothing); `None` while the end is unknown.
    pub lag: Option<i64>,
    /// Records that a handler holds now, or that are being written to the dead letters.
    pub in_flight: u64,
    /// Records handed out and not reported finished, those in flight included.
    pub buffered_records: u64,
    /// The bytes of the chunks that hold them, with what the engine needs for each record (40 bytes, and 12 for each header).
    pub buffered_bytes: u64,
    /// The oldest record that a handler holds.
    pub oldest_in_flight: Option<InFlightRecord>,
    /// Those that a handler has held for longer than [`slow_record_after`](crate::consume::ConsumerBuilder::slow_record_after), oldest first,
    /// 16 at most.
    pub slow: Vec<InFlightRecord>,
    /// The first record that is not finished, while there is one: nothing above it can be committed.
    pub watermark_holder: Option<WatermarkHolder>,
    /// Of a retry topic: when its next record is due, in milliseconds since the Unix epoch, while that waits. It is not
    /// [paused](Self::paused), and its member stays in the group.
    pub waits_until: Option<i64>,
    /// What last went wrong here, with its offset.
    pub last_error: Option<String>,
    /// The record whose attempts are exhausted, and which stopped the partition until it is resumed.
    pub stopped_at: Option<StoppedRecord>,
}

/// A record that has stopped its partition, by [`OnExhausted::StopPartition`](crate::consume::OnExhausted::StopPartition).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoppedRecord {
    /// Its offset.
    pub offset: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    pub cause: String,
}

/// A record in a handler.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct InFlightRecord {
    /// Its offset.
    pub offset: i64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// For how long it has been seen there, milliseconds; sampled every half second, so up to that much too little.
    pub age_ms: u64,
}

/// The record that holds its partition's watermark.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct WatermarkHolder {
    /// Its offset.
    pub offset: i64,
    /// The attempt it is at, from 1; where no handler has it, how often it was tried.
    pub attempt: u32,
    /// A handler has it; otherwise it waits: for its next attempt, its key, its turn, or its partition's resumption.
    pub in_handler: bool,
    /// For how long it has been seen to hold the watermark, milliseconds; sampled every half second.
    pub age_ms: u64,
}

/// A thread that a handler does not let go of: it computes, or waits without awaiting.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct BlockedThread {
    /// The topic of the record whose handler it is.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Which attempt at it this is, from 1.
    pub attempt: u32,
    /// For how long, milliseconds; sampled every half second.
    pub age_ms: u64,
    /// The other partitions whose handlers run on that thread, as `topic-partition`.
    pub waiting: Vec<String>,
}

/// Slow records that the state names of a partition.
const SLOW: usize = 16;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The engine's counters, bumped per chunk or per event.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// What an engine counted since its start.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct CounterState {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> CounterState {
                CounterState { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Records handed to workers.
    delivered,
    /// Records finished.
    finished,
    /// Chunks handed to workers.
    chunks,
    /// Attempts that failed and were, or will be, repeated.
    retries,
    /// Failed records that the app's policy passed over.
    passed_over,
    /// Records whose attempts were exhausted.
    exhausted,
    /// Handler calls, builds or drops that panicked.
    panics,
    /// Workers that died and were replaced.
    workers_replaced,
    /// Reports of an old epoch: they changed nothing.
    fenced_reports,
    /// Records dropped because librdkafka fetched them a second time.
    refetched,
    /// Logs that went back.
    rewinds,
    /// Partitions that a person had go on elsewhere in their logs.
    seeks,
    /// Offsets that the log no longer had when they were to be read, and that were passed over: at most so many records are lost.
    offsets_lost,
    /// Records not handled because an earlier owner had finished them.
    remembered,
    /// Commits confirmed by the broker.
    commits,
    /// Commits that failed, as a whole or for a partition, and were repeated or given up.
    failed_commits,
    /// Bytes of keys, offsets and metadata in the commits sent, repeated and last ones included.
    commit_bytes,
    /// Commits sent again with less metadata, or none, because the broker found it too long.
    metadata_refused,
    /// Commit reports not told, because the callback fell behind by more than 1,024.
    reports_dropped,
    /// Calls of the rebalance listener that failed or panicked.
    listener_failures,
    /// Calls of the rebalance listener that a rebalance or stop went on without, because they had not returned by their deadline.
    listener_overdue,
    /// Partitions assigned.
    assigned,
    /// Partitions given up after a drain.
    revoked,
    /// Partitions lost without one.
    lost,
    /// Drains that met their deadline with records unfinished.
    drains_cut_short,
    /// Drains whose last commit did not go through: the next owner repeats what it held.
    drains_uncommitted,
    /// How long the last rebalance kept all partitions from fetching, milliseconds.
    last_rebalance_stall_ms,
    /// How often the poller woke.
    wakes,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

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

impl From<&InHandler> for InFlightRecord {
    fn from(held: &InHandler) -> Self {
        Self { offset: held.offset, attempt: held.attempt, age_ms: held.age.as_millis() as u64 }
    }
}

impl From<Named> for BlockedThread {
    fn from(named: Named) -> Self {
        Self {
            topic: named.partition.topic.to_string(),
            partition: named.partition.partition.0,
            offset: named.offset,
            attempt: named.attempt,
            age_ms: named.age.as_millis() as u64,
            waiting: named.waiting.iter().map(ToString::to_string).collect(),
        }
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
