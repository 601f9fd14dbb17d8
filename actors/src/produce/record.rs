//! What goes in and what comes back: the record to send, and the word that it is stored.

use std::fmt;
use std::sync::Arc;

use crate::ids::{Offset, PartitionId};

/// A record to send. It borrows its parts: they are copied once, when the record is accepted, and no record costs an allocation of its own
/// unless it has headers, a timestamp or a callback.
///
/// ```
/// use troupe_actors::produce::ProducerRecord;
///
/// let flight = 1545_u32.to_be_bytes();
/// let record = ProducerRecord::to("flights")
///     .key("N14228")
///     .value(&flight)
///     .header("source", "nycflights");
/// # let _ = record;
/// ```
#[derive(Clone)]
#[must_use = "a record does nothing until it is sent"]
pub struct ProducerRecord<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: Option<PartitionId>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) timestamp: Option<i64>,
    pub(super) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl<'a> ProducerRecord<'a> {
    /// A record for `topic` with neither key nor value (a null value is a tombstone where the topic is compacted).
    pub fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, timestamp: None, headers: Vec::new() }
    }

    /// Sets the key. It decides the partition, and with it the order, unless [`partition`](Self::partition) does.
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Sets the value.
    pub fn value(mut self, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Adds a header. Names may repeat; order is kept.
    pub fn header(mut self, name: &'a str, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.headers.push((name, Some(value.as_ref())));
        self
    }

    /// Adds a header whose value is null, which Kafka tells from an empty one.
    pub fn null_header(mut self, name: &'a str) -> Self {
        self.headers.push((name, None));
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

    /// What the record counts against the bytes of buffer and batch: key, value, headers' names and values.
    pub(super) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum::<usize>();
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + headers
    }
}

/// Lengths only: keys and values are never logged.
impl fmt::Debug for ProducerRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerRecord")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("key_bytes", &self.key.map(<[u8]>::len))
            .field("value_bytes", &self.value.map(<[u8]>::len))
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
    /// The record's offset there.
    pub offset: Offset,
    /// The timestamp stored with the record, in milliseconds since the Unix epoch, where the topic has one.
    pub timestamp: Option<i64>,
}

/// Where the record is, as `topic-partition@offset`.
impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}
