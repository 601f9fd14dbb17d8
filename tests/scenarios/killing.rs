use std::time::Duration;

use kafka_troupe::consume::Record;

use crate::fixture::{Journal, On, Stage, eventually};
use crate::process::Process;

scenarios! {
    on both brokers:
        a_member_killed_half_way_loses_nothing_and_repeats_only_what_was_not_committed,
        the_example_ends_by_itself_with_everything_committed_when_its_input_ends;
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
