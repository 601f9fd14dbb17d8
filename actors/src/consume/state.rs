//! What anyone may know of a running consumer: a snapshot, readable from any thread, that later parts (metrics, health, a page) read too.
//!
//! This file is what it tells; [`board`] is what the engine's parts publish and it is read from, [`counters`] what they count.

mod board;
mod counters;

use serde::Serialize;

use crate::consume::control::PartitionPhase;
use crate::consume::control::crew::InHandler;
use crate::consume::naming::Named;
use crate::invariants::InvariantSnapshot;

pub(crate) use board::{Board, Cluster, PumpGuard};
pub use counters::CounterState;
pub(crate) use counters::Counters;

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
