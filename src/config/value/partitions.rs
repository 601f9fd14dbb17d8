//! Partitions, each as `topic:0`.

use serde::de::Error;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serializer};
use troupe_actors::ids::TopicPartition;

fn parse(text: &str) -> Option<TopicPartition> {
    let (topic, partition) = text.rsplit_once(':')?;
    let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
    (!topic.is_empty()).then(|| TopicPartition::new(topic, partition))
}

pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<TopicPartition>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parsed = texts.iter().map(|text| {
        parse(text)
            .ok_or_else(|| D::Error::custom(format!("{text:?}: use a topic and a partition of it, as in orders:0")))
    });
    parsed.collect()
}

pub(in crate::config) fn serialize<S: Serializer>(
    partitions: &[TopicPartition],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(partitions.len()))?;
    for each in partitions {
        list.serialize_element(&format!("{}:{}", each.topic, each.partition))?;
    }
    list.end()
}
