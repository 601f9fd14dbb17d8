//! What can go wrong: with one record, and with the producer.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;

use super::ProducerReport;
use crate::blocking::MustNotBlock;
use crate::consume::Cause;
use crate::ids::PartitionId;

/// What to do about a failed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Sending the record again may succeed. Where [`SendError::possibly_persisted`] says so, it may also store it twice.
    Retriable,
    /// This record, sent as it is, fails again.
    Permanent,
    /// The producer takes nothing more; a new one has to be started.
    Fatal,
}

/// Why a record was not confirmed. Each accepted record that fails gets exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// librdkafka or the broker refused the record.
    #[error("{topic}{} refused the record: {error}{}", Suffix(*.partition), Fate(*.possibly_persisted))]
    Rejected {
        /// The record's topic.
        topic: Arc<str>,
        /// Its partition, once picked.
        partition: Option<PartitionId>,
        /// The reason, in librdkafka's words.
        error: LibraryError,
        /// The record may be stored all the same: its request went out and the answer is missing.
        possibly_persisted: bool,
    },
    /// The record is larger than the producer's share of the buffer, or than `message.max.bytes`. Or the broker refused its request, for the topic's
    /// own `max.message.bytes`: librdkafka then fails every record of that request, also small ones, and sends none of them again, for those behind
    /// them may be stored by then. With `batch.size` no larger than what the topic takes, a record that is too large goes alone, and fails alone.
    #[error("{topic}{}: a record of {bytes} bytes is too large {}", Suffix(*.partition), TooLargeFor { by_broker: *.by_broker })]
    TooLarge {
        /// The record's topic.
        topic: Arc<str>,
        /// Its partition, once picked.
        partition: Option<PartitionId>,
        /// Key, value and headers, in bytes.
        bytes: usize,
        /// The broker said so of the record's request: another record of it may be the one that is too large, or all of them together.
        by_broker: bool,
    },
    /// Kafka allows no such name: 1 to 249 of letters, digits, `.`, `_` and `-`.
    #[error("{topic:?} is no valid topic name")]
    InvalidTopic {
        /// The name as given.
        topic: Arc<str>,
    },
    /// The brokers know no such topic, and did not come to know it while the record waited.
    #[error("{topic}: unknown topic")]
    UnknownTopic {
        /// The topic's name.
        topic: Arc<str>,
    },
    /// The topic has no such partition.
    #[error("{topic}-{partition}: unknown partition, the topic has {partitions}")]
    UnknownPartition {
        /// The record's topic.
        topic: Arc<str>,
        /// The partition named by the record or picked by the partitioner.
        partition: PartitionId,
        /// How many the topic has, as last known.
        partitions: u32,
    },
    /// The brokers refused the login, or are not who the certificates say: nothing is known of the topic.
    #[error("{topic}: the brokers refused the connection: {reason}")]
    ConnectionRefused {
        /// The record's topic.
        topic: Arc<str>,
        /// librdkafka's words.
        reason: Arc<str>,
    },
    /// The partitioner panicked.
    #[error("{topic}: the partitioner panicked")]
    PartitionerPanicked {
        /// The record's topic.
        topic: Arc<str>,
    },
    /// The partitioner would not have the record.
    #[error("{topic}: the partitioner refused the record: {cause}")]
    RefusedByPartitioner {
        /// The record's topic.
        topic: Arc<str>,
        /// Its reason.
        cause: Cause,
    },
    /// Key, value or a header could not be made into bytes.
    #[error("{topic}: the record could not be encoded: {cause}")]
    NotEncoded {
        /// The record's topic.
        topic: Arc<str>,
        /// The encoder's reason.
        cause: Cause,
    },
    /// A call that waits was made where nothing may wait. The record is not sent, unless it was before.
    #[error("{topic}: this would block {place}")]
    MustNotBlock {
        /// The record's topic.
        topic: Arc<str>,
        /// Where it was made, and what to do instead.
        place: MustNotBlock,
    },
    /// No confirmation within `message.timeout.ms`, or no word of the topic's partitions within the metadata timeout.
    #[error("{topic}{}: not confirmed in time{}", Suffix(*.partition), Fate(*.possibly_persisted))]
    TimedOut {
        /// The record's topic.
        topic: Arc<str>,
        /// Its partition, once picked.
        partition: Option<PartitionId>,
        /// The record may be stored all the same.
        possibly_persisted: bool,
    },
    /// The producer gave the record up: its shutdown deadline passed, it was dropped, or a part of it died.
    #[error("{topic}{}: given up by the producer before it was confirmed{}", Suffix(*.partition), Fate(*.possibly_persisted))]
    Abandoned {
        /// The record's topic.
        topic: Arc<str>,
        /// Its partition, where known.
        partition: Option<PartitionId>,
        /// The record may be stored all the same.
        possibly_persisted: bool,
    },
    /// The producer takes no more records: it is shut down, dropped or dead.
    #[error("{topic}: the producer is closed{}", Because(.reason.as_deref()))]
    Closed {
        /// The record's topic.
        topic: Arc<str>,
        /// The fatal error that closed it, if one did.
        error: Option<LibraryError>,
        /// And that in librdkafka's words.
        reason: Option<Arc<str>>,
    },
    /// librdkafka raised an error from which the producer does not recover.
    #[error("{topic}{}: the producer failed for good: {error}{}", Suffix(*.partition), Fate(*.possibly_persisted))]
    Fatal {
        /// The record's topic.
        topic: Arc<str>,
        /// Its partition, once picked.
        partition: Option<PartitionId>,
        /// The reason, in librdkafka's words.
        error: LibraryError,
        /// The record may be stored all the same.
        possibly_persisted: bool,
    },
}

