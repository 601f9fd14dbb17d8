//! The letterbox: the producer that writes dead letters and records for retry topics, both of them letters here, and what is known of those that
//! nobody waits for any more.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::envelope::{Destination, Envelope, Letter, Subject};
use super::late::Late;
use super::remedy::{allowance, creation, remedy};
use super::{DeadLetters, Limits, OnDeadLetterFailure};
use crate::consume::error::ConsumerError;
use crate::consume::properties::{Properties, configuration};
use crate::consume::record::Record;
use crate::consume::reminder::Reminder;
use crate::consume::retry_topics::RetryTopics;
use crate::consume::state::DeadLetterState;
use crate::produce::{Confirmation, ErrorClass, Producer, SendError, Sender};

/// What the producer runs with unless the app says otherwise. The topic is known to exist, and is never created. How large a record may be is
/// the topic's to say, for the one that it is of was taken by a topic too.
const DEFAULTS: &[(&str, &str)] =
    &[("allow.auto.create.topics", "false"), ("message.max.bytes", "1000000000"), ("message.timeout.ms", "60000")];
/// How long a letter waits for the brokers' word of a topic that is known to have existed.
const METADATA: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Letterbox {
    letters: DeadLetters,
    retries: RetryTopics,
    group: Option<String>,
    servers: String,
    /// The consumer's properties that are its producer's too.
    shared: Vec<(String, String)>,
    current: Mutex<Current>,
    /// The engine is over: none is started any more.
    closed: AtomicBool,
    renewing: AtomicBool,
    on_the_way: AtomicU64,
    written: AtomicU64,
    retried: AtomicU64,
    failures: AtomicU64,
    /// By topic.
    troubles: Mutex<BTreeMap<String, Trouble>>,
    /// With where each goes.
    late: Mutex<Late<Subject, (Destination, Confirmation)>>,
}

/// The producer that takes letters now; `None` before the first and after the last.
#[derive(Default)]
struct Current {
    producer: Option<Producer>,
    /// How many there have been before it.
    number: u64,
}

/// What keeps letters from being written to a topic, for state and log.
#[derive(Default)]
struct Trouble {
    text: String,
    told: Reminder,
}

impl Letterbox {
    /// `None` where nothing is written. `group`: `None` for a standalone consumer.
    pub(crate) fn new(
        letters: DeadLetters,
        retries: RetryTopics,
        properties: &Properties,
        group: Option<&str>,
    ) -> Result<Option<Self>, ConsumerError> {
        if letters.topic.is_none() && retries.is_empty() {
            return Ok(None);
        }
        let letterbox = Self {
            group: group.map(str::to_owned),
            servers: properties.get("bootstrap.servers").unwrap_or_default().to_owned(),
            shared: properties
                .shared_with_producers()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            letters,
            retries,
            current: Mutex::default(),
            closed: AtomicBool::new(false),
            renewing: AtomicBool::new(false),
            on_the_way: AtomicU64::new(0),
            written: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            troubles: Mutex::default(),
            late: Mutex::default(),
        };
        lock(&letterbox.current).producer = Some(letterbox.start()?);
        Ok(Some(letterbox))
    }

    fn start(&self) -> Result<Producer, ConsumerError> {
        let given = self.shared.iter().chain(&self.letters.properties);
        let producer = Producer::builder()
            .bootstrap_servers(&self.servers)
            // A partition, or a key, waits for each.
            .linger(Duration::ZERO)
            .metadata_timeout(METADATA)
            .properties(DEFAULTS.iter().copied())
            .properties(given.map(|(name, value)| (name, value)))
            .start();
        producer.map_err(|error| configuration(format!("the producer of the dead letters: {error}")))
    }

    /// That of dead letters, if there is one.
    pub(crate) fn topic(&self) -> Option<&str> {
        self.letters.topic.as_deref()
    }

    pub(crate) fn retries(&self) -> &RetryTopics {
        &self.retries
    }

    /// Where a letter goes.
    pub(crate) fn topic_of<'a>(&'a self, to: &'a Destination) -> &'a str {
        match to {
            // The verdict that a letter goes there is given by who has seen that there is such a topic.
            Destination::DeadLetters => self.topic().unwrap_or_default(),
            Destination::Retry { topic, .. } => topic,
        }
    }

