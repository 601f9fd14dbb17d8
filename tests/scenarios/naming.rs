//! Records that take long are named, and so is the thread that a handler keeps.

use std::time::Duration;

use kafka_troupe::consume::{Order, Record};

use crate::fixture::{Gate, On, Stage, eventually};

scenarios! {
    on the embedded broker, "there is nothing of a broker's in it":
        a_record_that_hangs_is_named_and_so_is_what_it_holds_back,
        a_record_that_fails_is_named_as_what_holds_the_watermark_with_its_attempts,
        a_handler_that_keeps_its_thread_is_named_with_its_record_and_who_waits;
}

const STOP: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_millis(700);

fn a_record_that_hangs_is_named_and_so_is_what_it_holds_back(on: On) {
    for order in [Order::Partition, Order::Key, Order::Unordered] {
        let stage = Stage::new(on, 1);
        stage.produce(0, 100, 20);
        let gate = Gate::default();
        let at_gate = gate.clone();
        let handler = move |record: Record| {
            let gate = at_gate.clone();
            async move {
                if record.offset().0 == 30 {
                    tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
                }
            }
        };
        let builder = stage.lone_consumer("g").order(order).slow_record_after(LIMIT);
        let consumer = builder.async_handler(handler).start().unwrap();
        eventually("the record is named", || {
            let Some(partition) = consumer.state().partitions.into_iter().next() else { return false };
            let slow: Vec<_> = partition.slow.iter().map(|slow| (slow.offset, slow.attempt)).collect();
            let holder = partition.watermark_holder.map(|holder| (holder.offset, holder.attempt, holder.in_handler));
            assert!(partition.slow.iter().all(|slow| slow.age_ms >= LIMIT.as_millis() as u64), "not before its time");
            slow == [(30, 1)] && holder == Some((30, 1, true))
        });
        assert!(consumer.state().blocked_threads.is_empty(), "it waits, and lets others run");
        gate.open();
        eventually("all is committed", || stage.committed("g") == [(0, 100)].into());
        let partition = consumer.state().partitions.remove(0);
        assert!(partition.slow.is_empty() && partition.watermark_holder.is_none(), "{order:?}: {partition:?}");
        consumer.shutdown_blocking(STOP).unwrap();
    }
}

fn a_record_that_fails_is_named_as_what_holds_the_watermark_with_its_attempts(on: On) {
    for order in [Order::Partition, Order::Key] {
        let stage = Stage::new(on, 1);
        stage.produce(0, 50, 20);
        let pause = Duration::from_secs(60);
        let builder = stage.lone_consumer("g").order(order).retry_pause(pause, pause);
        let failing = |record: &Record| if record.offset().0 == 7 { Err("no") } else { Ok(()) };
        let consumer = builder.handler(failing).start().unwrap();
        eventually("it waits for its second attempt", || {
            let holder =
                consumer.state().partitions.into_iter().next().and_then(|partition| partition.watermark_holder);
            holder.is_some_and(|holder| (holder.offset, holder.attempt, holder.in_handler) == (7, 1, false))
        });
        assert!(consumer.state().partitions[0].slow.is_empty(), "no handler has it");
        consumer.shutdown_blocking(STOP).unwrap();
    }
}

fn a_handler_that_keeps_its_thread_is_named_with_its_record_and_who_waits(on: On) {
    for order in [Order::Partition, Order::Key] {
        let stage = Stage::new(on, 2);
        stage.produce(0, 3, 20);
        let gate = Gate::default();
        let at_gate = gate.clone();
        let handler = move |record: Record| {
            let gate = at_gate.clone();
            async move {
                // It should await.
                if record.offset().0 == 3 {
                    gate.wait();
                }
            }
        };
        let builder = stage.lone_consumer("g").order(order).worker_threads(1).blocked_thread_after(LIMIT);
        let consumer = builder.async_handler(handler).start().unwrap();
        eventually("both partitions have been on the thread", || consumer.state().counters.finished == 6);
        stage.produce_to(&[0], 3, 7, 20);
        let mut blocked = Vec::new();
        eventually("the thread is named", || {
            blocked = consumer.state().blocked_threads;
            !blocked.is_empty()
        });
        let blocked = &blocked[0];
        assert_eq!((blocked.partition, blocked.offset, blocked.attempt), (0, 3, 1), "{order:?}");
        assert_eq!(blocked.waiting, [format!("{}-1", stage.topic)]);
        assert!(blocked.age_ms >= LIMIT.as_millis() as u64);
        gate.open();
        eventually("it lets go", || consumer.state().blocked_threads.is_empty());
        consumer.shutdown_blocking(STOP).unwrap();
    }
}
