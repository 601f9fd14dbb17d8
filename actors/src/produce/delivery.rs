//! The delivery thread: serves librdkafka's reports, errors and log lines, and answers senders. It produces nothing.
//!
//! Reports come by the event, often thousands at a time. The in-flight batches are locked once per run of them; callbacks and wakers run outside
//! that lock. Credits come back only after the event is gone, for until then librdkafka counts its records against its own limits, which are
//! no wider than ours.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use actix::Recipient;
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::SendError;
use super::completion::{Call, Rest};
use super::credits::Generation;
use super::error::LibraryError;
use super::in_flight::InFlight;
use super::intake::{Intake, Settled};
use super::leftovers::Accepted;
use super::limits::Share;
use super::native::{Event, NativeProducer, Report, Said};
use super::partition_counts::{LookUp, LookUps};
use super::partitioner_actor::{QueueHasRoom, Stalled};
use super::state::Failure;
use super::succession::Origin;
use super::waking::wake_task;

/// Reports handled under one lock.
const RUN: usize = 512;
/// Events that are there already and whose credits come back together, so that a sender that waits for room is woken for more than a few records. Of a small
/// buffer that may be all there is: then sooner, see [`Limits::at_once`](super::limits::Limits::at_once).
const EVENTS: usize = 16;
/// Records that are purged come by the partition, from each broker's thread.
const PURGED: Duration = Duration::from_millis(50);
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
    /// Credits for as much of one intake come back without waiting for further events.
    pub(super) at_once: Share,
    /// Set, then [`NativeProducer::wake`]: serves what is there and ends.
    pub(super) stop: Arc<AtomicBool>,
}

/// Room for one run of reports, kept to be used again.
#[derive(Default)]
struct Run {
    reports: Vec<Report>,
    /// What an answer comes to outside the lock, in order: callbacks with the places of their batches in `settled`, and senders to wake.
    calls: VecDeque<(usize, Call)>,
    wakers: Vec<Waker>,
    /// The batches met since credits came back last, in order; a batch's records mostly come together.
    settled: Vec<Batch>,
    /// Of so many of those all is told.
    told: usize,
    /// For [`comes_to`](Self::comes_to), by intake.
    answered: Vec<Share>,
    /// Records came back that the report of the producer's end is to have: nobody is called back before all have.
    gives_up: bool,
}

struct Batch {
    intake: Arc<Intake>,
    topic: Arc<str>,
    generation: Generation,
    settled: Settled,
    /// How many of its records the intake knows to be answered.
    told: u64,
}

impl Run {
    /// Has the intakes know which records are answered: their credits come back later.
    fn tell_intakes(&mut self) {
        // Only the last batch of all that were met before may have more.
        for Batch { intake, settled, told, .. } in &mut self.settled[self.told..] {
            let answered = settled.records();
            intake.answered_before_credit(answered - std::mem::replace(told, answered));
        }
        self.told = self.settled.len().saturating_sub(1);
    }

    /// Called without a lock.
    fn finish_answers(&mut self) {
        self.wakers.drain(..).for_each(wake_task);
        while let Some((batch, call)) = self.calls.pop_front() {
            let Batch { intake, topic, settled, .. } = &mut self.settled[batch];
            settled.called(call.call(topic, Origin::of(intake)));
        }
    }

    /// Whether as much of any one intake is answered as `at_once` says.
    fn comes_to(&mut self, at_once: Share) -> bool {
        self.answered.clear();
        self.settled.iter().any(|Batch { intake, settled, .. }| {
            if self.answered.len() <= intake.index {
                self.answered.resize(intake.index + 1, Share { records: 0, bytes: 0 });
            }
            let answered = &mut self.answered[intake.index];
            answered.records += settled.records() as usize;
            answered.bytes += settled.bytes;
            answered.records >= at_once.records || answered.bytes >= at_once.bytes
        })
    }

    /// After this, credits are back.
    fn give_back(&mut self) {
        for Batch { intake, generation, settled, told, .. } in self.settled.drain(..) {
            intake.settle(generation, settled);
            intake.credit_followed(told);
        }
        self.told = 0;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Of a thread that dies, these are told what is known all the same.
        self.finish_answers();
    }
}

