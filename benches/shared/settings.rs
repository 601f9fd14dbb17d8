//! The properties the arms run with.

use serde::{Deserialize, Serialize};

/// Names and values, as they go to librdkafka.
pub(crate) type Properties = Vec<(String, String)>;

/// How a bare consumer is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Settings {
    /// What the engine runs with by default, and its commit interval.
    AsOurs,
    /// librdkafka's own defaults, but for `fetch.queue.backoff.ms`, whose default slows any client to a quarter.
    OwnDefaults,
}

impl Settings {
    /// Of a bare consumer. What the engine sets by default is written out, so that no one has to trust its defaults.
    pub(crate) fn properties(self) -> Properties {
        match self {
            Self::AsOurs => [fetching(), owned(&[("auto.commit.interval.ms", "100")])].concat(),
            Self::OwnDefaults => owned(&[("fetch.queue.backoff.ms", "10")]),
        }
    }
}

/// How any arm of equal settings fetches.
pub(crate) fn fetching() -> Properties {
    owned(&[
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("fetch.queue.backoff.ms", "10"),
        ("fetch.wait.max.ms", "50"),
        ("queued.min.messages", "20000"),
        ("queued.max.messages.kbytes", "4096"),
        ("fetch.message.max.bytes", "1048576"),
    ])
}

/// How both producers of the end-to-end runs send. Their linger is 0.
pub(crate) fn sending() -> Properties {
    owned(&[("enable.idempotence", "true"), ("acks", "all"), ("max.in.flight.requests.per.connection", "5")])
}

fn owned(properties: &[(&str, &str)]) -> Properties {
    properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
