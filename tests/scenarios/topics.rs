use std::sync::Arc;
use std::time::Duration;

use kafka_troupe::consume::{
    AutoOffsetReset, ConsumerBuilder, ConsumerError, OnLogRewind, OnOffsetOutOfRange, Record, StartAt,
};
use kafka_troupe::ids::{NextOffset, TopicPartition};
use kafka_troupe::{Producer, ProducerRecord};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::fixture::{Gate, Journal, On, PATIENCE, Stage, eventually};
use crate::listener::{History, Listener};

scenarios! {
    on Apache Kafka, "the embedded broker has no admin protocol: topics neither grow nor go, and records cannot be deleted":
        partitions_that_are_added_are_consumed_from_their_start_and_produced_to,
        a_group_that_starts_at_the_end_consumes_added_partitions_from_their_start_all_the_same,
        a_standalone_consumer_reads_added_partitions_from_their_start_and_named_ones_only_what_they_name,
        a_topic_that_is_deleted_and_created_again_is_reported_as_a_rewind_and_stops_the_engine,
        a_topic_that_is_deleted_and_created_again_is_consumed_anew_where_the_policy_says_so,
        a_topic_that_is_created_again_while_it_is_being_assigned_is_noticed_too,
        what_was_finished_of_a_log_that_is_gone_is_not_committed_to_the_new_one,
        a_topic_that_is_deleted_while_it_is_consumed_leaves_the_others_alone,
        a_position_that_retention_has_passed_stops_the_engine_with_the_range_that_is_lost,
        a_position_that_retention_has_passed_goes_on_where_the_policy_says_and_the_loss_is_counted,
        what_was_handed_out_is_finished_before_what_is_lost_is_passed_over,
        a_start_that_retention_has_passed_goes_by_the_policy_too;
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

fn a_topic_that_is_created_again_while_it_is_being_assigned_is_noticed_too(on: On) {
    let stage = Arc::new(Stage::new(on, 1));
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    stage.finished_and_uncommitted("g", &journal, 100).shutdown_blocking(STOP).unwrap();
    // Between the look-up of its start and its assignment, and before any other look at its id.
    let again = Arc::clone(&stage);
    let listener = Listener::new(&History::default()).on_assigned(move |_| {
        again.recreate_topic();
        again.produce(0, 150, 20);
        Ok(Vec::new())
    });
    let builder = stage.consumer("g").rebalance_listener(listener).listener_deadline(PATIENCE);
    let notes = journal.clone();
    let consumer = builder.handler(move |record: &Record| notes.note("b", record)).start().unwrap();
    eventually("the engine stops", || consumer.state().stopping);
    let ended = consumer.wait_blocking();
    assert!(matches!(ended, Err(ConsumerError::LogRewound { .. })), "{ended:?}");
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

fn a_topic_that_is_deleted_while_it_is_consumed_leaves_the_others_alone(on: On) {
    // One whose member learns of it from its metadata, and one that goes on as if nothing had happened.
    for refresh in REFRESHES {
        let (stays, goes) = (Stage::new(on, 2), Stage::new(on, 2));
        stays.produce(0, 100, 20);
        goes.produce(0, 2000, 20);
        let (journal, group) = (Journal::default(), stays.group("g"));
        let notes = journal.clone();
        let consumer = stays
            .consumer("g")
            .topics([&stays.topic, &goes.topic])
            .property("topic.metadata.refresh.interval.ms", refresh)
            .async_handler(move |record: Record| {
                let notes = notes.clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    notes.note("a", &record);
                }
            })
            .start()
            .unwrap();
        eventually("both are committed", || {
            goes.committed_of(&group).len() == 2 && stays.committed_of(&group).values().sum::<i64>() == 200
        });
        goes.delete_topic();
        stays.produce(100, 100, 20);
        eventually("the other is handled and committed", || stays.committed_of(&group) == [(0, 200), (1, 200)].into());
        assert!(!consumer.state().stopping);
        // What was begun of the topic that is gone cannot be committed, and holds up nothing.
        consumer.shutdown_blocking(STOP).unwrap();
        assert_eq!(stays.committed_of(&group), [(0, 200), (1, 200)].into());
        assert_eq!(consumer.state().invariants, Default::default());
    }
}

/// A group that has committed 100 of a log that goes from 150 to 200 now.
fn overtaken(on: On, journal: &Journal) -> Stage {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let first = watchful(&stage, journal).start().unwrap();
    eventually("all is committed", || first.state().partitions.iter().any(|p| p.committed == Some(100)));
    first.shutdown_blocking(STOP).unwrap();
    stage.produce(100, 100, 20);
    stage.delete_records(0, 150);
    stage
}

fn a_position_that_retention_has_passed_stops_the_engine_with_the_range_that_is_lost(on: On) {
    let journal = Journal::default();
    let stage = overtaken(on, &journal);
    let second = watchful(&stage, &journal).start().unwrap();
    eventually("the engine stops", || second.state().stopping);
    let error = second.wait_blocking().unwrap_err();
    let expected = ConsumerError::OffsetOutOfRange {
        partition: TopicPartition::new(&*stage.topic, 0),
        position: NextOffset(100),
        low: NextOffset(150),
        high: NextOffset(200),
    };
    assert_eq!(error, expected);
    assert!(error.to_string().contains("from 100 up to 150 are lost"), "{error}");
    assert_eq!(journal.len(), 100, "nothing beyond the gap was handled");
    assert_eq!(stage.committed("g"), [(0, 100)].into());
}

fn a_position_that_retention_has_passed_goes_on_where_the_policy_says_and_the_loss_is_counted(on: On) {
    for (policy, goes_on) in [(OnOffsetOutOfRange::Earliest, 150), (OnOffsetOutOfRange::Latest, 200)] {
        let journal = Journal::default();
        let stage = overtaken(on, &journal);
        let second = watchful(&stage, &journal).on_offset_out_of_range(policy).start().unwrap();
        eventually("it stands there", || second.state().partitions.iter().any(|p| p.watermark == 200));
        stage.produce(200, 10, 20);
        eventually("all is committed", || stage.committed("g") == [(0, 210)].into());
        let state = second.state();
        assert_eq!((state.counters.offsets_lost, state.counters.rewinds), (50, 0));
        assert_eq!(state.invariants, Default::default());
        assert!(second.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(journal.of(0), (0..100).chain(goes_on..210).collect::<Vec<_>>());
    }
}

fn what_was_handed_out_is_finished_before_what_is_lost_is_passed_over(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let consumer = {
        let (journal, gate) = (journal.clone(), gate.clone());
        let handler = move |record: &Record| {
            if record.offset().0 == 90 {
                gate.wait();
            }
            journal.note("a", record);
        };
        let builder = stage.consumer("g").handler(handler).on_offset_out_of_range(OnOffsetOutOfRange::Earliest);
        builder.drain_deadline(Duration::from_millis(100)).start().unwrap()
    };
    eventually("the handler holds record 90, with those up to 100 behind it", || {
        journal.len() == 90 && consumer.state().partitions.iter().any(|p| p.end_offset == Some(100))
    });
    let epoch = consumer.state().partitions[0].epoch;
    // Of a transaction that is not over nothing can be fetched, and yet it can be deleted.
    let producer: BaseProducer = stage.client().set("transactional.id", &stage.topic).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    for number in 100..200 {
        let text = number.to_string();
        let record = BaseRecord::to(&stage.topic).partition(0).key(&text).payload(&text);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    stage.delete_records(0, 150);
    eventually("it is out of range", || {
        consumer.state().partitions[0].last_error.as_ref().is_some_and(|error| error.contains("range"))
    });
    let asked = std::time::Instant::now();
    eventually("what that means is known", || asked.elapsed() > Duration::from_secs(3));
    let state = consumer.state();
    assert_eq!((state.partitions[0].epoch, state.counters.offsets_lost), (epoch, 0), "the handler is waited for");
    gate.open();
    eventually("it goes on behind the gap", || consumer.state().partitions.iter().any(|p| p.epoch > epoch));
    assert_eq!(consumer.state().counters.offsets_lost, 50);
    producer.commit_transaction(PATIENCE).unwrap();
    eventually("all is committed", || stage.committed("g") == stage.ends());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(
        journal.of(0),
        (0..100).chain(150..200).collect::<Vec<_>>(),
        "what was handed out is no part of the loss"
    );
}

fn a_start_that_retention_has_passed_goes_by_the_policy_too(on: On) {
    let journal = Journal::default();
    let stage = overtaken(on, &journal);
    let given = || StartAt::Offsets(vec![(TopicPartition::new(&*stage.topic, 0), NextOffset(120))]);
    let ended = watchful(&stage, &journal).start_at(given()).start().unwrap().wait_blocking();
    assert!(matches!(ended, Err(ConsumerError::OffsetOutOfRange { position: NextOffset(120), .. })), "{ended:?}");
    let builder = watchful(&stage, &journal).start_at(given()).on_offset_out_of_range(OnOffsetOutOfRange::Earliest);
    let consumer = builder.start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 200)].into());
    assert_eq!(consumer.state().counters.offsets_lost, 30);
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), (0..100).chain(150..200).collect::<Vec<_>>());
}