/// Serves an event and those that are there already, before credits come back for all of them; no more once what is answered of an intake comes to `at_once`.
/// `serve` tells whether a callback was called. Such an event is the last one: what the callback sent may be answered in the next event, and the credit of what
/// it was called for comes first. Otherwise three records would count for one place, and more, where callbacks have room for two.
fn serve_together<E>(
    run: &mut Run,
    at_once: Share,
    first: E,
    mut more: impl FnMut() -> Option<E>,
    mut serve: impl FnMut(E, &mut Run) -> bool,
) {
    let mut called = serve(first, run);
    for _ in 1..EVENTS {
        if called || run.comes_to(at_once) {
            return;
        }
        let Some(event) = more() else { return };
        called = serve(event, run);
    }
}

impl DeliveryThread {
    pub(super) fn run(self) {
        let mut run = Run::default();
        loop {
            let stopping = self.stop.load(Ordering::Acquire);
            let timeout = if stopping { Duration::ZERO } else { IDLE };
            match self.native.poll(timeout) {
                Some(event) => {
                    let more = || self.native.poll(Duration::ZERO);
                    serve_together(&mut run, self.at_once, event, more, |event, run| self.serve(event, run));
                    while run.gives_up {
                        match self.native.poll(PURGED) {
                            Some(event) => _ = self.serve(event, &mut run),
                            None => run.gives_up = false,
                        }
                    }
                    run.finish_answers();
                    run.give_back();
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

    /// Whether a callback was called.
    fn serve(&self, mut event: Event<'_>, run: &mut Run) -> bool {
        let mut called = false;
        match event.said() {
            Said::Reports(reports) => {
                let keeps = self.intakes.iter().any(|intake| intake.leftovers.keeps());
                let mut reports = reports.with_what_was_given_up(keeps);
                loop {
                    run.reports.clear();
                    run.reports.extend(reports.by_ref().take(RUN));
                    if run.reports.is_empty() {
                        return called;
                    }
                    called |= self.answer(run);
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
        called
    }

    /// Whether a callback was called.
    fn answer(&self, run: &mut Run) -> bool {
        let mut stale_topic = None;
        let mut batches = self.in_flight.lock();
        let mut reports = std::mem::take(&mut run.reports);
        for report in reports.drain(..) {
            // A report without a record: given up before, at the end of the producer.
            let _ = batches.with(report.mark, |batch, bytes| {
                let like_this_batch = |last: &mut Batch| {
                    last.generation == batch.generation
                        && Arc::ptr_eq(&last.intake, &batch.intake)
                        && Arc::ptr_eq(&last.topic, &batch.topic)
                };
                if !run.settled.last_mut().is_some_and(like_this_batch) {
                    let (intake, topic) = (batch.intake.clone(), batch.topic.clone());
                    run.settled.push(Batch {
                        intake,
                        topic,
                        generation: batch.generation,
                        settled: Settled::default(),
                        told: 0,
                    });
                }
                let place = report.mark.place();
                let verdict = report.result.map_err(|refusal| {
                    if let Some(mut given_up) = refusal.given_up {
                        run.gives_up = true;
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
                            let partition = report.partition;
                            Box::new(SendError::from_library(topic, partition, bytes, refusal.code, true, persisted))
                        }
                    }
                });
                let at = run.settled.len() - 1;
                match batch.answer(place, verdict, &mut run.settled[at].settled) {
                    Rest::Nothing => {}
                    Rest::Wake(waker) => run.wakers.push(waker),
                    Rest::Call(call) => run.calls.push_back((at, call)),
                }
            });
        }
        drop(batches);
        run.reports = reports;
        if let Some(topic) = stale_topic {
            self.look_ups.ask(LookUp { topic, asker: None });
        }
        run.tell_intakes();
        let called = !run.calls.is_empty();
        if !run.gives_up {
            run.finish_answers();
        }
        called
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::super::ProducerRecord;
    use super::super::batch::RecordBatch;
    use super::super::callback::Callback;
    use super::super::completion::Stored;
    use super::super::intake::{Listener, Offered};
    use super::super::limits::{BatchBounds, Limits};
    use super::*;
    use crate::ids::PartitionId;

    const LARGE: Share = Share { records: usize::MAX, bytes: usize::MAX };

    /// Sends a record, and in its callback the next; says how many are left when one finds no room, and at the end.
    fn goes_on(intake: &Arc<Intake>, left: u32, tell: mpsc::Sender<u32>) {
        let (again, tells) = (intake.clone(), tell.clone());
        let listener = Listener::Callback(Callback::new(move |_| match left {
            1 => tells.send(0).unwrap(),
            _ => goes_on(&again, left - 1, tells),
        }));
        match intake.offer(&ProducerRecord::to("t"), listener, None) {
            Offered::Accepted(_) => {}
            _ => tell.send(left).unwrap(),
        }
    }

    /// A broker that is so fast that a report is there as soon as a record is sent.
    fn report(intake: &Intake) -> Option<RecordBatch> {
        intake.take_ready(Instant::now()).batches.pop()
    }

    fn answered(mut batch: RecordBatch, run: &mut Run) -> bool {
        let answers = &mut batch.answers;
        let mut settled = Settled::default();
        let error = SendError::UnknownTopic { topic: answers.topic.clone() };
        let rest = answers.answer(0, Err(Box::new(error)), &mut settled);
        let (intake, topic, generation) = (answers.intake.clone(), answers.topic.clone(), answers.generation);
        run.settled.push(Batch { intake, topic, generation, settled, told: 0 });
        let at = run.settled.len() - 1;
        if let Rest::Call(call) = rest {
            run.calls.push_back((at, call));
        }
        let called = !run.calls.is_empty();
        run.finish_answers();
        called
    }

    #[test]
    fn credits_come_back_before_what_callbacks_sent_is_answered() {
        let limits = Limits {
            buffer_records: 1,
            batch: BatchBounds { records: 1, ..Limits::for_tests().batch },
            ..Limits::for_tests()
        };
        let intake = Arc::new(Intake::new(0, limits, Default::default()));
        let (tell, told) = mpsc::channel();
        goes_on(&intake, 3 * EVENTS as u32, tell);
        let mut run = Run::default();
        while let Some(event) = report(&intake) {
            serve_together(&mut run, LARGE, event, || report(&intake), answered);
            run.give_back();
        }
        assert_eq!(told.try_recv(), Ok(0), "one found no room");
    }

    /// Of how many events that are there, each of so many records and bytes of one of so many intakes in turn, the credits come back together.
    fn together(limits: Limits, intakes: usize, records: usize, bytes: usize) -> usize {
        let intakes: Vec<_> =
            (0..intakes).map(|index| Arc::new(Intake::new(index, limits, Default::default()))).collect();
        let (mut events, mut served, mut run) = (0..3 * EVENTS, 0, Run::default());
        let serve = |event: usize, run: &mut Run| {
            assert_eq!(event, served);
            served += 1;
            let mut settled = Settled::default();
            let stored = Stored { partition: PartitionId(0), offset: None, timestamp: -1 };
            (0..records).for_each(|record| settled.count(&Ok(stored), if record == 0 { bytes } else { 0 }));
            let intake = intakes[event % intakes.len()].clone();
            let (topic, generation) = ("t".into(), intake.flush());
            run.settled.push(Batch { intake, topic, generation, settled, told: 0 });
            false
        };
        let first = events.next().unwrap();
        serve_together(&mut run, limits.at_once(), first, || events.next(), serve);
        served
    }

    #[test]
    fn credits_of_events_without_callbacks_come_back_together_for_a_quarter_of_the_buffer_at_most() {
        let large = Limits { buffer_records: 1 << 30, buffer_bytes: 1 << 30, ..Limits::for_tests() };
        assert_eq!(together(large, 1, 1_000, 1_000), EVENTS);
        let limits = Limits { buffer_records: 40, buffer_bytes: 4_000, ..Limits::for_tests() };
        assert_eq!(together(limits, 1, 3, 0), 4);
        assert_eq!(together(limits, 1, 1, 500), 2);
        // The quarter is that of one of them.
        assert_eq!(together(limits, 3, 3, 0), 3 * 3 + 1);
        assert_eq!(together(limits, 3, 1, 500), 3 + 1);
        let least = Limits { buffer_records: 1, ..limits };
        assert_eq!(together(least, 1, 1, 0), 1);
    }
}
