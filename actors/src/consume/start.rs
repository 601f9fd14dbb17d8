//! Where an epoch begins.

use crate::consume::place::Place;
use crate::consume::topic_id::TopicId;
use crate::ids::{NextOffset, TopicPartition};
use crate::offsets::remembered::Remembered;

/// Where a consumer starts a partition that it has for the first time.
///
/// All but [`Committed`](Self::Committed) start there whatever the group has committed, and with nothing skipped that was finished before:
/// a replay, or a leap. That is done once: when a partition comes back to this consumer, after a rebalance for instance, it goes on where the
/// group has committed. The start is committed like finished work, at the next commit, also where it lies below what the group had; so a
/// crash after that goes on with the replay. A stay that ends before its first commit counts as the first all the same.
///
/// In a group each member does so with the partitions that it is the first time given, also with those that another member has replayed
/// already: to move a whole group, stop it and start one member like this, or reset the group's offsets with Kafka's tools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartAt {
    /// Where the group has committed, and by [`AutoOffsetReset`](crate::consume::AutoOffsetReset) where it has not. The default.
    #[default]
    Committed,
    /// At the log's start.
    Earliest,
    /// At the log's end; a partition that is added to a topic while the consumer runs at its beginning all the same, see
    /// [`AutoOffsetReset::Latest`](crate::consume::AutoOffsetReset::Latest).
    Latest,
    /// At these offsets; partitions that are not named as with [`Committed`](Self::Committed). One behind the log's end stops the consumer
    /// with [`OffsetOutOfRange`](crate::consume::ConsumerError::OffsetOutOfRange); one before its start goes by
    /// [`OnOffsetOutOfRange`](crate::consume::OnOffsetOutOfRange).
    Offsets(Vec<(TopicPartition, NextOffset)>),
    /// At the first record with this timestamp or a later one, in milliseconds since the Unix epoch, as
    /// [`Record::timestamp`](crate::consume::Record::timestamp) gives it; at the log's end where there is none.
    Timestamp(i64),
}

impl StartAt {
    /// Where this partition is to start; `None` where the committed offset decides.
    pub(crate) fn place(&self, partition: &TopicPartition) -> Option<Place> {
        match self {
            Self::Committed => None,
            Self::Earliest => Some(Place::Beginning),
            Self::Latest => Some(Place::End),
            Self::Offsets(offsets) => {
                offsets.iter().rfind(|(each, _)| each == partition).map(|(_, offset)| Place::Offset(*offset))
            }
            Self::Timestamp(timestamp) => Some(Place::Timestamp(*timestamp)),
        }
    }
}

/// Where one partition starts, and what is known of the records from there on.
#[derive(Debug, Clone)]
pub(crate) struct StartPosition {
    pub(crate) partition: TopicPartition,
    pub(crate) position: NextOffset,
    /// What the group has committed, unless that lies above the position.
    pub(crate) committed: Option<NextOffset>,
    /// Finished by an earlier owner: not handled again.
    pub(crate) remembered: Remembered,
    /// A person put it there: it is committed even where the group is further.
    pub(crate) chosen: bool,
    /// The topic's id when the position was looked up, where the brokers told it.
    pub(crate) topic_id: Option<TopicId>,
}

impl StartPosition {
    /// A start with nothing committed and nothing remembered.
    pub(crate) fn at(partition: TopicPartition, position: NextOffset) -> Self {
        Self { partition, position, committed: None, remembered: Remembered::default(), chosen: false, topic_id: None }
    }

    /// Starts elsewhere. What is remembered was found from the position before: it holds there only.
    pub(crate) fn move_to(&mut self, position: NextOffset) {
        if position != self.position {
            self.position = position;
            self.remembered = Remembered::default();
        }
    }
}