fn a_group_that_starts_at_the_end_consumes_added_partitions_from_their_start_all_the_same(on: On) {
    let latest: [fn(ConsumerBuilder) -> ConsumerBuilder; 2] =
        [|builder| builder.auto_offset_reset(AutoOffsetReset::Latest), |builder| builder.start_at(StartAt::Latest)];
    for at_the_end in latest {
        let mut stage = Stage::new(on, 1);
        stage.produce(0, 100, 20);
        let journal = Journal::default();
        let consumer = at_the_end(watchful(&stage, &journal)).start().unwrap();
        eventually("it stands at the end", || consumer.state().partitions.iter().any(|p| p.watermark == 100));
        // It has seen the topic as it is.
        stage.produce(100, 1, 20);
        eventually("what comes is handled", || journal.of(0) == [100]);
        stage.grow(2);
        // There before anybody reads it.
        stage.produce_to(&[1], 0, 50, 20);
        eventually("the new partition is read from its start", || journal.of(1) == (0..50).collect::<Vec<_>>());
        consumer.shutdown_blocking(STOP).unwrap();
        assert_eq!(stage.committed("g"), stage.ends());
    }
}

fn a_standalone_consumer_reads_added_partitions_from_their_start_and_named_ones_only_what_they_name(on: On) {
    let mut stage = Stage::new(on, 2);
    stage.produce(0, 100, 20);
    let [all, named] = [Journal::default(), Journal::default()];
    let noting = |builder: ConsumerBuilder, journal: &Journal| {
        let journal = journal.clone();
        builder.handler(move |record: &Record| journal.note("a", record)).start().unwrap()
    };
    let everything = noting(stage.standalone().auto_offset_reset(AutoOffsetReset::Latest), &all);
    let partition = TopicPartition::new(&*stage.topic, 0);
    let some = noting(stage.standalone().topics::<String>([]).partitions([partition]), &named);
    eventually("they have begun", || everything.state().partitions.len() == 2 && named.len() == 100);
    stage.grow(4);
    stage.produce(100, 50, 20);
    eventually("the new partitions are read from their start", || {
        all.of(0).len() == 50 && [2, 3].iter().all(|number| all.of(*number) == (0..50).collect::<Vec<_>>())
    });
    stage.produce(150, 10, 20);
    eventually("the old ones go on beside them", || (0..4).all(|number| all.of(number).len() == 60));
    eventually("and by name only what is named", || named.of(0).len() == 160);
    assert_eq!((everything.state().partitions.len(), some.state().partitions.len()), (4, 1));
    assert!(everything.shutdown_blocking(STOP).unwrap().drained);
    some.shutdown_blocking(STOP).unwrap();
    assert_eq!((all.len(), named.len()), (240, 160));
}
