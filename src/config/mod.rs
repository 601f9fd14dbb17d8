//! Settings of consumers and producers from a TOML file and from variables of the environment; code has the last word.
//!
//! ```toml
//! [kafka]                               # librdkafka's properties, for all clients
//! bootstrap.servers = "localhost:9092"
//!
//! [consumer]
//! group_id = "billing"
//! topics = ["orders"]
//! order = "key"
//! drain_deadline = "5s"
//!
//! [consumer.kafka]                      # more of them, for consumers
//! fetch.min.bytes = 1024
//!
//! [producer]
//! linger = "20ms"
//! ```
//!
//! ```no_run
//! use kafka_troupe::Record;
//! use kafka_troupe::config::Config;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The file, and over it TROUPE_CONSUMER__ORDER, TROUPE_KAFKA__SASL_PASSWORD and their like.
//! let config = Config::load("troupe.toml")?;
//! let consumer = config.consumer.builder().handler(|record: &Record| println!("{}", record.offset())).start()?;
//! # consumer.wait_blocking()?;
//! # Ok(())
//! # }
//! ```
//!
//! `docs/configuration.md` has every setting, with its default and why it is that. What is wrong is an error that names the place. An app
//! with a configuration of its own makes [`ConsumerConfig`] and [`ProducerConfig`] parts of it: they are plain serde structs.

mod check;
mod consumer;
mod error;
mod file;
mod layer;
mod library;
mod names;
mod nearest;
mod origin;
mod producer;
mod properties;
mod read;
mod report;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod value;
mod variables;

use std::collections::BTreeMap;
use std::path::Path;

pub use consumer::ConsumerConfig;
pub use error::ConfigError;
pub use origin::Origin;
pub use producer::ProducerConfig;
pub use properties::Properties;
pub use report::Setting;
pub use settings::SettingDoc;
pub use sources::Sources;

use layer::Table;
use sources::Named;

/// What the tool needs besides; no part of what people use.
#[doc(hidden)]
pub mod tool {
    pub use super::library::{Answer, ask, has};
    pub use super::names::Role;
    pub use super::value::duration::parse as parse_duration;
}

/// Settings of consumers and producers, put together from [`Sources`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The table `[consumer]`; its properties are those of `[kafka]` too.
    pub consumer: ConsumerConfig,
    /// The table `[producer]`, likewise.
    pub producer: ProducerConfig,
    /// The table `[kafka]`, for clients that neither consume nor produce.
    pub kafka: Properties,
    /// As they were before code changed them.
    loaded: Box<Loaded>,
    origins: BTreeMap<Table, Named>,
}

#[derive(Debug, Clone)]
struct Loaded {
    consumer: ConsumerConfig,
    producer: ProducerConfig,
}

impl Config {
    /// Reads a TOML file, and over it the variables of this process.
    ///
    /// # Errors
    /// As [`Sources::file`], [`Sources::environment`] and [`Sources::load`].
    pub fn load(file: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Sources::new().file(file)?.environment()?.load()
    }

    fn new(
        consumer: ConsumerConfig,
        producer: ProducerConfig,
        kafka: Properties,
        origins: BTreeMap<Table, Named>,
    ) -> Self {
        let loaded = Box::new(Loaded { consumer: consumer.clone(), producer: producer.clone() });
        Self { consumer, producer, kafka, loaded, origins }
    }
}
