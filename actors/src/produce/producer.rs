//! The handle of a running producer: its start, its state and its end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::Actor;
use dashmap::DashMap;
use tokio::sync::oneshot;

use super::backlog::Backlog;
use super::credits::Generation;
use super::delivery::{DeliveryThread, Waiter};
use super::in_flight::InFlight;
use super::intake::Intake;
use super::native::NativeProducer;
use super::outlet::Outlet;
use super::partition_counts::{self, LookUps, MetadataThread, PartitionCounts};
use super::partitioner_actor::{PartitionerActor, Stalled};
use super::producer_actor::ProducerActor;
use super::state::Failure;
use super::{ProducerActorState, ProducerBuilder, ProducerError, ProducerReport, ProducerState, Sender};
use crate::block_on::{block_on, block_on_until};
use crate::blocking::must_not_block;
use crate::secret;
use crate::system::SystemThread;
use crate::thread::BoundedThread;

/// What each step of the end gets beyond the deadline: for threads that have nothing left to do but to return.
const GRACE: Duration = Duration::from_secs(2);
/// What a deadline is that no clock reaches.
const FOR_EVER: Duration = Duration::from_secs(100 * 366 * 86_400);

/// A running producer. See [the module](super) for what it is made of.
///
/// Several can run in one process. It installs no signal handler, `tracing` subscriber or panic hook.
///
/// Dropping it without [`shutdown`](Self::shutdown) gives up every record that is not confirmed: each is answered, most with `Abandoned`, by a
/// thread in the background.
#[must_use = "dropping it gives up the records that are not confirmed"]
pub struct Producer {
    parts: Option<Parts>,
    next_sender: AtomicUsize,
}

struct Parts {
    intakes: Vec<Arc<Intake>>,
    stalled: Vec<Arc<Stalled>>,
    counts: PartitionCounts,
    failure: Arc<Failure>,
    in_flight: Arc<InFlight>,
    native: Arc<NativeProducer>,
    look_ups: LookUps,
    stop_delivery: Arc<AtomicBool>,
    system: SystemThread,
    delivery: BoundedThread,
    metadata: BoundedThread,
}

impl Producer {
    /// Begins a producer with the defaults.
    pub fn builder() -> ProducerBuilder {
        ProducerBuilder::new()
    }

    pub(super) fn start(builder: ProducerBuilder) -> Result<Self, ProducerError> {
        Ok(Self { parts: Some(Parts::start(builder)?), next_sender: AtomicUsize::new(0) })
    }

    /// A sender, tied to one of the actors, in turn. Its clones share that actor, and with it the order of records.
    pub fn sender(&self) -> Sender {
        let intakes = self.intakes();
        let turn = self.next_sender.fetch_add(1, Ordering::Relaxed);
        Sender::new(intakes[turn % intakes.len()].clone())
    }

    /// Sends what lingers on its way and waits until every record accepted before this call is answered, at most for `within`.
    ///
    /// # Errors
    /// [`ProducerError::DeadlinePassed`]; nothing is given up then.
    pub async fn flush(&self, within: Duration) -> Result<(), ProducerError> {
        let Some(parts) = &self.parts else {
            return Ok(());
        };
        let marks = parts.flush();
        let (tell, told) = oneshot::channel();
        let waited = marks.clone();
        // On the system's arbiter, which has a timer whatever runtime the caller is on, or none.
        parts.system.control().spawn(async move {
            let _ = tokio::time::timeout(within, answered(&waited)).await;
            let _ = tell.send(());
        });
        let _ = told.await;
        match unanswered(&marks) {
            0 => Ok(()),
            unanswered => Err(ProducerError::DeadlinePassed { unanswered, after: within }),
        }
    }

    /// [`flush`](Self::flush) for a plain thread.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); and [`ProducerError::MustNotBlock`] at once where nothing may wait, as in a delivery callback: it would wait for itself.
    pub fn flush_blocking(&self, within: Duration) -> Result<(), ProducerError> {
        if let Some(place) = must_not_block() {
            return Err(ProducerError::MustNotBlock { place });
        }
        block_on(self.flush(within))
    }

    /// Ends the producer: takes no more records, sends those it has until all are answered or `within` has passed, and gives up the rest, each
    /// answered with an error, and each in the report as a record again. Returns when its threads have ended, seconds after `within` at the latest. Of
    /// delivery callbacks that do not return by then those behind them are not called in time, and their records may be missing in the report.
    ///
    /// # Errors
    /// [`ProducerError::Failed`], with the report, where the producer had failed during its life. Records given up at the deadline are no error here
    /// but a number in the report, and an error to their senders.
    pub async fn shutdown(mut self, within: Duration) -> Result<ProducerReport, ProducerError> {
        let Some(parts) = self.parts.take() else {
            return Ok(ProducerReport::default());
        };
        parts.keep_leftovers();
        let (tell, told) = oneshot::channel();
        let _end = BoundedThread::start("producer-end", move || {
            let _ = tell.send(parts.end(within));
        })?;
        match told.await {
            Ok(result) => result,
            Err(_gone) => Err(ProducerError::Failed {
                reason: "the thread that ended the producer died".to_owned(),
                report: Box::default(),
            }),
        }
    }

