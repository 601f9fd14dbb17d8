//! The bounded queue in front of one `ProducerActor`: senders append to it from any thread, the actor takes batches from it.
//!
//! A record is copied into the batch of its topic under one short lock; the actor is woken when a batch is full, and when one begins (so that it
//! can set its timer), never per record. The same lock holds the credits: what is accepted and not yet answered.
//!
//! The wake-up cannot be lost: whether the actor has a wake-up under way (`notified`) is read and written under the lock that also guards what
//! there is to take. Once it looks, it clears the mark first, under the same lock.

mod admission;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

use actix::Recipient;

use super::batch::{Answers, BatchSize, RecordBatch, Records, TopicIndex};
use super::completion::{CallbackPanicked, Listeners, Slots, Verdict};
use super::credits::{Credits, Generation};
use super::error::LibraryError;
use super::layer::Layers;
use super::leftovers::Leftovers;
use super::limits::{BatchBounds, Limits};
use super::line::Line;
use super::waking::wake_task;
use super::{ProducerRecord, SendError};
pub(super) use admission::{Listener, Offered};

/// Larger than anything `message.max.bytes` can allow; it keeps an arena far below 4 GiB.
const MAX_RECORD_BYTES: usize = 1 << 30;
/// Emptied arenas that are kept for further batches. One is filled while a few are on their way to librdkafka.
const SPARE: usize = 4;

/// Something is ready to be taken, or a batch began to linger.
pub(super) struct IntakeReady;

impl actix::Message for IntakeReady {
    type Result = ();
}

/// What became of some records of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    confirmed: u64,
    failed: u64,
    abandoned: u64,
    bytes: usize,
    callback_panics: u64,
}

impl Settled {
    /// Counts a record of `bytes` that is answered with `verdict`.
    pub(super) fn count(&mut self, verdict: &Verdict, bytes: usize) {
        match verdict {
            Ok(_) => self.confirmed += 1,
            Err(error) if matches!(**error, SendError::Abandoned { .. }) => self.abandoned += 1,
            Err(_) => self.failed += 1,
        }
        self.bytes += bytes;
    }

    /// Counts the end of a callback.
    pub(super) fn called(&mut self, end: Result<(), CallbackPanicked>) {
        self.callback_panics += u64::from(end.is_err());
    }

    fn records(self) -> u64 {
        self.confirmed + self.failed + self.abandoned
    }
}

/// Counters of one intake since its start, and what it holds now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IntakeCounts {
    pub(super) accepted: u64,
    pub(super) confirmed: u64,
    pub(super) failed: u64,
    pub(super) abandoned: u64,
    pub(super) callback_panics: u64,
    pub(super) in_flight_records: usize,
    pub(super) in_flight_bytes: usize,
    pub(super) waiting_senders: usize,
    pub(super) open: bool,
}

/// What the actor takes at one go.
pub(super) struct Taken {
    pub(super) batches: Vec<RecordBatch>,
    /// When the next batch has lingered long enough.
    pub(super) due: Option<Instant>,
}

struct Topic {
    name: Arc<str>,
    /// The same, compared for every record. The count of references to `name` lies beside its text, and other threads change it all the time.
    text: Box<str>,
    slots: Slots,
    /// Of its batches; they grow with the topic's partitions, once those are known.
    bounds: BatchBounds,
    lingering: Option<RecordBatch>,
    /// Batches begun; says whether an entry of `State::lingering` means the batch that lingers now.
    begun: u64,
    /// The next batch is made to hold as much, so that it seldom grows.
    last_batch: BatchSize,
}

impl Topic {
    /// Whether the batch that was begun as the `begun`th is the one that lingers.
    fn lingers(&self, begun: u64) -> bool {
        self.begun == begun && self.lingering.is_some()
    }
}

struct State {
    open: bool,
    closed_because: Option<(LibraryError, Arc<str>)>,
    notified: bool,
    topics: Vec<Topic>,
    /// Of a topic whose partitions are not known.
    bounds: BatchBounds,
    by_name: HashMap<Box<str>, TopicIndex>,
    last_topic: TopicIndex,
    /// Batches by the time at which they are due, which is the order in which they began. One that was sealed in the meantime leaves its entry.
    lingering: VecDeque<(Instant, TopicIndex, u64)>,
    batches: u64,
    sealed: Vec<RecordBatch>,
    /// Warm memory for the batches to come.
    spare: Vec<Records>,
    credits: Credits,
    line: Line,
    flushes: Vec<Waker>,
    counts: IntakeCounts,
}

/// See the module.
pub(super) struct Intake {
    pub(super) index: usize,
    limits: Limits,
    pub(super) layers: Layers,
    pub(super) leftovers: Leftovers,
    actor: OnceLock<Recipient<IntakeReady>>,
    state: Mutex<State>,
}

