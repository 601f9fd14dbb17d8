#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use super::*;
use crate::block_on::block_on;
use crate::produce::callback::Callback;
use crate::produce::limits::BatchBounds;
use crate::produce::{Confirmation, ProducerRecord, SendError};

impl Limits {
    /// Small bounds and a linger that no test outlives.
    pub(in crate::produce) fn for_tests() -> Self {
        Self {
            buffer_records: 100,
            buffer_bytes: 10_000,
            batch: BatchBounds { records: 10, bytes: 1_000 },
            linger: Duration::from_secs(3600),
        }
    }
}

fn intake(limits: Limits) -> Arc<Intake> {
    Arc::new(Intake::new(0, limits, Layers::default()))
}

/// A batch of `records` records without bytes, taken as the actor takes it, and the confirmations.
pub(in crate::produce) fn batch_of(records: usize) -> (RecordBatch, Vec<Confirmation>) {
    let intake = intake(Limits::for_tests());
    let confirmations = (0..records).map(|_| accept(&intake, &ProducerRecord::to("t"))).collect();
    intake.flush();
    let batch = intake.take_ready(Instant::now()).batches.pop().unwrap();
    (batch, confirmations)
}

fn offer(intake: &Arc<Intake>, record: &ProducerRecord<'_>) -> Offered {
    intake.offer(record, Listener::Confirmation, None)
}

fn accept(intake: &Arc<Intake>, record: &ProducerRecord<'_>) -> Confirmation {
    match offer(intake, record) {
        Offered::Accepted(Some(confirmation)) => confirmation,
        _ => panic!("not accepted"),
    }
}

fn values(batch: &RecordBatch) -> Vec<u8> {
    (0..batch.answers.records.len()).map(|place| batch.answers.records.get(place).value().unwrap()[0]).collect()
}

#[test]
fn a_batch_is_ready_when_its_count_is_full() {
    let intake = intake(Limits::for_tests());
    let mut kept = Vec::new();
    for n in 0..25_u8 {
        kept.push(accept(&intake, &ProducerRecord::to("t").value(&[n])));
    }
    let taken = intake.take_ready(Instant::now());
    let batches: Vec<_> = taken.batches.iter().map(values).collect();
    assert_eq!(batches, [(0..10).collect::<Vec<u8>>(), (10..20).collect::<Vec<u8>>()]);
    assert!(taken.due.is_some(), "five linger");
}

#[test]
fn a_batch_grows_with_the_partitions_of_its_topic_and_of_no_other() {
    let intake = intake(Limits { buffer_records: 1_000, buffer_bytes: 100_000, ..Limits::for_tests() });
    let mut kept: Vec<_> = ["many", "few"].map(|topic| accept(&intake, &ProducerRecord::to(topic))).into();
    // Also of the batches that linger.
    intake.learn(TopicIndex(0), NonZeroU32::new(24).unwrap());
    intake.learn(TopicIndex(1), NonZeroU32::MIN);
    for topic in ["many", "few"] {
        kept.extend((1..70).map(|_| accept(&intake, &ProducerRecord::to(topic))));
    }
    let batches = intake.take_ready(Instant::now()).batches;
    let sizes = |topic| batches.iter().filter(move |b| b.topic == TopicIndex(topic)).map(|b| b.answers.records.len());
    assert_eq!(sizes(0).collect::<Vec<_>>(), [30, 30]);
    assert_eq!(sizes(1).collect::<Vec<_>>(), [10; 7]);
}

#[test]
fn a_batch_is_ready_when_its_bytes_are_full_and_never_above_them() {
    let intake = intake(Limits::for_tests());
    let mut kept = Vec::new();
    for _ in 0..4 {
        kept.push(accept(&intake, &ProducerRecord::to("t").value(&[0; 400])));
    }
    kept.push(accept(&intake, &ProducerRecord::to("t").value(&[0; 3_000])));
    let taken = intake.take_ready(Instant::now());
    let sizes: Vec<_> = taken.batches.iter().map(|batch| batch.bytes).collect();
    assert_eq!(sizes, [800, 800, 3_000]);
}

