//! What a dead letter is: the record as it was, and headers that say where it comes from and why it is here.
//!
//! The names follow Kafka Connect's (`__connect.errors.topic` and its siblings) and Kafka Streams' (`__streams.errors.*`, KIP-1034); like theirs,
//! the values are text.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::consume::handler::Cause;
use crate::consume::record::Record;
use crate::consume::retry_topics::RETRY_DUE_HEADER;
use crate::ids::{Offset, TopicPartition};
use crate::produce::ProducerRecord;

/// The longest text of a cause, in bytes: what goes beyond is cut.
const CAUSE: usize = 4096;
/// The same where the topic did not take the record with more.
const BRIEF_CAUSE: usize = 32;
/// Where a text that is cut ends.
const CUT: char = '…';

pub(crate) const TOPIC: &str = "__troupe.errors.topic";
pub(crate) const PARTITION: &str = "__troupe.errors.partition";
pub(crate) const OFFSET: &str = "__troupe.errors.offset";
pub(crate) const TIMESTAMP: &str = "__troupe.errors.timestamp";
const GROUP: &str = "__troupe.errors.group";
pub(crate) const ATTEMPTS: &str = "__troupe.errors.attempts";
const MESSAGE: &str = "__troupe.errors.message";

/// The headers that a dead letter has beside those of its record, which it keeps: the topic, partition, offset and timestamp (milliseconds since
/// the Unix epoch; absent where the record had none) that it was read with, the consumer's group (absent for a standalone one), how often it
/// was tried, and why it failed in the end, 4,096 bytes of that at most. All are text; one that was cut ends with `…`. Of a record that has been in
/// retry topics they tell where it was read first, and all of its attempts.
///
/// Where the topic does not take the record, alone in its request, because it is too large with them, it is written with 32 bytes of the cause at most,
/// and without the group.
///
/// A record that comes by here a second time has each of them twice: the last one of a name is the latest.
pub const DEAD_LETTER_HEADERS: [&str; 7] = [TOPIC, PARTITION, OFFSET, TIMESTAMP, GROUP, ATTEMPTS, MESSAGE];

/// Where a letter goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    DeadLetters,
    /// A retry topic, in which the record waits until then, in milliseconds since the Unix epoch.
    Retry {
        topic: String,
        due: i64,
    },
}

/// A record that is to go to the dead letters, or to a retry topic, beside the record itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) to: Destination,
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
    topic: String,
    partition: String,
    offset: String,
    timestamp: Option<String>,
    group: Option<String>,
    attempts: String,
    cause: String,
    due: Option<String>,
}

impl Envelope {
    /// All that there is to tell.
    pub(crate) fn whole(record: &Record, letter: &Letter, group: Option<&str>) -> Self {
        Self::new(record, letter, group, CAUSE)
    }

    /// What the record needs to be found and tried again, and how the cause begins: for a topic that does not take more.
    pub(crate) fn brief(record: &Record, letter: &Letter) -> Self {
        Self::new(record, letter, None, BRIEF_CAUSE)
    }

    fn new(record: &Record, letter: &Letter, group: Option<&str>, longest: usize) -> Self {
        // Of one that has been in retry topics, where it was before.
        let (topic, partition, offset) = match record.origin() {
            Some(origin) => (origin.topic, origin.partition, origin.offset),
            None => (record.topic(), record.partition(), record.offset()),
        };
        Self {
            topic: topic.to_owned(),
            partition: partition.0.to_string(),
            offset: offset.0.to_string(),
            timestamp: record.timestamp().map(|timestamp| timestamp.to_string()),
            group: group.map(str::to_owned),
            attempts: record.attempt().to_string(),
            cause: cut(letter.cause.to_string(), longest),
            due: match &letter.to {
                Destination::DeadLetters => None,
                Destination::Retry { due, .. } => Some(due.to_string()),
            },
        }
    }

    /// The letter, with a timestamp of its own: by the record's, retention might take it away before anybody has seen it, or before it is due.
    pub(crate) fn around<'a>(&'a self, record: &'a Record, topic: &'a str) -> ProducerRecord<'a> {
        let mut letter = ProducerRecord::to(topic);
        if let Some(key) = record.key() {
            letter = letter.key(key);
        }
        if let Some(value) = record.value() {
            letter = letter.value(value);
        }
        for (name, value) in record.own_headers() {
            letter = match value {
                Some(value) => letter.header(name, value),
                None => letter.null_header(name),
            };
        }
        letter = letter.header(TOPIC, &self.topic).header(PARTITION, &self.partition).header(OFFSET, &self.offset);
        if let Some(timestamp) = &self.timestamp {
            letter = letter.header(TIMESTAMP, timestamp);
        }
        if let Some(group) = &self.group {
            letter = letter.header(GROUP, group);
        }
        letter = letter.header(ATTEMPTS, &self.attempts).header(MESSAGE, &self.cause);
        match &self.due {
            Some(due) => letter.header(RETRY_DUE_HEADER, due),
            None => letter,
        }
    }
}

