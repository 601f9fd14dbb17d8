//! What can go wrong with a consumer, for the person who runs it.

use rdkafka::error::RDKafkaErrorCode;
use serde::Serialize;

use crate::consume::membership::StaticMember;
use crate::ids::{NextOffset, Offset, TopicPartition};

/// Why a consumer did not start, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The configuration is wrong or incomplete. Nothing was started.
    #[error("invalid consumer configuration: {reason}")]
    Configuration {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A thread of the engine could not be started. Nothing was consumed.
    #[error("the consumer's threads could not be started: {reason}")]
    Start {
        /// The operating system's words.
        reason: String,
    },
    /// A handler said [`Outcome::Stop`](crate::consume::Outcome::Stop). What was finished is committed; this record is not.
    #[error("stopped by the handler at {partition} offset {offset}: {cause}")]
    StoppedByHandler {
        /// Where.
        partition: TopicPartition,
        /// The record that the handler did not process.
        offset: Offset,
        /// The handler's words.
        cause: String,
    },
    /// A record failed as often as it may, and there is nowhere else for it to go. What was finished is committed; this record is not.
    #[error(
        "{partition} offset {offset} failed {}, the last time because: {cause}; \
         mend the cause and start again, or say by max_attempts, on_failure or on_exhausted what is to become of such records",
        times(*attempts)
    )]
    Exhausted {
        /// Where.
        partition: TopicPartition,
        /// The record.
        offset: Offset,
        /// How often it was tried.
        attempts: u32,
        /// The last failure's words.
        cause: String,
    },
    /// A record was to go to the dead letters, and the consumer has no topic for them. What was finished is committed; this record is not.
    #[error(
        "{partition} offset {offset} is to go to the dead letters, because: {cause}; there is no topic for them: set dead_letters          (dead_letter_topic in a file), or have the handler say Stop"
    )]
    NoDeadLetterTopic {
        /// Where.
        partition: TopicPartition,
        /// The record.
        offset: Offset,
        /// Why it was given up.
        cause: String,
    },
    /// The topic for dead letters does not exist. Nothing was consumed.
    #[error("the dead-letter topic {topic} does not exist, and is not created by itself; create it: {command}")]
    NoSuchDeadLetterTopic {
        /// The topic's name.
        topic: String,
        /// The command that creates it, with as many partitions as the topic that is read.
        command: String,
    },
    /// A retry topic does not exist. Nothing was consumed.
    #[error("the retry topic {topic} does not exist, and is not created by itself; create it: {command}")]
    NoSuchRetryTopic {
        /// The topic's name.
        topic: String,
        /// The command that creates it, with as many partitions as the topic that is read.
        command: String,
    },
    /// A record could not be written to a retry topic, and is not to be tried again there
    /// ([`OnDeadLetterFailure::Stop`](crate::consume::OnDeadLetterFailure::Stop)). What was finished is committed; this record is not.
    #[error("{partition} offset {offset} cannot be written to the retry topic {topic}: {reason}")]
    RetryRefused {
        /// Where.
        partition: TopicPartition,
        /// The record.
        offset: Offset,
        /// The topic that did not take it.
        topic: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A record could not be written to the dead letters, and is not to be tried again there
    /// ([`OnDeadLetterFailure::Stop`](crate::consume::OnDeadLetterFailure::Stop)). What was finished is committed; this record is not.
    #[error("{partition} offset {offset} cannot be written to the dead-letter topic {topic}: {reason}")]
    DeadLetterRefused {
        /// Where.
        partition: TopicPartition,
        /// The record.
        offset: Offset,
        /// The topic that did not take it.
        topic: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A record would be one too many to leave its topic for the dead letters, or for a retry topic. What was finished is committed; this record is not.
    #[error(
        "{partition} offset {offset} would be one too many for the dead letters or retry topics: {limit}. It failed because: {cause}; mend the cause and start again,          or raise the limit of dead_letters"
    )]
    DeadLetterLimit {
        /// Where.
        partition: TopicPartition,
        /// The record.
        offset: Offset,
        /// Which limit, and what was counted.
        limit: String,
        /// Why it was given up.
        cause: String,
    },
    /// The position to go on from is not in the log. Where it lies before its start, the records from there up to `low` are lost to the
    /// consumer: retention took them, or somebody deleted them.
    #[error("{partition}: position {position} is out of the log's range, {}", out_of_range(*position, *low, *high))]
    OffsetOutOfRange {
        /// Where.
        partition: TopicPartition,
        /// The position that was asked for.
        position: NextOffset,
        /// The log's first offset.
        low: NextOffset,
        /// The offset that its next record will have.
        high: NextOffset,
    },
    /// A topic that is read without a group that shares it out does not exist. Nothing was consumed.
    #[error("the topic {topic} does not exist: create it, or check its name and the cluster's address")]
    UnknownTopic {
        /// The topic's name.
        topic: String,
    },
    /// A partition that was named does not exist, though its topic does. Nothing was consumed.
    #[error("the partition {partition} does not exist: its topic has {partitions}, numbered from 0")]
    UnknownPartition {
        /// Which.
        partition: TopicPartition,
        /// How many its topic has.
        partitions: usize,
    },
    /// The group has no committed offset for the partition, and the consumer is set to refuse to choose one.
    #[error(
        "{partition}: the group has no committed offset and auto_offset_reset is none; commit one, or allow earliest or latest"
    )]
    NoCommittedOffset {
        /// Where.
        partition: TopicPartition,
    },
    /// The log went back: it was truncated, or its topic deleted and created again. That is noticed up to 5 s later; what was committed of the
    /// old log until then stands in the new one, and may lie above records that nobody has processed. Nothing is committed after that.
    #[error(
        "{partition}: the log went back from {expected} to {found} (truncated, or the topic was created again); before a new start, look \
         whether the group's committed offset is ahead of what is processed of the log that is there now, and reset it if so"
    )]
    LogRewound {
        /// Where.
        partition: TopicPartition,
        /// The position that was expected next.
        expected: NextOffset,
        /// The offset that came instead.
        found: Offset,
    },
    /// Two consumers use the name of one static member. What this one finished and had not committed is repeated by the other.
    #[error("{}", instance_in_use(group, instance, *code))]
    InstanceFenced {
        /// The group.
        group: String,
        /// The `group.instance.id` that both use.
        instance: String,
        /// `FencedInstanceId` where the other one has taken this one's place, `UnreleasedInstanceId` where it keeps it.
        code: RDKafkaErrorCode,
    },
    /// The cluster refused, or librdkafka gave up.
    #[error("kafka: {detail} ({code:?})")]
    Kafka {
        /// librdkafka's or the broker's error.
        code: RDKafkaErrorCode,
        /// Its words, and what they were about.
        detail: String,
    },
    /// A part of the engine failed: a bug. Nothing unfinished was committed.
    #[error("the engine failed: {detail}")]
    Engine {
        /// What happened.
        detail: String,
    },
    /// The stop did not end by its deadline; threads were left behind and end on their own, or with the process.
    #[error("the consumer did not stop by its deadline: {detail}")]
    StopDeadline {
        /// What was still going on.
        detail: String,
    },
}

