//! librdkafka's properties: what the engine needs, what it takes over, and what it leaves to the app.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;

use crate::aliases::other_name;
use crate::consume::error::ConsumerError;
use crate::consume::membership::StaticMember;
use crate::consume::resolver::AutoOffsetReset;
use crate::secret;

/// What librdkafka runs with unless the app says otherwise: name, value.
///
/// - `fetch.queue.backoff.ms`: librdkafka's 1000 leaves a partition whose queue was full out of the fetches for a second.
/// - `fetch.wait.max.ms`: one fetch is in flight per broker; while idle partitions long-poll, a busy one waits with them.
/// - `topic.metadata.refresh.interval.ms`: how long a partition that is added to a topic, or a topic that begins to match a pattern, goes
///   unnoticed by a group. librdkafka's 300000 leaves their records lying for five minutes; a request of a few hundred bytes every half minute
///   is nothing.
/// - `queued.*` and `fetch.message.max.bytes` bound what is prefetched, per partition. `queued.min.messages` is above what one fetch brings
///   (1 MiB is about 9,500 records of 100 bytes), so that the next fetch is under way while this one is worked on: with 10,000 a backlog in
///   one partition ran at 0.77 to 0.85 of the rate of one in eight, with 20,000 at 0.93 (docs/results).
const DEFAULTS: &[(&str, &str)] = &[
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.wait.max.ms", "50"),
    (REFRESH, "30000"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.message.max.bytes", "1048576"),
];

const REFRESH: &str = "topic.metadata.refresh.interval.ms";
/// Java's name for the same; librdkafka's own meaning of it, when a cache entry expires, refreshes nothing.
const MAX_AGE: &str = "metadata.max.age.ms";
/// librdkafka's own.
const SESSION_TIMEOUT_MS: u64 = 45_000;

/// What librdkafka spends on a queued record beside its bytes: a backlogged partition of 10,000 records of 100 bytes was seen to take
/// about 9 MB.
const RECORD_COST: u64 = 512;

const AUTO_COMMIT: &str = "enable.auto.commit";
/// A static member's name.
pub(crate) const INSTANCE: &str = "group.instance.id";

/// What the engine must decide itself: name, value, why.
const OWNED: &[(&str, &str, &str)] = &[
    (AUTO_COMMIT, "false", "the engine commits exactly what is processed"),
    ("enable.auto.offset.store", "false", "the engine commits exactly what is processed"),
    ("enable.partition.eof", "true", "the end-of-partition offset closes the gap behind the last record"),
];

/// What a consumer's properties begin with that hold for any client of its cluster: how to reach it, and who comes.
const OF_ANY_CLIENT: &[&str] = &[
    "api.version.",
    "broker.address.",
    "client.",
    "connections.",
    "enable.sasl.",
    "enable.ssl.",
    "https.",
    "reconnect.",
    "resolve.",
    "retry.backoff",
    "sasl.",
    "security.",
    "socket.",
    "ssl.",
];

/// Properties by name. Values of secret ones are not shown.
#[derive(Clone, Default)]
pub(crate) struct Properties(BTreeMap<String, String>);

impl Properties {
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        if let Some(other) = other_name(&name) {
            self.0.remove(other);
        }
        self.0.insert(name, value.into());
    }

    /// Sets it where the app has not.
    pub(crate) fn set_default(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// By either name, where it has two.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).or_else(|| self.0.get(other_name(name)?)).map(String::as_str)
    }

    /// Those that hold for a producer on the same cluster too, but for its addresses.
    pub(crate) fn shared_with_producers(&self) -> impl Iterator<Item = (&str, &str)> {
        let shared = self.0.iter().filter(|(name, _)| OF_ANY_CLIENT.iter().any(|begin| name.starts_with(begin)));
        shared.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Takes `auto.offset.reset` out: the engine resets itself, for librdkafka would do it silently.
    pub(crate) fn take_offset_reset(&mut self) -> Result<Option<AutoOffsetReset>, ConsumerError> {
        let Some(value) = self.0.remove("auto.offset.reset") else {
            return Ok(None);
        };
        match value.as_str() {
            "earliest" | "smallest" | "beginning" => Ok(Some(AutoOffsetReset::Earliest)),
            "latest" | "largest" | "end" => Ok(Some(AutoOffsetReset::Latest)),
            "none" | "error" => Ok(Some(AutoOffsetReset::None)),
            other => Err(configuration(format!("auto.offset.reset={other}: use earliest, latest or none"))),
        }
    }

    /// The client's configuration: defaults, then these, then what the engine owns.
    ///
    /// With `client_commits` librdkafka commits by itself, as often as `auto.commit.interval.ms` says.
    pub(crate) fn client_config(&self, client_commits: bool) -> Result<ClientConfig, ConsumerError> {
        let owned = || OWNED.iter().filter(|(name, ..)| !(client_commits && *name == AUTO_COMMIT));
        for (name, ..) in owned() {
            if let Some(asked) = self.get(name)
                && let Some(why) = refused(name, asked)
            {
                return Err(configuration(format!("{name}={asked} is refused: {why}; leave it out")));
            }
        }
        let mut config = ClientConfig::new();
        for (name, value) in self.defaults() {
            config.set(name, value);
        }
        for (name, value) in &self.0 {
            config.set(name, value);
        }
        for (name, value, _) in owned() {
            config.set(*name, *value);
        }
        if client_commits {
            config.set(AUTO_COMMIT, "true");
        }
        // An offset that is out of range is reported, never silently reset.
        config.set("auto.offset.reset", "error");
        Ok(config)
    }

    /// What librdkafka runs with beside these.
    fn defaults(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let left = DEFAULTS.iter().filter(move |(name, _)| {
            // KIP-848 has no client-side assignor: librdkafka refuses the property with it.
            let pointless = self.new_protocol() && *name == "partition.assignment.strategy";
            self.get(name).is_none() && !pointless
        });
        left.map(|(name, value)| match self.get(MAX_AGE) {
            Some(max_age) if *name == REFRESH => (REFRESH, max_age),
            _ => (*name, *value),
        })
    }

    /// Whether the group is of the consumer protocol (KIP-848).
    pub(crate) fn new_protocol(&self) -> bool {
        self.get("group.protocol") == Some("consumer")
    }

    /// The static member that these make, if they make one.
    pub(crate) fn static_member(&self) -> Option<StaticMember> {
        let instance = self.get(INSTANCE).filter(|instance| !instance.is_empty())?.to_owned();
        let timeout = self.get("session.timeout.ms").and_then(|timeout| timeout.parse().ok());
        Some(StaticMember {
            instance,
            group: self.get("group.id").unwrap_or_default().to_owned(),
            session_timeout_ms: (!self.new_protocol()).then(|| timeout.unwrap_or(SESSION_TIMEOUT_MS)),
        })
    }

    /// The most bytes that librdkafka holds for one partition: its queue's limit, the fetch that may follow a queue just below it, and what
    /// it spends on each queued record itself. A compressed fetch can hold more, by as much as it shrank.
    pub(crate) fn queue_bytes(&self) -> u64 {
        let number = |name: &str| {
            let default = DEFAULTS.iter().find(|(each, _)| *each == name).map(|(_, value)| *value);
            self.get(name).or(default).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
        };
        number("queued.max.messages.kbytes") * 1024
            + number("fetch.message.max.bytes")
            + number("queued.min.messages") * RECORD_COST
    }
}

/// What a consumer with these properties gives librdkafka beside them: name and value.
pub fn defaults_beside<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(&'static str, String)> {
    let mut properties = Properties::default();
    given.into_iter().for_each(|(name, value)| properties.set(name, value));
    properties.defaults().map(|(name, value)| (name, value.to_owned())).collect()
}

/// Why a consumer does not take this value of the property, if the property is its own to decide.
pub fn refused(name: &str, value: &str) -> Option<&'static str> {
    OWNED.iter().find(|(owned, its, _)| *owned == name && *its != value).map(|(.., why)| *why)
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| (name, secret::shown(name, value)));
        f.debug_map().entries(shown).finish()
    }
}

