//! Properties as Java's or librdkafka's clients are told them become settings.

use kafka_troupe::config::tool::{Answer, ask, has};
use kafka_troupe::config::{ConfigError, Origin, Sources};
use troupe_actors::secret;

use super::Refused;
use super::java::{self, Meaning};
use crate::cli::exit::Misuse;

/// A property that somebody gave, and where.
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// The value that was given last under one of these names.
pub(super) fn last(given: &[Given], names: &[&str]) -> Option<String> {
    given.iter().rfind(|each| names.contains(&each.name.as_str())).map(|each| each.value.clone())
}

/// Adds properties in the order given, a later one over an earlier. What nobody knows is named in the log and left out.
pub(super) fn add(sources: Sources, given: &[Given], protocol: &Protocol) -> Result<Sources, Misuse> {
    given.iter().try_fold(sources, |sources, each| {
        if let Some(why) = protocol.does_without(&each.name) {
            tracing::info!("property {} is left out: {why}", each.name);
            return Ok(sources);
        }
        let settings = settings(&each.name, &each.value)?;
        let set = |sources: Sources, (name, value): (String, String)| sources.set(&name, value, each.origin.clone());
        settings.into_iter().try_fold(sources, set).map_err(|error: ConfigError| Misuse(error.to_string()))
    })
}

/// The settings that a property means, by table and name.
fn settings(name: &str, value: &str) -> Result<Vec<(String, String)>, Refused> {
    let one = |name: &str, value: String| Ok(vec![(name.to_owned(), value)]);
    match java::translate(name, value)? {
        Meaning::Setting(name, value) => one(name, value),
        Meaning::Needless(why) => {
            tracing::info!("property {name} is left out: {why}");
            Ok(Vec::new())
        }
        Meaning::Unsupported(why) => {
            tracing::warn!("property {name} is not supported and left out: {why}");
            Ok(Vec::new())
        }
        Meaning::Library(properties) => {
            let mut settings = Vec::new();
            for (new, value) in properties {
                settings.extend(checked(name, new, value)?);
            }
            Ok(settings)
        }
        Meaning::Same => Ok(checked(name, name, value.to_owned())?.into_iter().collect()),
    }
}

/// librdkafka's property `name`, for what was `given` under that name or another, if librdkafka knows it.
fn checked(given: &str, name: &str, value: String) -> Result<Option<(String, String)>, Refused> {
    match ask(name, &value) {
        Answer::Taken => Ok(Some((format!("kafka.{name}"), value))),
        Answer::Unknown => {
            tracing::warn!("property {given} is known neither to librdkafka nor to Java's clients, and left out");
            Ok(None)
        }
        Answer::NotBuilt(_) if name == "compression.codec" && value == "zstd" => {
            Err(Refused::of(given, built_without("zstd", "zstd")))
        }
        Answer::NotBuilt(why) | Answer::Invalid(why) => {
            let value = secret::shown(name, &value);
            Err(Refused::of(given, format!("{value:?} is not taken: {why}")))
        }
    }
}

fn built_without(what: &str, feature: &str) -> String {
    format!("this troupe was built without {what}; get it with: cargo install kafka-troupe --features {feature}")
}

/// What stands between client and broker.
pub(super) struct Protocol {
    tls: bool,
    sasl: bool,
    oauth: bool,
}

impl Protocol {
    /// The protocol asked for, if this librdkafka can speak it. `asked` gives what is set last under one of these names.
    pub(super) fn of(asked: impl Fn(&[&str]) -> Option<String>) -> Result<Self, Refused> {
        let protocol = asked(&["security.protocol"]).map(|protocol| protocol.to_ascii_uppercase()).unwrap_or_default();
        let (tls, sasl) = (protocol.ends_with("SSL"), protocol.starts_with("SASL_"));
        if tls && !has("ssl") {
            return Err(Refused::of("security.protocol", built_without("TLS", "tls")));
        }
        let mechanism = asked(&["sasl.mechanism", "sasl.mechanisms"]);
        let mechanism = mechanism.as_deref();
        if mechanism.is_some_and(|mechanism| mechanism.starts_with("SCRAM-")) && !has("sasl_scram") {
            return Err(Refused::of("sasl.mechanism", built_without("SCRAM, which comes with TLS", "tls")));
        }
        if sasl && mechanism.is_none_or(|mechanism| mechanism == "GSSAPI") && !has("sasl_gssapi") {
            let why = "Kerberos (GSSAPI, Kafka's default) is not supported; PLAIN and SCRAM-SHA-256 or -512 are";
            return Err(Refused::of("sasl.mechanism", why));
        }
        Ok(Self { tls, sasl, oauth: mechanism == Some("OAUTHBEARER") })
    }

    /// Why a property means nothing under this protocol. Java's clients do not look at it either.
    fn does_without(&self, name: &str) -> Option<&'static str> {
        if !self.tls && name.starts_with("ssl.") {
            Some("security.protocol is neither SSL nor SASL_SSL")
        } else if !self.sasl && name.starts_with("sasl.") {
            Some("security.protocol is neither SASL_PLAINTEXT nor SASL_SSL")
        } else if !self.oauth && name.starts_with("sasl.oauthbearer.") {
            Some("sasl.mechanism is not OAUTHBEARER")
        } else {
            None
        }
    }
}
