//! Starts and stops, many of them. Alone in its process, for it counts that process's threads and memory.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_troupe::broker::EmbeddedBroker;
use kafka_troupe::consume::{Consumer, Record};

/// A number from `/proc/self/status`.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn start_and_stop(broker: &EmbeddedBroker, number: usize) {
    let builder = Consumer::builder()
        .bootstrap_servers(broker.bootstrap_servers())
        .group_id(format!("group-{number}"))
        .topics(["topic"])
        .worker_threads(2)
        .handler(|_: &Record| ());
    let properties = EmbeddedBroker::CONSUMER_PROPERTIES.iter();
    let consumer = properties.fold(builder, |builder, (name, value)| builder.property(*name, *value)).start().unwrap();
    // Every other one is stopped before it has joined.
    if number.is_multiple_of(2) {
        let until = Instant::now() + Duration::from_secs(30);
        while consumer.state().partitions.is_empty() {
            assert!(Instant::now() < until, "{number} was assigned nothing");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
    consumer.shutdown_blocking(Duration::from_secs(20)).unwrap();
}

fn many(broker: &EmbeddedBroker, next: &AtomicUsize, until: usize) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= until {
                        next.fetch_sub(1, Ordering::Relaxed);
                        return;
                    }
                    start_and_stop(broker, number);
                }
            });
        }
    });
}

#[test]
fn two_hundred_starts_and_stops_leak_no_thread_and_no_memory() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("topic", 2).unwrap();
    let next = AtomicUsize::new(0);
    many(&broker, &next, 40);
    let (threads, memory) = (status("Threads"), status("VmRSS"));
    many(&broker, &next, 200);
    // The last threads of an engine end just after it has said that it ended.
    let until = Instant::now() + Duration::from_secs(20);
    while status("Threads") > threads + 2 {
        assert!(Instant::now() < until, "{} threads, {threads} before", status("Threads"));
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let grown = status("VmRSS").saturating_sub(memory);
    assert!(grown < 24 * 1024, "{grown} KiB more after 160 further starts and stops");
}
