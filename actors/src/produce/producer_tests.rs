//! Ends that no broker can bring about: an actor that dies, an error from which librdkafka does not recover.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::num::NonZeroU32;
use std::sync::{Mutex, mpsc};

use actix::{Addr, Context, Handler};

use super::*;
use crate::ids::PartitionId;
use crate::produce::{BuiltInPartitioner, Confirmation, Partitioner, Placement, ProducerRecord, SendError, Unplaced};

const LONG: Duration = Duration::from_secs(30);

struct Die;

impl actix::Message for Die {
    type Result = ();
}

impl Handler<Die> for ProducerActor {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}

impl Handler<Die> for PartitionerActor {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}

/// A port on which nobody listens.
fn nowhere() -> ProducerBuilder {
    Producer::builder().bootstrap_servers("127.0.0.1:1")
}

/// The two actors on their arbiter, without a delivery thread, and where partition counts are asked for.
struct Pair {
    sender: Sender,
    failure: Arc<Failure>,
    actor: Addr<ProducerActor>,
    partitioner: Addr<PartitionerActor>,
    system: SystemThread,
    asked: partition_counts::Requests,
}

fn pair(counts: PartitionCounts) -> Pair {
    let builder = nowhere().linger(Duration::ZERO);
    let native = Arc::new(NativeProducer::new(&builder.config()).unwrap());
    let system = SystemThread::start("test-system", 1).unwrap();
    let failure = Arc::new(Failure::default());
    let intake = Arc::new(Intake::new(0, builder.limits(), Default::default()));
    let (look_ups, asked) = partition_counts::look_ups();
    let (arbiter, run) = (&system.arbiters()[0], builder.limits().batch);
    let partitioner = {
        let (intake, failure) = (intake.clone(), failure.clone());
        PartitionerActor::start_in_arbiter(arbiter, move |_| PartitionerActor {
            intake,
            counts,
            look_ups: look_ups.clone(),
            stalled: Arc::default(),
            failure,
            metadata_timeout: LONG,
            backlog: Backlog::default(),
            out: Outlet::new(native, Arc::default(), Arc::new(BuiltInPartitioner::Murmur2), run, look_ups),
        })
    };
    let actor = {
        let (intake, partitioner) = (intake.clone(), partitioner.clone());
        let failure = failure.clone();
        ProducerActor::start_in_arbiter(arbiter, move |_| ProducerActor::new(intake, partitioner, failure))
    };
    intake.wake_through(actor.clone().recipient());
    Pair { sender: Sender::new(intake), failure, actor, partitioner, system, asked }
}

fn enqueue(sender: &Sender) -> Confirmation {
    sender.enqueue_blocking(ProducerRecord::to("t").value("v")).unwrap()
}

#[track_caller]
fn assert_abandoned(confirmation: Confirmation) {
    let error = block_on_until(confirmation, Instant::now() + LONG).expect("answered").unwrap_err();
    assert!(matches!(error, SendError::Abandoned { .. }), "{error}");
}

#[track_caller]
fn assert_closed(sender: &Sender) {
    let error = sender.send_blocking(ProducerRecord::to("t")).unwrap_err();
    assert!(matches!(error, SendError::Closed { .. }), "{error}");
}

#[test]
fn times_that_no_clock_reaches_are_waited_for_as_long_as_it_takes() {
    let producer = nowhere().linger(Duration::MAX).start().unwrap();
    let confirmation = enqueue(&producer.sender());
    producer.shutdown_blocking(Duration::from_millis(100)).unwrap();
    assert!(block_on(confirmation).is_err());
    assert!(nowhere().start().unwrap().shutdown_blocking(Duration::MAX).is_ok());
}

#[test]
fn a_partitioner_actor_that_dies_answers_what_waits_with_it_and_closes_its_senders() {
    let pair = pair(PartitionCounts::default());
    let waits = enqueue(&pair.sender);
    pair.asked.next_within(LONG).expect("it waits for its topic");
    pair.partitioner.do_send(Die);
    assert_abandoned(waits);
    assert_closed(&pair.sender);
    assert_eq!(pair.failure.get().unwrap(), "the PartitionerActor died");
    pair.system.stop_and_join(Instant::now() + LONG).unwrap();
}