#[test]
fn a_batch_is_ready_when_it_has_lingered() {
    let intake = intake(Limits::for_tests());
    let _kept = accept(&intake, &ProducerRecord::to("t").value(&[1]));
    let now = Instant::now();
    let early = intake.take_ready(now);
    assert!(early.batches.is_empty());
    let due = early.due.unwrap();
    assert!(due > now && due <= now + Duration::from_secs(3600));
    let late = intake.take_ready(due);
    assert_eq!(late.batches.len(), 1);
    assert_eq!(late.due, None);
}

#[test]
fn topics_linger_each_on_its_own() {
    let intake = intake(Limits::for_tests());
    let _a = accept(&intake, &ProducerRecord::to("a").value(&[1]));
    let mut kept = Vec::new();
    for n in 0..10 {
        kept.push(accept(&intake, &ProducerRecord::to("b").value(&[n])));
    }
    let _second_b = accept(&intake, &ProducerRecord::to("b").value(&[10]));
    let first = intake.take_ready(Instant::now());
    assert_eq!(first.batches.len(), 1);
    let rest = intake.take_ready(Instant::now() + Duration::from_secs(7200));
    let mut topics: Vec<_> = rest.batches.iter().map(|b| b.answers.topic.clone()).collect();
    topics.sort();
    assert_eq!(topics, ["a".into(), "b".into()]);
}

#[test]
fn a_full_buffer_takes_nothing_until_credit_comes_back() {
    let intake = intake(Limits { buffer_records: 2, ..Limits::for_tests() });
    let _first = accept(&intake, &ProducerRecord::to("t"));
    let _second = accept(&intake, &ProducerRecord::to("t"));
    assert!(matches!(offer(&intake, &ProducerRecord::to("t")), Offered::NoRoom(_, None)));
    intake.flush();
    drop(intake.take_ready(Instant::now()));
    let _third = accept(&intake, &ProducerRecord::to("t"));
    assert_eq!(intake.counts().abandoned, 2);
}

#[test]
fn a_newcomer_does_not_overtake_a_sender_in_line() {
    let intake = intake(Limits { buffer_bytes: 100, ..Limits::for_tests() });
    let _kept = accept(&intake, &ProducerRecord::to("t").value(&[0; 60]));
    let large = ProducerRecord::to("t").value(&[0; 50]);
    let waits = Some((Waker::noop(), None));
    let Offered::NoRoom(_, Some(ticket)) = intake.offer(&large, Listener::Confirmation, waits) else {
        panic!("room for 110 of 100");
    };
    let small = ProducerRecord::to("t").value(&[0; 10]);
    assert!(matches!(offer(&intake, &small), Offered::NoRoom(..)));
    intake.leave(ticket);
    let _small = accept(&intake, &small);
}

#[test]
fn a_record_that_can_never_fit_is_refused_at_once() {
    let intake = intake(Limits::for_tests());
    assert!(matches!(
        offer(&intake, &ProducerRecord::to("t").value(&[0; 10_001])),
        Offered::Refused(SendError::TooLarge { bytes: 10_001, .. })
    ));
}

#[test]
fn a_name_that_kafka_does_not_allow_is_refused() {
    let intake = intake(Limits::for_tests());
    for name in ["", "a b", "a\0b", "..", "ü", &"a".repeat(250)] {
        assert!(matches!(offer(&intake, &ProducerRecord::to(name)), Offered::Refused(SendError::InvalidTopic { .. })));
    }
}

