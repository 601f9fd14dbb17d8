use std::time::Duration;

use kafka_troupe::consume::Record;

use crate::fixture::{Gate, Journal, On, Stage, eventually};

scenarios! {
    on both brokers:
        a_clean_stop_under_load_redelivers_nothing,
        a_second_shorter_stop_cuts_the_first_one_short;
}

fn a_clean_stop_under_load_redelivers_nothing(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce(0, 2000, 50);
    let journal = Journal::default();
    let start = || {
        let journal = journal.clone();
        stage.lone_consumer("g").handler(move |record: &Record| journal.note("a", record)).start().unwrap()
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

fn a_second_shorter_stop_cuts_the_first_one_short(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 3, 20);
    let gate = Gate::default();
    let consumer = {
        let gate = gate.clone();
        let handler = move |record: &Record| {
            if record.offset().0 == 1 {
                gate.wait();
            }
        };
        stage.consumer("g").handler(handler).start().unwrap()
    };
    eventually("the handler is stuck", || consumer.state().partitions.iter().any(|p| p.committed == Some(1)));
    let patient = std::thread::spawn({
        let consumer = consumer.clone();
        move || consumer.shutdown_blocking(Duration::from_secs(25))
    });
    eventually("it stops", || consumer.state().stopping);
    let begun = std::time::Instant::now();
    let stopped = consumer.shutdown_blocking(Duration::from_secs(2)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(stopped.unfinished.iter().map(|record| record.offset).collect::<Vec<_>>(), [1]);
    assert_eq!(patient.join().unwrap().unwrap(), stopped);
    gate.open();
}
