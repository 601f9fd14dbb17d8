//! Handlers that compute on threads of their own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use kafka_troupe::consume::{CpuBound, Layer, Order, Record, Timeout};
use kafka_troupe::ids::NextOffset;

use crate::fixture::{Gate, Journal, On, Stage, eventually};
use crate::orders::Watch;
use crate::seeking::{answer, committed, partition};

scenarios! {
    on both brokers:
        what_computes_on_threads_of_its_own_keeps_the_order_that_is_asked_for,
        while_one_partition_computes_the_others_of_its_thread_are_served,
        a_computation_that_a_seek_cuts_off_runs_out_before_its_partition_begins_another,
        a_computation_that_takes_too_long_runs_out_before_the_next_attempt_begins;
}

const STOP: Duration = Duration::from_secs(20);

fn what_computes_on_threads_of_its_own_keeps_the_order_that_is_asked_for(on: On) {
    for order in [Order::Partition, Order::Key, Order::Unordered] {
        let stage = Stage::new(on, 2);
        stage.produce_keyed(300, |number| Some(format!("k{}", number * number % 7)));
        let (watch, held) = (Watch::default(), Arc::new(()));
        let (watches, threads): (_, Weak<()>) = (watch.clone(), Arc::downgrade(&held));
        let handler = CpuBound::new(move |record: &Record| {
            let _held = &held;
            let call = watches.begins(record);
            std::thread::sleep(Duration::from_millis((record.offset().0 * 7 % 4) as u64));
            // Out of its key's or partition's order, if that does not wait for it.
            if record.offset().0 % 50 == 3 && record.attempt() < 3 {
                return Err("not yet");
            }
            watches.ended(record);
            drop(call);
            Ok(())
        });
        let pause = Duration::from_millis(3);
        let builder = stage.lone_consumer("g").order(order).retry_pause(pause, pause);
        let consumer = builder.async_handler(handler.threads(4)).start().unwrap();
        eventually("all is handled", || watch.count() == 600);
        eventually("all is committed", || committed(&consumer, 0, 300) && committed(&consumer, 1, 300));
        let stopped = consumer.shutdown_blocking(STOP).unwrap();
        assert!(stopped.drained, "{order:?}: {stopped:?}");
        for partition in 0..2 {
            let most = watch.most_of_partition(partition);
            assert_eq!(most > 1, order != Order::Partition, "{order:?}: {most} at once");
            if order == Order::Partition {
                assert_eq!(watch.offsets(partition), (0..300).collect::<Vec<_>>());
            }
            watch.assert_once_each(partition, 300);
        }
        if order == Order::Key {
            watch.assert_once_each_in_key_order(2, 300);
        }
        eventually("the threads end with the consumer", || threads.strong_count() == 0);
    }
}

fn while_one_partition_computes_the_others_of_its_thread_are_served(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let handler = CpuBound::new({
        let (journal, gate) = (journal.clone(), gate.clone());
        move |record: &Record| {
            if record.partition().0 == 0 && record.offset().0 == 0 {
                gate.wait();
            }
            journal.note("a", record);
        }
    });
    let builder = stage.lone_consumer("g").worker_threads(1).async_handler(handler.threads(2));
    let consumer = builder.start().unwrap();
    eventually("the other partition is done", || journal.of(1).len() == 50 && committed(&consumer, 1, 50));
    assert_eq!(journal.of(0), [0_i64; 0]);
    gate.open();
    eventually("this one too", || committed(&consumer, 0, 50));
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, 50);
}

/// Counts calls that hold a partition while another does.
#[derive(Clone, Default)]
struct Overlaps {
    busy: Arc<AtomicBool>,
    seen: Arc<AtomicUsize>,
}

impl Overlaps {
    fn during(&self, call: impl FnOnce()) {
        self.seen.fetch_add(usize::from(self.busy.swap(true, Ordering::SeqCst)), Ordering::SeqCst);
        call();
        self.busy.store(false, Ordering::SeqCst);
    }
}

fn a_computation_that_a_seek_cuts_off_runs_out_before_its_partition_begins_another(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 20, 20);
    let (overlaps, gate, begun) = (Overlaps::default(), Gate::default(), Arc::new(AtomicUsize::new(0)));
    let handler = CpuBound::new({
        let (overlaps, gate, begun) = (overlaps.clone(), gate.clone(), Arc::clone(&begun));
        move |record: &Record| {
            overlaps.during(|| {
                if record.offset().0 == 10 && begun.fetch_add(1, Ordering::SeqCst) == 0 {
                    gate.wait();
                }
            });
        }
    });
    let builder = stage.lone_consumer("g").drain_deadline(Duration::from_millis(50));
    let consumer = builder.async_handler(handler.threads(4)).start().unwrap();
    eventually("it computes", || begun.load(Ordering::SeqCst) == 1);
    answer(consumer.seek(partition(&stage, 0), NextOffset(5))).unwrap();
    eventually("the new epoch waits with its first record", || {
        consumer
            .state()
            .partitions
            .iter()
            .any(|p| p.epoch > 1 && p.oldest_in_flight.as_ref().is_some_and(|r| r.offset == 5))
    });
    gate.open();
    eventually("all is committed", || committed(&consumer, 0, 20));
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!((begun.load(Ordering::SeqCst), overlaps.seen.load(Ordering::SeqCst)), (2, 0));
}

fn a_computation_that_takes_too_long_runs_out_before_the_next_attempt_begins(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 10, 20);
    let (overlaps, gate) = (Overlaps::default(), Gate::default());
    let attempts = Arc::new(AtomicUsize::new(0));
    let handler = CpuBound::new({
        let (overlaps, gate, attempts) = (overlaps.clone(), gate.clone(), Arc::clone(&attempts));
        move |record: &Record| {
            overlaps.during(|| {
                if record.offset().0 == 4 && attempts.fetch_add(1, Ordering::SeqCst) == 0 {
                    gate.wait();
                }
            });
        }
    });
    let handler = Timeout::new(Duration::from_millis(50)).layer(handler.threads(4));
    let pause = Duration::from_millis(1);
    let builder = stage.lone_consumer("g").retry_pause(pause, pause).max_attempts(u32::MAX);
    let consumer = builder.async_handler(handler).start().unwrap();
    eventually("it is tried again, and in vain", || consumer.state().counters.retries >= 3);
    assert_eq!(attempts.load(Ordering::SeqCst), 1, "each next attempt waits for the first to end");
    gate.open();
    eventually("all is committed", || committed(&consumer, 0, 10));
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(overlaps.seen.load(Ordering::SeqCst), 0);
}