#[test]
fn a_closed_intake_refuses_and_keeps_what_it_has() {
    let intake = intake(Limits::for_tests());
    let _kept = accept(&intake, &ProducerRecord::to("t"));
    intake.close();
    assert!(matches!(offer(&intake, &ProducerRecord::to("t")), Offered::Refused(SendError::Closed { .. })));
    assert_eq!(intake.take_ready(Instant::now()).batches.len(), 1);
}

#[test]
fn an_abandoned_intake_answers_everything_and_ends_every_flush() {
    let intake = intake(Limits::for_tests());
    let kept: Vec<_> = (0..12).map(|_| accept(&intake, &ProducerRecord::to("t"))).collect();
    let flush = intake.flush();
    intake.abandon();
    for confirmation in kept {
        assert!(matches!(confirmation.wait_blocking(), Err(SendError::Abandoned { .. })));
    }
    block_on(intake.answered(flush));
    let counts = intake.counts();
    assert_eq!((counts.accepted, counts.abandoned, counts.in_flight_records), (12, 12, 0));
}

#[test]
fn headers_and_timestamp_come_out_as_they_went_in() {
    let intake = intake(Limits::for_tests());
    let record = ProducerRecord::to("t").key("k").header("a", "1").header("a", "").timestamp(42).partition(3);
    let _kept = accept(&intake, &record);
    let _plain = accept(&intake, &ProducerRecord::to("t").key("").value(""));
    intake.flush();
    let taken = intake.take_ready(Instant::now());
    let view = taken.batches[0].answers.records.get(0);
    assert_eq!(view.key(), Some(&b"k"[..]));
    assert_eq!(view.value(), None);
    assert_eq!(view.timestamp(), Some(42));
    assert_eq!(view.partition().unwrap().0, 3);
    let headers: Vec<_> = view.headers().collect();
    assert_eq!(headers, [(&b"a"[..], Some(&b"1"[..])), (&b"a"[..], Some(&b""[..]))]);
    let plain = taken.batches[0].answers.records.get(1);
    assert!(plain.is_plain());
    assert_eq!((plain.key(), plain.value()), (Some(&b""[..]), Some(&b""[..])));
}

#[test]
fn batches_that_fill_up_leave_nothing_behind_one_that_lingers_on() {
    let intake = intake(Limits { buffer_records: 100_000, ..Limits::for_tests() });
    let mut kept = vec![accept(&intake, &ProducerRecord::to("slow"))];
    for _ in 0..10_000 {
        kept.push(accept(&intake, &ProducerRecord::to("fast")));
    }
    assert!(intake.lock().batching.entries_of_those_that_linger() <= 4);
    // It is still known when the slow one is due.
    let taken = intake.take_ready(Instant::now());
    assert_eq!(taken.batches.len(), 1_000);
    let taken = intake.take_ready(taken.due.unwrap());
    assert_eq!(taken.batches.len(), 1);
    assert_eq!(&*taken.batches[0].answers.topic, "slow");
}