    /// The command that creates a topic.
    pub(crate) fn creation(&self, topic: &str, partitions: usize) -> String {
        creation(&self.servers, topic, partitions)
    }

    /// The command that lets somebody write to it.
    pub(crate) fn allowance(&self, topic: &str) -> String {
        allowance(&self.servers, topic)
    }

    pub(crate) fn limits(&self) -> Limits {
        self.letters.limits
    }

    pub(crate) fn on_failure(&self) -> OnDeadLetterFailure {
        self.letters.on_failure
    }

    /// Nothing more is written, and what is on its way is waited for by nobody.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let producer = lock(&self.current).producer.take();
        // Ends in the background.
        drop(producer);
    }

    pub(crate) fn state(&self) -> DeadLetterState {
        DeadLetterState {
            topic: self.letters.topic.clone(),
            written: self.written.load(Ordering::Relaxed),
            retried: self.retried.load(Ordering::Relaxed),
            on_the_way: self.on_the_way.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            trouble: lock(&self.troubles)
                .values()
                .map(|trouble| trouble.text.clone())
                .reduce(|all, text| all + "; " + &text),
        }
    }

    /// Writes the letter; ready when it is stored, or could not be.
    ///
    /// Dropped before, the letter may be written all the same, for what librdkafka has cannot be recalled. So that the record, when it comes
    /// here again, is not written twice, the next letter of it waits for the answer to this one.
    pub(crate) fn send(self: &Arc<Self>, record: Record, letter: &Letter) -> Sending {
        let (letterbox, letter) = (Arc::clone(self), letter.clone());
        letterbox.on_the_way.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(self));
        Box::pin(async move {
            let _counted = counted;
            let subject = Subject::of(&record);
            let late = lock(&letterbox.late).take(&subject);
            if let Some((to, confirmation)) = late
                && letterbox.answer(subject.clone(), to.clone(), confirmation).await.is_ok()
            {
                // Whatever has been said of the record since: it is there.
                letterbox.is_written(&to);
                return Ok(());
            }
            let whole = Envelope::whole(&record, &letter, letterbox.group.as_deref());
            let refused = match letterbox.post(&record, &letter, &subject, &whole).await {
                Err(refused @ SendError::TooLarge { .. }) => refused,
                sent => return sent,
            };
            // Its own headers may be what is too much.
            match letterbox.post(&record, &letter, &subject, &Envelope::brief(&record, &letter)).await {
                // What to do about it is told for the whole.
                Err(SendError::TooLarge { .. }) => Err(refused),
                sent => sent,
            }
        })
    }

    /// Writes it in this envelope.
    async fn post(
        self: &Arc<Self>,
        record: &Record,
        letter: &Letter,
        subject: &Subject,
        envelope: &Envelope,
    ) -> Result<(), SendError> {
        let topic = self.topic_of(&letter.to);
        let (sender, number) = self.sender(topic)?;
        let sent = match sender.enqueue(envelope.around(record, topic)).await {
            Ok(confirmation) => self.answer(subject.clone(), letter.to.clone(), confirmation).await,
            Err(error) => Err(error),
        };
        match &sent {
            Ok(()) => self.is_written(&letter.to),
            Err(error) if error.class() == ErrorClass::Fatal => self.renew(number),
            Err(_) => {}
        }
        sent
    }

    fn is_written(&self, to: &Destination) {
        let counter = if *to == Destination::DeadLetters { &self.written } else { &self.retried };
        counter.fetch_add(1, Ordering::Relaxed);
        let to = self.topic_of(to);
        if lock(&self.troubles).remove(to).is_some() {
            info!(to, "records that failed can be written there again");
        }
    }

    /// Of the current producer, and which that is.
    fn sender(&self, topic: &str) -> Result<(Sender, u64), SendError> {
        let current = lock(&self.current);
        let gone = || SendError::Closed { topic: topic.into(), error: None, reason: None };
        current.producer.as_ref().map(|producer| (producer.sender(), current.number)).ok_or_else(gone)
    }

    fn answer(self: &Arc<Self>, subject: Subject, to: Destination, confirmation: Confirmation) -> Answer {
        Answer { letterbox: Arc::clone(self), waits: Some((subject, to, confirmation)) }
    }

    /// A letter could not be written: says so, from time to time. Gives what to say of the record.
    pub(crate) fn failed(&self, record: &Record, letter: &Letter, error: &SendError) -> String {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let to = self.topic_of(&letter.to);
        let remedy = remedy(error, &self.servers, to);
        let text = format!("{error}; {remedy}");
        let mut troubles = lock(&self.troubles);
        let trouble = troubles.entry(to.to_owned()).or_default();
        let is_due = trouble.told.is_due(Instant::now());
        trouble.text.clone_from(&text);
        drop(troubles);
        if is_due {
            warn!(
                topic = record.topic(), partition = record.partition().0, offset = record.offset().0,
                to, %error, remedy, "records that failed cannot be written there"
            );
        }
        text
    }

    /// This producer takes nothing more: another one is started, on a thread of its own, for that may block.
    ///
    /// All letters that it had tell of it, some of them late. That of one whose successor is there already is no word against that one: what it
    /// has on its way would be given up, and perhaps written twice.
    fn renew(self: &Arc<Self>, number: u64) {
        if lock(&self.current).number != number || self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let letterbox = Arc::clone(self);
        let renewed = std::thread::Builder::new().name("troupe-letters".to_owned()).spawn(move || {
            match letterbox.start() {
                Ok(producer) => {
                    let mut current = lock(&letterbox.current);
                    let is_wanted = current.number == number && !letterbox.closed.load(Ordering::Acquire);
                    let old = if is_wanted { current.producer.replace(producer) } else { Some(producer) };
                    current.number += u64::from(is_wanted);
                    drop(current);
                    drop(old);
                }
                Err(error) => warn!(%error, "another producer of dead letters could not be started"),
            }
            letterbox.renewing.store(false, Ordering::Release);
        });
        if renewed.is_err() {
            self.renewing.store(false, Ordering::Release);
        }
    }
}

