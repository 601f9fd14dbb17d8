//! Where a consumer starts: at what is committed, or elsewhere whatever is committed, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kafka_troupe::consume::{AutoOffsetReset, ConsumerBuilder, ConsumerError, ConsumerHandle, Record, StartAt};
use kafka_troupe::ids::{NextOffset, Offset, TopicPartition};
use kafka_troupe::offsets::FinishedRange;

use crate::fixture::{Gate, Journal, On, Stage, eventually, noting_slowly, since_1970};

scenarios! {
    on both brokers:
        a_consumer_starts_at_the_earliest_or_latest_record_whatever_is_committed,
        a_consumer_starts_at_the_offsets_it_is_given_and_elsewhere_at_what_is_committed,
        a_start_that_was_chosen_is_committed_before_any_record_is_handled,
        a_replay_at_the_start_handles_also_what_an_earlier_owner_had_finished,
        a_partition_that_comes_back_does_not_start_over,
        an_offset_behind_the_end_of_the_log_ends_it_with_the_range,
        a_group_without_commits_ends_a_consumer_that_may_not_choose_a_start,
        a_start_that_is_given_twice_is_refused;
    on Apache Kafka, "the embedded broker does not look for times":
        a_consumer_starts_at_the_first_record_of_a_time_or_later;
}

const STOP: Duration = Duration::from_secs(20);

fn partition(stage: &Stage, number: i32) -> TopicPartition {
    TopicPartition::new(&*stage.topic, number)
}

fn noting(builder: ConsumerBuilder, name: &'static str, journal: &Journal) -> ConsumerHandle {
    let journal = journal.clone();
    builder.handler(move |record: &Record| journal.note(name, record)).start().unwrap()
}

