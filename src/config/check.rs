//! Whether a property can be set where it stands: said with its place, before anything starts.

use troupe_actors::{refused_by_consumers, refused_by_producers, refused_together_by_producers, secret};

use super::Origin;
use super::error::ConfigError;
use super::layer::{Entry, Table};
use super::library::{Answer, ask};
use super::names::{self, Role};
use super::nearest::nearest;
use super::properties::Properties;
use super::sources::Named;

/// What is a setting of its own here, and where it stands.
pub(super) const MOVED: &[(&str, &str)] =
    &[("group.id", "use group_id in [consumer]"), ("auto.offset.reset", "use auto_offset_reset in [consumer]")];

/// The value of a property.
pub(super) fn property(table: Table, name: &str, entry: &Entry) -> Result<String, ConfigError> {
    let invalid = |why: String| {
        let (origin, name) = (entry.origin.clone(), entry.written.clone());
        Err(ConfigError::Invalid { origin, name, why })
    };
    let value = match entry.value.text() {
        Ok(value) => value,
        Err(why) => return invalid(why),
    };
    // Engines know the name that was written, librdkafka all of them.
    let written = entry.written.strip_prefix(table.name()).map_or(name, |name| name.trim_start_matches('.'));
    if let Some(reason) = [written, name].into_iter().find_map(|name| refusal(table, name, &value)) {
        return Err(ConfigError::Refused { origin: entry.origin.clone(), name: entry.written.clone(), reason });
    }
    // A name may say that it is a secret's, and the other name for it not.
    let shown = if secret::is_secret(written) { secret::HIDDEN } else { secret::shown(name, &value) };
    match ask(name, &value) {
        Answer::Taken => Ok(value),
        Answer::Unknown => {
            let nearest = nearest(written, names::all()).map(|name| format!("{}.{name}", table.name()));
            Err(ConfigError::Unknown { origin: entry.origin.clone(), name: entry.written.clone(), nearest })
        }
        Answer::NotBuilt(why) => {
            let feature = if name.starts_with("compression.") { "zstd" } else { "tls" };
            invalid(format!("{:?}: {why} (build kafka-troupe with the feature `{feature}`)", shown))
        }
        Answer::Invalid(why) => invalid(format!("{shown:?}: {why}")),
    }
}

/// What a producer does not take beside its other properties.
pub(super) fn together(properties: &Properties, named: &Named) -> Result<(), ConfigError> {
    let Some((property, reason)) = refused_together_by_producers(properties.iter()) else { return Ok(()) };
    let (name, origin) = named.get(property).cloned().unwrap_or_else(|| (property.to_owned(), Origin::Default));
    Err(ConfigError::Refused { origin, name, reason: reason.to_owned() })
}

fn refusal(table: Table, name: &str, value: &str) -> Option<String> {
    if let Some((_, instead)) = MOVED.iter().find(|(moved, _)| *moved == name) {
        return Some((*instead).to_owned());
    }
    let (consumers, producers) = (table != Table::ProducerKafka, table != Table::ConsumerKafka);
    if let Some(why) = refused_by_consumers(name, value).filter(|_| consumers) {
        return Some(format!("{why}; leave it out"));
    }
    // A producer's brokers are its builder's own method, and here a property like any other.
    if let Some(why) = refused_by_producers(name).filter(|_| producers && name != "bootstrap.servers") {
        return Some(why.to_owned());
    }
    match table {
        Table::ConsumerKafka if !Role::Consumer.takes(name) => {
            Some("it is for producers, in [producer.kafka]".to_owned())
        }
        Table::ProducerKafka if !Role::Producer.takes(name) => {
            Some("it is for consumers, in [consumer.kafka]".to_owned())
        }
        _ => None,
    }
}
