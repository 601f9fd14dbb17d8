//! The first contact with the brokers, within a deadline.

use std::fmt;
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio_util::sync::CancellationToken;

use super::Connection;
use crate::cli::exit::Interrupted;

/// How often librdkafka's errors are looked at, while the brokers' answer is waited for.
const LOOK: Duration = Duration::from_millis(10);
/// How many of librdkafka's errors are shown.
const SHOWN: usize = 4;

/// What the brokers said.
#[derive(Debug)]
pub(crate) struct Reached {
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
            let Some(answer) = metadata.topics().first().filter(|_| topic.is_some()) else {
                return Ok(Reached { partitions: None });
            };
            let name = answer.name();
            match answer.error().map(RDKafkaErrorCode::from) {
                None => return Ok(Reached { partitions: Some(answer.partitions().len()) }),
                Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    return Ok(Reached { partitions: None });
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
            self.servers()
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
                move || drop(tell.send(ask_on(&client, topic.as_deref(), deadline)))
            })
            .context("no thread for the first contact")?;
        loop {
            // What librdkafka has to say reaches the context only while somebody polls.
            let _ = client.poll(LOOK);
            let answer = told.try_recv();
            let ear = client.context();
            if let Some(refused) = ear.refused().filter(|_| !matches!(answer, Ok(Ok(_)))) {
                anyhow::bail!("Kafka at {} refused the connection: {refused}", self.servers());
            }
            if stop.is_cancelled() {
                return Err(Interrupted.into());
            }
            match answer {
                Ok(Ok(metadata)) => return Ok(metadata),
                Ok(Err(error)) => {
                    anyhow::bail!(
                        "cannot reach Kafka at {} within {:?}{}",
                        self.servers(),
                        self.timeout,
                        ear.said(&error)
                    );
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => anyhow::bail!("the thread of the first contact died"),
            }
        }
    }
}

/// Asks again and again until the deadline, or until nobody waits for the answer. A broker that closes the connection ends a request at once.
fn ask_on(client: &Arc<BaseConsumer<Ear>>, topic: Option<&str>, deadline: Instant) -> KafkaResult<Metadata> {
    loop {
        let answer = client.fetch_metadata(topic, deadline.saturating_duration_since(Instant::now()));
        if answer.is_ok() || Instant::now() + LOOK >= deadline || Arc::strong_count(client) == 1 {
            return answer;
        }
        thread::sleep(LOOK);
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

impl Heard {
    fn note(&mut self, reason: &str) {
        // Who says it, how often and after how long differs from one to the next.
        let reason = reason.split_once("]: ").map_or(reason, |(_thread, reason)| reason);
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        if !self.errors.iter().any(|each| each == reason) {
            self.errors.push(reason.to_owned());
        }
    }
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
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))?;
        if self.0.iter().any(|error| error.contains("closed by peer")) {
            f.write_str("\n  perhaps that broker demands another security.protocol")?;
        }
        Ok(())
    }
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // Most errors come to `error` as well. A connection that is closed in good order does not.
        if facility == "FAIL" {
            self.heard().note(text);
        }
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
            _ => heard.note(reason),
        }
    }
}

impl ConsumerContext for Ear {}
