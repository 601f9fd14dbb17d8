//! What one source says: a file, the environment, a command line. Pure.

use std::collections::BTreeMap;
use std::fmt;

use troupe_actors::secret;

use super::error::ConfigError;
use super::names::{self, Role};
use super::nearest::nearest;
use super::origin::Origin;
use super::{ConsumerConfig, ProducerConfig};

/// The tables of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Properties of librdkafka's, for all clients.
    Kafka,
    ConsumerKafka,
    ProducerKafka,
    Consumer,
    Producer,
}

impl Table {
    /// A table before the one whose name its own begins with.
    pub(super) const ALL: [Self; 5] =
        [Self::Kafka, Self::ConsumerKafka, Self::ProducerKafka, Self::Consumer, Self::Producer];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::ConsumerKafka => "consumer.kafka",
            Self::ProducerKafka => "producer.kafka",
            Self::Consumer => "consumer",
            Self::Producer => "producer",
        }
    }

    pub(super) fn holds_properties(self) -> bool {
        matches!(self, Self::Kafka | Self::ConsumerKafka | Self::ProducerKafka)
    }

    /// The tables of properties that a client of this role looks at, the more general first.
    pub(super) fn of(role: Role) -> &'static [Self] {
        match role {
            Role::Consumer => &[Self::Kafka, Self::ConsumerKafka],
            Role::Producer => &[Self::Kafka, Self::ProducerKafka],
            Role::Neither => &[Self::Kafka],
        }
    }
}

/// What was found, as far as it was said what it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// From a variable or an option: what it is, the setting knows.
    Said(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Value>),
    /// A table where none is expected.
    Table,
}

#[derive(Clone)]
pub(super) struct Entry {
    /// Its table and name, as somebody wrote them.
    pub(super) written: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match secret::is_secret(&self.written) {
            true => f.write_str(secret::HIDDEN),
            false => write!(f, "{:?} ({:#})", self.value, self.origin),
        }
    }
}

/// Settings by table and name. Properties are kept under one of their names, whichever was written.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer(BTreeMap<(Table, String), Entry>);

impl Layer {
    /// Sets `path`, table and name with a dot between, over what was there.
    ///
    /// # Errors
    /// There is no such table.
    pub(super) fn set(&mut self, path: &str, value: Value, origin: Origin) -> Result<Option<Entry>, ConfigError> {
        let in_table = |table: &Table| Some((*table, path.strip_prefix(table.name())?.strip_prefix('.')?));
        let Some((table, name)) = Table::ALL.iter().find_map(in_table) else {
            return Err(no_table(path, origin));
        };
        let name = if table.holds_properties() { names::canonical(name) } else { name };
        let entry = Entry { written: path.to_owned(), value, origin };
        Ok(self.0.insert((table, name.to_owned()), entry))
    }

    /// The same, where nothing may be there yet.
    pub(super) fn set_once(&mut self, path: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        match self.set(path, value, origin.clone())? {
            None => Ok(()),
            Some(before) => {
                let why = format!("it is set already, as {} at {:#}", before.written, before.origin);
                Err(ConfigError::Invalid { origin, name: path.to_owned(), why })
            }
        }
    }

    /// What a table holds, in the names' order.
    pub(super) fn table(&self, table: Table) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().filter(move |((each, _), _)| *each == table).map(|((_, name), entry)| (name.as_str(), entry))
    }

    pub(super) fn get(&self, table: Table, name: &str) -> Option<&Entry> {
        self.0.get(&(table, names::canonical(name).to_owned()))
    }
}

/// What is said of a path that leads into no table.
pub(super) fn no_table(path: &str, origin: Origin) -> ConfigError {
    let name = path.to_owned();
    match Table::ALL.iter().any(|table| table.name() == path) {
        true => ConfigError::Invalid { origin, name, why: "it is a table".to_owned() },
        false => ConfigError::Unknown { origin, name, nearest: elsewhere(path) },
    }
}

/// Where something stands that was looked for in a table that does not exist.
fn elsewhere(path: &str) -> Option<String> {
    let options = |table: Table, names: &'static [super::SettingDoc]| names.iter().map(move |doc| (table, doc.name));
    let known = options(Table::Consumer, ConsumerConfig::SETTINGS)
        .chain(options(Table::Producer, ProducerConfig::SETTINGS))
        .chain(names::all().map(|name| (Table::Kafka, name)));
    let mut moved = known.filter(|(_, name)| *name == path).map(|(table, name)| format!("{}.{name}", table.name()));
    moved.next().or_else(|| {
        let (table, name) = path.split_once('.').map_or((path, None), |(table, name)| (table, Some(name)));
        let table = nearest(table, ["kafka", "consumer", "producer"])?;
        Some(name.map_or_else(|| table.to_owned(), |name| format!("{table}.{name}")))
    })
}