/// The text, in so many bytes at most.
fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest - CUT.len_utf8()));
        text.push(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::consume::record::ChunkBuilder;
    use crate::consume::record::tests::record;
    use crate::ids::{Epoch, NextOffset};
    use crate::offsets::Tile;

    fn letter(cause: impl Into<Cause>) -> Letter {
        Letter { to: Destination::DeadLetters, cause: cause.into(), failures: 0 }
    }

    #[test]
    fn a_long_cause_is_cut_where_a_character_ends() {
        // Two bytes each: the end lies in the midst of one.
        let long = "ä".repeat(3000);
        for longest in [CAUSE, BRIEF_CAUSE] {
            let just = "x".repeat(longest);
            assert_eq!(["no good", &just].map(|text| cut(text.to_owned(), longest)), ["no good", &just]);
            let cut = cut(long.clone(), longest);
            assert!(cut.len() == longest - 1 && long.starts_with(cut.strip_suffix('…').unwrap()), "{cut}");
        }
    }

    #[test]
    fn where_there_is_little_room_a_letter_tells_what_the_next_attempt_needs() {
        let record = record(Some(b"k"), Some(b"v"));
        let put_off = Letter {
            to: Destination::Retry { topic: "retry".to_owned(), due: 7 },
            ..letter("no such customer, whatever was looked for")
        };
        let names = |envelope: &Envelope| {
            envelope.around(&record, "retry").headers().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        let whole = names(&Envelope::whole(&record, &put_off, Some("g")));
        let brief = Envelope::brief(&record, &put_off);
        let without_group: Vec<_> = whole.into_iter().filter(|name| name != GROUP).collect();
        assert_eq!(names(&brief), without_group);
        assert_eq!(read_back(&brief.around(&record, "retry")).past().unwrap().due, 7);
    }

    #[test]
    fn null_and_empty_are_kept_apart() {
        let around = |key, value| {
            let record = record(key, value);
            format!("{:?}", Envelope::brief(&record, &letter("why")).around(&record, "dead"))
        };
        assert!(around(None, None).contains("key_bytes: None, value_bytes: None"));
        assert!(around(Some(b""), Some(b"")).contains("key_bytes: Some(0), value_bytes: Some(0)"));
    }

    /// As it is read from a retry topic when it was written there with these headers.
    fn read_back(written: &ProducerRecord<'_>) -> Record {
        let mut chunk = ChunkBuilder::new(1, 1000, 1, 1);
        chunk.push(40, 900, None, None);
        written.headers().for_each(|(name, value)| chunk.push_header(name.as_bytes(), value));
        let tile = Tile::new(NextOffset(40), NextOffset(41));
        let mut chunk = chunk.finish(TopicPartition::new("retry", 0), Epoch(1), tile, CancellationToken::new());
        chunk.waits_since = Some(chunk.received);
        Record { chunk: Arc::new(chunk), position: 0, attempt: 1, failed: 0 }
    }

    #[test]
    fn a_record_that_went_through_retry_topics_keeps_its_own_headers_and_tells_where_it_was_first() {
        let names = |record: &Record| record.headers().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        let mut chunk = ChunkBuilder::new(1, 1000, 1, 1);
        chunk.push(7, 800, None, None);
        // It has been a dead letter before, and that is its own story.
        let own = [("trace", "t"), (TOPIC, "bills"), (OFFSET, "1"), (MESSAGE, "long ago")];
        own.iter().for_each(|(name, value)| chunk.push_header(name.as_bytes(), Some(value.as_bytes())));
        let tile = Tile::new(NextOffset(7), NextOffset(8));
        let chunk = chunk.finish(TopicPartition::new("orders", 2), Epoch(1), tile, CancellationToken::new());
        let mut record = Record { chunk: Arc::new(chunk), position: 0, attempt: 2, failed: 1 };
        assert_eq!((record.origin(), record.past()), (None, None), "it is of no retry topic, whatever its headers say");
        for round in 1..4 {
            let to = Destination::Retry { topic: "retry".to_owned(), due: 1000 * round };
            let put_off = Letter { to, ..letter("no good") };
            let envelope = Envelope::whole(&record, &put_off, Some("g"));
            let again = read_back(&envelope.around(&record, "retry"));
            let origin = again.origin().unwrap();
            assert_eq!((origin.topic, origin.partition.0, origin.offset.0), ("orders", 2, 7));
            assert_eq!((origin.timestamp, again.timestamp()), (Some(800), Some(800)));
            let past = again.past().unwrap();
            assert_eq!((past.attempts, past.due), (record.attempt, 1000 * round));
            assert_eq!(names(&again)[..4], own.map(|(name, _)| name.to_owned()));
            assert_eq!(names(&again).len(), 4 + 8, "one story more, however often");
            record = Record { attempt: past.attempts + 2, ..again };
        }
        let dead = read_back(&Envelope::whole(&record, &letter("hopeless"), Some("g")).around(&record, "dead"));
        assert!(!names(&dead).contains(&RETRY_DUE_HEADER.to_owned()));
        assert_eq!(dead.headers().filter(|(name, _)| *name == TOPIC).last(), Some((TOPIC, Some(&b"orders"[..]))));
        assert_eq!(dead.headers().filter(|(name, _)| *name == ATTEMPTS).last(), Some((ATTEMPTS, Some(&b"8"[..]))));
    }

    #[test]
    fn the_same_place_in_a_log_that_was_made_anew_is_another_subject() {
        let (one, other) = (record(Some(b"k"), Some(b"v")), record(Some(b"k"), Some(b"w")));
        assert_eq!(Subject::of(&one), Subject::of(&one.clone()));
        assert_ne!(Subject::of(&one), Subject::of(&other));
    }
}