    /// [`shutdown`](Self::shutdown) for a plain thread.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub fn shutdown_blocking(mut self, within: Duration) -> Result<ProducerReport, ProducerError> {
        match self.parts.take() {
            Some(parts) => {
                parts.keep_leftovers();
                parts.end(within)
            }
            None => Ok(ProducerReport::default()),
        }
    }

    /// A snapshot, cheap and from any thread.
    pub fn state(&self) -> ProducerState {
        self.parts.as_ref().map(Parts::state).unwrap_or_default()
    }

    fn intakes(&self) -> &[Arc<Intake>] {
        // The parts are gone only inside `shutdown` and `drop`, which own the producer.
        self.parts.as_ref().map_or(&[], |parts| &parts.intakes)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            // Senders learn at once; the rest takes a thread, so that a drop never blocks. Were there none to be had, dropping the closure drops the
            // parts, and the end of the actors and of the in-flight batches answers the records all the same.
            parts.close();
            parts.flush();
            let given_up: u64 = parts.intakes.iter().map(|intake| intake.left()).sum();
            if given_up > 0 {
                tracing::warn!(
                    records = given_up,
                    "a producer is dropped without a shutdown: these records are given up"
                );
            }
            let _ = BoundedThread::start("producer-end", move || {
                let _ = parts.end(Duration::ZERO);
            });
        }
    }
}

impl Parts {
    fn start(builder: ProducerBuilder) -> Result<Self, ProducerError> {
        let native = NativeProducer::new(&builder.config())
            .map_err(|error| ProducerError::Library { reason: secret::refusal(&error) })?;
        let native = Arc::new(native);
        let in_flight = Arc::new(InFlight::default());
        let counts = PartitionCounts::new(DashMap::new());
        let failure = Arc::new(Failure::default());
        let stop_delivery = Arc::new(AtomicBool::new(false));
        let (look_ups, requests) = partition_counts::look_ups();
        let system = SystemThread::start("producer-system", builder.actors)?;
        let mut intakes = Vec::new();
        let mut all_stalled = Vec::new();
        let mut waiters = Vec::new();
        let mut partitioners = Vec::new();
        for (index, arbiter) in system.arbiters().iter().enumerate() {
            let intake = Arc::new(Intake::new(index, builder.limits(), builder.layers.clone()));
            let stalled = Arc::new(Stalled::default());
            let partitioner = {
                let (native, in_flight) = (native.clone(), in_flight.clone());
                let (picks, look_ups) = (builder.partitioner.clone(), look_ups.clone());
                let (intake, counts) = (intake.clone(), counts.clone());
                let (stalled, failure) = (stalled.clone(), failure.clone());
                let (metadata_timeout, run) = (builder.metadata_timeout, builder.limits().batch);
                PartitionerActor::start_in_arbiter(arbiter, move |_| PartitionerActor {
                    intake,
                    counts,
                    look_ups: look_ups.clone(),
                    stalled,
                    failure,
                    metadata_timeout,
                    backlog: Backlog::default(),
                    out: Outlet::new(native, in_flight, picks, run, look_ups),
                })
            };
            let actor = {
                let (intake, failure) = (intake.clone(), failure.clone());
                let partitioner = partitioner.clone();
                ProducerActor::start_in_arbiter(arbiter, move |_| ProducerActor::new(intake, partitioner, failure))
            };
            intake.wake_through(actor.recipient());
            waiters.push(Waiter { stalled: stalled.clone(), partitioner: partitioner.clone().recipient() });
            partitioners.push(partitioner.recipient());
            all_stalled.push(stalled);
            intakes.push(intake);
        }

        let metadata = MetadataThread {
            native: native.clone(),
            counts: counts.clone(),
            requests,
            partitioners,
            refresh: builder.properties.refresh(),
        };
        let metadata = BoundedThread::start("producer-metadata", move || metadata.run())?;
        let delivery = DeliveryThread {
            native: native.clone(),
            in_flight: in_flight.clone(),
            intakes: intakes.clone(),
            waiters,
            look_ups: look_ups.clone(),
            failure: failure.clone(),
            at_once: builder.limits().at_once(),
            stop: stop_delivery.clone(),
        };
        let delivery = BoundedThread::start("producer-delivery", move || delivery.run())?;
        Ok(Self {
            intakes,
            stalled: all_stalled,
            counts,
            failure,
            in_flight,
            native,
            look_ups,
            stop_delivery,
            system,
            delivery,
            metadata,
        })
    }

    fn flush(&self) -> Vec<(Arc<Intake>, Generation)> {
        self.intakes.iter().map(|intake| (intake.clone(), intake.flush())).collect()
    }

