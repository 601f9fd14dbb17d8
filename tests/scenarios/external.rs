//! Offsets that the app keeps itself, with its results.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::consume::{ConsumerBuilder, Record};
use kafka_troupe::ids::{NextOffset, TopicPartition};

use crate::fixture::spawning::spawn;
use crate::fixture::{Gate, Journal, On, Stage, eventually};
use crate::process::example;

scenarios! {
    on both brokers:
        a_consumer_goes_on_where_the_app_says_and_commits_nothing,
        partitions_that_the_app_does_not_know_start_by_the_reset_and_a_load_that_fails_is_repeated,
        a_load_that_hangs_keeps_neither_the_stop_nor_the_group,
        results_and_offsets_in_one_transaction_count_every_record_once_across_a_kill;
}

const STOP: Duration = Duration::from_secs(20);

/// Where results and offsets are written together.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<BTreeMap<TopicPartition, NextOffset>>>);

impl Store {
    fn consumer(&self, stage: &Stage, journal: &Journal, until: i64) -> ConsumerBuilder {
        let (store, loads, notes) = (self.clone(), self.clone(), journal.clone());
        let load = move |partitions: &[TopicPartition]| {
            let kept = loads.0.lock().unwrap();
            Ok::<_, String>(
                partitions.iter().filter_map(|each| Some((each.clone(), *kept.get(each)?))).collect::<Vec<_>>(),
            )
        };
        stage.consumer("g").external_offsets(load).async_handler(move |record: Record| {
            let (store, notes) = (store.clone(), notes.clone());
            async move {
                if record.offset().0 >= until {
                    // Never finished: stands for the crash.
                    std::future::pending::<()>().await;
                }
                let mut kept = store.0.lock().unwrap();
                notes.note("a", &record);
                kept.insert(record.topic_partition().clone(), record.offset().next());
            }
        })
    }
}

fn a_consumer_goes_on_where_the_app_says_and_commits_nothing(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 200, 20);
    let (store, journal) = (Store::default(), Journal::default());
    let first = store.consumer(&stage, &journal, 120).drain_deadline(Duration::from_millis(100)).start().unwrap();
    eventually("some is handled", || journal.len() == 240);
    first.shutdown_blocking(Duration::from_secs(2)).unwrap();
    let second = store.consumer(&stage, &journal, i64::MAX).start().unwrap();
    eventually("the rest is handled", || journal.len() == 400);
    let state = second.state();
    assert!(state.partitions.iter().all(|p| p.committed.is_none()), "{state:?}");
    second.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, 200);
    assert!(stage.committed("g").is_empty());
}

fn partitions_that_the_app_does_not_know_start_by_the_reset_and_a_load_that_fails_is_repeated(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let (calls, journal) = (Arc::new(AtomicU32::new(0)), Journal::default());
    let (called, notes) = (Arc::clone(&calls), journal.clone());
    let load = move |partitions: &[TopicPartition]| match called.fetch_add(1, Ordering::Relaxed) {
        0 => Err("the database is away"),
        1 => panic!("as asked"),
        _ => Ok(partitions
            .iter()
            .filter(|each| each.partition.0 == 1)
            .map(|each| (each.clone(), NextOffset(40)))
            .collect::<Vec<_>>()),
    };
    let builder = stage.consumer("g").external_offsets(load).handler(move |record: &Record| notes.note("a", record));
    let consumer = builder.start().unwrap();
    eventually("all is handled", || journal.len() == 60);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_eq!((journal.of(0).len(), journal.of(1)), (50, (40..50).collect()));
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_load_that_hangs_keeps_neither_the_stop_nor_the_group(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let (gate, called) = (Gate::default(), Gate::default());
    let (at_gate, reached) = (gate.clone(), called.clone());
    let load = move |_: &[TopicPartition]| {
        reached.open();
        at_gate.wait();
        Ok::<_, String>(Vec::new())
    };
    let mut builder = stage.consumer("g").external_offsets(load);
    if on == On::Kafka {
        // Its session outlasts the scenario: the group has its partitions back only because it leaves. The embedded broker makes who joins
        // later wait for as long as a session.
        builder = builder.property("session.timeout.ms", "60000");
    }
    let hung = builder.handler(|_: &Record| ()).start().unwrap();
    called.wait();
    assert!(hung.shutdown_blocking(Duration::from_secs(5)).unwrap().drained);
    let journal = Journal::default();
    let successor = Store::default().consumer(&stage, &journal, i64::MAX).start().unwrap();
    eventually("another member has all of it", || journal.len() == 100);
    successor.shutdown_blocking(STOP).unwrap();
    gate.open();
}

fn results_and_offsets_in_one_transaction_count_every_record_once_across_a_kill(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 1000, 20);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counts.db");
    let count = || {
        let database = rusqlite::Connection::open(&file).unwrap();
        database.busy_timeout(STOP).unwrap();
        // Not there yet, until the example has made it.
        database.query_row("SELECT coalesce(sum(count), 0) FROM counts", [], |row| row.get(0)).unwrap_or(0)
    };
    let start = || spawn(&mut example(&stage, "sqlite_offsets", &[file.to_str().unwrap()], "g"));
    let mut killed = start();
    eventually("some is counted", || count() > 300);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let mut successor = start();
    eventually("all is counted", || count() >= 2000);
    drop(successor.stdin.take());
    assert!(successor.wait().unwrap().success());
    let database = rusqlite::Connection::open(&file).unwrap();
    let each: (i64, i64, i64) = database
        .query_row("SELECT count(*), min(count), max(count) FROM counts", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(each, (1000, 2, 2), "each key is in both partitions once");
    assert!(stage.committed("g").is_empty());
}
