//! What goes in and what comes back: the record to send, and the word that it is stored.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::encode::{Encode, Encoded};
use crate::consume::Cause;
use crate::ids::{Offset, PartitionId};

/// A record to send. It borrows its parts: they are copied once, when the record is accepted, and no record costs an allocation of its own
/// unless it has headers, a timestamp, a callback that captures more than a pointer, or an [`Encode`] that makes its bytes.
///
/// ```
/// use troupe_actors::produce::ProducerRecord;
///
/// let record = ProducerRecord::to("flights")
///     .key("N14228")
///     .value(&1545_i32)
///     .header("source", "nycflights");
/// # let _ = record;
/// ```
#[derive(Clone)]
#[must_use = "a record does nothing until it is sent"]
pub struct ProducerRecord<'a> {
    pub(super) topic: Cow<'a, str>,
    pub(super) partition: Option<PartitionId>,
    pub(super) key: Option<Encoded<'a>>,
    pub(super) value: Option<Encoded<'a>>,
    pub(super) timestamp: Option<i64>,
    pub(super) headers: Vec<(Cow<'a, str>, Option<Encoded<'a>>)>,
    /// What could not be encoded, told when it is sent.
    pub(super) fault: Option<Cause>,
}

impl<'a> ProducerRecord<'a> {
    /// A record for `topic` with neither key nor value (a null value is a tombstone where the topic is compacted).
    pub fn to(topic: impl Into<Cow<'a, str>>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            key: None,
            value: None,
            timestamp: None,
            headers: Vec::new(),
            fault: None,
        }
    }

    /// Sets the key. It decides the partition, and with it the order, unless [`partition`](Self::partition) does.
    pub fn key(mut self, key: &'a (impl Encode + ?Sized)) -> Self {
        self.key = self.encoded(key);
        self
    }

    /// Sets the value; `&None::<&str>` is a tombstone.
    pub fn value(mut self, value: &'a (impl Encode + ?Sized)) -> Self {
        self.value = self.encoded(value);
        self
    }

    /// Adds a header. Names may repeat; order is kept. A null value, as of `&None::<&str>`, is not an empty one.
    pub fn header(mut self, name: impl Into<Cow<'a, str>>, value: &'a (impl Encode + ?Sized)) -> Self {
        let value = self.encoded(value);
        self.headers.push((name.into(), value));
        self
    }

    fn encoded(&mut self, part: &'a (impl Encode + ?Sized)) -> Option<Encoded<'a>> {
        part.encode().unwrap_or_else(|cause| {
            self.fault.get_or_insert(cause);
            None
        })
    }

    /// Adds a header whose value is null, which Kafka tells from an empty one.
    pub fn null_header(mut self, name: impl Into<Cow<'a, str>>) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    /// Sets the timestamp, in milliseconds since the Unix epoch. Without one (or with 0, which librdkafka reads as none) it is the time at which
    /// the record's batch is handed to librdkafka, later than the send by up to the linger.
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.timestamp = Some(milliseconds);
        self
    }

    /// Names the partition, and so passes the partitioner over.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(PartitionId(partition));
        self
    }

    /// The same, with copies of what it borrows: to be kept, or sent by another task.
    pub fn into_owned(self) -> ProducerRecord<'static> {
        let owned = |(name, value): (Cow<'_, str>, Option<Encoded<'_>>)| {
            (Cow::Owned(name.into_owned()), value.map(Encoded::into_owned))
        };
        ProducerRecord {
            topic: Cow::Owned(self.topic.into_owned()),
            partition: self.partition,
            key: self.key.map(Encoded::into_owned),
            value: self.value.map(Encoded::into_owned),
            timestamp: self.timestamp,
            headers: self.headers.into_iter().map(owned).collect(),
            fault: self.fault,
        }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The key's bytes; `None` for null.
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The value's bytes; `None` for null.
    pub fn value_bytes(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The headers in order: name and value.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (&**name, value.as_deref()))
    }

    /// The partition, where the record names one.
    pub fn partition_named(&self) -> Option<PartitionId> {
        self.partition
    }

    /// The timestamp in milliseconds since the Unix epoch, where one is set.
    pub fn timestamp_set(&self) -> Option<i64> {
        self.timestamp
    }

    /// What the record counts against the bytes of buffer and batch: key, value, headers' names and values.
    pub(super) fn bytes(&self) -> usize {
        let length = |part: &Option<Encoded<'_>>| part.as_deref().map_or(0, <[u8]>::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value)).sum::<usize>();
        length(&self.key) + length(&self.value) + headers
    }
}

/// Lengths only: keys and values are never logged.
impl fmt::Debug for ProducerRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerRecord")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("key_bytes", &self.key_bytes().map(<[u8]>::len))
            .field("value_bytes", &self.value_bytes().map(<[u8]>::len))
            .field("timestamp", &self.timestamp)
            .field("headers", &self.headers.len())
            .finish()
    }
}

/// The broker's word that a record is stored, under the `acks` in force (all in-sync replicas unless set otherwise).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition the record is in.
    pub partition: PartitionId,
    /// The record's offset there. `None` where no broker told it: with `acks` 0, which is no word of a broker at all, and after a retry whose first
    /// try is found to be stored already.
    pub offset: Option<Offset>,
    /// The timestamp stored with the record, in milliseconds since the Unix epoch, where the topic has one.
    pub timestamp: Option<i64>,
}

/// Where the record is, as `topic-partition@offset`, or `topic-partition` without one.
impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)?;
        self.offset.map_or(Ok(()), |offset| write!(f, "@{offset}"))
    }
}

/// A record that a producer gave up at its end: see [`ProducerReport::undelivered`](super::ProducerReport::undelivered).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Undelivered {
    /// The record, with the partition that was picked for it, where one was. It can be sent by another producer.
    pub record: ProducerRecord<'static>,
    /// It may be stored all the same: its request went out, and the answer is missing. Sent again it may then be stored twice.
    pub possibly_persisted: bool,
}
