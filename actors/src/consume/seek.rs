//! What a person may do with a partition while the consumer runs: have it go on elsewhere in its log, pause it, resume it.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::block_on::block_on;
use crate::consume::place::Place;
use crate::ids::{NextOffset, TopicPartition};

/// Partitions that a call is about: one, several, or all that the consumer has at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partitions {
    /// All that are assigned when the call is carried out. None at all is no error.
    All,
    /// These. One that is not assigned is an error.
    These(Vec<TopicPartition>),
}

impl Partitions {
    pub(crate) fn include(&self, partition: &TopicPartition) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(partition),
        }
    }
}

impl From<TopicPartition> for Partitions {
    fn from(partition: TopicPartition) -> Self {
        Self::These(vec![partition])
    }
}

impl From<Vec<TopicPartition>> for Partitions {
    fn from(partitions: Vec<TopicPartition>) -> Self {
        Self::These(partitions)
    }
}

impl<const N: usize> From<[TopicPartition; N]> for Partitions {
    fn from(partitions: [TopicPartition; N]) -> Self {
        Self::These(partitions.into())
    }
}

/// Why a partition was not sought elsewhere, paused or resumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// The consumer does not have the partition.
    #[error("{partition} is not assigned to this consumer")]
    NotAssigned {
        /// Which.
        partition: TopicPartition,
    },
    /// The partition is being given up, or went to another member before it could begin elsewhere. Its next owner goes on where it was.
    #[error("{partition} is being given up to another member of the group: ask the one that has it next")]
    Revoked {
        /// Which.
        partition: TopicPartition,
    },
    /// The log has no such position. Nothing was moved.
    #[error("{partition}: offset {offset} is out of the log's range, which is {low} to {high}")]
    OutOfRange {
        /// Which.
        partition: TopicPartition,
        /// The offset that was asked for.
        offset: NextOffset,
        /// The log's first offset.
        low: NextOffset,
        /// The offset that its next record will have.
        high: NextOffset,
    },
    /// A later seek of the same partition came before this one was done.
    #[error("{partition}: a later seek came before this one was done")]
    Replaced {
        /// Which.
        partition: TopicPartition,
    },
    /// The brokers did not say within 10 s where that is, or refused to. Nothing was moved.
    #[error("the place to go to could not be looked up: {detail}")]
    LookUp {
        /// What went wrong.
        detail: String,
    },
    /// The consumer stops, or has ended.
    #[error("the consumer stops, or has ended")]
    Ended,
}

/// The answer to a seek: where each partition has begun anew.
///
/// It comes when the new epochs have begun. Dropping it takes nothing back.
#[derive(Debug)]
pub struct PendingSeek(oneshot::Receiver<SeekAnswer>);

/// How a seek ends: with the position of each partition's new epoch.
pub(crate) type SeekAnswer = Result<Vec<(TopicPartition, NextOffset)>, PartitionError>;

impl PendingSeek {
    pub(crate) fn new(answer: oneshot::Receiver<SeekAnswer>) -> Self {
        Self(answer)
    }

    /// Waits for the answer, on a thread without a runtime.
    ///
    /// # Errors
    /// As the future.
    pub fn wait_blocking(self) -> SeekAnswer {
        block_on(self)
    }
}

impl Future for PendingSeek {
    type Output = SeekAnswer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(PartitionError::Ended)))
    }
}

/// A seek on its way to the poller.
#[derive(Debug)]
pub(crate) struct Seek {
    pub(crate) partitions: Partitions,
    pub(crate) place: Place,
    pub(crate) answer: oneshot::Sender<SeekAnswer>,
}