impl Intake {
    pub(super) fn new(index: usize, limits: Limits, layers: Layers) -> Self {
        Self {
            index,
            limits,
            layers,
            leftovers: Leftovers::default(),
            actor: OnceLock::new(),
            state: Mutex::new(State {
                open: true,
                closed_because: None,
                notified: false,
                topics: Vec::new(),
                bounds: limits.batch,
                by_name: HashMap::new(),
                last_topic: TopicIndex(0),
                lingering: VecDeque::new(),
                batches: 0,
                sealed: Vec::new(),
                spare: Vec::new(),
                credits: Credits::new(limits.buffer_records, limits.buffer_bytes),
                line: Line::default(),
                flushes: Vec::new(),
                counts: IntakeCounts::default(),
            }),
        }
    }

    /// Names the actor to wake. Once, before the first record.
    pub(super) fn wake_through(&self, actor: Recipient<IntakeReady>) {
        let _ = self.actor.set(actor);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock would be a defect here; the counts are still the best there are.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_actor(&self) {
        // Not bounded by the mailbox: `notified` lets one message exist at a time. An actor that is dead has closed this intake.
        if let Some(actor) = self.actor.get() {
            actor.do_send(IntakeReady);
        }
    }

    /// For the actor: every batch that is full, flushed, or has lingered until `now`.
    pub(super) fn take_ready(&self, now: Instant) -> Taken {
        let mut state = self.lock();
        state.notified = false;
        let mut due = None;
        while let Some((at, topic, begun)) = state.lingering.front().copied() {
            if state.topics[topic.0].lingers(begun) {
                if at > now {
                    due = Some(at);
                    break;
                }
                state.seal(topic);
            }
            state.lingering.pop_front();
        }
        Taken { batches: std::mem::take(&mut state.sealed), due }
    }

    /// The topic has so many partitions: its batches are as large as that asks for, from here on.
    pub(super) fn learn(&self, topic: TopicIndex, partitions: NonZeroU32) {
        if let Some(topic) = self.lock().topics.get_mut(topic.0) {
            topic.bounds = self.limits.batch_of(partitions);
        }
    }

    /// Takes the arena of a batch of the topic back, that nobody reads any more.
    pub(super) fn reuse(&self, topic: TopicIndex, records: Records) {
        let records = records.emptied();
        let mut state = self.lock();
        // The one of a record above all others is not kept.
        let fits = state.topics.get(topic.0).is_some_and(|topic| records.capacity() <= 2 * topic.bounds.bytes);
        if fits && state.spare.len() < SPARE {
            state.spare.push(records);
        }
    }

    /// Records accepted, answered: gives their credit back, counts them, wakes who waits for room or for a flush.
    pub(super) fn settle(&self, generation: Generation, settled: Settled) {
        if settled == Settled::default() {
            return;
        }
        let mut state = self.lock();
        state.counts.confirmed += settled.confirmed;
        state.counts.failed += settled.failed + settled.abandoned;
        state.counts.abandoned += settled.abandoned;
        state.counts.callback_panics += settled.callback_panics;
        let records = settled.records() as usize;
        let flushed = state.credits.give_back(generation, records, settled.bytes);
        let next = state.next_in_line();
        let flushes = if flushed { std::mem::take(&mut state.flushes) } else { Vec::new() };
        drop(state);
        next.into_iter().chain(flushes).for_each(wake_task);
    }

    /// Sends what lingers on its way and marks this point in the stream of records.
    pub(super) fn flush(&self) -> Generation {
        let mut state = self.lock();
        let wake = state.seal_all() && !std::mem::replace(&mut state.notified, true);
        let closed = state.credits.close_generation();
        drop(state);
        if wake {
            self.wake_actor();
        }
        closed
    }

    /// Waits until every record up to this point is answered.
    pub(super) async fn answered(&self, closed: Generation) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if state.credits.is_answered(closed) {
                return std::task::Poll::Ready(());
            }
            if !state.flushes.iter().any(|w| w.will_wake(cx.waker())) {
                state.flushes.push(cx.waker().clone());
            }
            std::task::Poll::Pending
        })
        .await;
    }

    /// How many records up to this point are not answered.
    pub(super) fn unanswered(&self, closed: Generation) -> usize {
        self.lock().credits.unanswered(closed)
    }

    /// Closes for a reason that everybody is told from here on.
    pub(super) fn close_because(&self, error: LibraryError, reason: Arc<str>) {
        self.lock().closed_because.get_or_insert((error, reason));
        self.close();
    }

    /// Takes no more records; those in line are told so, those that linger go on their way.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        let wake = state.seal_all() && !std::mem::replace(&mut state.notified, true);
        let line = state.line.everybody();
        drop(state);
        line.into_iter().for_each(wake_task);
        if wake {
            self.wake_actor();
        }
    }

    /// Closes, and answers every record that no actor has taken with `Abandoned`.
    pub(super) fn abandon(&self) {
        self.close();
        let mut state = self.lock();
        state.seal_all();
        let given_up = std::mem::take(&mut state.sealed);
        drop(state);
        // Their credits come back through `settle`, which takes the lock.
        drop(given_up);
    }

    pub(super) fn counts(&self) -> IntakeCounts {
        let state = self.lock();
        IntakeCounts {
            in_flight_records: state.credits.records(),
            in_flight_bytes: state.credits.bytes(),
            waiting_senders: state.line.len(),
            open: state.open,
            ..state.counts
        }
    }
}

