//! The bounded queue in front of one `ProducerActor`: senders append to it from any thread, the actor takes batches from it.
//!
//! A record is copied into the batch of its topic under one short lock; the actor is woken when a batch is full, when one begins (so that it
//! can set its timer), and when what lingers is sent before its time, for a flush or for a buffer that is full; never per
//! record. The same lock holds the credits: what is accepted and not yet answered.
//!
//! The wake-up cannot be lost: whether the actor has a wake-up under way (`notified`) is read and written under the lock that also guards what
//! there is to take. Once it looks, it clears the mark first, under the same lock.

mod admission;
mod batching;
mod settled;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

use actix::Recipient;

use super::batch::{RecordBatch, Records, TopicIndex};
use super::credits::{Credits, Generation};
use super::error::LibraryError;
use super::gate::Gate;
use super::layer::Layers;
use super::leftovers::Leftovers;
use super::limits::Limits;
use super::waking::wake_task;
pub(super) use admission::{Listener, Offered};
use batching::Batching;
pub(super) use settled::{IntakeCounts, Settled};

/// Larger than anything `message.max.bytes` can allow; it keeps an arena far below 4 GiB.
const MAX_RECORD_BYTES: usize = 1 << 30;

/// Something is ready to be taken, or a batch began to linger.
pub(super) struct IntakeReady;

impl actix::Message for IntakeReady {
    type Result = ();
}

/// What the actor takes at one go.
pub(super) struct Taken {
    pub(super) batches: Vec<RecordBatch>,
    /// When the next batch has lingered long enough.
    pub(super) due: Option<Instant>,
}

struct State {
    open: bool,
    closed_because: Option<(LibraryError, Arc<str>)>,
    notified: bool,
    batching: Batching,
    gate: Gate,
    flushes: Vec<Waker>,
    counts: IntakeCounts,
}

/// See the module.
pub(super) struct Intake {
    pub(super) index: usize,
    limits: Limits,
    pub(super) layers: Layers,
    pub(super) leftovers: Leftovers,
    /// Records that are answered, and whose credits are not back yet.
    answered: AtomicU64,
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
            answered: AtomicU64::new(0),
            actor: OnceLock::new(),
            state: Mutex::new(State {
                open: true,
                closed_because: None,
                notified: false,
                batching: Batching::new(limits.batch),
                gate: Gate::new(Credits::new(limits.buffer_records, limits.buffer_bytes)),
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

    /// For the actor: every batch that is full, has lingered until `now`, or was sealed before, by a flush or as it filled the buffer.
    pub(super) fn take_ready(&self, now: Instant) -> Taken {
        let mut state = self.lock();
        state.notified = false;
        let (batches, due) = state.batching.take_ready(now);
        Taken { batches, due }
    }

    /// The topic has so many partitions: its batches are as large as that asks for, from here on.
    pub(super) fn learn(&self, topic: TopicIndex, partitions: NonZeroU32) {
        self.lock().batching.learn(topic, self.limits.batch_of(partitions));
    }

    /// Takes the arena of a batch of the topic back, that nobody reads any more.
    pub(super) fn reuse(&self, topic: TopicIndex, records: Records) {
        let records = records.emptied();
        self.lock().batching.reuse(topic, records);
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
        let flushed = state.gate.credits.give_back(generation, records, settled.bytes);
        let woken = state.gate.next();
        let flushes = if flushed { std::mem::take(&mut state.flushes) } else { Vec::new() };
        let wake = state.seal_for_line();
        drop(state);
        woken.into_iter().chain(flushes).for_each(wake_task);
        if wake {
            self.wake_actor();
        }
    }

    /// Sends what lingers on its way and marks this point in the stream of records.
    pub(super) fn flush(&self) -> Generation {
        let mut state = self.lock();
        let wake = state.batching.seal_all() && !std::mem::replace(&mut state.notified, true);
        let closed = state.gate.credits.close_generation();
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
            if state.gate.credits.is_answered(closed) {
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
        self.lock().gate.credits.unanswered(closed)
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
        let wake = state.batching.seal_all() && !std::mem::replace(&mut state.notified, true);
        let line = state.gate.everybody();
        drop(state);
        line.into_iter().for_each(wake_task);
        if wake {
            self.wake_actor();
        }
    }

    /// So many records are answered before their credits come back: of those a producer that is dropped gives none up.
    pub(super) fn answered_before_credit(&self, records: u64) {
        self.answered.fetch_add(records, Ordering::AcqRel);
    }

    /// Their credits have come back.
    pub(super) fn credit_followed(&self, records: u64) {
        self.answered.fetch_sub(records, Ordering::AcqRel);
    }

    /// Records that are accepted and not answered, whether credits are back or not; a few more or less where others are answered meanwhile.
    pub(super) fn left(&self) -> u64 {
        let answered = self.answered.load(Ordering::Acquire);
        (self.lock().gate.credits.records() as u64).saturating_sub(answered)
    }

    /// Closes, and answers every record that no actor has taken with `Abandoned`.
    pub(super) fn abandon(&self) {
        self.close();
        let mut state = self.lock();
        state.batching.seal_all();
        let mut given_up = state.batching.take_sealed();
        drop(state);
        given_up.iter_mut().for_each(|batch| batch.answers.keep());
        // Their credits come back through `settle`, which takes the lock.
        drop(given_up);
    }

    pub(super) fn counts(&self) -> IntakeCounts {
        let state = self.lock();
        IntakeCounts {
            in_flight_records: state.gate.credits.records(),
            in_flight_bytes: state.gate.credits.bytes(),
            waiting_senders: state.gate.waiting(),
            open: state.open,
            ..state.counts
        }
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
pub(super) mod tests;
