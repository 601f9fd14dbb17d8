use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka_troupe::consume::{ConsumerHandle, Record};

use crate::fixture::{Gate, Journal, Stage, eventually};

const STOP: Duration = Duration::from_secs(20);

/// A member whose handler notes each record after a millisecond of waiting.
fn member(stage: &Stage, name: &'static str, journal: &Journal) -> ConsumerHandle {
    let journal = journal.clone();
    let builder = stage.steady_consumer("g").async_handler(move |record: Record| {
        let journal = journal.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            journal.note(name, &record);
        }
    });
    builder.start().unwrap()
}

fn assigned(consumer: &ConsumerHandle) -> usize {
    consumer.state().partitions.len()
}

#[test]
fn a_member_that_joins_and_leaves_under_load_loses_and_repeats_nothing() {
    let stage = Stage::new(4);
    let count = 3000;
    stage.produce(0, count, 50);
    let journal = Journal::default();
    let a = member(&stage, "a", &journal);
    eventually("a works alone", || journal.len() > 100);
    let b = member(&stage, "b", &journal);
    eventually("both share the partitions", || assigned(&a) == 2 && assigned(&b) == 2);
    let before = journal.len();
    eventually("both work", || journal.len() > before + 400);
    let stopped = b.shutdown_blocking(STOP).unwrap();
    assert!(stopped.drained);
    eventually("a has them all back", || assigned(&a) == 4);
    eventually("all is handled", || journal.len() >= 4 * count);
    let state = a.state();
    a.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(4, count as i64);
    assert_eq!(state.counters.drains_cut_short, 0);
    assert!(journal.entries().iter().any(|entry| entry.member == "b"), "b did some of the work");
    assert!(stage.committed("g").values().all(|offset| *offset == count as i64));
}

#[test]
fn retained_partitions_keep_their_epoch_through_a_cooperative_rebalance() {
    let stage = Stage::new(4);
    stage.produce(0, 2000, 50);
    let journal = Journal::default();
    let a = member(&stage, "a", &journal);
    eventually("a works alone", || assigned(&a) == 4 && journal.len() > 100);
    let epochs = |consumer: &ConsumerHandle| -> Vec<_> {
        consumer.state().partitions.iter().map(|p| (p.partition, p.epoch)).collect()
    };
    let before = epochs(&a);
    let b = member(&stage, "b", &journal);
    eventually("both share the partitions", || assigned(&a) == 2 && assigned(&b) == 2);
    assert!(epochs(&a).iter().all(|kept| before.contains(kept)), "{before:?} to {:?}", epochs(&a));
    a.shutdown_blocking(STOP).unwrap();
    b.shutdown_blocking(STOP).unwrap();
}

#[test]
fn a_retained_partition_at_its_end_delivers_what_is_produced_during_the_rebalance_once() {
    let stage = Stage::new(2);
    stage.produce(0, 100, 20);
    let (journal, hold, gate) = (Journal::default(), Arc::new(AtomicBool::new(false)), Gate::default());
    let a = {
        let (journal, hold, gate) = (journal.clone(), Arc::clone(&hold), gate.clone());
        let handler = move |record: &Record| {
            if hold.load(Ordering::SeqCst) {
                gate.wait();
            }
            journal.note("a", record);
        };
        stage.steady_consumer("g").handler(handler).worker_threads(2).start().unwrap()
    };
    eventually("a is at the end", || journal.len() == 200 && a.state().partitions.iter().all(|p| p.lag == Some(0)));
    // Each partition's handler holds one record, so that the revoke takes until the gate opens.
    hold.store(true, Ordering::SeqCst);
    stage.produce(100, 1, 20);
    eventually("handlers hold a record each", || a.state().partitions.iter().map(|p| p.in_flight).sum::<u64>() == 2);
    let b = member(&stage, "b", &journal);
    eventually("a is asked for one", || {
        a.state().partitions.iter().any(|p| p.phase == kafka_troupe::consume::PartitionPhase::Revoking)
    });
    stage.produce(101, 10, 20);
    gate.open();
    eventually("both have one", || assigned(&a) == 1 && assigned(&b) == 1);
    stage.produce(111, 10, 20);
    eventually("all is handled", || journal.len() >= 242);
    a.shutdown_blocking(STOP).unwrap();
    b.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, 121);
}

