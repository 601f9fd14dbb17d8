//! The delivery thread: serves librdkafka's reports, errors and log lines, and answers senders. It produces nothing.
//!
//! Reports come by the event, often thousands at a time. The in-flight batches are locked once per run of them; callbacks and wakers run outside
//! that lock. Credits come back only after the event is gone, for until then librdkafka counts its records against its own limits, which are
//! no wider than ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::Recipient;
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::SendError;
use super::batch::Unanswered;
use super::completion::Verdict;
use super::credits::Generation;
use super::error::LibraryError;
use super::in_flight::InFlight;
use super::intake::{Intake, Settled};
use super::leftovers::Accepted;
use super::native::{NativeProducer, Report, Said};
use super::partition_counts::{LookUp, LookUps};
use super::partitioner_actor::{QueueHasRoom, Stalled};
use super::state::Failure;

/// Reports handled under one lock.
const RUN: usize = 512;
/// The longest wait for an event; a stop does not wait for it.
const IDLE: Duration = Duration::from_millis(500);

/// An actor that may wait for room in librdkafka's queue.
pub(super) struct Waiter {
    pub(super) stalled: Arc<Stalled>,
    pub(super) partitioner: Recipient<QueueHasRoom>,
}

/// See the module. Should it end by a panic, everything is answered `Abandoned` and all intakes close.
pub(super) struct DeliveryThread {
    pub(super) native: Arc<NativeProducer>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) intakes: Vec<Arc<Intake>>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) look_ups: LookUps,
    pub(super) failure: Arc<Failure>,
    /// Set, then [`NativeProducer::wake`]: serves what is there and ends.
    pub(super) stop: Arc<AtomicBool>,
}

/// Room for one run of reports, kept to be used again.
#[derive(Default)]
struct Run {
    reports: Vec<Report>,
    answers: Vec<(Unanswered, usize, Verdict)>,
    /// The batches met in this event, in order; a batch's records mostly come together.
    settled: Vec<(Arc<Intake>, Generation, Settled)>,
}

impl DeliveryThread {
    pub(super) fn run(self) {
        let mut run = Run::default();
        loop {
            let stopping = self.stop.load(Ordering::Acquire);
            let timeout = if stopping { Duration::ZERO } else { IDLE };
            match self.native.poll(timeout) {
                Some(mut event) => {
                    self.serve(event.said(), &mut run);
                    drop(event);
                    for (intake, generation, settled) in run.settled.drain(..) {
                        intake.settle(generation, settled);
                    }
                    for waiter in &self.waiters {
                        if waiter.stalled.take() {
                            waiter.partitioner.do_send(QueueHasRoom);
                        }
                    }
                }
                None if stopping => return,
                None => {}
            }
        }
    }

    fn serve(&self, said: Said<'_>, run: &mut Run) {
        match said {
            Said::Reports(reports) => {
                let keeps = self.intakes.iter().any(|intake| intake.leftovers.keeps());
                let mut reports = reports.with_what_was_given_up(keeps);
                loop {
                    run.reports.clear();
                    run.reports.extend(reports.by_ref().take(RUN));
                    if run.reports.is_empty() {
                        return;
                    }
                    self.answer(run);
                }
            }
            Said::Log(level, facility, message) => {
                self.native.client().context().log(level, &facility.to_string_lossy(), &message.to_string_lossy())
            }
            Said::Error { code, reason } => {
                let context = self.native.client().context();
                context.error(KafkaError::Global(code), &reason.to_string_lossy());
                // The event of a fatal error may carry the error behind it as its code: the client itself is asked.
                if let Some((code, reason)) = self.native.fatal_error() {
                    self.fail_for_good(LibraryError(code), reason);
                }
            }
            Said::Nothing => {}
        }
    }

    fn answer(&self, run: &mut Run) {
        let mut stale_topic = None;
        let mut batches = self.in_flight.lock();
        let mut reports = std::mem::take(&mut run.reports);
        for report in reports.drain(..) {
            // A report without a record: given up before, at the end of the producer.
            let _ = batches.take(report.mark, |record, batch| {
                let of_this_batch = |(intake, generation, _): &(Arc<Intake>, _, _)| {
                    *generation == batch.generation && Arc::ptr_eq(intake, &batch.intake)
                };
                if !run.settled.last().is_some_and(of_this_batch) {
                    let fresh = (batch.intake.clone(), batch.generation, Settled::default());
                    run.settled.push(fresh);
                }
                let place = report.mark.place();
                let verdict = report.result.map_err(|refusal| {
                    if let Some(mut given_up) = refusal.given_up {
                        given_up.record.timestamp = batch.timestamp(place);
                        batch.intake.leftovers.add(Accepted { batch: batch.number, place }, *given_up);
                    }
                    let topic = batch.topic.clone();
                    if is_stale_metadata(refusal.code) {
                        stale_topic = Some(topic.clone());
                    }
                    let persisted = refusal.possibly_persisted;
                    match self.native.fatal_error_behind(refusal.code) {
                        Some(code) => Box::new(SendError::fatal(topic, report.partition, code, persisted)),
                        None => {
                            let (partition, bytes) = (report.partition, record.bytes());
                            Box::new(SendError::from_library(topic, partition, bytes, refusal.code, persisted))
                        }
                    }
                });
                run.answers.push((record, run.settled.len() - 1, verdict));
            });
        }
        drop(batches);
        run.reports = reports;
        if let Some(topic) = stale_topic {
            // A helper that is gone has nobody left to tell.
            let _ = self.look_ups.send(LookUp { topic, asker: None });
        }
        for (record, settled, verdict) in run.answers.drain(..) {
            run.settled[settled].2.answer(record, verdict);
        }
    }

    /// librdkafka fails what it holds and refuses the rest; nobody new needs to hear it record by record.
    fn fail_for_good(&self, error: LibraryError, reason: String) {
        tracing::error!(%reason, "the producer failed for good");
        let told: Arc<str> = reason.as_str().into();
        self.failure.note(reason);
        for intake in &self.intakes {
            intake.close_because(error, told.clone());
        }
    }
}

impl Drop for DeliveryThread {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failure.note("the delivery thread died");
            for intake in &self.intakes {
                intake.abandon();
            }
            self.in_flight.abandon_all();
        }
    }
}

/// The topic is not what it was when its partitions were counted.
fn is_stale_metadata(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition
    )
}
