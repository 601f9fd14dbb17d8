//! A person pauses partitions and resumes them.

use std::time::Duration;

use kafka_troupe::consume::{ConsumerHandle, Partitions, Record};
use kafka_troupe::ids::TopicPartition;

use crate::fixture::{Gate, Journal, On, Stage, eventually, noting_slowly};

scenarios! {
    on both brokers:
        a_paused_partition_is_not_handled_and_goes_on_where_it_was,
        what_was_handed_out_before_a_pause_is_handled_and_committed,
        a_rebalance_keeps_paused_what_it_leaves_and_others_run_on,
        a_partition_that_comes_back_is_not_paused,
        a_paused_partition_is_given_up_and_stopped_at_once,
        a_consumer_whose_partitions_are_all_paused_stays_in_its_group,
        a_worker_that_dies_leaves_its_partition_paused;
}

const STOP: Duration = Duration::from_secs(20);

fn partition(stage: &Stage, number: i32) -> TopicPartition {
    TopicPartition::new(&*stage.topic, number)
}

fn paused(consumer: &ConsumerHandle) -> Vec<i32> {
    consumer.state().partitions.iter().filter(|p| p.paused).map(|p| p.partition).collect()
}

fn assigned(consumer: &ConsumerHandle) -> Vec<i32> {
    consumer.state().partitions.iter().map(|p| p.partition).collect()
}

fn noting(stage: &Stage, journal: &Journal) -> ConsumerHandle {
    let notes = journal.clone();
    stage.steady_consumer("g").handler(move |record: &Record| notes.note("a", record)).start().unwrap()
}

/// Everything of the partitions is handled, so that a pause has nothing more to let through.
fn wait_until_handled(consumer: &ConsumerHandle, partitions: usize, watermark: i64) {
    eventually("all is handled", || {
        let state = consumer.state();
        state.partitions.len() == partitions && state.partitions.iter().all(|p| p.watermark == watermark)
    });
}

fn a_paused_partition_is_not_handled_and_goes_on_where_it_was(on: On) {
    let stage = Stage::new(on, 3);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let consumer = noting(&stage, &journal);
    wait_until_handled(&consumer, 3, 50);
    consumer.pause([partition(&stage, 0), partition(&stage, 2)]).unwrap();
    eventually("it is paused", || paused(&consumer) == [0, 2]);
    stage.produce(50, 50, 20);
    eventually("the other runs on", || journal.of(1).len() == 100);
    assert_eq!((journal.of(0).len(), journal.of(2).len()), (50, 50));
    consumer.resume(partition(&stage, 0)).unwrap();
    eventually("it goes on", || journal.of(0).len() == 100);
    assert_eq!((paused(&consumer), journal.of(2).len()), (vec![2], 50));
    consumer.resume(Partitions::All).unwrap();
    wait_until_handled(&consumer, 3, 100);
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    journal.assert_exactly_once_in_order(3, 100);
    assert_eq!(stage.committed("g"), stage.ends());
}

