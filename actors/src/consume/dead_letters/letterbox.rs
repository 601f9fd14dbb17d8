//! The letterbox: the producer that writes dead letters and records for retry topics, both of them letters here, and what is known of those that
//! nobody waits for any more.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tracing::{info, warn};

use super::envelope::{Destination, Envelope, Letter, Subject};
use super::late::Late;
use super::producer::LetterProducer;
use super::remedy::{allowance, creation, is_too_large, is_too_large_for_topic, remedy, what};
use super::{DeadLetters, Limits, OnDeadLetterFailure};
use crate::consume::error::ConsumerError;
use crate::consume::properties::Properties;
use crate::consume::record::Record;
use crate::consume::reminder::Reminder;
use crate::consume::retry_topics::RetryTopics;
use crate::consume::state::DeadLetterState;
use crate::produce::{Confirmation, ErrorClass, SendError};

/// For letters whose request was too large, which need not be their fault: a broker refuses a request whole, and librdkafka then fails every record of it. One
/// in a request of its own fails only where it is too large itself.
const ALONE: (&str, &str) = ("batch.num.messages", "1");

/// See the module.
pub(crate) struct Letterbox {
    letters: DeadLetters,
    retries: RetryTopics,
    group: Option<String>,
    servers: String,
    producer: Arc<LetterProducer>,
    /// Whose requests hold one letter each.
    alone: Arc<LetterProducer>,
    on_the_way: AtomicU64,
    written: AtomicU64,
    retried: AtomicU64,
    failures: AtomicU64,
    /// By topic.
    troubles: Mutex<BTreeMap<String, Trouble>>,
    /// With where each goes.
    late: Mutex<Late<Subject, (Destination, Confirmation)>>,
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
        let servers = properties.get("bootstrap.servers").unwrap_or_default();
        let own = letters.properties.iter().map(|(name, value)| (&**name, &**value));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let given: Vec<_> = properties.shared_with_producers().chain(own).map(owned).collect();
        let alone = given.iter().cloned().chain([owned(ALONE)]).collect();
        Ok(Some(Self {
            group: group.map(str::to_owned),
            producer: Arc::new(LetterProducer::started(servers, given)?),
            alone: Arc::new(LetterProducer::new(servers, alone)),
            servers: servers.to_owned(),
            letters,
            retries,
            on_the_way: AtomicU64::new(0),
            written: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            troubles: Mutex::default(),
            late: Mutex::default(),
        }))
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
        self.producer.close();
        self.alone.close();
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
            let mut alone = false;
            let whole = Envelope::whole(&record, &letter, letterbox.group.as_deref());
            let refused = match letterbox.post(&mut alone, &record, &letter, &subject, &whole).await {
                Err(refused) if is_too_large(&refused) => refused,
                sent => return sent,
            };
            // Its own headers may be what is too much.
            let brief = Envelope::brief(&record, &letter);
            match letterbox.post(&mut alone, &record, &letter, &subject, &brief).await {
                // What to do about it is told for the whole.
                Err(error) if is_too_large(&error) => Err(refused),
                sent => sent,
            }
        })
    }

    /// Writes it in this envelope; `alone` from where a request of it is too large for the topic.
    async fn post(
        self: &Arc<Self>,
        alone: &mut bool,
        record: &Record,
        letter: &Letter,
        subject: &Subject,
        envelope: &Envelope,
    ) -> Result<(), SendError> {
        if !*alone {
            match self.post_by(&self.producer, record, letter, subject, envelope).await {
                // All letters of its request were told so; it may fit by itself.
                Err(refused) if is_too_large_for_topic(&refused) => *alone = true,
                sent => return sent,
            }
        }
        self.post_by(&self.alone, record, letter, subject, envelope).await
    }

    async fn post_by(
        self: &Arc<Self>,
        producer: &Arc<LetterProducer>,
        record: &Record,
        letter: &Letter,
        subject: &Subject,
        envelope: &Envelope,
    ) -> Result<(), SendError> {
        let topic = self.topic_of(&letter.to);
        let (sender, number) = producer.sender(topic)?;
        let sent = match sender.enqueue(envelope.around(record, topic)).await {
            Ok(confirmation) => self.answer(subject.clone(), letter.to.clone(), confirmation).await,
            Err(error) => Err(error),
        };
        match &sent {
            Ok(()) => self.is_written(&letter.to),
            Err(error) if error.class() == ErrorClass::Fatal => producer.renew(number),
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

    fn answer(self: &Arc<Self>, subject: Subject, to: Destination, confirmation: Confirmation) -> Answer {
        Answer { letterbox: Arc::clone(self), waits: Some((subject, to, confirmation)) }
    }

    /// A letter could not be written: says so, from time to time. Gives what to say of the record.
    pub(crate) fn failed(&self, record: &Record, letter: &Letter, error: &SendError) -> String {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let to = self.topic_of(&letter.to);
        let remedy = remedy(error, &self.servers, to);
        let what = what(error);
        let text = format!("{what}; {remedy}");
        let mut troubles = lock(&self.troubles);
        let trouble = troubles.entry(to.to_owned()).or_default();
        let is_due = trouble.told.is_due(Instant::now());
        trouble.text.clone_from(&text);
        drop(troubles);
        if is_due {
            warn!(
                topic = record.topic(),
                partition = record.partition().0,
                offset = record.offset().0,
                to,
                error = what,
                remedy,
                "records that failed cannot be written there"
            );
        }
        text
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::block_on::block_on;
    use crate::consume::record::tests::record;

    #[test]
    fn a_letter_that_its_own_producer_finds_too_large_is_sent_with_short_headers_at_once() {
        let mut letters = DeadLetters::to("dead");
        for (name, value) in
            [("test.mock.num.brokers", "1"), ("allow.auto.create.topics", "true"), ("message.max.bytes", "1500")]
        {
            letters = letters.property(name, value);
        }
        let mut properties = Properties::default();
        properties.set("bootstrap.servers", "127.0.0.1:1");
        let letterbox = Letterbox::new(letters, RetryTopics::default(), &properties, Some("g")).unwrap().unwrap();
        let letterbox = Arc::new(letterbox);
        let letter = Letter { to: Destination::DeadLetters, cause: "x".repeat(2000).into(), failures: 0 };
        let write = |bytes| {
            let record = record(Some(b"k"), Some(&vec![b'v'; bytes]));
            (block_on(letterbox.send(record.clone(), &letter)), record)
        };
        assert_eq!(write(500).0, Ok(()));
        assert_eq!(letterbox.state().written, 1);
        let (refused, record) = write(3000);
        let error = refused.unwrap_err();
        assert!(matches!(error, SendError::TooLarge { by_broker: false, .. }), "{error}");
        let told = letterbox.failed(&record, &letter, &error);
        assert!(told.contains("DeadLetters::property") && !told.contains("kafka-configs"), "{told}");
        assert!(!letterbox.alone.has_started());
        letterbox.close();
    }
}
