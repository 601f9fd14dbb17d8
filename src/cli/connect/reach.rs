//! The first contact with the brokers, within a deadline.

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio_util::sync::CancellationToken;

use super::Connection;
use crate::cli::exit::Interrupted;

/// How often librdkafka's errors are looked at, while the brokers' answer is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How many of librdkafka's errors are shown.
const SHOWN: usize = 4;

/// What the brokers said.
#[derive(Debug)]
pub(crate) struct Reached {
    /// How many brokers the cluster has.
    #[allow(dead_code, reason = "for commands to come")]
    pub(crate) brokers: usize,
    /// How many partitions the topic has that was asked for, if it exists.
    pub(crate) partitions: Option<usize>,
}

impl Connection {
    /// Waits for the brokers' first word, at most for `--timeout`, and asks them for the topic, if one is named. The topic does not come into
    /// being by that.
    ///
    /// It blocks the thread; `stop` ends it early.
    ///
    /// # Errors
    /// The brokers cannot be reached, with their addresses and what librdkafka said of them; refused authentication or TLS, as soon as
    /// librdkafka says so; no permission for the topic; [`Interrupted`].
    pub(crate) fn reach(&self, topic: Option<&str>, stop: &CancellationToken) -> anyhow::Result<Reached> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let metadata = self.ask(topic, deadline, stop)?;
            let brokers = metadata.brokers().len();
            let Some(answer) = metadata.topics().first().filter(|_| topic.is_some()) else {
                return Ok(Reached { brokers, partitions: None });
            };
            let name = answer.name();
            match answer.error().map(RDKafkaErrorCode::from) {
                None => return Ok(Reached { brokers, partitions: Some(answer.partitions().len()) }),
                Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    return Ok(Reached { brokers, partitions: None });
                }
                Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                    anyhow::bail!(
                        "no permission to see topic {name}: an ACL must allow Describe, or the topic is not there"
                    );
                }
                Some(RDKafkaErrorCode::InvalidTopic) => anyhow::bail!("{name:?} is no valid topic name"),
                // It was just created, or its leader moves.
                Some(_) if Instant::now() + LOOK < deadline => thread::sleep(LOOK),
                Some(error) => anyhow::bail!("topic {name}: {error}"),
            }
        }
    }

    /// [`reach`](Self::reach) for a topic that must exist. Says how many partitions it has.
    ///
    /// # Errors
    /// As `reach`; and the topic does not exist, with what to do.
    pub(crate) fn reach_topic(&self, topic: &str, stop: &CancellationToken) -> anyhow::Result<usize> {
        self.reach(Some(topic), stop)?.partitions.ok_or_else(|| self.missing(topic))
    }

    /// What is said of a topic that does not exist.
    pub(crate) fn missing(&self, topic: &str) -> anyhow::Error {
        anyhow::anyhow!(
            "topic {topic} does not exist at {}; `troupe produce --topic {topic} --create-topic PARTITIONS` creates it",
            self.servers
        )
    }

    fn ask(&self, topic: Option<&str>, deadline: Instant, stop: &CancellationToken) -> anyhow::Result<Metadata> {
        // A consumer's client, for a producer's asks for topics so that they come into being.
        let client: BaseConsumer<Ear> =
            self.client_config().set("allow.auto.create.topics", "false").create_with_context(Ear::default()).map_err(
                |error| match error {
                    KafkaError::ClientCreation(why) => anyhow::anyhow!("librdkafka refused the configuration: {why}"),
                    // Each property has been tried; rdkafka's words hold the value.
                    _ => anyhow::anyhow!("librdkafka refused the configuration"),
                },
            )?;
        let client = Arc::new(client);
        let (tell, told) = mpsc::channel();
        thread::Builder::new()
            .name("first-contact".to_owned())
            .spawn({
                let (client, topic) = (Arc::clone(&client), topic.map(str::to_owned));
                move || {
                    let within = deadline.saturating_duration_since(Instant::now());
                    drop(tell.send(client.fetch_metadata(topic.as_deref(), within)));
                }
            })
            .context("no thread for the first contact")?;
        loop {
            // What librdkafka has to say reaches the context only while somebody polls.
            let _ = client.poll(Duration::ZERO);
            let ear = client.context();
            if let Some(refused) = ear.refused() {
                anyhow::bail!("Kafka at {} refused the connection: {refused}", self.servers);
            }
            if stop.is_cancelled() {
                return Err(Interrupted.into());
            }
            match told.recv_timeout(LOOK) {
                Ok(Ok(metadata)) => return Ok(metadata),
                Ok(Err(error)) => {
                    let _ = client.poll(Duration::ZERO);
                    if let Some(refused) = ear.refused() {
                        anyhow::bail!("Kafka at {} refused the connection: {refused}", self.servers);
                    }
                    anyhow::bail!(
                        "cannot reach Kafka at {} within {:?}{}",
                        self.servers,
                        self.timeout,
                        ear.said(&error)
                    );
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the thread of the first contact died"),
            }
        }
    }
}

/// Hears what librdkafka says of its connections.
#[derive(Default)]
struct Ear {
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    refused: Option<String>,
    errors: Vec<String>,
}

impl Ear {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        // Any content is valid.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Trying again would not help.
    fn refused(&self) -> Option<String> {
        self.heard().refused.clone()
    }

    /// What was said, to go behind what could not be done.
    fn said(&self, error: &KafkaError) -> Said {
        let heard = self.heard();
        if heard.errors.is_empty() {
            return Said(vec![error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())]);
        }
        Said(heard.errors.iter().take(SHOWN).cloned().collect())
    }
}

struct Said(Vec<String>);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // The errors among them come to `error` as well, and are shown once.
        tracing::debug!(target: "librdkafka", ?level, facility, "{text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut heard = self.heard();
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL | RDKafkaErrorCode::SaslAuthenticationFailed,
            ) => {
                heard.refused.get_or_insert_with(|| reason.to_owned());
            }
            // It says nothing that the others do not.
            Some(RDKafkaErrorCode::AllBrokersDown) => {}
            _ if heard.errors.iter().any(|each| each == reason) => {}
            _ => heard.errors.push(reason.to_owned()),
        }
    }
}

impl ConsumerContext for Ear {}
