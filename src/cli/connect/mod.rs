//! How a command finds its Kafka: the options that every command that connects has, and the first contact.
//!
//! - A file of properties, as Java's tools take it, is read: [`properties_file`].
//! - Java's names become librdkafka's: [`java`], with [`jaas`] and [`stores`] for what takes more than a name.
//! - librdkafka says what it knows and what it was built with: [`library`].
//! - A producer is not given the consumer's properties, nor the reverse: [`role`].
//! - The first contact, with a deadline: [`reach`].

mod jaas;
mod java;
mod library;
mod properties_file;
mod reach;
mod role;
mod stores;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kafka_troupe::produce::ProducerBuilder;
use kafka_troupe::{Consumer, ConsumerBuilder, Producer};
use rdkafka::ClientConfig;
use troupe_actors::secret;

use super::duration;
use super::exit::Misuse;
use java::Meaning;
use library::Answer;
use role::Role;

/// The options of every command that connects.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// Brokers to begin with, separated by commas
    ///
    /// Where it is missing, bootstrap.servers in the properties says it.
    #[arg(long, value_name = "HOST:PORT", alias = "broker-list")]
    bootstrap_server: Option<String>,
    /// Read properties from a file, as Java's tools do
    ///
    /// Java's names are understood as well as librdkafka's. Passwords belong here, where
    /// no list of processes shows them.
    #[arg(long, value_name = "FILE", alias = "consumer.config", verbatim_doc_comment)]
    command_config: Option<PathBuf>,
    /// Set a property, over the file's; repeatable
    #[arg(short = 'X', value_name = "NAME=VALUE")]
    assignments: Vec<Assignment>,
    /// How long the first contact may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
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