impl SendError {
    /// The topic of the record.
    pub fn topic(&self) -> &Arc<str> {
        match self {
            Self::Rejected { topic, .. }
            | Self::TooLarge { topic, .. }
            | Self::InvalidTopic { topic }
            | Self::UnknownTopic { topic }
            | Self::UnknownPartition { topic, .. }
            | Self::PartitionerPanicked { topic }
            | Self::RefusedByPartitioner { topic, .. }
            | Self::NotEncoded { topic, .. }
            | Self::MustNotBlock { topic, .. }
            | Self::ConnectionRefused { topic, .. }
            | Self::TimedOut { topic, .. }
            | Self::Abandoned { topic, .. }
            | Self::Closed { topic, .. }
            | Self::Fatal { topic, .. } => topic,
        }
    }

    /// The partition of the record, once picked.
    pub fn partition(&self) -> Option<PartitionId> {
        match self {
            Self::Rejected { partition, .. }
            | Self::TooLarge { partition, .. }
            | Self::TimedOut { partition, .. }
            | Self::Abandoned { partition, .. }
            | Self::Fatal { partition, .. } => *partition,
            Self::UnknownPartition { partition, .. } => Some(*partition),
            Self::InvalidTopic { .. }
            | Self::UnknownTopic { .. }
            | Self::PartitionerPanicked { .. }
            | Self::RefusedByPartitioner { .. }
            | Self::NotEncoded { .. }
            | Self::MustNotBlock { .. }
            | Self::ConnectionRefused { .. }
            | Self::Closed { .. } => None,
        }
    }

    /// Whether the record may be stored although it is not confirmed: sending it again may then store it twice.
    pub fn possibly_persisted(&self) -> bool {
        match self {
            Self::Rejected { possibly_persisted, .. }
            | Self::TimedOut { possibly_persisted, .. }
            | Self::Abandoned { possibly_persisted, .. }
            | Self::Fatal { possibly_persisted, .. } => *possibly_persisted,
            _ => false,
        }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Rejected { error, .. } => error.class(),
            Self::UnknownTopic { .. }
            | Self::UnknownPartition { .. }
            | Self::TimedOut { .. }
            | Self::Abandoned { .. } => ErrorClass::Retriable,
            Self::TooLarge { .. }
            | Self::InvalidTopic { .. }
            | Self::PartitionerPanicked { .. }
            | Self::RefusedByPartitioner { .. }
            | Self::NotEncoded { .. }
            | Self::MustNotBlock { .. }
            | Self::ConnectionRefused { .. } => ErrorClass::Permanent,
            Self::Closed { .. } | Self::Fatal { .. } => ErrorClass::Fatal,
        }
    }

    /// The producer ended for this reason, and with it the record.
    pub(super) fn fatal(
        topic: Arc<str>,
        partition: PartitionId,
        code: RDKafkaErrorCode,
        possibly_persisted: bool,
    ) -> Self {
        Self::Fatal { topic, partition: Some(partition), error: LibraryError(code), possibly_persisted }
    }

    /// The error that librdkafka's `code` is for a record of `bytes` bytes; `reported` where it had taken it.
    pub(super) fn from_library(
        topic: Arc<str>,
        partition: PartitionId,
        bytes: usize,
        code: RDKafkaErrorCode,
        reported: bool,
        possibly_persisted: bool,
    ) -> Self {
        let partition = Some(partition);
        match code {
            RDKafkaErrorCode::MessageTimedOut => Self::TimedOut { topic, partition, possibly_persisted },
            RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight => {
                Self::Abandoned { topic, partition, possibly_persisted }
            }
            RDKafkaErrorCode::MessageSizeTooLarge => Self::TooLarge { topic, partition, bytes, by_broker: reported },
            RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition => Self::UnknownTopic { topic },
            RDKafkaErrorCode::Fatal => Self::Fatal { topic, partition, error: LibraryError(code), possibly_persisted },
            code => Self::Rejected { topic, partition, error: LibraryError(code), possibly_persisted },
        }
    }
}

