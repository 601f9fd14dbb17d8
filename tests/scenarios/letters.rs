//! A topic of dead letters, and what is read from it.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_troupe::consume::DeadLetters;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::fixture::{PATIENCE, Stage, eventually};

/// A dead letter, as anybody reads it. All texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<(String, Option<String>)>,
}

impl Found {
    /// The last header of this name, without its prefix.
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = format!("__troupe.errors.{name}");
        self.headers.iter().rfind(|(each, _)| *each == name)?.1.as_deref()
    }

    /// Partition and offset of the record that it is of.
    pub fn source(&self) -> (i32, i64) {
        (self.header("partition").unwrap().parse().unwrap(), self.header("offset").unwrap().parse().unwrap())
    }
}

/// All that are there by now, of the topic of `stage`.
pub fn found(stage: &Stage) -> Vec<Found> {
    let consumer: BaseConsumer =
        stage.client().set("group.id", "reader").set("enable.auto.commit", "false").create().unwrap();
    let ends = stage.ends();
    let mut list = TopicPartitionList::new();
    for partition in ends.keys() {
        list.add_partition_offset(&stage.topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = Vec::new();
    eventually("the dead letters are read", || {
        while let Some(record) = consumer.poll(Duration::from_millis(20)) {
            let record = record.unwrap();
            let headers = record.headers().map(|headers| headers.iter().collect::<Vec<_>>()).unwrap_or_default();
            found.push(Found {
                key: record.key().map(text),
                value: record.payload().map(text),
                headers: headers.iter().map(|header| (header.key.to_owned(), header.value.map(text))).collect(),
            });
        }
        found.len() as i64 >= ends.values().sum::<i64>()
    });
    found
}

/// How many of each record there are.
pub fn counts(letters: &[Found]) -> BTreeMap<(i32, i64), usize> {
    let mut counts = BTreeMap::new();
    for letter in letters {
        *counts.entry(letter.source()).or_default() += 1;
    }
    counts
}

/// To the topic of this stage, and quick to see that something is wrong with it.
pub fn letters_to(letters: &Stage) -> DeadLetters {
    let quick = [("topic.metadata.refresh.interval.ms", "500"), ("topic.metadata.propagation.max.ms", "1000")];
    let patience = PATIENCE.as_millis().to_string();
    let to = DeadLetters::to(&letters.topic).property("message.timeout.ms", patience);
    quick.iter().fold(to, |letters, (name, value)| letters.property(*name, *value))
}