impl ConsumerError {
    /// The partition it happened at, and the offset, where there are such.
    pub(crate) fn place(&self) -> (Option<&TopicPartition>, Option<i64>) {
        match self {
            Self::StoppedByHandler { partition, offset, .. }
            | Self::Exhausted { partition, offset, .. }
            | Self::NoDeadLetterTopic { partition, offset, .. }
            | Self::DeadLetterRefused { partition, offset, .. }
            | Self::RetryRefused { partition, offset, .. }
            | Self::DeadLetterLimit { partition, offset, .. } => (Some(partition), Some(offset.0)),
            Self::OffsetOutOfRange { partition, position, .. } => (Some(partition), Some(position.0)),
            Self::LogRewound { partition, found, .. } => (Some(partition), Some(found.0)),
            Self::NoCommittedOffset { partition } | Self::UnknownPartition { partition, .. } => (Some(partition), None),
            _ => (None, None),
        }
    }
}

impl ConsumerError {
    /// The same, said in terms of the static member whose name two consumers use, if that is what it is.
    pub(crate) fn explained(self, member: Option<&StaticMember>) -> Self {
        use RDKafkaErrorCode as E;
        match (self, member) {
            (Self::Kafka { code: code @ (E::FencedInstanceId | E::UnreleasedInstanceId), .. }, Some(member)) => {
                Self::InstanceFenced { group: member.group.clone(), instance: member.instance.clone(), code }
            }
            (other, _) => other,
        }
    }
}

