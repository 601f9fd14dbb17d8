//! How a command finds its Kafka and its settings: the options that every command that connects has, and the first contact.
//!
//! - A file of properties, as Java's tools take it, is read: [`properties_file`].
//! - Java's names become librdkafka's, or settings of our own: [`java`], with [`jaas`] and [`stores`] for what takes more than a name;
//!   [`properties`] puts them among the other sources.
//! - What is in force, and who said it: [`print_config`].
//! - The first contact, with a deadline: [`reach`].

mod jaas;
mod java;
mod print_config;
mod properties;
mod properties_file;
mod reach;
mod stores;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kafka_troupe::config::tool::{Role, parse_duration};
use kafka_troupe::config::{Config, ConfigError, Origin, Sources};
use kafka_troupe::produce::{ProducerBuilder, ProducerError};
use kafka_troupe::{ConsumerBuilder, Producer};
use rdkafka::ClientConfig;
use troupe_actors::secret;

use super::exit::Misuse;
pub(crate) use print_config::{PrintConfig, help};
use properties::{Given, Protocol, add, last};

/// The options of every command that connects.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// Brokers to begin with, separated by commas
    ///
    /// Where it is missing, bootstrap.servers in the settings or properties says it.
    #[arg(long, value_name = "HOST:PORT", alias = "broker-list")]
    bootstrap_server: Option<String>,
    /// Read settings from a TOML file
    ///
    /// Its tables are kafka, consumer and producer; docs/configuration.md has all settings.
    /// Variables such as TROUPE_CONSUMER__ORDER and TROUPE_KAFKA__SASL_PASSWORD go over both
    /// files, and options go over variables.
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    config: Option<PathBuf>,
    /// Read properties from a file, as Java's tools do
    ///
    /// Java's names are understood as well as librdkafka's. Passwords belong here, where
    /// no list of processes shows them. It goes over --config.
    #[arg(long, value_name = "FILE", alias = "consumer.config", verbatim_doc_comment)]
    command_config: Option<PathBuf>,
    /// Set a property, over the files' and the variables'; repeatable
    #[arg(short = 'X', value_name = "NAME=VALUE")]
    assignments: Vec<Assignment>,
    /// How long the first contact may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
}

/// `NAME=VALUE`. It is looked at later, for clap would show a malformed one, secret and all.
#[derive(Clone)]
struct Assignment(String);

impl From<String> for Assignment {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once('=') {
            Some((name, value)) => write!(f, "{name}={}", secret::shown(name, value)),
            None => f.write_str(secret::HIDDEN),
        }
    }
}

/// A property that is not taken, and why. It never holds a secret.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    name: String,
    why: String,
}

impl Refused {
    fn of(name: &str, why: impl Into<String>) -> Self {
        Self { name: name.to_owned(), why: why.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "property {}: {}", self.name, self.why)
    }
}

impl From<Refused> for Misuse {
    fn from(refused: Refused) -> Self {
        Self(refused.to_string())
    }
}

/// Starts a producer.
///
/// # Errors
/// [`Misuse`] for settings and properties that cannot be, or not together.
pub(crate) fn started(builder: ProducerBuilder) -> anyhow::Result<Producer> {
    builder.start().map_err(|error| match error {
        ProducerError::Property { .. } | ProducerError::Setting { .. } => Misuse(error.to_string()).into(),
        error => error.into(),
    })
}

/// What an option of a command says about a setting: table and name, value, option.
pub(crate) type Said<'a> = (&'a str, &'a str, &'a str);

impl Connect {
    /// What [`settings`](Self::settings) gives a client that only asks or administers, if it says which Kafka.
    ///
    /// # Errors
    /// As `settings`; and [`Misuse`] for no brokers.
    pub(crate) fn resolve(&self) -> anyhow::Result<Connection> {
        self.settings(Role::Neither, &[])?.with_brokers()
    }