fn offsets(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

fn a_consumer_starts_at_the_earliest_or_latest_record_whatever_is_committed(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    stage.plant("g", &[(0, 60, b"")]);
    let journal = Journal::default();
    let consumer = noting(stage.consumer("g").start_at(StartAt::Earliest), "a", &journal);
    eventually("all is handled", || journal.len() == 100);
    eventually("and committed", || stage.committed("g") == [(0, 100)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    stage.plant("h", &[(0, 60, b"")]);
    let journal = Journal::default();
    let consumer = noting(stage.consumer("h").start_at(StartAt::Latest), "a", &journal);
    eventually("the end is committed", || stage.committed("h") == [(0, 100)].into());
    stage.produce(100, 5, 20);
    eventually("what is new is committed", || stage.committed("h") == [(0, 105)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), offsets(100..105));
}

fn a_consumer_starts_at_the_offsets_it_is_given_and_elsewhere_at_what_is_committed(on: On) {
    let stage = Stage::new(on, 3);
    stage.produce(0, 100, 20);
    stage.plant("g", &[(0, 60, b""), (1, 60, b"")]);
    let journal = Journal::default();
    let given = StartAt::Offsets(vec![(partition(&stage, 0), NextOffset(20)), (partition(&stage, 2), NextOffset(90))]);
    let consumer = noting(stage.consumer("g").start_at(given), "a", &journal);
    eventually("all is committed", || stage.committed("g") == stage.ends());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!([0, 1, 2].map(|number| journal.of(number)), [offsets(20..100), offsets(60..100), offsets(90..100)]);
}

fn a_start_that_was_chosen_is_committed_before_any_record_is_handled(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    stage.plant("g", &[(0, 60, b"")]);
    let gate = Gate::default();
    let at_gate = gate.clone();
    let builder = stage.consumer("g").start_at(StartAt::Earliest).handler(move |_: &Record| at_gate.wait());
    let consumer = builder.start().unwrap();
    // So that a crash goes on with the replay.
    eventually("the group's offset went back", || stage.committed("g") == [(0, 0)].into());
    gate.open();
    eventually("all is committed", || stage.committed("g") == [(0, 100)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(consumer.state().invariants, Default::default());
}

fn a_replay_at_the_start_handles_also_what_an_earlier_owner_had_finished(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let finished = [FinishedRange { first: Offset(50), last: Offset(59) }];
    stage.plant("g", &[(0, 10, stage.memory(0, 10, &finished).as_bytes())]);
    let journal = Journal::default();
    // At the very offset that is committed, where the memory would fit.
    let given = StartAt::Offsets(vec![(partition(&stage, 0), NextOffset(10))]);
    let consumer = noting(stage.consumer("g").start_at(given), "a", &journal);
    eventually("all is committed", || stage.committed("g") == [(0, 100)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!((journal.of(0), consumer.state().counters.remembered), (offsets(10..100), 0));
}

fn a_partition_that_comes_back_does_not_start_over(on: On) {
    let stage = Stage::new(on, 2);
    let count = 1500;
    stage.produce(0, count, 20);
    let all = i64::try_from(count).unwrap();
    stage.plant("g", &[(0, all, b""), (1, all, b"")]);
    let journal = Journal::default();
    let a = stage.steady_consumer("g").start_at(StartAt::Earliest).async_handler(noting_slowly(&journal, "a"));
    let a = a.start().unwrap();
    eventually("it replays", || journal.of(0).len() > 100 && journal.of(1).len() > 100);
    let b = stage.steady_consumer("g").async_handler(noting_slowly(&journal, "b")).start().unwrap();
    eventually("both share", || a.state().partitions.len() == 1 && b.state().partitions.len() == 1);
    let before = journal.len();
    eventually("both work", || journal.len() > before + 200);
    assert!(b.shutdown_blocking(STOP).unwrap().drained);
    eventually("a has both again", || a.state().partitions.len() == 2);
    eventually("the replay is over", || a.state().partitions.iter().all(|p| p.committed == Some(all)));
    a.shutdown_blocking(STOP).unwrap();
    assert!(journal.entries().iter().any(|entry| entry.member == "b"), "the other went on with the replay");
    assert_eq!(journal.distinct(), 2 * count);
    if on == On::Kafka {
        journal.assert_exactly_once_in_order(2, all);
    }
}

fn an_offset_behind_the_end_of_the_log_ends_it_with_the_range(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let given = StartAt::Offsets(vec![(partition(&stage, 0), NextOffset(101))]);
    let consumer = noting(stage.consumer("g").start_at(given), "a", &Journal::default());
    let (low, high) = (NextOffset(0), NextOffset(100));
    let expected =
        ConsumerError::OffsetOutOfRange { partition: partition(&stage, 0), position: NextOffset(101), low, high };
    assert_eq!(consumer.wait_blocking(), Err(expected));
    assert!(stage.committed("g").is_empty());
}

fn a_group_without_commits_ends_a_consumer_that_may_not_choose_a_start(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 10, 20);
    let none = || stage.consumer("g").auto_offset_reset(AutoOffsetReset::None);
    let ended = noting(none(), "a", &Journal::default()).wait_blocking();
    assert_eq!(ended, Err(ConsumerError::NoCommittedOffset { partition: partition(&stage, 0) }));
    // Where the start is chosen there is nothing to ask the group for.
    let journal = Journal::default();
    let consumer = noting(none().start_at(StartAt::Earliest), "a", &journal);
    eventually("all is committed", || stage.committed("g") == [(0, 10)].into());
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_start_that_is_given_twice_is_refused(on: On) {
    let stage = Stage::new(on, 1);
    let builder = stage.consumer("g").start_at(StartAt::Earliest).handler(|_: &Record| ());
    let builder = builder.external_offsets(|_| Ok::<_, String>([(TopicPartition::new("t", 0), NextOffset(0))]));
    let error = builder.start().unwrap_err().to_string();
    assert!(error.contains("leave one out"), "{error}");
}

fn a_consumer_starts_at_the_first_record_of_a_time_or_later(on: On) {
    let stage = Stage::new(on, 2);
    let base = since_1970() - 1_000_000;
    stage.produce_at(&[0, 1], 0..100, |number| base + 1000 * number);
    // Only one partition has a record of that time.
    stage.produce_at(&[1], 100..101, |_| base + 500_000);
    stage.plant("g", &[(0, 10, b"")]);
    let journal = Journal::default();
    let consumer = noting(stage.consumer("g").start_at(StartAt::Timestamp(base + 200_000)), "a", &journal);
    eventually("the ends are committed", || stage.committed("g") == stage.ends());
    let late = Arc::new(AtomicI64::new(0));
    stage.produce_at(&[0], 0..1, |_| base + late.load(Ordering::Relaxed));
    eventually("what comes later is handled, whatever its time", || journal.of(0) == [100]);
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(1), [100]);
}
