use std::time::Duration;

use kafka_troupe::consume::Record;

use crate::fixture::{Journal, Stage, eventually};

#[test]
fn a_clean_stop_under_load_redelivers_nothing() {
    let stage = Stage::new(4);
    stage.produce(0, 2000, 50);
    let journal = Journal::default();
    let start = || {
        let journal = journal.clone();
        stage.consumer("g").handler(move |record: &Record| journal.note("a", record)).start().unwrap()
    };
    let first = start();
    eventually("some records are handled", || journal.len() > 500);
    let stopped = first.shutdown_blocking(Duration::from_secs(20)).unwrap();
    assert!(stopped.drained, "{stopped:?}");
    let handled = journal.len();
    let committed = stage.committed("g");
    assert_eq!(committed.values().sum::<i64>(), handled as i64, "exactly what was handled is committed");
    let second = start();
    eventually("the rest is handled", || journal.len() >= 8000);
    eventually("all is committed", || second.state().partitions.iter().all(|p| p.committed == Some(2000)));
    second.shutdown_blocking(Duration::from_secs(20)).unwrap();
    journal.assert_exactly_once_in_order(4, 2000);
}
