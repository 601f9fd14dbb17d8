//! Retry topics, each as `topic=delay`.

use std::time::Duration;

use serde::de::Error;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serializer};

use super::duration;

fn parse(text: &str) -> Result<(String, Duration), String> {
    let (topic, delay) = text
        .split_once('=')
        .filter(|(topic, _)| !topic.is_empty())
        .ok_or("use a topic and for how long its records wait, as in orders.retry=10s")?;
    duration::parse(delay).map(|delay| (topic.to_owned(), delay))
}

pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, Duration)>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse(text).map_err(|why| D::Error::custom(format!("{text:?}: {why}")))).collect()
}

pub(in crate::config) fn serialize<S: Serializer>(
    topics: &[(String, Duration)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(topics.len()))?;
    for (topic, delay) in topics {
        list.serialize_element(&format!("{topic}={}", duration::show(*delay)))?;
    }
    list.end()
}
