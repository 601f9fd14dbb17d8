//! Which partition a record goes to: an app's own rule, or one of those that are known.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::ProducerRecord;
use super::batch::RecordView;
use super::murmur2::partition_of_key;
use crate::consume::Cause;
use crate::ids::PartitionId;

/// What a [`Partitioner`] sees of a record.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Unplaced<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The record's key.
    pub key: Option<&'a [u8]>,
    /// The record's value.
    pub value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

#[derive(Clone, Copy)]
enum Headers<'a> {
    Accepted(RecordView<'a>),
    Given(&'a ProducerRecord<'a>),
}

impl<'a> Unplaced<'a> {
    pub(super) fn new(topic: &'a str, record: RecordView<'a>) -> Self {
        Self { topic, key: record.key(), value: record.value(), headers: Headers::Accepted(record) }
    }

    /// What a partitioner would see of this record, for a test of it:
    /// ```
    /// # use std::num::NonZeroU32;
    /// # use troupe_actors::produce::{BuiltInPartitioner, Partitioner, Placement, ProducerRecord, Unplaced};
    /// let record = ProducerRecord::to("flights").value("EWR-IAH");
    /// let picked = BuiltInPartitioner::Murmur2.partition(Unplaced::of(&record), NonZeroU32::MIN);
    /// assert_eq!(picked, Placement::Any);
    /// ```
    pub fn of(record: &'a ProducerRecord<'a>) -> Self {
        let (topic, key, value) = (record.topic(), record.key_bytes(), record.value_bytes());
        Self { topic, key, value, headers: Headers::Given(record) }
    }

    /// The record's headers in order: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        let (accepted, given) = match self.headers {
            Headers::Accepted(record) => (Some(record.headers()), None),
            Headers::Given(record) => (None, Some(record.headers())),
        };
        // They were text when they came.
        let text = |(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value);
        accepted.into_iter().flatten().map(text).chain(given.into_iter().flatten())
    }
}

/// Where a [`Partitioner`] wants a record to go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// To this partition, below the topic's count.
    Partition(PartitionId),
    /// To any. Such records of one batch share a partition, at most as many in a row as were configured for a batch
    /// ([`batch_records`](super::ProducerBuilder::batch_records), [`batch_bytes`](super::ProducerBuilder::batch_bytes)); the next go to the one that has had
    /// the fewest, by topic and actor.
    Any,
    /// To the partition after the last one that was said so of, by topic and actor.
    Next,
    /// Nowhere: the record fails, for this reason.
    Refused(Cause),
}

/// Picks the partition of each record that names none itself.
///
/// Called on the arbiter that produces, once per record: it should take nanoseconds and must not block. A panic fails that record only.
/// Order per key holds only where equal keys get equal partitions.
pub trait Partitioner: Send + Sync + 'static {
    /// Where `record` goes, of as many partitions as its topic has.
    ///
    /// `partitions` grows when the topic does, and keys then move, as with every Kafka client that hashes keys.
    fn partition(&self, record: Unplaced<'_>, partitions: NonZeroU32) -> Placement;

    /// What it is called where settings are shown.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }
}

/// The rules that are known by a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BuiltInPartitioner {
    /// `murmur2`: a key's partition is the one that Java's producer picks for it, the empty key's too. Without a key, any.
    #[default]
    Murmur2,
    /// `consistent_random`: a key's partition is the one that librdkafka picks by default, from the key's CRC32. Without a key, or with an empty one,
    /// any.
    ConsistentRandom,
    /// `round_robin`: each record goes to the next partition, whatever its key. Nothing keeps the order of a key then.
    RoundRobin,
    /// `sticky`: the records of a batch share a partition, whatever their keys, as with [`Placement::Any`]. The largest requests, and no order of a key.
    Sticky,
}

impl Partitioner for BuiltInPartitioner {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn partition(&self, record: Unplaced<'_>, partitions: NonZeroU32) -> Placement {
        match self {
            Self::Murmur2 => {
                record.key.map_or(Placement::Any, |key| Placement::Partition(partition_of_key(key, partitions)))
            }
            Self::ConsistentRandom => match record.key {
                None | Some([]) => Placement::Any,
                // Kafka counts partitions in an i32.
                Some(key) => Placement::Partition(PartitionId((crc32fast::hash(key) % partitions.get()) as i32)),
            },
            Self::RoundRobin => Placement::Next,
            Self::Sticky => Placement::Any,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::batch::Records;
    use super::*;

    fn placed(by: BuiltInPartitioner, key: Option<&[u8]>) -> Placement {
        by.partition(Unplaced::of(&ProducerRecord::to("t").key(&key)), NonZeroU32::new(5).unwrap())
    }

    #[test]
    fn a_record_looks_the_same_before_it_is_accepted_and_after() {
        let record = ProducerRecord::to("t").key("k").value("v").header("a", "1").null_header("b");
        let mut records = Records::default();
        records.push(&record);
        let (before, after) = (Unplaced::of(&record), Unplaced::new("t", records.get(0)));
        assert_eq!((before.topic, before.key, before.value), (after.topic, after.key, after.value));
        let expected = [("a", Some(&b"1"[..])), ("b", None)];
        assert!(before.headers().eq(expected) && after.headers().eq(expected));
    }

    #[test]
    fn a_record_without_key_goes_anywhere_and_an_empty_key_is_one_to_java_only() {
        use BuiltInPartitioner::{ConsistentRandom, Murmur2};
        assert_eq!((placed(Murmur2, None), placed(ConsistentRandom, None)), (Placement::Any, Placement::Any));
        assert!(matches!(placed(Murmur2, Some(b"")), Placement::Partition(_)));
        assert_eq!(placed(ConsistentRandom, Some(b"")), Placement::Any);
    }

    /// CRC32's own check value, 0xcbf43926.
    #[test]
    fn librdkafkas_default_is_the_crc32_of_the_key() {
        let expected = Placement::Partition(PartitionId((0xcbf4_3926_u32 % 5) as i32));
        assert_eq!(placed(BuiltInPartitioner::ConsistentRandom, Some(b"123456789")), expected);
    }

    #[test]
    fn two_rules_do_not_look_at_the_key() {
        assert_eq!(placed(BuiltInPartitioner::RoundRobin, Some(b"k")), Placement::Next);
        assert_eq!(placed(BuiltInPartitioner::Sticky, Some(b"k")), Placement::Any);
    }
}