fn what_was_handed_out_before_a_pause_is_handled_and_committed(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 40, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let consumer = {
        let (journal, gate) = (journal.clone(), gate.clone());
        let handler = move |record: &Record| {
            gate.wait();
            journal.note("a", record);
        };
        // Half of them is all that may be handed out at once.
        stage.lone_consumer("g").handler(handler).max_buffered_records(20).start().unwrap()
    };
    eventually("as many as may be are handed out", || {
        consumer.state().partitions.iter().any(|p| p.in_flight == 1 && p.buffered_records == 20)
    });
    consumer.pause(Partitions::All).unwrap();
    eventually("it is paused", || paused(&consumer) == [0]);
    gate.open();
    eventually("what was handed out is committed", || stage.committed("g") == [(0, 20)].into());
    assert_eq!(journal.len(), 20, "and nothing more");
    consumer.resume(Partitions::All).unwrap();
    eventually("the rest is committed", || stage.committed("g") == [(0, 40)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(1, 40);
}

fn a_rebalance_keeps_paused_what_it_leaves_and_others_run_on(on: On) {
    // spring-kafka#2222: a rebalance resumes what a person paused. fs2-kafka#931: retained partitions stop.
    let stage = Stage::new(on, 4);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let a = noting(&stage, &journal);
    wait_until_handled(&a, 4, 50);
    a.pause(Partitions::All).unwrap();
    eventually("all are paused", || paused(&a).len() == 4);
    let b = stage.steady_consumer("g").async_handler(noting_slowly(&journal, "b")).start().unwrap();
    eventually("both share", || assigned(&a).len() == 2 && assigned(&b).len() == 2);
    let (kept, moved) = (assigned(&a), assigned(&b));
    assert_eq!((paused(&a), paused(&b)), (kept.clone(), vec![]));
    a.resume(partition(&stage, kept[0])).unwrap();
    stage.produce(50, 50, 20);
    eventually("what is not paused runs", || {
        [kept[0], moved[0], moved[1]].iter().all(|number| journal.of(*number).len() == 100)
    });
    assert_eq!(journal.of(kept[1]).len(), 50, "what is paused does not");
    assert!(b.shutdown_blocking(STOP).unwrap().drained);
    eventually("a has all again", || assigned(&a).len() == 4);
    assert_eq!((paused(&a), journal.of(kept[1]).len()), (vec![kept[1]], 50), "through a second rebalance too");
    a.resume(Partitions::All).unwrap();
    wait_until_handled(&a, 4, 100);
    a.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(4, 100);
}

fn a_partition_that_comes_back_is_not_paused(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let a = noting(&stage, &journal);
    wait_until_handled(&a, 2, 50);
    a.pause(Partitions::All).unwrap();
    eventually("both are paused", || paused(&a).len() == 2);
    let b = stage.steady_consumer("g").handler(|_: &Record| ()).start().unwrap();
    eventually("both share", || assigned(&a).len() == 1 && assigned(&b).len() == 1);
    let (kept, moved) = (assigned(&a), assigned(&b));
    assert!(b.shutdown_blocking(STOP).unwrap().drained);
    eventually("a has both again", || assigned(&a).len() == 2);
    assert_eq!(paused(&a), kept);
    stage.produce(50, 50, 20);
    eventually("it runs", || journal.of(moved[0]).len() == 100);
    assert_eq!(journal.of(kept[0]).len(), 50);
    a.shutdown_blocking(STOP).unwrap();
}

fn a_paused_partition_is_given_up_and_stopped_at_once(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let builder = stage.steady_consumer("g").handler(move |record: &Record| notes.note("a", record));
    let a = builder.drain_deadline(Duration::from_secs(300)).start().unwrap();
    wait_until_handled(&a, 2, 50);
    a.pause(Partitions::All).unwrap();
    eventually("both are paused", || paused(&a).len() == 2);
    // The embedded broker may refuse what is committed while another joins (see `assert_handed_over_once`).
    eventually("all is committed", || stage.committed("g") == stage.ends());
    stage.produce(50, 50, 20);
    let b = stage.steady_consumer("g").handler(|_: &Record| ()).start().unwrap();
    eventually("both share", || assigned(&a).len() == 1 && assigned(&b).len() == 1);
    let begun = std::time::Instant::now();
    assert!(a.shutdown_blocking(STOP).unwrap().drained);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let counters = a.state().counters;
    assert_eq!((counters.drains_cut_short, counters.drains_uncommitted), (0, 0));
    b.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.len(), 100);
}

fn a_consumer_whose_partitions_are_all_paused_stays_in_its_group(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    // librdkafka throws out who does not poll for so long. It cannot be less than the session.
    let interval = "3000";
    let builder = stage.steady_consumer("g").property("session.timeout.ms", interval);
    let builder = builder.property("max.poll.interval.ms", interval);
    let a = builder.handler(move |record: &Record| notes.note("a", record)).start().unwrap();
    wait_until_handled(&a, 2, 50);
    a.pause(Partitions::All).unwrap();
    eventually("both are paused", || paused(&a).len() == 2);
    let (since, wakes) = (std::time::Instant::now(), a.state().counters.wakes);
    stage.produce(50, 2000, 20);
    eventually("longer than that passes", || since.elapsed() > Duration::from_millis(4500));
    let counters = a.state().counters;
    assert_eq!((counters.lost, counters.revoked, counters.assigned), (0, 0, 2));
    assert!(counters.wakes - wakes < 4500, "it does not spin: {} wake-ups", counters.wakes - wakes);
    a.resume(Partitions::All).unwrap();
    wait_until_handled(&a, 2, 2050);
    a.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, 2050);
}

fn a_worker_that_dies_leaves_its_partition_paused(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let consumer = noting(&stage, &journal);
    wait_until_handled(&consumer, 1, 50);
    consumer.pause(Partitions::All).unwrap();
    eventually("it is paused", || paused(&consumer) == [0]);
    let epoch = consumer.state().partitions[0].epoch;
    consumer.kill_worker(&partition(&stage, 0));
    eventually("it has a new epoch", || consumer.state().partitions.iter().any(|p| p.epoch > epoch));
    assert_eq!(paused(&consumer), [0]);
    stage.produce(50, 50, 20);
    eventually("there is something to do", || consumer.state().partitions.iter().any(|p| p.lag == Some(50)));
    assert_eq!(journal.len(), 50);
    consumer.resume(Partitions::All).unwrap();
    wait_until_handled(&consumer, 1, 100);
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(1, 100);
}