fn instance_in_use(group: &str, instance: &str, code: RDKafkaErrorCode) -> String {
    let todo = "give each consumer a group.instance.id of its own, or run one of the two";
    match code {
        RDKafkaErrorCode::UnreleasedInstanceId => format!(
            "group {group} has a member with group.instance.id {instance} already, which keeps its place until it stops or its session times out: \
             {todo}"
        ),
        _ => format!(
            "another consumer with group.instance.id {instance} has joined group {group} and taken this one's place and partitions: {todo}"
        ),
    }
}

/// How often, in words.
pub(crate) fn times(attempts: u32) -> String {
    if attempts == 1 { "once".to_owned() } else { format!("{attempts} times") }
}

fn out_of_range(position: NextOffset, low: NextOffset, high: NextOffset) -> String {
    if position >= low {
        return format!("{low} to {high}: start at a position that exists");
    }
    format!(
        "{low} to {high}: the records from {position} up to {low} are lost; go on without them by resetting the group's offset to a position \
         that exists, or by on_offset_out_of_range"
    )
}

/// How a consumer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stopped {
    /// Every record that a handler held at the stop was finished and committed, and the listener, if there is one, had done its part before.
    pub drained: bool,
    /// Records that handlers still held at the drain deadline: they are started anew by the next owner.
    pub unfinished: Vec<UnfinishedRecord>,
}

/// A record that a handler held when its partition was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnfinishedRecord {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
}

/// What a failed commit asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFailure {
    /// Try again at the next commit.
    Retry,
    /// A rebalance is under way, and over soon: try again, quietly.
    Hold,
    /// The group has moved on without this member: hold commits until it is back in. A last commit will not get through any more.
    Superseded,
    /// It will never go through.
    Fatal,
}

pub(crate) fn commit_failure(code: RDKafkaErrorCode) -> CommitFailure {
    use RDKafkaErrorCode as E;
    match code {
        E::RebalanceInProgress | E::StaleMemberEpoch => CommitFailure::Hold,
        E::IllegalGeneration | E::UnknownMemberId | E::FencedMemberEpoch => CommitFailure::Superseded,
        E::GroupAuthorizationFailed
        | E::TopicAuthorizationFailed
        | E::FencedInstanceId
        | E::UnreleasedInstanceId
        | E::InvalidGroupId
        | E::Fatal => CommitFailure::Fatal,
        _ => CommitFailure::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_commit_is_repeated_held_or_the_end_by_its_error() {
        use RDKafkaErrorCode as E;
        let classes: [(CommitFailure, &[E]); 4] = [
            (CommitFailure::Hold, &[E::RebalanceInProgress, E::StaleMemberEpoch]),
            (CommitFailure::Superseded, &[E::IllegalGeneration, E::UnknownMemberId]),
            (CommitFailure::Fatal, &[E::GroupAuthorizationFailed, E::TopicAuthorizationFailed, E::FencedInstanceId]),
            (CommitFailure::Retry, &[E::NotCoordinator, E::RequestTimedOut, E::UnknownTopicOrPartition, E::Unknown]),
        ];
        for (class, codes) in classes {
            codes.iter().for_each(|code| assert_eq!(commit_failure(*code), class, "{code:?}"));
        }
    }
}
