use std::time::Duration;

use kafka_troupe::consume::Record;

use crate::fixture::{Journal, On, Stage, eventually};
use crate::process::Process;

scenarios! {
    on Apache Kafka, "the embedded broker lives in the process of the test and judges sessions by its own rules":
        a_member_that_was_frozen_past_its_session_does_not_move_the_group_back;
}

fn a_member_that_was_frozen_past_its_session_does_not_move_the_group_back(on: On) {
    let stage = Stage::new(on, 2);
    let count = 2000;
    stage.produce(0, count, 50);
    let zombie = Process::start(&stage, "g");
    eventually("it works", || zombie.printed().len() > 500);
    zombie.signal("STOP");
    let frozen_at = zombie.printed().len();
    let journal = Journal::default();
    let successor = {
        let journal = journal.clone();
        stage.consumer("g").handler(move |record: &Record| journal.note("b", record)).start().unwrap()
    };
    let all = i64::try_from(count).unwrap();
    let done = [(0, all), (1, all)].into();
    eventually("its successor does the rest", || stage.committed("g") == done);
    zombie.signal("CONT");
    eventually("it is a member again", || {
        assert_eq!(stage.committed("g"), done, "the group was moved back");
        successor.state().partitions.len() == 1
    });
    assert!(zombie.printed().len() >= frozen_at, "what it held may end");
    stage.produce(count, 10, 50);
    let done = [(0, all + 10), (1, all + 10)].into();
    eventually("both go on from the end", || stage.committed("g") == done);
    successor.shutdown_blocking(Duration::from_secs(20)).unwrap();
    drop(zombie);
    let mut handled: Vec<_> = journal.entries().iter().map(|e| (e.partition, e.offset)).collect();
    handled.sort_unstable();
    let unique = handled.len();
    handled.dedup();
    assert_eq!(handled.len(), unique, "the successor did nothing twice");
}