/// An error of librdkafka or of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibraryError(pub(crate) RDKafkaErrorCode);

impl LibraryError {
    /// Kafka's number of the error; librdkafka's own errors are negative.
    pub fn code(self) -> i32 {
        self.0 as i32
    }

    fn class(self) -> ErrorClass {
        use RDKafkaErrorCode as Code;
        match self.0 {
            Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidTopic
            | Code::MessageBatchTooLarge
            | Code::InvalidTimestamp
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedForMessageFormat
            | Code::PolicyViolation
            | Code::InvalidRecord
            | Code::BadCompression => ErrorClass::Permanent,
            Code::Fatal | Code::Fenced | Code::InvalidProducerEpoch => ErrorClass::Fatal,
            _ => ErrorClass::Retriable,
        }
    }
}

impl fmt::Display for LibraryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a record is too large for, and what to do.
struct TooLargeFor {
    by_broker: bool,
}

impl fmt::Display for TooLargeFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.by_broker {
            false => "for `message.max.bytes`, or for an actor's share of `buffer_bytes`",
            true => {
                "for the topic, or shared a request that is: with a `batch.size` no larger than the topic's `max.message.bytes`, only \
                 those fail that are too large themselves"
            }
        })
    }
}

/// A reason behind what it led to, where there is one.
struct Because<'a>(Option<&'a str>);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// What is not known of a record is said.
struct Fate(bool);

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "; it may be stored all the same" } else { "" })
    }
}

/// A topic's name goes on with its partition, where that is known.
struct Suffix(Option<PartitionId>);

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(partition) => write!(f, "-{partition}"),
            None => Ok(()),
        }
    }
}

/// Why a record was not taken at once; see [`Sender::try_send`](super::Sender::try_send).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError<'a> {
    /// The buffer has no room, or others wait for it already. Here is the record again.
    #[error("the producer's buffer is full")]
    Full(Box<super::ProducerRecord<'a>>),
    /// Waiting would not help.
    #[error(transparent)]
    Refused(#[from] SendError),
}

/// Why the producer did not start, or did not end as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProducerError {
    /// A property that the producer sets itself, or that goes together with another.
    #[error("property {name}: {reason}")]
    Property {
        /// The property's name.
        name: String,
        /// What to do instead.
        reason: &'static str,
    },
    /// A setting out of its bounds.
    #[error("{setting} {reason}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// Its bounds.
        reason: &'static str,
    },
    /// librdkafka refused the configuration.
    #[error("librdkafka refused the configuration: {reason}")]
    Library {
        /// In its own words.
        reason: String,
    },
    /// The operating system refused a thread.
    #[error("no thread for the producer")]
    Thread(#[from] io::Error),
    /// The time given to a flush passed; the records go on being sent.
    #[error("{unanswered} records were not answered within {after:?}")]
    DeadlinePassed {
        /// How many of those accepted before the call were not answered. A few more where others were accepted during it.
        unanswered: u64,
        /// The time given.
        after: Duration,
    },
    /// A call that waits was made where nothing may wait.
    #[error("this would block {place}")]
    MustNotBlock {
        /// Where it was made, and what to do instead.
        place: MustNotBlock,
    },
    /// The producer failed during its life: a fatal error of librdkafka, or an actor that died. Every record was answered all the same.
    #[error("the producer failed: {reason}")]
    Failed {
        /// The first failure.
        reason: String,
        /// What it came to, with the records that it gave up at its end.
        report: Box<ProducerReport>,
    },
}
