use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;

use super::check;
use super::error::ConfigError;
use super::layer::{Entry, Layer, Table, Value};
use super::names::Role;
use super::origin::Origin;
use super::properties::Properties;
use super::{Config, file, read, variables};

/// Where settings come from. What is named later wins, setting by setting.
///
/// ```no_run
/// use kafka_troupe::config::Sources;
///
/// # fn main() -> Result<(), kafka_troupe::config::ConfigError> {
/// let config = Sources::new().file("troupe.toml")?.environment()?.load()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Sources {
    layers: Vec<Layer>,
}

impl Sources {
    /// None yet: what [`load`](Self::load) makes of it are the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// A TOML file.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or has a table that does not exist.
    pub fn file(self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { file: path.to_owned(), source })?;
        self.toml(&path.display().to_string(), &text)
    }

    /// The text of a TOML file, from wherever it comes. Messages call it `name`.
    ///
    /// # Errors
    /// It is no TOML, or has a table that does not exist.
    pub fn toml(mut self, name: &str, text: &str) -> Result<Self, ConfigError> {
        self.layers.push(file::read(name, text)?);
        Ok(self)
    }

    /// The variables of this process, `TROUPE_TABLE__NAME`.
    ///
    /// # Errors
    /// As [`variables`](Self::variables).
    pub fn environment(self) -> Result<Self, ConfigError> {
        self.variables(std::env::vars_os())
    }

    /// Variables, from wherever they come: `TROUPE_CONSUMER__ORDER`, say, or `TROUPE_KAFKA__SASL_PASSWORD`. Others are passed over.
    ///
    /// # Errors
    /// One names a table that does not exist, or has one underscore where two belong.
    pub fn variables<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Result<Self, ConfigError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.layers.push(variables::read(variables)?);
        Ok(self)
    }

    /// One setting, `consumer.order` say, with a value as a variable has it. For a command line's options.
    ///
    /// # Errors
    /// There is no such table.
    pub fn set(mut self, name: &str, value: impl Into<String>, origin: Origin) -> Result<Self, ConfigError> {
        let mut layer = Layer::default();
        layer.set(name, Value::Said(value.into()), origin)?;
        self.layers.push(layer);
        Ok(self)
    }

    /// These sources, and then others, which win.
    pub fn then(mut self, others: Self) -> Self {
        self.layers.extend(others.layers);
        self
    }

    /// Puts all together.
    ///
    /// # Errors
    /// A name that does not exist, a value that cannot be, a property that is refused; in whichever source, also where a later one overrides
    /// it.
    pub fn load(self) -> Result<Config, ConfigError> {
        for layer in &self.layers {
            // Each by itself, for what is overridden is to be right too.
            read::settings::<super::ConsumerConfig>(layer.table(Table::Consumer))?;
            read::settings::<super::ProducerConfig>(layer.table(Table::Producer))?;
        }
        let (mut consumer, consumer_origins) = self.settings::<super::ConsumerConfig>(Table::Consumer)?;
        let (mut producer, producer_origins) = self.settings::<super::ProducerConfig>(Table::Producer)?;
        let mut origins = BTreeMap::from([(Table::Consumer, consumer_origins), (Table::Producer, producer_origins)]);
        let mut properties = |role, into| {
            let (properties, named) = self.properties(role)?;
            origins.insert(into, named);
            Ok(properties)
        };
        let kafka = properties(Role::Neither, Table::Kafka)?;
        consumer.kafka = properties(Role::Consumer, Table::ConsumerKafka)?;
        producer.kafka = properties(Role::Producer, Table::ProducerKafka)?;
        Ok(Config::new(consumer, producer, kafka, origins))
    }

    /// The last word on each of a table's settings.
    fn settings<'a, T: Deserialize<'a>>(&'a self, table: Table) -> Result<(T, Named), ConfigError> {
        let merged: BTreeMap<&str, &Entry> = self.layers.iter().flat_map(|layer| layer.table(table)).collect();
        let settings = read::settings(merged.iter().map(|(name, entry)| (*name, *entry)))?;
        let named =
            |(name, entry): (&&str, &&Entry)| ((*name).to_owned(), (entry.written.clone(), entry.origin.clone()));
        Ok((settings, merged.iter().map(named).collect()))
    }

    /// The last word on each property for a client of this role. A source's own table for it wins over `[kafka]` of the same source.
    fn properties(&self, role: Role) -> Result<(Properties, Named), ConfigError> {
        let (mut properties, mut named) = (Properties::default(), Named::new());
        for (layer, table) in
            self.layers.iter().flat_map(|layer| Table::of(role).iter().map(move |each| (layer, *each)))
        {
            for (name, entry) in layer.table(table) {
                let value = check::property(table, name, entry)?;
                // An administrator is given what all share; it is filtered where it is used.
                if role == Role::Neither || role.takes(name) {
                    properties.set(name, value);
                    named.insert(name.to_owned(), (entry.written.clone(), entry.origin.clone()));
                }
            }
        }
        if role == Role::Producer {
            check::together(&properties, &named)?;
        }
        Ok((properties, named))
    }

    /// What a client of this role would get for a property, without a look at whether it may.
    #[doc(hidden)]
    pub fn property(&self, role: Role, name: &str) -> Option<String> {
        let tables =
            self.layers.iter().rev().flat_map(|layer| Table::of(role).iter().rev().map(move |each| (layer, *each)));
        tables.filter_map(|(layer, table)| layer.get(table, name)?.value.text().ok()).next()
    }
}

/// What the settings of a table were called, and where they came from, by name.
pub(super) type Named = BTreeMap<String, (String, Origin)>;
