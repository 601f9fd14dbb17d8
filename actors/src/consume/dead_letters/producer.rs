//! A producer of letters, which is replaced when it has failed for good.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::warn;

use super::letterbox::lock;
use crate::consume::error::ConsumerError;
use crate::consume::properties::configuration;
use crate::produce::{Producer, SendError, Sender};

/// What the producer runs with unless the app says otherwise. The topic is known to exist, and is never created. How large a record may be is
/// the topic's to say, for the one that it is of was taken by a topic too.
const DEFAULTS: &[(&str, &str)] =
    &[("allow.auto.create.topics", "false"), ("message.max.bytes", "1000000000"), ("message.timeout.ms", "60000")];
/// How long a letter waits for the brokers' word of a topic that is known to have existed.
const METADATA: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct LetterProducer {
    servers: String,
    properties: Vec<(String, String)>,
    current: Mutex<Current>,
    /// The engine is over: none is started any more.
    closed: AtomicBool,
    renewing: AtomicBool,
}

/// The producer that takes letters now; `None` before the first and after the last.
#[derive(Default)]
struct Current {
    producer: Option<Producer>,
    /// How many there have been before it.
    number: u64,
}

impl LetterProducer {
    /// It starts with the first letter.
    pub(super) fn new(servers: &str, properties: Vec<(String, String)>) -> Self {
        let (closed, renewing) = Default::default();
        Self { servers: servers.to_owned(), properties, current: Mutex::default(), closed, renewing }
    }

    /// It has started.
    pub(super) fn started(servers: &str, properties: Vec<(String, String)>) -> Result<Self, ConsumerError> {
        let producer = Self::new(servers, properties);
        lock(&producer.current).producer = Some(producer.start()?);
        Ok(producer)
    }

    fn start(&self) -> Result<Producer, ConsumerError> {
        let producer = Producer::builder()
            .bootstrap_servers(&self.servers)
            // A partition, or a key, waits for each.
            .linger(Duration::ZERO)
            .metadata_timeout(METADATA)
            .properties(DEFAULTS.iter().copied())
            .properties(self.properties.iter().map(|(name, value)| (name, value)))
            .start();
        producer.map_err(|error| configuration(format!("the producer of the dead letters: {error}")))
    }

    /// Of the current producer, and which that is. The first one may be started here, on the thread of who writes. It asks no broker, so that takes some
    /// milliseconds, and once in the life of a consumer: no more than a handler may take.
    pub(super) fn sender(&self, topic: &str) -> Result<(Sender, u64), SendError> {
        let mut current = lock(&self.current);
        let number = current.number;
        let gone = |reason| SendError::Closed { topic: topic.into(), error: None, reason };
        let producer = match &mut current.producer {
            Some(producer) => producer,
            None if self.closed.load(Ordering::Acquire) => return Err(gone(None)),
            none => none.insert(self.start().map_err(|error| gone(Some(error.to_string().into())))?),
        };
        Ok((producer.sender(), number))
    }

    /// This producer takes nothing more: another one is started, on a thread of its own, for that may block.
    ///
    /// All letters that it had tell of it, some of them late. That of one whose successor is there already is no word against that one: what it
    /// has on its way would be given up, and perhaps written twice.
    pub(super) fn renew(self: &Arc<Self>, number: u64) {
        if lock(&self.current).number != number || self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = Arc::clone(self);
        let renewed = std::thread::Builder::new().name("troupe-letters".to_owned()).spawn(move || {
            match this.start() {
                Ok(producer) => {
                    let mut current = lock(&this.current);
                    let is_wanted = current.number == number && !this.closed.load(Ordering::Acquire);
                    let old = if is_wanted { current.producer.replace(producer) } else { Some(producer) };
                    current.number += u64::from(is_wanted);
                    drop(current);
                    drop(old);
                }
                Err(error) => warn!(%error, "another producer of dead letters could not be started"),
            }
            this.renewing.store(false, Ordering::Release);
        });
        if renewed.is_err() {
            self.renewing.store(false, Ordering::Release);
        }
    }

    #[cfg(test)]
    pub(super) fn has_started(&self) -> bool {
        lock(&self.current).producer.is_some()
    }

    /// It takes nothing more, and what is on its way is waited for by nobody.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let producer = lock(&self.current).producer.take();
        // Ends in the background.
        drop(producer);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_producer_is_not_given_up_for_what_was_said_of_the_one_before_it() {
        let producer = Arc::new(LetterProducer::started("127.0.0.1:1", Vec::new()).unwrap());
        let number = || lock(&producer.current).number;
        let until_renewed = || {
            while producer.renewing.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        };
        producer.renew(0);
        until_renewed();
        assert_eq!(number(), 1);
        // A letter of the first one, by a pump whose thread was kept for a while.
        producer.renew(0);
        until_renewed();
        assert_eq!(number(), 1);
        producer.renew(1);
        until_renewed();
        assert_eq!(number(), 2);
        producer.close();
        producer.renew(2);
        until_renewed();
        assert!(producer.sender("dead").is_err(), "none is started any more");
    }

    #[test]
    fn one_that_starts_with_its_first_letter_does_not_after_its_end() {
        let producer = LetterProducer::new("127.0.0.1:1", Vec::new());
        assert!(lock(&producer.current).producer.is_none());
        assert_eq!(producer.sender("dead").map(|(_, number)| number).unwrap(), 0);
        assert!(lock(&producer.current).producer.is_some());
        let unused = LetterProducer::new("127.0.0.1:1", Vec::new());
        for producer in [producer, unused] {
            producer.close();
            assert!(producer.sender("dead").is_err());
        }
    }
}