#[test]
fn a_record_that_is_finished_after_its_partition_was_given_up_is_fenced() {
    let stage = Stage::new(2);
    stage.produce(0, 5, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let a = {
        let (journal, gate) = (journal.clone(), gate.clone());
        let handler = move |record: &Record| {
            gate.wait();
            journal.note("a", record);
        };
        let builder = stage.steady_consumer("g").handler(handler).worker_threads(2);
        builder.drain_deadline(Duration::from_millis(200)).start().unwrap()
    };
    eventually("a's handlers hold a record each", || {
        a.state().partitions.iter().map(|p| p.in_flight).sum::<u64>() == 2
    });
    let b = member(&stage, "b", &journal);
    eventually("b has one partition and does its work", || {
        assigned(&b) == 1 && b.state().partitions[0].committed == Some(5)
    });
    let moved = b.state().partitions[0].partition;
    gate.open();
    eventually("a finishes late", || journal.entries().iter().any(|e| e.member == "a" && e.partition == moved));
    eventually("a finishes the other", || a.state().partitions[0].committed == Some(5));
    assert_eq!(stage.committed("g")[&moved], 5, "the late record moved nothing back");
    let again: Vec<_> = journal.entries().into_iter().filter(|e| e.member == "a" && e.partition == moved).collect();
    assert_eq!(again.len(), 1, "a went no further than the record it held: {again:?}");
    assert_eq!(a.state().counters.drains_cut_short, 1);
    a.shutdown_blocking(STOP).unwrap();
    b.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.distinct(), 10);
    assert_eq!(journal.len(), 11, "only the fenced record ran twice");
}

#[test]
fn a_stop_during_a_rebalance_keeps_to_its_own_deadline() {
    let stage = Stage::new(2);
    stage.produce(0, 5, 20);
    let gate = Gate::default();
    let a = {
        let gate = gate.clone();
        let builder = stage.steady_consumer("g").handler(move |_: &Record| gate.wait()).worker_threads(2);
        builder.drain_deadline(Duration::from_secs(25)).start().unwrap()
    };
    eventually("a's handlers hold a record each", || {
        a.state().partitions.iter().map(|p| p.in_flight).sum::<u64>() == 2
    });
    let b = member(&stage, "b", &Journal::default());
    eventually("a is asked for one", || {
        a.state().partitions.iter().any(|p| p.phase == kafka_troupe::consume::PartitionPhase::Revoking)
    });
    let begun = std::time::Instant::now();
    let stopped = a.shutdown_blocking(Duration::from_secs(4));
    gate.open();
    let stopped = stopped.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(!stopped.drained);
    let mut unfinished: Vec<_> = stopped.unfinished.iter().map(|r| (r.partition, r.offset)).collect();
    unfinished.sort_unstable();
    assert_eq!(unfinished, [(0, 0), (1, 0)], "also of the partition that the rebalance asked for");
    b.shutdown_blocking(STOP).unwrap();
}

#[test]
fn a_stop_whose_partitions_are_lost_meanwhile_is_not_called_drained() {
    use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID as FORGOTTEN;
    let stage = Stage::new(1);
    stage.produce(0, 5, 20);
    let gate = Gate::default();
    let a = {
        let gate = gate.clone();
        let handler = move |record: &Record| {
            if record.offset().0 == 2 {
                gate.wait();
            }
        };
        stage.steady_consumer("g").handler(handler).start().unwrap()
    };
    eventually("the handler holds a record", || a.state().partitions.iter().any(|p| p.committed == Some(2)));
    let stopping = std::thread::spawn({
        let a = a.clone();
        move || a.shutdown_blocking(STOP)
    });
    eventually("it stops", || {
        a.state().partitions.iter().all(|p| p.phase == kafka_troupe::consume::PartitionPhase::Revoking)
    });
    stage.broker.fail_requests(kafka_troupe::broker::RDKafkaApiKey::Heartbeat, &[FORGOTTEN]);
    eventually("its partition is lost", || a.state().counters.lost == 1);
    gate.open();
    let stopped = stopping.join().unwrap().unwrap();
    assert_eq!(stage.committed("g")[&0], 2);
    assert!(!stopped.drained, "record 2 was finished, and never committed: {stopped:?}");
}
