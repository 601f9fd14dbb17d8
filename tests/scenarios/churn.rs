//! Members that come and go all the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_troupe::consume::{ConsumerBuilder, ConsumerHandle, Order, Record};

use crate::fixture::{Gate, Journal, On, Stage, eventually, noting_slowly};
use crate::random::Random;

scenarios! {
    on both brokers:
        a_member_whose_handlers_take_longer_than_the_poll_interval_keeps_its_place_and_still_gives_up_in_time,
        revoked_and_assigned_again_in_one_breath_a_partition_goes_on_where_it_was;
    on Apache Kafka, "which takes the last commits of members that leave while others join":
        members_that_start_and_stop_all_the_time_lose_nothing_and_never_stand_still,
        so_do_those_of_the_new_protocol,
        so_do_those_that_work_on_many_keys_at_once;
    at length on Apache Kafka:
        a_minute_of_members_that_start_and_stop_loses_nothing_and_never_stands_still;
}

const STOP: Duration = Duration::from_secs(20);
const PARTITIONS: i32 = 8;
/// The longest that nothing may be handled.
const STANDSTILL: Duration = Duration::from_secs(15);

/// For `span`, every half second at most, a member starts or stops; then one finishes. Nothing may be lost, and nobody stands still for long.
/// Gives the share of records that were handled again.
///
/// A broker serves a connection's requests one after the other. So while a classic group waits for its members to join, the commits of one that
/// has joined wait behind its own join, and are refused after it; if it is stopped meanwhile, they come too late.
fn storm(on: On, span: Duration, member: impl Fn(&Stage) -> ConsumerBuilder) -> f64 {
    let stage = Stage::new(on, PARTITIONS);
    let (journal, mut random) = (Journal::default(), Random::seeded());
    let start = || member(&stage).async_handler(noting_slowly(&journal, "a")).start().unwrap();
    let (over, produced) = (AtomicBool::new(false), Mutex::new(0));
    let mut stopped: Vec<ConsumerHandle> = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let mut produced = produced.lock().unwrap();
                stage.produce(*produced, 30, 20);
                *produced += 30;
                drop(produced);
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        let until = Instant::now() + span;
        let mut members = vec![start()];
        let (mut seen, mut moved, mut longest) = (0, Instant::now(), Duration::ZERO);
        while Instant::now() < until {
            let next = Instant::now() + Duration::from_millis(50 + random.below(450) as u64);
            match random.below(5) {
                0 | 1 if members.len() < 5 => members.push(start()),
                2 | 3 if members.len() > 1 => {
                    let at = random.below(members.len() as i64) as usize;
                    let member = members.swap_remove(at);
                    stopped.push(member.clone());
                    // In the background: the others come and go meanwhile.
                    scope.spawn(move || member.shutdown_blocking(STOP).unwrap());
                }
                _ => {}
            }
            while Instant::now() < next {
                let now = journal.len();
                if now > seen {
                    longest = longest.max(moved.elapsed());
                    (seen, moved) = (now, Instant::now());
                }
                assert!(
                    moved.elapsed() < STANDSTILL,
                    "nothing is handled for {STANDSTILL:?}, {} members",
                    members.len()
                );
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        over.store(true, Ordering::Relaxed);
        for member in members.drain(1..) {
            stopped.push(member.clone());
            member.shutdown_blocking(STOP).unwrap();
        }
        eprintln!("{} members stopped; nothing was handled for {longest:?} at most", stopped.len());
        let last = members.remove(0);
        let all = *produced.lock().unwrap() as i64;
        let until = Instant::now() + Duration::from_secs(20);
        while stage.committed("g").values().filter(|offset| **offset == all).count() < PARTITIONS as usize {
            assert!(
                Instant::now() < until,
                "{:?} committed of {all} each, by {:?}",
                stage.committed("g"),
                last.state()
            );
            std::thread::park_timeout(Duration::from_millis(100));
        }
        last.shutdown_blocking(STOP).unwrap();
        stopped.push(last);
    });
    let all = produced.into_inner().unwrap() * PARTITIONS as usize;
    let (handled, distinct) = (journal.len(), journal.distinct());
    eprintln!("{handled} handled of {distinct}: {} repeated", handled - distinct);
    let counters: Vec<_> = stopped.iter().map(|member| member.state().counters).collect();
    let sum = |of: fn(&kafka_troupe::consume::CounterState) -> u64| counters.iter().map(of).sum::<u64>();
    eprintln!(
        "drains uncommitted {}, cut short {}; partitions lost {}; commits failed {}",
        sum(|c| c.drains_uncommitted),
        sum(|c| c.drains_cut_short),
        sum(|c| c.lost),
        sum(|c| c.failed_commits)
    );
    assert_eq!(distinct, all, "nothing is lost");
    assert!(stopped.iter().all(|member| member.state().invariants == Default::default()));
    (handled - distinct) as f64 / all as f64
}

