//! Which topics and partitions a command is about.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// `TOPIC`, or `TOPIC:0,1` for some of its partitions, as Kafka's own tool has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicSpec {
    topic: String,
    partitions: Option<BTreeSet<i32>>,
}

impl FromStr for TopicSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, partitions) = match text.split_once(':') {
            Some((topic, partitions)) => (topic, Some(partitions)),
            None => (text, None),
        };
        if topic.is_empty() {
            return Err("it names no topic".to_owned());
        }
        let number = |text: &str| text.parse().ok().filter(|number| *number >= 0);
        let numbers = |text: &str| text.split(',').map(number).collect::<Option<_>>();
        let partitions = match partitions.map(numbers) {
            Some(None) => return Err("behind the colon stand partitions, as in orders:0,1".to_owned()),
            given => given.flatten(),
        };
        Ok(Self { topic: topic.to_owned(), partitions })
    }
}

/// What a command is about: these topics, and of each all partitions or some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topics(BTreeMap<String, Option<BTreeSet<i32>>>);

impl Topics {
    /// Puts together what was said of each topic. Who names a topic without partitions means all.
    pub(crate) fn of(specs: &[TopicSpec]) -> Self {
        let mut topics = BTreeMap::<_, Option<BTreeSet<i32>>>::new();
        for TopicSpec { topic, partitions } in specs {
            let named = topics.entry(topic.clone()).or_insert_with(|| Some(BTreeSet::new()));
            *named = named.take().zip(partitions.as_ref()).map(|(named, more)| &named | more);
        }
        Self(topics)
    }

    /// These partitions and no others.
    pub(crate) fn of_partitions<'a>(partitions: impl IntoIterator<Item = (&'a str, i32)>) -> Self {
        let mut topics = BTreeMap::<_, Option<BTreeSet<i32>>>::new();
        for (topic, partition) in partitions {
            topics.entry(topic.to_owned()).or_default().get_or_insert_default().insert(partition);
        }
        Self(topics)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Those partitions of a topic that are meant, of the `existing` ones.
    ///
    /// # Errors
    /// One is meant that does not exist.
    pub(crate) fn of_topic(&self, topic: &str, existing: impl Iterator<Item = i32>) -> Result<BTreeSet<i32>, String> {
        let existing: BTreeSet<_> = existing.collect();
        let Some(Some(named)) = self.0.get(topic) else { return Ok(existing) };
        match named.difference(&existing).next() {
            None => Ok(named.clone()),
            Some(missing) => {
                let (count, last) = (existing.len(), existing.last().copied().unwrap_or_default());
                let have = if count == 1 { "only partition 0".to_owned() } else { format!("partitions 0 to {last}") };
                Err(format!("topic {topic} has no partition {missing}; it has {have}"))
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    fn topics(specs: &[&str]) -> Topics {
        Topics::of(&specs.iter().map(|spec| spec.parse().unwrap()).collect::<Vec<_>>())
    }

    fn partitions(of: &Topics, topic: &str) -> Vec<i32> {
        of.of_topic(topic, 0..4).unwrap().into_iter().collect()
    }

    #[test]
    fn a_topic_stands_alone_or_with_some_of_its_partitions() {
        let topics = topics(&["all", "some:2,0", "some:3"]);
        assert_eq!(topics.names().collect::<Vec<_>>(), ["all", "some"]);
        assert_eq!(partitions(&topics, "all"), [0, 1, 2, 3]);
        assert_eq!(partitions(&topics, "some"), [0, 2, 3]);
    }

    #[test]
    fn who_names_a_topic_once_without_partitions_means_all_of_it() {
        for specs in [["t:1", "t"], ["t", "t:1"]] {
            assert_eq!(partitions(&topics(&specs), "t"), [0, 1, 2, 3]);
        }
    }

    #[test]
    fn what_is_no_topic_with_partitions_is_refused() {
        for spec in ["", ":", ":0", "t:", "t:,", "t:0,", "t:-1", "t:x", "t:0:1", "t:0-3", "t:99999999999"] {
            assert!(spec.parse::<TopicSpec>().is_err(), "{spec}");
        }
    }

    #[test]
    fn a_partition_that_does_not_exist_is_named_with_those_that_do() {
        let error = topics(&["t:1,7"]).of_topic("t", 0..4).unwrap_err();
        assert_eq!(error, "topic t has no partition 7; it has partitions 0 to 3");
        let error = topics(&["t:1"]).of_topic("t", 0..1).unwrap_err();
        assert_eq!(error, "topic t has no partition 1; it has only partition 0");
    }
}
