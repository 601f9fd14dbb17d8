//! What a dead letter is: the record as it was, and headers that say where it comes from and why it is here.
//!
//! The names follow Kafka Connect's (`__connect.errors.topic` and its siblings) and Kafka Streams' (`__streams.errors.*`, KIP-1034); like theirs,
//! the values are text.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::consume::handler::Cause;
use crate::consume::record::Record;
use crate::ids::{Offset, TopicPartition};
use crate::produce::ProducerRecord;

/// The longest text of a cause, in bytes: what goes beyond is cut, so that a record is not too large by its cause.
const CAUSE: usize = 4096;

const TOPIC: &str = "__troupe.errors.topic";
const PARTITION: &str = "__troupe.errors.partition";
const OFFSET: &str = "__troupe.errors.offset";
const TIMESTAMP: &str = "__troupe.errors.timestamp";
const GROUP: &str = "__troupe.errors.group";
const ATTEMPTS: &str = "__troupe.errors.attempts";
const MESSAGE: &str = "__troupe.errors.message";

/// The headers that a dead letter has beside those of its record, which it keeps: the topic, partition, offset and timestamp (milliseconds since
/// the Unix epoch; absent where the record had none) that it was read with, the consumer's group (absent for a standalone one), how often it
/// was tried, and why it failed in the end, the first 4,096 bytes of that. All are text.
///
/// A record that comes by here a second time has each of them twice: the last one of a name is the latest.
pub const DEAD_LETTER_HEADERS: [&str; 7] = [TOPIC, PARTITION, OFFSET, TIMESTAMP, GROUP, ATTEMPTS, MESSAGE];

/// A record that is to go to the dead letters, beside the record itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) cause: Cause,
    /// How often it could not be written.
    pub(crate) failures: u32,
}

/// Which record a letter is of. The offset alone names another one where the topic was created again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    pub(crate) partition: TopicPartition,
    pub(crate) offset: Offset,
    content: u64,
}

impl Subject {
    pub(crate) fn of(record: &Record) -> Self {
        let mut hasher = DefaultHasher::new();
        (record.timestamp(), record.key(), record.value()).hash(&mut hasher);
        Self { partition: record.topic_partition().clone(), offset: record.offset(), content: hasher.finish() }
    }
}

/// The texts of a letter's headers.
pub(crate) struct Envelope {
    partition: String,
    offset: String,
    timestamp: Option<String>,
    attempts: String,
    cause: String,
}

impl Envelope {
    pub(crate) fn new(record: &Record, cause: &Cause) -> Self {
        let mut cause = cause.to_string();
        cause.truncate(cause.floor_char_boundary(CAUSE));
        Self {
            partition: record.partition().0.to_string(),
            offset: record.offset().0.to_string(),
            timestamp: record.timestamp().map(|timestamp| timestamp.to_string()),
            attempts: record.attempt().to_string(),
            cause,
        }
    }

    /// The letter, with a timestamp of its own: by the record's, retention might take it away before anybody has seen it.
    pub(crate) fn around<'a>(
        &'a self,
        record: &'a Record,
        topic: &'a str,
        group: Option<&'a str>,
    ) -> ProducerRecord<'a> {
        let mut letter = ProducerRecord::to(topic);
        if let Some(key) = record.key() {
            letter = letter.key(key);
        }
        if let Some(value) = record.value() {
            letter = letter.value(value);
        }
        for (name, value) in record.headers() {
            letter = match value {
                Some(value) => letter.header(name, value),
                None => letter.null_header(name),
            };
        }
        letter = letter.header(TOPIC, record.topic()).header(PARTITION, &self.partition).header(OFFSET, &self.offset);
        if let Some(timestamp) = &self.timestamp {
            letter = letter.header(TIMESTAMP, timestamp);
        }
        if let Some(group) = group {
            letter = letter.header(GROUP, group);
        }
        letter.header(ATTEMPTS, &self.attempts).header(MESSAGE, &self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::record::tests::record;

    #[test]
    fn a_long_cause_is_cut_where_a_character_ends() {
        let cut = |text: String| Envelope::new(&record(None, None), &Cause::new(text)).cause;
        assert_eq!(cut("no good".to_owned()), "no good");
        // Two bytes each, and the first one's end lies in the midst of one.
        assert_eq!(cut(format!("x{}", "ä".repeat(3000))).len(), 4095);
    }

    #[test]
    fn null_and_empty_are_kept_apart() {
        let around = |key, value| {
            let record = record(key, value);
            format!("{:?}", Envelope::new(&record, &"why".into()).around(&record, "dead", None))
        };
        assert!(around(None, None).contains("key_bytes: None, value_bytes: None"));
        assert!(around(Some(b""), Some(b"")).contains("key_bytes: Some(0), value_bytes: Some(0)"));
    }

    #[test]
    fn the_same_place_in_a_log_that_was_made_anew_is_another_subject() {
        let (one, other) = (record(Some(b"k"), Some(b"v")), record(Some(b"k"), Some(b"w")));
        assert_eq!(Subject::of(&one), Subject::of(&one.clone()));
        assert_ne!(Subject::of(&one), Subject::of(&other));
    }
}
