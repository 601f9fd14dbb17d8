use std::time::Duration;

use kafka_troupe::consume::Record;

use crate::fixture::{Gate, Journal, On, Stage, eventually};

scenarios! {
    on both brokers:
        a_slow_handler_is_bounded_and_leaves_other_partitions_alone,
        all_partitions_together_keep_their_bound_and_a_few_slow_ones_leave_it_to_the_others,
        one_credit_is_enough_to_get_everything_through,
        state_tells_the_oldest_record_in_flight_and_its_age;
}

fn a_slow_handler_is_bounded_and_leaves_other_partitions_alone(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 4000, 500);
    let (journal, gate) = (Journal::default(), Gate::default());
    let consumer = {
        let (journal, gate) = (journal.clone(), gate.clone());
        let handler = move |record: &Record| {
            if record.partition().0 == 0 {
                gate.wait();
            }
            journal.note("a", record);
        };
        stage
            .lone_consumer("g")
            .handler(handler)
            .worker_threads(2)
            .max_buffered_records(1000)
            .max_buffered_bytes(100_000)
            .start()
            .unwrap()
    };
    eventually("the other partition is done", || journal.of(1).len() == 4000);
    let slow = consumer.state().partitions.into_iter().find(|p| p.partition == 0).unwrap();
    assert!(slow.buffered_bytes <= 100_000 + 1100, "bound passed by at most one record: {slow:?}");
    assert!(slow.buffered_records <= 1000 && slow.buffered_records > 0, "{slow:?}");
    assert_eq!(slow.watermark, 0);
    gate.open();
    eventually("the slow one catches up", || journal.of(0).len() == 4000);
    consumer.shutdown_blocking(Duration::from_secs(20)).unwrap();
    journal.assert_exactly_once_in_order(2, 4000);
}

fn all_partitions_together_keep_their_bound_and_a_few_slow_ones_leave_it_to_the_others(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce(0, 3000, 500);
    let (journal, gate) = (Journal::default(), Gate::default());
    let (notes, at_gate) = (journal.clone(), gate.clone());
    let handler = move |record: Record| {
        let (notes, gate) = (notes.clone(), at_gate.clone());
        async move {
            if record.partition().0 < 2 {
                tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
            }
            notes.note("a", &record);
        }
    };
    // Two partitions alone would use it up.
    let builder = stage.lone_consumer("g").max_total_buffered_records(700).max_total_buffered_bytes(400_000);
    let consumer = builder.async_handler(handler).start().unwrap();
    let mut most = (0, 0);
    eventually("the others are done", || {
        let state = consumer.state();
        most = (most.0.max(state.buffered_records), most.1.max(state.buffered_bytes));
        journal.of(2).len() == 3000 && journal.of(3).len() == 3000
    });
    // And a chunk for each partition that has nothing.
    assert!(most.0 <= 700 + 4 * 512 && most.1 <= 400_000 + 4 * (256 * 1024 + 1100), "{most:?}");
    assert!(consumer.state().buffered_bytes > 0);
    gate.open();
    eventually("all is handled", || journal.len() == 4 * 3000);
    eventually("all of it is given back", || consumer.state().buffered_records == 0);
    assert_eq!(consumer.state().buffered_bytes, 0);
    assert_eq!(consumer.state().invariants, Default::default());
    consumer.shutdown_blocking(Duration::from_secs(20)).unwrap();
    journal.assert_exactly_once_in_order(4, 3000);
}

fn one_credit_is_enough_to_get_everything_through(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 2000, 20);
    let journal = Journal::default();
    let consumer = {
        let journal = journal.clone();
        stage
            .lone_consumer("g")
            .handler(move |record: &Record| journal.note("a", record))
            .max_buffered_records(1)
            .start()
            .unwrap()
    };
    // A wake-up that is lost costs 100 ms each: 4,000 of them could not be caught up in time.
    eventually("all is handled", || journal.len() == 4000);
    assert_eq!(consumer.state().invariants, Default::default());
    consumer.shutdown_blocking(Duration::from_secs(20)).unwrap();
    journal.assert_exactly_once_in_order(2, 2000);
}

fn state_tells_the_oldest_record_in_flight_and_its_age(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 10, 20);
    let gate = Gate::default();
    let consumer = {
        let gate = gate.clone();
        let handler = move |record: &Record| {
            if record.offset().0 == 4 {
                gate.wait();
            }
        };
        stage.consumer("g").handler(handler).start().unwrap()
    };
    eventually("the record is held for a while", || {
        let partitions = consumer.state().partitions;
        partitions.first().is_some_and(|p| {
            let held = p.oldest_in_flight.as_ref();
            p.watermark == 4 && held.is_some_and(|held| held.offset == 4 && held.age_ms > 50)
        })
    });
    let state = serde_json::to_value(consumer.state()).unwrap();
    let partition = &state["partitions"][0];
    assert_eq!(partition["phase"], "running");
    assert_eq!((partition["watermark"].as_i64(), partition["end_offset"].as_i64()), (Some(4), Some(10)));
    gate.open();
    eventually("it is done and the lag is 0", || consumer.state().partitions[0].lag == Some(0));
    consumer.shutdown_blocking(Duration::from_secs(20)).unwrap();
}
