use std::fmt;

use kafka_troupe::ProducerRecord;
use kafka_troupe::consume::DEAD_LETTER_HEADERS;
use rdkafka::message::{BorrowedMessage, Headers, Message};

use crate::cli::record_json::{self, RecordToPrint};

/// A record of a topic of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// When it was given up, in milliseconds since the Unix epoch.
    pub(super) timestamp: Option<i64>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Where a dead letter comes from, and why it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Story {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// The record's own, in milliseconds since the Unix epoch.
    pub(super) timestamp: Option<i64>,
    pub(super) attempts: String,
    pub(super) message: String,
}

impl Letter {
    pub(super) fn read(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map(|headers| headers.iter().collect::<Vec<_>>()).unwrap_or_default();
        let header = |each: &rdkafka::message::Header<'_, &[u8]>| (each.key.to_owned(), each.value.map(<[u8]>::to_vec));
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.iter().map(header).collect(),
        }
    }

    /// What the last header of each name says; `None` where the record is no dead letter of the engine's.
    pub(super) fn story(&self) -> Option<Story> {
        let [topic, partition, offset, timestamp, _, attempts, message] = DEAD_LETTER_HEADERS;
        let text = |name: &str| {
            let (_, value) = self.headers.iter().rfind(|(each, _)| each == name)?;
            Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
        };
        Some(Story {
            topic: text(topic)?,
            partition: text(partition)?.parse().ok()?,
            offset: text(offset)?.parse().ok()?,
            timestamp: text(timestamp).and_then(|timestamp| timestamp.parse().ok()),
            attempts: text(attempts).unwrap_or_default(),
            message: text(message).unwrap_or_default(),
        })
    }

    /// The record as it was, without its story: back to its partition, with its timestamp; or to another topic, by its key.
    pub(super) fn original<'a>(&'a self, story: &'a Story, to: Option<&'a str>) -> ProducerRecord<'a> {
        let mut record = match to {
            Some(topic) => ProducerRecord::to(topic),
            None => ProducerRecord::to(&story.topic).partition(story.partition),
        };
        if let Some(timestamp) = story.timestamp {
            record = record.timestamp(timestamp);
        }
        if let Some(key) = &self.key {
            record = record.key(key);
        }
        if let Some(value) = &self.value {
            record = record.value(value);
        }
        let own = self.headers.iter().filter(|(name, _)| !DEAD_LETTER_HEADERS.contains(&name.as_str()));
        own.fold(record, |record, (name, value)| match value {
            Some(value) => record.header(name, value),
            None => record.null_header(name),
        })
    }

    /// As one line of JSON, as `troupe consume --json` prints it.
    pub(super) fn json(&self) -> String {
        let Self { topic, partition, offset, timestamp, key, value, headers } = self;
        let (partition, offset, timestamp) = (*partition, *offset, *timestamp);
        let record =
            RecordToPrint { topic, partition, offset, timestamp, key: key.as_deref(), value: value.as_deref() };
        let mut line = Vec::new();
        record_json::write(&mut line, record, headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
        String::from_utf8_lossy(&line).into_owned()
    }
}

/// Topic, partition and offset of the record that it is of.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    pub(in crate::cli::dead_letters) fn letter(headers: &[(&str, &str)]) -> Letter {
        let header = |(name, value): &(&str, &str)| ((*name).to_owned(), Some(value.as_bytes().to_vec()));
        let headers = headers.iter().map(header).collect();
        Letter { topic: "dead".to_owned(), key: Some(b"k".to_vec()), headers, ..Letter::default() }
    }

    pub(in crate::cli::dead_letters) fn of(topic: &str, partition: &str, message: &str) -> Letter {
        letter(&[
            ("trace", "t"),
            ("__troupe.errors.topic", topic),
            ("__troupe.errors.partition", partition),
            ("__troupe.errors.offset", "7"),
            ("__troupe.errors.timestamp", "1700000000000"),
            ("__troupe.errors.attempts", "3"),
            ("__troupe.errors.message", message),
        ])
    }

    #[test]
    fn a_record_without_a_story_is_none() {
        assert_eq!(letter(&[("trace", "t"), ("__troupe.errors.topic", "orders")]).story(), None);
        assert_eq!(of("orders", "x", "no good").story(), None);
    }

    #[test]
    fn of_a_record_that_was_given_up_twice_the_last_story_counts() {
        let mut letter = of("orders", "2", "no good");
        letter.headers.extend(of("retries", "4", "still no good").headers);
        let story = letter.story().unwrap();
        assert_eq!((story.to_string().as_str(), story.message.as_str()), ("retries-4@7", "still no good"));
        assert_eq!((story.timestamp, story.attempts.as_str()), (Some(1_700_000_000_000), "3"));
    }

    #[test]
    fn what_goes_back_is_the_record_without_its_story() {
        let letter = of("orders", "2", "no good");
        let story = letter.story().unwrap();
        let back = format!("{:?}", letter.original(&story, None));
        assert!(back.contains(r#"topic: "orders", partition: Some(PartitionId(2))"#), "{back}");
        assert!(back.contains("timestamp: Some(1700000000000), headers: 1"), "{back}");
        let elsewhere = format!("{:?}", letter.original(&story, Some("mended")));
        assert!(elsewhere.contains(r#"topic: "mended", partition: None, key_bytes: Some(1)"#), "{elsewhere}");
    }
}
