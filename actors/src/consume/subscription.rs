//! What an engine reads.

use std::collections::BTreeSet;

use crate::ids::TopicPartition;

/// What the app has asked to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subscription {
    /// All of these topics; in a group also all that match a pattern, which begins with `^`.
    Topics(Vec<String>),
    /// These partitions, and no others.
    Partitions(Vec<TopicPartition>),
}

impl Subscription {
    /// The topics' names and patterns, each once.
    pub(crate) fn topics(&self) -> BTreeSet<&str> {
        match self {
            Self::Topics(topics) => topics.iter().map(String::as_str).collect(),
            Self::Partitions(partitions) => partitions.iter().map(|each| &*each.topic).collect(),
        }
    }

    /// The patterns among them.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &str> {
        let topics = match self {
            Self::Topics(topics) => topics.as_slice(),
            Self::Partitions(_) => &[],
        };
        topics.iter().map(String::as_str).filter(|topic| topic.starts_with('^'))
    }

    /// For what is said.
    pub(crate) fn listed(&self) -> String {
        self.topics().into_iter().collect::<Vec<_>>().join(", ")
    }
}