impl Connect {
    /// Reads the file, puts all properties together and warns of those that mean nothing. It connects to nothing yet.
    ///
    /// # Errors
    /// [`Misuse`] for a property or value that cannot be, for no brokers, and for TLS or SCRAM where this was built without; another error
    /// where the file cannot be read.
    pub(crate) fn resolve(&self) -> anyhow::Result<Connection> {
        let mut given = match &self.command_config {
            Some(path) => read(path)?,
            None => Vec::new(),
        };
        for (index, Assignment(assignment)) in self.assignments.iter().enumerate() {
            let Some((name, value)) = assignment.split_once('=') else {
                return Err(Misuse(format!("-X takes NAME=VALUE, and number {} has no `=`", index + 1)).into());
            };
            given.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let mut connection = Connection::of(&given).map_err(Misuse::from)?;
        if let Some(servers) = &self.bootstrap_server {
            connection.servers.clone_from(servers);
        }
        if connection.servers.is_empty() {
            return Err(Misuse(
                "which Kafka? Give --bootstrap-server HOST:PORT, or bootstrap.servers in --command-config FILE"
                    .to_owned(),
            )
            .into());
        }
        connection.timeout = self.timeout;
        Ok(connection)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(properties_file::parse(&file).map_err(|error| Misuse(format!("{}: {error}", path.display())))?)
}

/// How to connect: brokers and properties, checked. Values of secret ones are not shown.
#[derive(Clone)]
pub(crate) struct Connection {
    servers: String,
    timeout: Duration,
    /// librdkafka's, each under the first of its names.
    properties: BTreeMap<String, String>,
    linger: Option<Duration>,
    buffer_bytes: Option<usize>,
    buffer_records: Option<usize>,
}

impl Connection {
    /// How long the first contact, and other things that are asked of a broker once, may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A property by librdkafka's name for it, if it was set: `group.id`, say.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// A producer with these properties, to go on building with.
    pub(crate) fn producer(&self) -> ProducerBuilder {
        let mut builder = Producer::builder().bootstrap_servers(&self.servers);
        for (name, value) in self.of_role(Role::Producer) {
            builder = builder.property(name, value);
        }
        if let Some(linger) = self.linger {
            builder = builder.linger(linger);
        }
        if let Some(bytes) = self.buffer_bytes {
            builder = builder.buffer_bytes(bytes);
        }
        if let Some(records) = self.buffer_records {
            builder = builder.buffer_records(records);
        }
        builder
    }

    /// A consumer with these properties, to go on building with. The group is the properties' `group.id` until the builder is told another.
    pub(crate) fn consumer(&self) -> ConsumerBuilder {
        let builder = Consumer::builder().bootstrap_servers(&self.servers);
        self.of_role(Role::Consumer).fold(builder, |builder, (name, value)| builder.property(name, value))
    }

    /// librdkafka's configuration of a client that neither produces nor consumes.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in self.of_role(Role::Neither) {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.servers);
        config
    }

    fn of_role(&self, role: Role) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().filter(move |(name, _)| role.takes(name)).map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Takes properties in the order given, a later one over an earlier.
    fn of(given: &[(String, String)]) -> Result<Self, Refused> {
        let mut connection = Self {
            servers: String::new(),
            timeout: Duration::ZERO,
            properties: BTreeMap::new(),
            linger: None,
            buffer_bytes: None,
            buffer_records: None,
        };
        let protocol = Protocol::of(given)?;
        for (name, value) in given {
            if let Some(why) = protocol.does_without(name) {
                tracing::info!("property {name} is left out: {why}");
            } else {
                connection.take(name, value)?;
            }
        }
        Ok(connection)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        match java::translate(name, value)? {
            Meaning::Servers => value.clone_into(&mut self.servers),
            Meaning::Linger(linger) => self.linger = Some(linger),
            Meaning::BufferBytes(bytes) => self.buffer_bytes = Some(bytes),
            Meaning::BufferRecords(records) => self.buffer_records = Some(records),
            Meaning::Needless(why) => tracing::info!("property {name} is left out: {why}"),
            Meaning::Unsupported(why) => tracing::warn!("property {name} is not supported and left out: {why}"),
            Meaning::Library(properties) => {
                for (new, value) in properties {
                    self.set(name, new, value)?;
                }
            }
            Meaning::Same => self.set(name, name, value.to_owned())?,
        }
        Ok(())
    }

    /// Sets librdkafka's property `name` for what was `given` under that name or another.
    fn set(&mut self, given: &str, name: &str, value: String) -> Result<(), Refused> {
        // The engine knows more of its values than librdkafka does.
        let answer = if name == "auto.offset.reset" { Answer::Taken } else { library::ask(name, &value) };
        match answer {
            Answer::Taken => {
                self.properties.insert(name.to_owned(), value);
                Ok(())
            }
            Answer::Unknown => {
                tracing::warn!("property {given} is known neither to librdkafka nor to Java's clients, and left out");
                Ok(())
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
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_map();
        shown.entry(&"bootstrap.servers", &self.servers);
        shown.entries(self.properties.iter().map(|(name, value)| (name, secret::shown(name, value)))).finish()
    }
}

fn built_without(what: &str, feature: &str) -> String {
    format!("this troupe was built without {what}; get it with: cargo install kafka-troupe --features {feature}")
}

/// What stands between client and broker.
struct Protocol {
    tls: bool,
    sasl: bool,
    oauth: bool,
}

impl Protocol {
    /// The protocol asked for, if this librdkafka can speak it.
    fn of(given: &[(String, String)]) -> Result<Self, Refused> {
        let last = |names: &[&str]| given.iter().rfind(|(name, _)| names.contains(&name.as_str()));
        let protocol = last(&["security.protocol"]).map_or(String::new(), |(_, value)| value.to_ascii_uppercase());
        let (tls, sasl) = (protocol.ends_with("SSL"), protocol.starts_with("SASL_"));
        if tls && !library::has("ssl") {
            return Err(Refused::of("security.protocol", built_without("TLS", "tls")));
        }
        let mechanism = last(&["sasl.mechanism", "sasl.mechanisms"]);
        if let Some((name, mechanism)) = mechanism
            && mechanism.starts_with("SCRAM-")
            && !library::has("sasl_scram")
        {
            return Err(Refused::of(name, built_without("SCRAM, which comes with TLS", "tls")));
        }
        if sasl && mechanism.is_none_or(|(_, mechanism)| mechanism == "GSSAPI") && !library::has("sasl_gssapi") {
            let why = "Kerberos (GSSAPI, Kafka's default) is not supported; PLAIN and SCRAM-SHA-256 or -512 are";
            return Err(Refused::of("sasl.mechanism", why));
        }
        let oauth = mechanism.is_some_and(|(_, mechanism)| mechanism == "OAUTHBEARER");
        Ok(Self { tls, sasl, oauth })
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
