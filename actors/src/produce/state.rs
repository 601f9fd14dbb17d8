//! What the producer shows of itself.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::Undelivered;

/// A snapshot of a producer, cheap to take from any thread. `accepted = confirmed + failed + in_flight_records`, for each actor and in sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProducerState {
    /// Records are still accepted by at least one actor.
    pub open: bool,
    /// Records accepted since the start.
    pub accepted: u64,
    /// Records confirmed by the broker.
    pub confirmed: u64,
    /// Records answered with an error; those abandoned are among them.
    pub failed: u64,
    /// Records given up by the producer itself.
    pub abandoned: u64,
    /// Records accepted and not yet answered.
    pub in_flight_records: usize,
    /// Their keys, values and headers, in bytes.
    pub in_flight_bytes: usize,
    /// Senders that wait for room.
    pub waiting_senders: usize,
    /// How often librdkafka's own queue was full, and records waited for it. The producer's bounds lie no higher, so this stays 0 but for callbacks that
    /// send again: what they send comes in before the record that is answered is out of that queue.
    pub queue_full_events: u64,
    /// Delivery callbacks that panicked.
    pub callback_panics: u64,
    /// Partitions of each topic written to, as last known.
    pub partitions: BTreeMap<String, u32>,
    /// What ended the producer before its time: a fatal error of librdkafka, or the death of a part.
    pub failure: Option<String>,
    /// The same by actor.
    pub actors: Vec<ProducerActorState>,
}

/// A snapshot of one `ProducerActor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProducerActorState {
    /// Records are still accepted.
    pub open: bool,
    /// Records accepted since the start.
    pub accepted: u64,
    /// Records accepted and not yet answered.
    pub in_flight_records: usize,
    /// Their keys, values and headers, in bytes.
    pub in_flight_bytes: usize,
    /// Senders that wait for room.
    pub waiting_senders: usize,
}

/// What became of a producer's records, once it has ended: `accepted = confirmed + failed`.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ProducerReport {
    /// Records accepted.
    pub accepted: u64,
    /// Records confirmed by the broker.
    pub confirmed: u64,
    /// Records answered with an error; those abandoned are among them.
    pub failed: u64,
    /// Records given up at the end, because the deadline had passed.
    pub abandoned: u64,
    /// Those records again, each with what is known of its fate, actor by actor in the order in which they were accepted. They can be sent by another
    /// producer.
    #[serde(skip)]
    pub undelivered: Vec<Undelivered>,
}

/// The first thing that went wrong for good.
#[derive(Debug, Default)]
pub(super) struct Failure {
    reason: OnceLock<String>,
    ending: AtomicBool,
}

impl Failure {
    pub(super) fn note(&self, reason: impl Into<String>) {
        // A later one is the first one's consequence.
        let _ = self.reason.set(reason.into());
    }

    /// From now on the end of an actor is no failure.
    pub(super) fn expect_the_end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// An actor ended. Unless that was the plan, it died.
    pub(super) fn actor_ended(&self, actor: &str) {
        if !self.ending.load(Ordering::Acquire) {
            tracing::error!(actor, "an actor of the producer died");
            self.note(format!("the {actor} died"));
        }
    }

    pub(super) fn get(&self) -> Option<String> {
        self.reason.get().cloned()
    }
}
