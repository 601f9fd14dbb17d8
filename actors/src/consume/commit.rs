//! Commit strategies: when finished work is committed, whether it is waited for, and what the app learns of it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::oneshot;

use crate::block_on::block_on;
use crate::ids::{NextOffset, TopicPartition};

/// When finished work is committed while the consumer runs.
///
/// Whatever is chosen: a commit never covers a record that is unfinished, or lies above one (but for what the app asks of
/// [`commit_offsets_past_watermark`]). It is repeated until it is answered, or the partition is another's. When partitions are given up, and
/// at a stop, what is finished is committed and the answer awaited, up to the commit deadline; with [`Manual`](Self::Manual), what the app
/// has asked for.
///
/// A crash repeats what was unfinished and what finished since the last commit; so the choice is between the cost of commits and that of
/// repeats:
///
/// | | a crash repeats at most, of finished work | classic name |
/// |---|---|---|
/// | `Interval(d)` | that of `d` and one round trip | auto-commit; `commitAsync` in a loop |
/// | `Interval(d)`, awaited | that of `d` | `commitSync` in a loop, by time |
/// | `Records(n)` | `n` records of each partition, and one round trip's | `commitAsync` every `n` records |
/// | `Records(n)`, awaited | `n` records of each partition | `commitSync` every `n` records |
/// | `Chunk` | a chunk of each partition (512 records), and one round trip's | `commitAsync` after each poll |
/// | `Chunk`, awaited | a chunk of each partition | `commitSync` after each poll |
/// | `Manual` | what the app has not committed | `enable.auto.commit=false` |
///
/// "Async while running and sync at the end" is what every one of them does, unless it is awaited while running too.
///
/// [`commit_offsets_past_watermark`]: crate::consume::ConsumerHandle::commit_offsets_past_watermark
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitWhen {
    /// At this interval, give or take half of it, or 50 ms where it is longer than 100. The default, with 100 ms.
    Interval(Duration),
    /// Whenever a partition has finished so many records since its last. Fewer stay uncommitted until the partition is given up.
    Records(u64),
    /// Whenever a partition has finished the records that were handed to it together: up to 512, or 256 KiB.
    Chunk,
    /// Only when the app says so, by [`ConsumerHandle::commit`](crate::consume::ConsumerHandle::commit) and its siblings, also at the end; there
    /// also by what its [listener](crate::consume::RebalanceListener) gives back.
    Manual,
}

impl Default for CommitWhen {
    fn default() -> Self {
        Self::Interval(Duration::from_millis(100))
    }
}

/// When to commit, and whether to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CommitPolicy {
    pub(crate) when: CommitWhen,
    pub(crate) awaited: bool,
}

/// What became of one commit request, for the callback of [`on_commit`](crate::consume::ConsumerBuilder::on_commit).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitReport {
    /// The partitions that the request held.
    pub partitions: Vec<PartitionCommit>,
}

/// One partition of a [`CommitReport`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionCommit {
    /// Which.
    pub topic_partition: TopicPartition,
    /// The offset committed, or not: that of the next record to process.
    pub offset: NextOffset,
    /// The broker's or librdkafka's error. The engine tries again, holds its commits until a rebalance is over, or stops, as the error asks.
    pub error: Option<RDKafkaErrorCode>,
}

/// Why a commit that the app asked for was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The consumer does not have the partition, or no longer. Its next owner goes on from what was committed before.
    #[error("{partition} is not assigned to this consumer: its offset {offset} was not committed")]
    NotAssigned {
        /// Which.
        partition: TopicPartition,
        /// The offset that was to be committed.
        offset: NextOffset,
    },
    /// The partition began anew elsewhere first: by a seek, or because its log went back.
    #[error("{partition} began anew elsewhere before its offset {offset} was committed")]
    Moved {
        /// Which.
        partition: TopicPartition,
        /// The offset that was to be committed.
        offset: NextOffset,
    },
    /// Records below the offset are not finished. Nothing was committed.
    #[error(
        "{partition}: {offset} lies past the watermark {watermark}, at which a record is unfinished; finish it, or say so with \
         commit_offsets_past_watermark, which gives up the records between"
    )]
    PastWatermark {
        /// Which.
        partition: TopicPartition,
        /// The offset that was to be committed.
        offset: NextOffset,
        /// Everything below is finished.
        watermark: NextOffset,
    },
    /// A commit does not go back. Nothing was committed.
    #[error("{partition}: {offset} lies below {committed}, which is committed already; to process records again, seek")]
    BelowCommitted {
        /// Which.
        partition: TopicPartition,
        /// The offset that was to be committed.
        offset: NextOffset,
        /// What is committed.
        committed: NextOffset,
    },
    /// The broker refuses it and will go on to. The consumer stops.
    #[error("the commit of {partition} at {offset} was refused: {code}")]
    Refused {
        /// Which.
        partition: TopicPartition,
        /// The offset that was to be committed.
        offset: NextOffset,
        /// The broker's error.
        code: RDKafkaErrorCode,
    },
    /// This consumer's offsets are not the engine's to commit: it is standalone, its client commits, or the app keeps them.
    #[error("this consumer commits nothing: it is standalone, commits by its client, or keeps its offsets elsewhere")]
    NotKept,
    /// The consumer ended before an answer came.
    #[error("the consumer ended before the commit was answered")]
    Ended,
}

/// The answer to a commit that is under way, whether it is awaited or dropped.
#[derive(Debug)]
pub struct PendingCommit(oneshot::Receiver<Result<(), CommitError>>);

impl PendingCommit {
    pub(crate) fn new(answer: oneshot::Receiver<Result<(), CommitError>>) -> Self {
        Self(answer)
    }

    /// Waits for the answer, on a thread without a runtime.
    ///
    /// # Errors
    /// As the future.
    pub fn wait_blocking(self) -> Result<(), CommitError> {
        block_on(self)
    }
}

impl Future for PendingCommit {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(CommitError::Ended)))
    }
}