/// A letter on its way.
pub(crate) type Sending = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>;

struct Counted(Arc<Letterbox>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.on_the_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer to come. Dropped before it has, it is kept for the record's next letter.
struct Answer {
    letterbox: Arc<Letterbox>,
    waits: Option<(Subject, Destination, Confirmation)>,
}

impl Future for Answer {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((.., confirmation)) = &mut self.waits else {
            // Polled again after it was ready, against the contract of futures.
            return Poll::Ready(Err(SendError::Closed { topic: "".into(), error: None, reason: None }));
        };
        let polled = Pin::new(confirmation).poll(cx);
        if polled.is_ready() {
            self.waits = None;
        }
        polled.map_ok(drop)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some((subject, to, confirmation)) = self.waits.take() {
            lock(&self.letterbox.late).insert(subject, (to, confirmation));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Letterbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letterbox")
            .field("letters", &self.letters)
            .field("retries", &self.retries)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_is_not_given_up_for_what_was_said_of_the_one_before_it() {
        let mut properties = Properties::default();
        properties.set("bootstrap.servers", "127.0.0.1:1");
        let letterbox = Letterbox::new(DeadLetters::to("dead"), RetryTopics::default(), &properties, None);
        let letterbox = letterbox.ok().flatten().map(Arc::new).unwrap_or_else(|| panic!("it starts without a broker"));
        let number = || lock(&letterbox.current).number;
        let until_renewed = || {
            while letterbox.renewing.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        };
        letterbox.renew(0);
        until_renewed();
        assert_eq!(number(), 1);
        // A letter of the first one, by a pump whose thread was kept for a while.
        letterbox.renew(0);
        until_renewed();
        assert_eq!(number(), 1);
        letterbox.renew(1);
        until_renewed();
        assert_eq!(number(), 2);
        letterbox.close();
        letterbox.renew(2);
        until_renewed();
        assert!(letterbox.sender("dead").is_err(), "none is started any more");
    }
}