#[test]
fn a_producer_actor_that_dies_answers_what_it_has_not_taken_and_closes_its_senders() {
    let pair = pair(PartitionCounts::default());
    let (release, held) = mpsc::channel::<()>();
    // The arbiter stands still, so the record is still in the intake when the actor dies.
    pair.system.arbiters()[0].spawn_fn(move || {
        let _ = held.recv();
    });
    pair.actor.do_send(Die);
    let not_taken = enqueue(&pair.sender);
    drop(release);
    assert_abandoned(not_taken);
    assert_closed(&pair.sender);
    assert_eq!(pair.failure.get().unwrap(), "the ProducerActor died");
    pair.system.stop_and_join(Instant::now() + LONG).unwrap();
}

#[test]
fn a_fatal_error_of_librdkafka_answers_everything_and_is_the_shutdowns_result() {
    let producer = nowhere().start().unwrap();
    let parts = producer.parts.as_ref().unwrap();
    // As if the brokers had said so.
    parts.counts.insert("t".into(), NonZeroU32::MIN);
    let sender = producer.sender();
    let before = enqueue(&sender);
    parts.native.raise_fatal_error();
    let error = block_on_until(before, Instant::now() + LONG).expect("answered").unwrap_err();
    assert!(matches!(error, SendError::Fatal { .. } | SendError::Abandoned { .. }), "{error}");
    assert!(
        !matches!(error, SendError::Fatal { .. }) || error.to_string().contains("OutOfOrderSequenceNumber"),
        "{error}"
    );
    let deadline = Instant::now() + LONG;
    while producer.state().open && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let error = sender.send_blocking(ProducerRecord::to("t")).unwrap_err();
    let SendError::Closed { error: Some(code), .. } = &error else { panic!("{error}") };
    assert_eq!(code.code(), rdkafka::types::RDKafkaErrorCode::OutOfOrderSequenceNumber as i32);
    assert!(error.to_string().contains("raised for a test"), "{error}");
    let error = producer.shutdown_blocking(LONG).unwrap_err();
    assert!(error.to_string().contains("raised for a test"), "{error}");
}

#[test]
fn a_producer_that_failed_gives_back_what_it_could_not_send() {
    let producer = nowhere().start().unwrap();
    let waits = enqueue(&producer.sender());
    producer.parts.as_ref().unwrap().native.raise_fatal_error();
    let ProducerError::Failed { report, .. } = producer.shutdown_blocking(Duration::ZERO).unwrap_err() else {
        panic!("it failed");
    };
    assert_eq!((report.accepted, report.abandoned, report.undelivered.len()), (1, 1, 1));
    assert_abandoned(waits);
}

/// Says that it holds a record, and holds it until it is released.
struct Holding {
    held: mpsc::Sender<()>,
    released: Mutex<mpsc::Receiver<()>>,
}

impl Partitioner for Holding {
    fn partition(&self, _: Unplaced<'_>, _: NonZeroU32) -> Placement {
        self.held.send(()).unwrap();
        let _ = self.released.lock().unwrap().recv();
        Placement::Partition(PartitionId(0))
    }
}

/// Its records were answered, and the report told: they must not be stored after all.
#[test]
fn what_a_partitioner_held_beyond_the_end_is_not_sent_any_more() {
    let (held, holds) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let producer =
        nowhere().linger(Duration::ZERO).partitioner(Holding { held, released: released.into() }).start().unwrap();
    let parts = producer.parts.as_ref().unwrap();
    parts.counts.insert("t".into(), NonZeroU32::MIN);
    let sent = enqueue(&producer.sender());
    holds.recv_timeout(LONG).unwrap();
    producer.shutdown_blocking(Duration::ZERO).unwrap();
    drop(release);
    let error = block_on_until(sent, Instant::now() + LONG).expect("answered").unwrap_err();
    assert!(matches!(error, SendError::Abandoned { possibly_persisted: false, .. }), "{error}");
}