pub(crate) fn configuration(reason: String) -> ConsumerError {
    ConsumerError::Configuration { reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::aliases::ALIASES;

    #[test]
    fn a_property_that_the_engine_owns_is_refused_with_the_reason() {
        let mut properties = Properties::default();
        properties.set("enable.auto.commit", "true");
        let error = properties.client_config(false).unwrap_err().to_string();
        assert!(error.contains("enable.auto.commit=true is refused"), "{error}");
        properties.set("enable.auto.commit", "false");
        assert!(properties.client_config(false).is_ok());
        // Where the client commits, it is this that is set, and still not what was handed out that is stored.
        properties.set("enable.auto.commit", "true");
        let config = properties.client_config(true).unwrap();
        let both = [config.get("enable.auto.commit"), config.get("enable.auto.offset.store")];
        assert_eq!(both, [Some("true"), Some("false")]);
    }

    #[test]
    fn the_app_overrides_defaults_and_the_new_protocol_has_no_assignor() {
        let mut properties = Properties::default();
        properties.set("fetch.wait.max.ms", "5");
        let config = properties.client_config(false).unwrap();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("5"));
        assert_eq!(config.get("partition.assignment.strategy"), Some("cooperative-sticky"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
        properties.set("group.protocol", "consumer");
        assert_eq!(properties.client_config(false).unwrap().get("partition.assignment.strategy"), None);
    }

    #[test]
    fn a_producer_beside_it_has_the_way_to_the_cluster_and_nothing_of_groups_and_fetches() {
        let mut properties = Properties::default();
        let shared = [("client.id", "me"), ("sasl.password", "hunter2"), ("ssl.ca.location", "/ca.pem")];
        let own =
            [("bootstrap.servers", "b"), ("fetch.wait.max.ms", "5"), ("group.id", "g"), ("session.timeout.ms", "9")];
        shared.iter().chain(&own).for_each(|(name, value)| properties.set(*name, *value));
        assert_eq!(properties.shared_with_producers().collect::<Vec<_>>(), shared);
    }

    #[test]
    fn a_default_does_not_stand_beside_the_same_by_another_name() {
        let mut properties = Properties::default();
        properties.set("max.partition.fetch.bytes", "5000");
        let config = properties.client_config(false).unwrap();
        assert_eq!(config.get("max.partition.fetch.bytes"), Some("5000"));
        assert_eq!(config.get("fetch.message.max.bytes"), None);
    }

    #[test]
    fn of_two_names_the_last_word_counts_and_either_reads_it() {
        for (one, other) in ALIASES {
            for (first, last) in [(one, other), (other, one)] {
                let mut properties = Properties::default();
                properties.set(*first, "1");
                properties.set(*last, "2");
                assert_eq!([first, last].map(|name| properties.get(name)), [Some("2"); 2]);
                let config = properties.client_config(false).unwrap();
                assert_eq!((config.get(first), config.get(last)), (None, Some("2")));
            }
        }
    }

    #[test]
    fn topics_are_looked_at_every_half_minute_or_as_often_as_the_app_says_by_either_name() {
        let mut properties = Properties::default();
        let refresh = |properties: &Properties| {
            properties.client_config(false).unwrap().get("topic.metadata.refresh.interval.ms").unwrap().to_owned()
        };
        assert_eq!(refresh(&properties), "30000");
        properties.set("metadata.max.age.ms", "7000");
        assert_eq!(refresh(&properties), "7000");
        properties.set("topic.metadata.refresh.interval.ms", "500");
        assert_eq!(refresh(&properties), "500");
    }

    #[test]
    fn a_static_member_waits_out_its_own_session_or_the_brokers() {
        let mut properties = Properties::default();
        assert_eq!(properties.static_member(), None);
        properties.set("group.id", "g");
        properties.set("group.instance.id", "a");
        let waits = |properties: &Properties| properties.static_member().unwrap().session_timeout_ms;
        assert_eq!(waits(&properties), Some(45_000));
        properties.set("session.timeout.ms", "6000");
        assert_eq!(waits(&properties), Some(6000));
        properties.set("group.protocol", "consumer");
        assert_eq!(waits(&properties), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut properties = Properties::default();
        properties.set("sasl.password", "hunter2");
        properties.set("SASL.JAAS.CONFIG", "hunter2");
        properties.set("client.id", "me");
        let shown = format!("{properties:?}");
        assert!(shown.contains("***") && shown.contains("me") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_queue_of_a_partition_holds_its_limit_one_fetch_and_what_records_cost() {
        let mut properties = Properties::default();
        assert_eq!(properties.queue_bytes(), (5 << 20) + 20_000 * 512);
        properties.set("queued.max.messages.kbytes", "1024");
        assert_eq!(properties.queue_bytes(), (2 << 20) + 20_000 * 512);
        properties.set("max.partition.fetch.bytes", "2097152");
        assert_eq!(properties.queue_bytes(), (3 << 20) + 20_000 * 512);
    }
}
