//! Without a group: everything of a topic, exactly once, and nothing left behind.

use std::time::{Duration, Instant};

use kafka_troupe::broker::{RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::consume::{AutoOffsetReset, ConsumerError, Outcome, Record};

use crate::fixture::{Gate, Journal, On, Stage, eventually};

scenarios! {
    on both brokers:
        every_record_is_handled_once_in_order_and_nothing_is_committed,
        two_standalone_consumers_have_everything_each,
        latest_starts_at_the_end,
        a_stop_waits_for_what_handlers_hold_and_starts_nothing_more,
        a_record_that_is_never_finished_is_named_at_the_stop,
        a_failing_record_is_tried_again_and_a_stop_of_the_handler_ends_it,
        a_worker_that_dies_is_replaced_and_goes_on_at_the_watermark,
        a_topic_that_does_not_exist_ends_it_with_its_name,
        it_stops_at_once_while_the_broker_is_away,
        what_only_a_group_has_is_refused;
    on the embedded broker, "which answers requests with the errors that a test asks for":
        a_group_that_it_may_not_see_is_no_obstacle;
}

const STOP: Duration = Duration::from_secs(20);
/// The group that librdkafka is given a name of, since it assigns nothing without one.
const NEVER_JOINED: &str = "troupe-standalone";

fn every_record_is_handled_once_in_order_and_nothing_is_committed(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce(0, 2000, 50);
    let journal = Journal::default();
    let notes = journal.clone();
    let consumer = stage.standalone().handler(move |record: &Record| notes.note("a", record)).start().unwrap();
    eventually("all is handled", || journal.len() >= 8000);
    eventually("the watermarks tell", || consumer.state().partitions.iter().all(|p| p.watermark == 2000));
    stage.produce(2000, 100, 50);
    eventually("what comes later too", || journal.len() >= 8400);
    eventually("nothing is left", || consumer.state().partitions.iter().all(|p| p.lag == Some(0)));
    let state = consumer.state();
    assert_eq!(state.partitions.len(), 4);
    assert!(state.partitions.iter().all(|p| p.committed.is_none() && p.watermark == 2100), "{state:?}");
    let stopped = consumer.shutdown_blocking(STOP).unwrap();
    assert!(stopped.drained && stopped.unfinished.is_empty(), "{stopped:?}");
    journal.assert_exactly_once_in_order(4, 2100);
    assert_eq!(consumer.state().counters.commits, 0);
    assert!(stage.committed(NEVER_JOINED).is_empty());
}

fn two_standalone_consumers_have_everything_each(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 500, 50);
    let journals = [Journal::default(), Journal::default()];
    let consumers = journals
        .clone()
        .map(|journal| stage.standalone().handler(move |record: &Record| journal.note("a", record)).start().unwrap());
    eventually("both have it all", || journals.iter().all(|journal| journal.len() == 1000));
    for (consumer, journal) in consumers.iter().zip(&journals) {
        consumer.shutdown_blocking(STOP).unwrap();
        journal.assert_exactly_once_in_order(2, 500);
    }
}

fn latest_starts_at_the_end(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 10, 50);
    let journal = Journal::default();
    let notes = journal.clone();
    let consumer = stage
        .standalone()
        .auto_offset_reset(AutoOffsetReset::Latest)
        .handler(move |record: &Record| notes.note("a", record))
        .start()
        .unwrap();
    eventually("it stands at the end", || consumer.state().partitions.iter().any(|p| p.watermark == 10));
    stage.produce(10, 5, 50);
    eventually("what is new comes", || journal.len() == 5);
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), (10..15).collect::<Vec<_>>());
}

fn a_stop_waits_for_what_handlers_hold_and_starts_nothing_more(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 50);
    let (journal, gate) = (Journal::default(), Gate::default());
    let consumer = {
        let (journal, gate) = (journal.clone(), gate.clone());
        let handler = move |record: &Record| {
            gate.wait();
            journal.note("a", record);
        };
        stage.standalone().handler(handler).worker_threads(2).start().unwrap()
    };
    eventually("handlers hold a record each", || {
        consumer.state().partitions.iter().map(|p| p.in_flight).sum::<u64>() == 2
    });
    let stopping = std::thread::spawn({
        let consumer = consumer.clone();
        move || consumer.shutdown_blocking(STOP)
    });
    eventually("it stops", || {
        use kafka_troupe::consume::PartitionPhase::Revoking;
        consumer.state().partitions.iter().all(|p| p.phase == Revoking)
    });
    gate.open();
    let stopped = stopping.join().unwrap().unwrap();
    assert!(stopped.drained, "{stopped:?}");
    assert_eq!((journal.of(0), journal.of(1)), (vec![0], vec![0]));
}

