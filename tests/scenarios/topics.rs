use std::time::Duration;

use kafka_troupe::consume::{ConsumerBuilder, ConsumerError, OnLogRewind, Record};
use kafka_troupe::{Producer, ProducerRecord};

use crate::fixture::{Journal, On, Stage, eventually};

scenarios! {
    on Apache Kafka, "the embedded broker has no admin protocol: topics neither grow nor go, and records cannot be deleted":
        partitions_that_are_added_are_consumed_from_their_start_and_produced_to,
        a_topic_that_is_deleted_and_created_again_is_reported_as_a_rewind_and_stops_the_engine,
        a_topic_that_is_deleted_and_created_again_is_consumed_anew_where_the_policy_says_so,
        what_was_finished_of_a_log_that_is_gone_is_not_committed_to_the_new_one,
        a_position_that_retention_has_passed_stops_the_engine_with_the_partition_and_the_position;
}

const STOP: Duration = Duration::from_secs(20);

fn watchful(stage: &Stage, journal: &Journal) -> ConsumerBuilder {
    let journal = journal.clone();
    let builder = stage.consumer("g").property("topic.metadata.refresh.interval.ms", "200");
    builder.handler(move |record: &Record| journal.note("a", record))
}

fn partitions_that_are_added_are_consumed_from_their_start_and_produced_to(on: On) {
    let mut stage = Stage::new(on, 4);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let consumer = watchful(&stage, &journal).start().unwrap();
    let producer = Producer::builder()
        .bootstrap_servers(stage.broker.bootstrap_servers())
        .property("topic.metadata.refresh.interval.ms", "200")
        .start()
        .unwrap();
    let sender = producer.sender();
    // murmur2 puts a quarter of the keys into each of 4 partitions, and an eighth into each of 8.
    let send = |number: usize| {
        let key = format!("key-{number}");
        let record = ProducerRecord::to(&stage.topic).key(&key).value("value");
        sender.send_blocking(record).unwrap().partition.0
    };
    let before: Vec<_> = (0..16).map(send).collect();
    assert!(before.iter().all(|partition| *partition < 4), "{before:?}");
    eventually("four partitions are read", || journal.len() == 416);
    stage.grow(8);
    stage.produce_to(&[4, 5, 6, 7], 0, 50, 20);
    eventually("the new partitions are read from their start", || (4..8).all(|p| journal.of(p).len() >= 50));
    let mut sent = 0;
    eventually("the producer sends to new partitions", || {
        sent += 1;
        let key = format!("later-{sent}");
        let record = ProducerRecord::to(&stage.topic).key(&key).value("value");
        sender.send_blocking(record).unwrap().partition.0 >= 4
    });
    eventually("all is handled", || journal.len() == 416 + 200 + sent);
    producer.shutdown_blocking(STOP).unwrap();
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    assert_eq!(journal.distinct(), journal.len(), "nothing twice");
    assert_eq!(stage.committed("g"), stage.ends());
}

/// How soon a member looks at its topics again: soon, it sees that the topic is gone; late, it goes on fetching at its old position.
const REFRESHES: [&str; 2] = ["200", "300000"];

/// The new log is shorter than the old one, or longer.
const REFILLS: [usize; 2] = [30, 150];

fn a_topic_that_is_deleted_and_created_again_is_reported_as_a_rewind_and_stops_the_engine(on: On) {
    for (refresh, refill) in REFRESHES.into_iter().flat_map(|refresh| REFILLS.map(|refill| (refresh, refill))) {
        let stage = Stage::new(on, 1);
        stage.produce(0, 100, 20);
        let builder = watchful(&stage, &Journal::default()).property("topic.metadata.refresh.interval.ms", refresh);
        let consumer = builder.start().unwrap();
        eventually("all is committed", || consumer.state().partitions.iter().any(|p| p.committed == Some(100)));
        stage.recreate_topic();
        stage.produce(0, refill, 20);
        eventually(&format!("the engine stops, refresh {refresh}, refill {refill}"), || consumer.state().stopping);
        let ended = consumer.wait_blocking();
        assert!(matches!(ended, Err(ConsumerError::LogRewound { .. })), "refresh {refresh}, {refill}: {ended:?}");
    }
}

fn a_topic_that_is_deleted_and_created_again_is_consumed_anew_where_the_policy_says_so(on: On) {
    for (refresh, refill) in REFRESHES.into_iter().flat_map(|refresh| REFILLS.map(|refill| (refresh, refill))) {
        let stage = Stage::new(on, 1);
        stage.produce(0, 100, 20);
        let journal = Journal::default();
        let builder = watchful(&stage, &journal).on_log_rewind(OnLogRewind::Continue);
        let consumer = builder.property("topic.metadata.refresh.interval.ms", refresh).start().unwrap();
        eventually("all is committed", || consumer.state().partitions.iter().any(|p| p.committed == Some(100)));
        stage.recreate_topic();
        stage.produce(0, refill, 20);
        let whole = || 0..i64::try_from(refill).unwrap();
        eventually(&format!("the new log is handled, refresh {refresh}, refill {refill}"), || {
            let handled = journal.of(0);
            // What was fetched of it before it was known for another is repeated.
            handled.len() >= 100 + refill && handled[handled.len() - refill..].iter().copied().eq(whole())
        });
        eventually("and committed", || stage.committed("g") == stage.ends());
        assert_eq!(consumer.state().counters.rewinds, 1, "it is counted");
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    }
}

fn what_was_finished_of_a_log_that_is_gone_is_not_committed_to_the_new_one(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let consumer = stage.finished_and_uncommitted("g", &journal, 100);
    stage.recreate_topic();
    stage.produce(0, 30, 20);
    eventually("the engine stops", || consumer.state().stopping);
    assert!(matches!(consumer.wait_blocking(), Err(ConsumerError::LogRewound { .. })));
    assert!(stage.committed("g").is_empty(), "100 of the old log would hide the first records of the new one");
}

fn a_position_that_retention_has_passed_stops_the_engine_with_the_partition_and_the_position(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let first = watchful(&stage, &journal).start().unwrap();
    eventually("all is committed", || first.state().partitions.iter().any(|p| p.committed == Some(100)));
    first.shutdown_blocking(STOP).unwrap();
    stage.produce(100, 100, 20);
    stage.delete_records(0, 150);
    let second = watchful(&stage, &journal).start().unwrap();
    eventually("the engine stops", || second.state().stopping);
    match second.wait_blocking() {
        Err(ConsumerError::OffsetOutOfRange { partition, position, .. }) => {
            assert_eq!((partition.topic.as_ref(), partition.partition.0, position.0), (stage.topic.as_str(), 0, 100));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(journal.len(), 100, "nothing beyond the gap was handled");
}