    /// Somebody waits for the report.
    fn keep_leftovers(&self) {
        for intake in &self.intakes {
            intake.leftovers.keep();
        }
    }

    fn close(&self) {
        for intake in &self.intakes {
            intake.close();
        }
    }

    /// The end, step by step. Each has its bound, and each answers what the one before could not.
    fn end(self, within: Duration) -> Result<ProducerReport, ProducerError> {
        let now = Instant::now();
        let deadline = now.checked_add(within).unwrap_or(now + FOR_EVER);
        self.failure.expect_the_end();
        self.close();
        let marks = self.flush();
        let _ = block_on_until(answered(&marks), deadline);

        // The actors go, and answer what waits with them: for its topic, for room.
        if self.system.stop_and_join(Instant::now() + GRACE).is_err() {
            tracing::error!("a partitioner does not return; its actor is left behind");
        }
        self.in_flight.end();
        let intakes = self.intakes.clone();
        call_back("producer-abandons", move || intakes.iter().for_each(|intake| intake.abandon()));
        // librdkafka fails what it holds; the delivery thread answers.
        if unanswered(&marks) > 0 {
            self.native.purge();
            let _ = block_on_until(answered(&marks), Instant::now() + GRACE);
        }
        self.stop_delivery.store(true, Ordering::Release);
        self.native.wake();
        if self.delivery.join(Instant::now() + GRACE).is_err() {
            tracing::error!("a delivery callback does not return; its thread is left behind");
        }
        let in_flight = self.in_flight.clone();
        call_back("producer-abandons-sent", move || in_flight.abandon_all());

        // The helper ends with the last of those who ask it; the look-up under way may take some seconds. The client is destroyed after it, away
        // from this thread, for librdkafka gives no bound.
        drop(self.look_ups);
        let (native, metadata) = (self.native, self.metadata);
        let bound = Instant::now() + GRACE;
        let client = BoundedThread::start("producer-client-end", move || {
            if metadata.join(bound).is_err() {
                tracing::warn!("a metadata request outlives its producer");
            }
            drop(native);
        });
        match client.map(|client| client.join(bound)) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::warn!("librdkafka's client does not end in time; it is left to its threads"),
            Err(error) => tracing::warn!(%error, "no thread for the end of librdkafka's client"),
        }

        let undelivered = self.intakes.iter().flat_map(|intake| intake.leftovers.take()).collect();
        let report = ProducerReport { undelivered, ..report(&self.intakes) };
        match self.failure.get() {
            Some(reason) => Err(ProducerError::Failed { reason, report: Box::new(report) }),
            None => Ok(report),
        }
    }

    fn state(&self) -> ProducerState {
        let mut state = ProducerState {
            failure: self.failure.get(),
            queue_full_events: self.stalled.iter().map(|stalled| stalled.events()).sum(),
            partitions: self.counts.iter().map(|entry| (entry.key().to_string(), entry.value().get())).collect(),
            ..ProducerState::default()
        };
        for intake in &self.intakes {
            let counts = intake.counts();
            state.open |= counts.open;
            state.accepted += counts.accepted;
            state.confirmed += counts.confirmed;
            state.failed += counts.failed;
            state.abandoned += counts.abandoned;
            state.callback_panics += counts.callback_panics;
            state.in_flight_records += counts.in_flight_records;
            state.in_flight_bytes += counts.in_flight_bytes;
            state.waiting_senders += counts.waiting_senders;
            state.actors.push(ProducerActorState {
                open: counts.open,
                accepted: counts.accepted,
                in_flight_records: counts.in_flight_records,
                in_flight_bytes: counts.in_flight_bytes,
                waiting_senders: counts.waiting_senders,
            });
        }
        state
    }
}

/// Runs what calls delivery callbacks for as long as a step of the end may take: they may not return.
fn call_back(thread: &str, answer: impl FnOnce() + Send + 'static) {
    match BoundedThread::start(thread, answer).map(|thread| thread.join(Instant::now() + GRACE)) {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::error!("a delivery callback does not return; its thread is left behind"),
        Err(error) => tracing::error!(%error, "no thread to answer the records that are given up"),
    }
}

async fn answered(marks: &[(Arc<Intake>, Generation)]) {
    for (intake, mark) in marks {
        intake.answered(*mark).await;
    }
}

fn unanswered(marks: &[(Arc<Intake>, Generation)]) -> u64 {
    marks.iter().map(|(intake, mark)| intake.unanswered(*mark) as u64).sum()
}

fn report(intakes: &[Arc<Intake>]) -> ProducerReport {
    intakes.iter().map(|intake| intake.counts()).fold(ProducerReport::default(), |sum, counts| ProducerReport {
        accepted: sum.accepted + counts.accepted,
        confirmed: sum.confirmed + counts.confirmed,
        failed: sum.failed + counts.failed,
        abandoned: sum.abandoned + counts.abandoned,
        ..sum
    })
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("state", &self.state()).finish()
    }
}

#[cfg(test)]
#[path = "producer_tests.rs"]
mod tests;
