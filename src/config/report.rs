//! What is in force, and where it comes from.

use serde::Serialize;
use troupe_actors::{consumer_defaults_beside, producer_defaults_beside, secret};

use super::layer::Table;
use super::library;
use super::names;
use super::origin::Origin;
use super::properties::Properties;
use super::settings::SettingDoc;
use super::sources::Named;
use super::{Config, ConsumerConfig, ProducerConfig};

/// One setting in force. A secret is shown as `***`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its table and name, as they were written.
    pub name: String,
    /// The value, as a file may hold it; empty where there is none.
    pub value: String,
    /// What it would be if nobody had said anything; empty where there is nothing.
    pub default: String,
    /// Who said it.
    pub origin: Origin,
}

impl Config {
    /// What a consumer runs with: each setting, each property of librdkafka's that somebody has set, and those that the engine sets.
    pub fn consumer_settings(&self) -> Vec<Setting> {
        let docs = ConsumerConfig::SETTINGS;
        let mut settings = self.of(Table::Consumer, docs, &shown(&self.consumer), &shown(&self.loaded.consumer));
        let engines = |properties: &Properties| consumer_defaults_beside(properties.iter());
        settings.extend(self.properties(
            Table::ConsumerKafka,
            &self.consumer.kafka,
            &self.loaded.consumer.kafka,
            engines,
        ));
        settings
    }

    /// What a producer runs with, likewise.
    pub fn producer_settings(&self) -> Vec<Setting> {
        let docs = ProducerConfig::SETTINGS;
        let mut settings = self.of(Table::Producer, docs, &shown(&self.producer), &shown(&self.loaded.producer));
        let engines = |properties: &Properties| producer_defaults_beside(properties.iter());
        settings.extend(self.properties(
            Table::ProducerKafka,
            &self.producer.kafka,
            &self.loaded.producer.kafka,
            engines,
        ));
        settings
    }

    fn of(&self, table: Table, docs: &[SettingDoc], now: &toml::Table, loaded: &toml::Table) -> Vec<Setting> {
        let setting = |doc: &SettingDoc| {
            let value = now.get(doc.name).map(text).filter(|value| !value.is_empty());
            let origin = match (self.named(table, doc.name), now.get(doc.name) == loaded.get(doc.name)) {
                (_, false) => Origin::Code,
                (Some((_, origin)), true) => origin.clone(),
                (None, true) => Origin::Default,
            };
            Setting {
                name: format!("{}.{}", table.name(), doc.name),
                value: value.unwrap_or_else(|| doc.default.to_owned()),
                default: doc.default.to_owned(),
                origin,
            }
        };
        docs.iter().map(setting).collect()
    }

    fn properties(
        &self,
        table: Table,
        now: &Properties,
        loaded: &Properties,
        engines: impl Fn(&Properties) -> Vec<(&'static str, String)>,
    ) -> Vec<Setting> {
        let usual = engines(&Properties::default());
        let default = |name: &str| {
            let of = |defaults: &[(&str, String)]| {
                let is_it = |(each, _): &&(&str, String)| names::canonical(each) == names::canonical(name);
                defaults.iter().find(is_it).map(|(_, value)| value.clone())
            };
            // Some depend on other properties.
            let beside_the_others = || of(&engines(&now.without(name)));
            of(&usual).or_else(beside_the_others).or_else(|| library::default(name)).unwrap_or_default()
        };
        let set = now.iter().map(|(name, value)| {
            let (written, origin) = match self.named(table, name) {
                Some(named) if loaded.get(name) == Some(value) => named.clone(),
                _ => (format!("{}.{name}", table.name()), Origin::Code),
            };
            (written, name, secret::shown(name, value).to_owned(), origin)
        });
        let beside = engines(now);
        let unset = beside
            .iter()
            .map(|(name, value)| (format!("{}.{name}", table.name()), *name, value.clone(), Origin::Default));
        let setting = |(written, name, value, origin): (String, &str, String, Origin)| Setting {
            name: written,
            value,
            default: default(name),
            origin,
        };
        set.chain(unset).map(setting).collect()
    }

    fn named(&self, table: Table, name: &str) -> Option<&(String, Origin)> {
        self.origins.get(&table).and_then(|named: &Named| named.get(name))
    }
}

fn shown(settings: &impl Serialize) -> toml::Table {
    // Only what TOML cannot hold would be an error, such as a list of nothing.
    toml::Table::try_from(settings).unwrap_or_default()
}

fn text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(","),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(value) => value.to_string(),
        // No setting is one of those.
        toml::Value::Datetime(_) | toml::Value::Table(_) => String::new(),
    }
}
