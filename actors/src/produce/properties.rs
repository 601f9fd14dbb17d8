//! Which of librdkafka's properties are the user's, and what the producer sets itself. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;

use super::ProducerError;
use crate::aliases::other_name;
use crate::secret;

/// Properties that the producer sets or relies on, with what to do instead.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use `bootstrap_servers`"),
    ("metadata.broker.list", "use `bootstrap_servers`"),
    ("linger.ms", "use `linger`"),
    ("queue.buffering.max.ms", "use `linger`"),
    ("queue.buffering.max.messages", "use `buffer_records`"),
    ("queue.buffering.max.kbytes", "use `buffer_bytes`"),
    ("partitioner", "use `partitioner`"),
    ("sticky.partitioning.linger.ms", "use `partitioner`"),
    ("delivery.report.only.error", "every record is answered"),
    ("queuing.strategy", "the order of records is kept"),
    ("log.queue", "the log flows into tracing"),
    ("statistics.interval.ms", "see `Producer::state`"),
    ("transactional.id", "transactions are not supported"),
];

const IDEMPOTENCE: &str = "enable.idempotence";
const ACKS: &str = "acks";

/// Set unless the user says otherwise, by either name.
const DEFAULTS: &[(&str, &str)] = &[(IDEMPOTENCE, "true"), (ACKS, "all")];

/// Set without idempotence, likewise. librdkafka's 1,000,000 would send each small batch at once in a request of its own: it is what waits for an answer that
/// makes the next requests larger, for librdkafka has no linger here. With idempotence it never has more than 5.
const DEFAULTS_WITHOUT_IDEMPOTENCE: &[(&str, &str)] = &[("max.in.flight.requests.per.connection", "5")];

/// How often librdkafka looks at its topics again, unless `REFRESH` says otherwise.
const REFRESH: &str = "topic.metadata.refresh.interval.ms";

/// What the user set, last word first served. Values of secret ones are not shown.
#[derive(Clone, Default)]
pub(super) struct Properties(BTreeMap<String, String>);

impl Properties {
    pub(super) fn set(&mut self, name: String, value: String) {
        if let Some(other) = other_name(&name) {
            self.0.remove(other);
        }
        self.0.insert(name, value);
    }

    /// The first property that is not the user's.
    pub(super) fn check(&self) -> Result<(), ProducerError> {
        match self.0.keys().find_map(|name| Some((name, refused(name)?))) {
            Some((name, reason)) => Err(ProducerError::Property { name: name.clone(), reason }),
            None => self.check_acks(),
        }
    }

    fn check_acks(&self) -> Result<(), ProducerError> {
        let properties = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        match refused_together(properties) {
            Some((name, reason)) => Err(ProducerError::Property { name: name.to_owned(), reason }),
            None => Ok(()),
        }
    }

    /// librdkafka's configuration, but for what the builder adds.
    pub(super) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in self.defaults() {
            config.set(name, value);
        }
        for (name, value) in &self.0 {
            config.set(name, value);
        }
        config
    }

    /// What librdkafka runs with beside these.
    fn defaults(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let idempotent = !self.0.get(IDEMPOTENCE).is_some_and(|value| is_off(value));
        let others = if idempotent { &[][..] } else { DEFAULTS_WITHOUT_IDEMPOTENCE };
        let defaults = DEFAULTS.iter().chain(others);
        let given = |name: &str| self.0.contains_key(name);
        defaults.filter(move |(name, _)| !(given(name) || other_name(name).is_some_and(given))).copied()
    }

    /// The brokers run in this process, for tests: no address is needed.
    pub(super) fn mocks_brokers(&self) -> bool {
        self.0.contains_key("test.mock.num.brokers")
    }

    /// How often topics are looked at again; at least a second apart. librdkafka's default is five minutes.
    pub(super) fn refresh(&self) -> Duration {
        let milliseconds = self.0.get(REFRESH).and_then(|value| value.parse().ok());
        Duration::from_millis(milliseconds.unwrap_or(300_000).max(1_000))
    }
}

/// What a producer with these properties gives librdkafka beside them: name and value.
pub fn defaults_beside<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(&'static str, String)> {
    let given = given.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Properties(given.collect()).defaults().map(|(name, value)| (name, value.to_owned())).collect()
}