fn a_record_that_is_never_finished_is_named_at_the_stop(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 5, 50);
    let gate = Gate::default();
    let consumer = {
        let gate = gate.clone();
        stage.standalone().handler(move |_: &Record| gate.wait()).start().unwrap()
    };
    eventually("the handler is stuck", || consumer.state().partitions.iter().any(|p| p.in_flight == 1));
    let stopped = consumer.shutdown_blocking(Duration::from_secs(1)).unwrap();
    assert_eq!(stopped.unfinished.iter().map(|record| record.offset).collect::<Vec<_>>(), [0]);
    gate.open();
}

fn a_failing_record_is_tried_again_and_a_stop_of_the_handler_ends_it(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 10, 50);
    let journal = Journal::default();
    let notes = journal.clone();
    let handler = move |record: &Record| {
        notes.note("a", record);
        match (record.offset().0, record.attempt()) {
            (3, 1) => Outcome::Retry { after: Duration::ZERO, cause: "once more".into() },
            (6, _) => Outcome::Stop { cause: "enough".into() },
            _ => Outcome::Done,
        }
    };
    let consumer = stage.standalone().handler(handler).start().unwrap();
    let ended = consumer.wait_blocking();
    assert!(matches!(ended, Err(ConsumerError::StoppedByHandler { offset, .. }) if offset.0 == 6), "{ended:?}");
    assert_eq!(journal.of(0), [0, 1, 2, 3, 3, 4, 5, 6]);
}

fn a_worker_that_dies_is_replaced_and_goes_on_at_the_watermark(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 50);
    let journal = Journal::default();
    let notes = journal.clone();
    let consumer = stage.standalone().handler(move |record: &Record| notes.note("a", record)).start().unwrap();
    eventually("all is handled", || consumer.state().partitions.iter().any(|p| p.watermark == 100));
    consumer.kill_worker(&kafka_troupe::ids::TopicPartition::new(&*stage.topic, 0));
    eventually("it has a new epoch", || consumer.state().counters.workers_replaced == 1);
    stage.produce(100, 100, 50);
    eventually("the rest is handled", || consumer.state().partitions.iter().any(|p| p.watermark == 200));
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(1, 200);
}

fn a_topic_that_does_not_exist_ends_it_with_its_name(on: On) {
    let stage = Stage::new(on, 1);
    let consumer = stage.standalone().topics([&stage.topic, "missing"]).handler(|_: &Record| ()).start().unwrap();
    let ended = consumer.wait_blocking();
    assert_eq!(ended, Err(ConsumerError::UnknownTopic { topic: "missing".to_owned() }));
}

fn a_group_that_it_may_not_see_is_no_obstacle(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 10, 50);
    let denied = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 20];
    stage.broker.embedded().fail_requests(RDKafkaApiKey::FindCoordinator, &denied);
    let journal = Journal::default();
    let notes = journal.clone();
    let consumer = stage.standalone().handler(move |record: &Record| notes.note("a", record)).start().unwrap();
    eventually("all is handled", || journal.len() == 10);
    consumer.shutdown_blocking(STOP).unwrap();
}

fn it_stops_at_once_while_the_broker_is_away(on: On) {
    let stage = Stage::alone(on, 1);
    stage.broker.take_down();
    let consumer = stage.standalone().handler(|_: &Record| ()).start().unwrap();
    let begun = Instant::now();
    let stopped = consumer.shutdown_blocking(STOP).unwrap();
    assert!(stopped.drained);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

fn what_only_a_group_has_is_refused(on: On) {
    let stage = Stage::new(on, 1);
    let builder = || stage.standalone().handler(|_: &Record| ());
    for (refused, why) in [
        (builder().group_id("g"), "has no group"),
        (builder().topics(["^t"]), "is a pattern"),
        (builder().auto_offset_reset(AutoOffsetReset::None), "no offset to go on from"),
    ] {
        let error = refused.start().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