const SPAN: Duration = Duration::from_secs(12);

fn members_that_start_and_stop_all_the_time_lose_nothing_and_never_stand_still(on: On) {
    storm(on, SPAN, |stage| stage.steady_consumer("g"));
}

fn so_do_those_of_the_new_protocol(on: On) {
    let repeated = storm(on, SPAN, |stage| stage.new_protocol_consumer("g"));
    // There a join is a heartbeat, which no commit waits for.
    assert!(repeated < 0.01, "{repeated}");
}

fn so_do_those_that_work_on_many_keys_at_once(on: On) {
    storm(on, SPAN, |stage| stage.steady_consumer("g").order(Order::Key).concurrency(50));
}

fn a_minute_of_members_that_start_and_stop_loses_nothing_and_never_stands_still(on: On) {
    for assignor in ["cooperative-sticky", "range"] {
        storm(on, Duration::from_secs(60), |stage| {
            stage.steady_consumer("g").property("partition.assignment.strategy", assignor)
        });
    }
    let repeated = storm(on, Duration::from_secs(60), |stage| stage.new_protocol_consumer("g"));
    assert!(repeated < 0.01, "{repeated}");
    storm(on, Duration::from_secs(60), |stage| stage.steady_consumer("g").order(Order::Unordered));
}

fn a_member_whose_handlers_take_longer_than_the_poll_interval_keeps_its_place_and_still_gives_up_in_time(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 10, 20);
    // librdkafka throws out who does not poll for so long. It cannot be less than the session.
    let slow = || stage.consumer("g").property("session.timeout.ms", "3000").property("max.poll.interval.ms", "3000");
    let (journal, gate, begun) = (Journal::default(), Gate::default(), Arc::new(Mutex::new(Vec::new())));
    let (notes, at_gate, begins) = (journal.clone(), gate.clone(), Arc::clone(&begun));
    let builder = slow().worker_threads(1).drain_deadline(Duration::from_secs(1));
    // It blocks the only thread that there is.
    let a = builder
        .handler(move |record: &Record| {
            begins.lock().unwrap().push(record.partition().0);
            at_gate.wait();
            notes.note("a", record);
        })
        .start()
        .unwrap();
    eventually("a handler has begun", || !begun.lock().unwrap().is_empty());
    let since = Instant::now();
    eventually("longer than the interval passes", || since.elapsed() > Duration::from_millis(4500));
    let counters = a.state().counters;
    assert_eq!((counters.lost, counters.revoked, counters.assigned), (0, 0, 2), "it kept its place");
    // Another one joins: what is not in the handler's hand goes over within the drain deadline.
    let of_b = Journal::default();
    let notes = of_b.clone();
    let b = slow().handler(move |record: &Record| notes.note("b", record)).start().unwrap();
    eventually("b has its share", || b.state().partitions.len() == 1 && of_b.len() == 10);
    gate.open();
    eventually("all is handled", || journal.distinct() + of_b.distinct() >= 20);
    a.shutdown_blocking(STOP).unwrap();
    b.shutdown_blocking(STOP).unwrap();
}

fn revoked_and_assigned_again_in_one_breath_a_partition_goes_on_where_it_was(on: On) {
    // With an eager assignor each change of the group takes everything and gives it anew.
    let stage = Stage::new(on, 2);
    let count = 2000;
    stage.produce(0, count, 20);
    let journal = Journal::default();
    let member = || {
        let builder = stage.steady_consumer("g").property("partition.assignment.strategy", "range");
        builder.async_handler(noting_slowly(&journal, "a")).start().unwrap()
    };
    let first = member();
    eventually("it works", || journal.len() > 100);
    for _ in 0..3 {
        let other = member();
        eventually("they share", || other.state().partitions.len() == 1);
        other.shutdown_blocking(STOP).unwrap();
        eventually("it has both back", || first.state().partitions.len() == 2);
    }
    eventually("all is committed", || stage.committed("g") == [(0, count as i64), (1, count as i64)].into());
    first.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.distinct(), 2 * count, "nothing is lost");
    if on == On::Kafka {
        assert_eq!(journal.len(), 2 * count, "nor repeated");
    }
    assert_eq!(first.state().invariants, Default::default());
}