/// Why a producer does not take this property, if it is its own to set, and what to use instead.
pub fn refused(name: &str) -> Option<&'static str> {
    OWNED.iter().find(|(owned, _)| *owned == name).map(|(_, reason)| *reason)
}

/// The property that a producer does not take beside the others, and why.
pub fn refused_together<'a>(
    properties: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<(&'a str, &'static str)> {
    let (mut few, mut idempotent) = (None, true);
    for (name, value) in properties {
        match name {
            name if (name == ACKS || other_name(name) == Some(ACKS)) && matches!(value, "0" | "1") => {
                few = few.or(Some(name))
            }
            IDEMPOTENCE => idempotent = !is_off(value),
            _ => {}
        }
    }
    let reason = "0 and 1 leave idempotence nothing to stand on: set `enable.idempotence` to `false` with it, and retries may \
                  repeat and reorder records";
    few.filter(|_| idempotent).map(|name| (name, reason))
}

/// As librdkafka reads a truth value.
fn is_off(value: &str) -> bool {
    ["false", "f", "0"].iter().any(|off| value.eq_ignore_ascii_case(off))
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| (name, secret::shown(name, value)));
        f.debug_map().entries(shown).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::aliases::ALIASES;

    fn with(name: &str, value: &str) -> Properties {
        let mut properties = Properties::default();
        properties.set(name.to_owned(), value.to_owned());
        properties
    }

    #[test]
    fn a_property_of_the_producers_own_is_refused_with_the_reason() {
        let error = with("linger.ms", "3").check().unwrap_err();
        assert_eq!(error.to_string(), "property linger.ms: use `linger`");
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut properties = with("sasl.password", "hunter2");
        properties.set("client.id".to_owned(), "me".to_owned());
        let shown = format!("{properties:?}");
        assert!(shown.contains("***") && shown.contains("me") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn it_is_idempotent_with_all_acks_unless_told_otherwise() {
        let config = Properties::default().config();
        assert_eq!(config.get("enable.idempotence"), Some("true"));
        assert_eq!(config.get("acks"), Some("all"));
        let mut few = with("request.required.acks", "1");
        let refused = few.check().unwrap_err().to_string();
        assert!(refused.contains("request.required.acks") && refused.contains("enable.idempotence"), "{refused}");
        for off in ["False", "f", "0", "false"] {
            few.set("enable.idempotence".to_owned(), off.to_owned());
            few.check().unwrap();
        }
        let config = few.config();
        assert_eq!(config.get("acks"), None);
        assert_eq!(config.get("request.required.acks"), Some("1"));
    }

    #[test]
    fn of_two_names_the_last_word_counts() {
        for (one, other) in ALIASES {
            for (first, last) in [(one, other), (other, one)] {
                let mut properties = with(first, "1");
                properties.set((*last).to_owned(), "2".to_owned());
                let config = properties.config();
                assert_eq!((config.get(first), config.get(last)), (None, Some("2")));
            }
        }
    }

    #[test]
    fn without_idempotence_five_requests_are_in_flight_unless_told_otherwise_by_any_name() {
        let [long, short] = ["max.in.flight.requests.per.connection", "max.in.flight"];
        let in_flight = |properties: &Properties| {
            let config = properties.config();
            [long, short].map(|name| config.get(name).map(str::to_owned))
        };
        assert_eq!(in_flight(&Properties::default()), [None, None]);
        assert_eq!(in_flight(&with("enable.idempotence", "True")), [None, None]);
        for off in ["false", "F", "0"] {
            assert_eq!(in_flight(&with("enable.idempotence", off)), [Some("5".to_owned()), None]);
        }
        let mut properties = with("enable.idempotence", "false");
        for (name, value, expected) in [
            (short, "1", [None, Some("1")]),
            // The last word counts, by whichever name.
            (long, "7", [Some("7"), None]),
            (short, "2", [None, Some("2")]),
        ] {
            properties.set(name.to_owned(), value.to_owned());
            assert_eq!(in_flight(&properties), expected.map(|value| value.map(str::to_owned)));
        }
    }
}