impl State {
    /// The topic's index; `None` where Kafka allows no such name.
    fn topic(&mut self, name: &str) -> Option<TopicIndex> {
        // Most senders write to one topic: its name is compared, not hashed.
        if let Some(last) = self.topics.get(self.last_topic.0)
            && &*last.text == name
        {
            return Some(self.last_topic);
        }
        let index = match self.by_name.get(name) {
            Some(index) => *index,
            None => self.add_topic(name)?,
        };
        self.last_topic = index;
        Some(index)
    }

    fn add_topic(&mut self, name: &str) -> Option<TopicIndex> {
        if !is_topic_name(name) {
            return None;
        }
        let index = TopicIndex(self.topics.len());
        let (name, text) = (Arc::<str>::from(name), Box::<str>::from(name));
        self.topics.push(Topic {
            name: name.clone(),
            text: text.clone(),
            slots: Slots::new(name),
            bounds: self.bounds,
            lingering: None,
            begun: 0,
            last_batch: BatchSize::default(),
        });
        self.by_name.insert(text, index);
        Some(index)
    }

    /// Appends to the topic's batch; `listen` names who hears of the record. True where the actor has something new to look at.
    fn append<T>(
        &mut self,
        intake: &Arc<Intake>,
        topic: TopicIndex,
        record: &ProducerRecord<'_>,
        bytes: usize,
        listen: impl FnOnce(&mut Listeners, &mut Slots) -> T,
    ) -> (bool, T) {
        let bounds = self.topics[topic.0].bounds;
        let mut ready = false;
        if let Some(batch) = &self.topics[topic.0].lingering
            && batch.bytes + bytes > bounds.bytes
        {
            self.seal(topic);
            ready = true;
        }
        let generation = self.credits.open_generation();
        let slot = &mut self.topics[topic.0];
        let begins = slot.lingering.is_none();
        let batch = slot.lingering.get_or_insert_with(|| {
            self.batches += 1;
            let (name, size) = (slot.name.clone(), slot.last_batch);
            let records = self.spare.pop().unwrap_or_else(|| Records::sized_as(size));
            let answers = Answers::new(intake.clone(), name, generation, self.batches, records, size);
            RecordBatch { topic, answers, bytes: 0 }
        });
        batch.answers.records.push(record);
        let listener = listen(&mut batch.answers.listeners, &mut slot.slots);
        batch.bytes += bytes;
        if batch.answers.records.len() >= bounds.records || batch.bytes >= bounds.bytes {
            self.seal(topic);
            return (true, listener);
        }
        if begins {
            slot.begun += 1;
            let due = Instant::now() + intake.limits.linger;
            self.lingering.push_back((due, topic, slot.begun));
            // One for each topic means a batch. The others stay only behind one that lingers on.
            if self.lingering.len() > 2 * self.topics.len() {
                let topics = &self.topics;
                self.lingering.retain(|(_, topic, begun)| topics[topic.0].lingers(*begun));
            }
        }
        (ready || begins, listener)
    }

    fn seal(&mut self, topic: TopicIndex) {
        let slot = &mut self.topics[topic.0];
        if let Some(batch) = slot.lingering.take() {
            slot.last_batch = batch.answers.records.size();
            self.sealed.push(batch);
        }
    }

    /// Seals every batch that lingers; true where there is anything for the actor to take.
    fn seal_all(&mut self) -> bool {
        while let Some((_, topic, _)) = self.lingering.pop_front() {
            self.seal(topic);
        }
        !self.sealed.is_empty()
    }

    /// The sender at the head of the line, if it has room now, or others have passed it long enough.
    ///
    /// Callbacks that send again can keep the buffer full for ever: each gives its room to the record it sends. The head that was passed so is then let in
    /// above the bound, and the bound of callbacks rises with it, so that each of them finds room still. Its record's end brings the buffer back.
    fn next_in_line(&mut self) -> Option<Waker> {
        let (waker, bytes) = self.line.head()?;
        if self.credits.has_room(bytes) {
            return Some(waker.clone());
        }
        if !self.line.was_passed(self.credits.max_records()) || !self.credits.raise_for(bytes) {
            return None;
        }
        let waker = waker.clone();
        self.line.grant();
        Some(waker)
    }
}

/// Kafka's rule for topic names.
fn is_topic_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
#[path = "intake_tests.rs"]
pub(super) mod tests;