    /// Reads the files, puts all settings together and warns of properties that mean nothing. It connects to nothing yet.
    ///
    /// `options` are what else the command line says, over all the rest.
    ///
    /// # Errors
    /// [`Misuse`] for a setting, property or value that cannot be, and for TLS or SCRAM where this was built without; another error where a
    /// file cannot be read.
    pub(crate) fn settings(&self, role: Role, options: &[Said<'_>]) -> anyhow::Result<Connection> {
        self.put_together(role, options, std::env::vars_os())
    }

    fn put_together<N, V>(
        &self,
        role: Role,
        options: &[Said<'_>],
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> anyhow::Result<Connection>
    where
        N: Into<std::ffi::OsString>,
        V: Into<std::ffi::OsString>,
    {
        let file = match &self.config {
            Some(path) => Sources::new().file(path).map_err(unreadable_or_wrong)?,
            None => Sources::new(),
        };
        let variables = Sources::new().variables(variables).map_err(unreadable_or_wrong)?;
        let told = self.command_config.as_deref().map_or(Ok(Vec::new()), read)?;
        let assigned = self.assigned()?;
        let protocol = Protocol::of(|names| {
            let among = |sources: &Sources| names.iter().find_map(|name| sources.property(role, name));
            last(&assigned, names).or_else(|| among(&variables)).or_else(|| last(&told, names)).or_else(|| among(&file))
        });
        let protocol = protocol.map_err(Misuse::from)?;
        let sources = add(file, &told, &protocol)?.then(variables);
        let mut sources = add(sources, &assigned, &protocol)?;
        let servers =
            self.bootstrap_server.iter().map(|it| ("kafka.bootstrap.servers", it.as_str(), "--bootstrap-server"));
        for (name, value, option) in servers.chain(options.iter().copied()) {
            sources = sources.set(name, value, Origin::Option(option.to_owned())).map_err(unreadable_or_wrong)?;
        }
        let config = sources.load_for(role).map_err(unreadable_or_wrong)?;
        Ok(Connection { config, role, timeout: self.timeout })
    }

    fn assigned(&self) -> Result<Vec<Given>, Misuse> {
        let split = |(index, Assignment(assignment)): (usize, &Assignment)| match assignment.split_once('=') {
            Some((name, value)) => Ok(Given {
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
                origin: Origin::Option("-X".to_owned()),
            }),
            None => Err(Misuse(format!("-X takes NAME=VALUE, and number {} has no `=`", index + 1))),
        };
        self.assignments.iter().enumerate().map(split).collect()
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Given>> {
    let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = properties_file::parse(&file).map_err(|error| Misuse(format!("{}: {error}", path.display())))?;
    let origin = |line| Origin::File { file: path.display().to_string(), line, column: 1 };
    let given = lines.into_iter().map(|it| Given { name: it.name, value: it.value, origin: origin(it.number) });
    Ok(given.collect())
}

/// A file that cannot be read is the environment's fault, what stands in it is the user's.
fn unreadable_or_wrong(error: ConfigError) -> anyhow::Error {
    match error {
        ConfigError::Unreadable { .. } => error.into(),
        wrong => Misuse(wrong.to_string()).into(),
    }
}

/// How to connect, and what with: settings and properties, checked. Values of secret ones are not shown.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    config: Config,
    role: Role,
    timeout: Duration,
}

impl Connection {
    /// The same, if it says which Kafka.
    ///
    /// # Errors
    /// [`Misuse`] for no brokers.
    pub(crate) fn with_brokers(self) -> anyhow::Result<Self> {
        if self.servers().is_empty() {
            return Err(Misuse(
                "which Kafka? Give --bootstrap-server HOST:PORT, or bootstrap.servers in --config FILE (under [kafka]) or \
                 --command-config FILE"
                    .to_owned(),
            )
            .into());
        }
        Ok(self)
    }

    /// How long the first contact, and other things that are asked of a broker once, may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn servers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or_default()
    }

    /// All settings.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// All settings, for a command to say what is its own.
    pub(crate) fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// One of librdkafka's properties, by any of its names, if it was set for a client of this command's.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.properties().get(name)
    }

    fn properties(&self) -> &kafka_troupe::config::Properties {
        match self.role {
            Role::Consumer => &self.config.consumer.kafka,
            Role::Producer => &self.config.producer.kafka,
            Role::Neither => &self.config.kafka,
        }
    }

    /// A producer with these settings, to go on building with.
    pub(crate) fn producer(&self) -> ProducerBuilder {
        self.config.producer.builder()
    }

    /// A consumer with these settings, to go on building with.
    pub(crate) fn consumer(&self) -> ConsumerBuilder {
        self.config.consumer.builder()
    }

    /// librdkafka's configuration of a client that neither produces nor consumes.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in self.properties().iter().filter(|(name, _)| Role::Neither.takes(name)) {
            config.set(name, value);
        }
        config
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
