use std::time::Duration;

use kafka_troupe::consume::Record;

use crate::fixture::{Journal, On, Stage, eventually};
use crate::process::Process;

scenarios! {
    on both brokers:
        a_member_killed_half_way_loses_nothing_and_repeats_only_what_was_not_committed,
        the_example_ends_by_itself_with_everything_committed_when_its_input_ends,
        a_kill_repeats_what_was_unfinished_and_two_hundred_milliseconds_of_work;
    at length on Apache Kafka:
        a_kill_half_way_through_fifty_thousand_repeats_two_hundred_milliseconds_of_work;
}

fn a_member_killed_half_way_loses_nothing_and_repeats_only_what_was_not_committed(on: On) {
    let stage = Stage::new(on, 4);
    let count = 1500;
    stage.produce(0, count, 50);
    let mut killed = Process::start(&stage, "g");
    eventually("it works", || killed.printed().len() > 1000);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    let committed = stage.committed("g");
    let before = killed.printed();
    let journal = Journal::default();
    let successor = {
        let journal = journal.clone();
        stage.consumer("g").handler(move |record: &Record| journal.note("b", record)).start().unwrap()
    };
    eventually("all is committed", || {
        let state = successor.state();
        state.partitions.len() == 4 && state.partitions.iter().all(|p| p.committed == Some(count as i64))
    });
    successor.shutdown_blocking(Duration::from_secs(20)).unwrap();
    for partition in 0..4 {
        let from = committed.get(&partition).copied().unwrap_or(0);
        let done = before.iter().filter(|(each, _)| *each == partition).count() as i64;
        assert!(from <= done + 1, "partition {partition}: {from} committed, {done} printed");
        // 2.2 ms a record: the commit interval is about 45 records; the rest is room for a busy machine.
        assert!(done - from < 500, "partition {partition}: {done} done, only {from} committed");
        assert_eq!(
            journal.of(partition),
            (from..count as i64).collect::<Vec<_>>(),
            "from the committed offset, in order"
        );
    }
}

fn the_example_ends_by_itself_with_everything_committed_when_its_input_ends(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let mut member = Process::start(&stage, "g");
    eventually("it is done", || member.printed().len() == 100);
    drop(member.child.stdin.take());
    assert!(member.child.wait().unwrap().success());
    assert_eq!(stage.committed("g"), [(0, 50), (1, 50)].into());
}

/// Kills a member with default settings half way, whose handler takes 10 ms a record, and sees what its successor repeats.
fn killed_half_way(on: On, per_partition: usize, most_repeated: usize) {
    const PARTITIONS: i32 = 8;
    let stage = Stage::new(on, PARTITIONS);
    stage.produce(0, per_partition, 50);
    let all = per_partition * PARTITIONS as usize;
    let mut killed = Process::working(&stage, "g", 10);
    eventually("a quarter is done", || killed.printed().len() > all / 4);
    eventually("half of it is done", || killed.printed().len() > all / 2);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    let before = killed.printed();
    let journal = Journal::default();
    let notes = journal.clone();
    let successor = stage.consumer("g").handler(move |record: &Record| notes.note("b", record)).start().unwrap();
    eventually("all is committed", || {
        let state = successor.state();
        state.partitions.len() == 8 && state.partitions.iter().all(|p| p.committed == Some(per_partition as i64))
    });
    successor.shutdown_blocking(Duration::from_secs(20)).unwrap();
    for partition in 0..PARTITIONS {
        let done: Vec<_> = before.iter().filter(|(each, _)| *each == partition).map(|(_, offset)| *offset).collect();
        let again = journal.of(partition);
        let repeated = again.iter().filter(|offset| done.contains(offset)).count();
        assert!(repeated <= most_repeated, "partition {partition}: {repeated} repeated of {}", done.len());
        let mut seen: Vec<_> = done.into_iter().chain(again).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), per_partition, "partition {partition}: lost");
    }
}

fn a_kill_repeats_what_was_unfinished_and_two_hundred_milliseconds_of_work(on: On) {
    // Three times as many as below, for a machine that is busy with other scenarios.
    killed_half_way(on, 500, 60);
}

fn a_kill_half_way_through_fifty_thousand_repeats_two_hundred_milliseconds_of_work(on: On) {
    // 200 ms at 10 ms a record.
    killed_half_way(on, 6250, 20);
}