/// Each answer sends the next record, and the buffer is always full.
#[test]
fn callbacks_that_send_again_for_ever_let_who_waits_for_room_in() {
    let limits = Limits { batch: BatchBounds { records: 1, bytes: 1_000 }, ..Limits::for_tests() };
    let intake = intake(limits);
    fn send_again(intake: &Arc<Intake>) {
        let again = intake.clone();
        let listener = Listener::Callback(Callback::new(move |_| send_again(&again)));
        assert!(matches!(intake.offer(&ProducerRecord::to("t"), listener, None), Offered::Accepted(None)));
    }
    for _ in 0..limits.buffer_records {
        send_again(&intake);
    }
    for waiter in 0..3 {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let waits = ProducerRecord::to("waits");
        let Offered::NoRoom(mut listener, mut ticket) =
            intake.offer(&waits, Listener::Confirmation, Some((&waker, None)))
        else {
            panic!("there was room");
        };
        let mut confirmation = None;
        for _ in 0..10 * limits.buffer_records {
            // What the delivery thread does: callbacks first, then the credit. It answers its own record last.
            let mut batches = intake.take_ready(Instant::now()).batches.into_iter();
            for mut batch in batches.by_ref() {
                let (mut settled, error) = (Settled::default(), SendError::UnknownTopic { topic: "t".into() });
                batch.answers.answer_now(0, Err(Box::new(error)), &mut settled);
                intake.settle(batch.answers.generation, settled);
                if woken.0.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    match intake.offer(&waits, listener, Some((&waker, ticket))) {
                        Offered::Accepted(accepted) => {
                            (confirmation, listener, ticket) = (accepted, Listener::Confirmation, None);
                        }
                        Offered::NoRoom(again, kept) => (listener, ticket) = (again, kept),
                        Offered::Refused(error) => panic!("{error}"),
                    }
                }
            }
            if confirmation.is_some() {
                break;
            }
        }
        assert!(confirmation.is_some(), "waiter {waiter} is passed for ever");
        assert!(intake.counts().in_flight_records <= limits.buffer_records + 1);
    }
    intake.close();
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A sender that stands in line for each record, behind others that are not scheduled yet, would cost a change of threads per record.
#[test]
fn who_finds_room_beside_that_of_those_in_line_need_not_stand_behind_them() {
    let intake = intake(Limits::for_tests());
    let mut kept: Vec<_> = (0..100).map(|_| accept(&intake, &ProducerRecord::to("t").value(&[0; 10]))).collect();
    let large = [0; 2_000];
    let records = [ProducerRecord::to("t"), ProducerRecord::to("t").value(&large)];
    let waits: Vec<_> = records
        .iter()
        .map(|record| match intake.offer(record, Listener::Confirmation, Some((Waker::noop(), None))) {
            Offered::NoRoom(_, Some(ticket)) => ticket,
            _ => panic!("there was room"),
        })
        .collect();
    assert!(matches!(offer(&intake, &ProducerRecord::to("t")), Offered::NoRoom(..)));
    // A whole buffer of room: 10,000 bytes, of which those in line need 2,000.
    drop(intake.take_ready(Instant::now()));
    for _ in 0..4 {
        kept.push(accept(&intake, &ProducerRecord::to("t").value(&large)));
    }
    assert!(matches!(offer(&intake, &ProducerRecord::to("t").value(&[0])), Offered::NoRoom(..)));
    for (record, ticket) in records.iter().zip(waits) {
        let offered = intake.offer(record, Listener::Confirmation, Some((Waker::noop(), Some(ticket))));
        assert!(matches!(offered, Offered::Accepted(_)));
    }
    assert_eq!(intake.counts().waiting_senders, 0);
}

/// What is sent beyond one's own place goes by the rules for all: in line behind who waits, and within the bound.
#[test]
fn a_callback_hands_its_place_on_once_and_only_within_its_own_intake() {
    let limits = Limits {
        buffer_records: 2,
        batch: BatchBounds { records: 1, ..Limits::for_tests().batch },
        ..Limits::for_tests()
    };
    let (own, other) = (intake(limits), intake(limits));
    let _full = [&other, &other, &own].map(|intake| accept(intake, &ProducerRecord::to("t")));
    let (tell, told) = std::sync::mpsc::channel();
    let (sends, elsewhere) = (own.clone(), other.clone());
    let listener = Listener::Callback(Callback::new(move |_| {
        for intake in [&elsewhere, &sends, &sends] {
            let offered = intake.offer(&ProducerRecord::to("t"), Listener::Confirmation, None);
            tell.send(matches!(offered, Offered::Accepted(_))).unwrap();
        }
    }));
    assert!(matches!(own.offer(&ProducerRecord::to("t"), listener, None), Offered::Accepted(None)));
    let mut batches = own.take_ready(Instant::now()).batches;
    drop(batches.remove(1));
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [false, true, false]);
    own.abandon();
    other.abandon();
}

#[path = "intake_room_tests.rs"]
mod room;
