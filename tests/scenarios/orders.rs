//! Key order and no order: several records of a partition at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::consume::{Cause, ConsumerBuilder, Order, Outcome, Record};
use kafka_troupe::ids::TopicPartition;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::fixture::{Gate, On, PATIENCE, Stage, eventually, is_revoking};

scenarios! {
    on both brokers:
        keys_run_beside_each_other_and_the_records_of_each_one_at_a_time_in_order,
        records_without_a_key_are_independent_and_the_empty_key_is_a_key,
        in_no_order_everything_runs_beside_everything,
        a_key_that_is_slow_delays_only_itself,
        a_key_that_fails_is_tried_again_and_delays_only_itself,
        the_bound_holds_in_all_partitions_together_and_they_share_it_fairly,
        the_bound_holds_in_partition_order_too,
        a_worker_that_dies_half_way_repeats_only_what_was_in_flight,
        what_is_finished_above_a_record_that_hangs_is_committed_and_not_handled_by_the_next_owner,
        a_stop_waits_for_all_that_runs_and_starts_nothing_more,
        a_handler_that_stops_the_engine_leaves_its_record_and_commits_the_rest;
}

const STOP: Duration = Duration::from_secs(20);

impl Stage {
    /// Appends to each partition `count` records, whose keys are `key` of their number.
    pub fn produce_keyed(&self, count: usize, key: impl Fn(usize) -> Option<String>) {
        let producer: BaseProducer = self.client().set("linger.ms", "2").create().unwrap();
        for number in 0..count {
            for partition in 0..self.partitions {
                let (key, value) = (key(number), number.to_string());
                let record = BaseRecord::to(&self.topic).partition(partition).payload(&value);
                let record = match &key {
                    Some(key) => record.key(key),
                    None => record,
                };
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
    }
}

/// Calls as they began and ended, and what was wrong with that.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Watched>>);

#[derive(Default)]
pub struct Watched {
    running: HashMap<(i32, Option<Vec<u8>>), usize>,
    of_partition: BTreeMap<i32, usize>,
    most: usize,
    most_of_partition: BTreeMap<i32, usize>,
    overlaps: usize,
    ended: Vec<(i32, Option<Vec<u8>>, i64)>,
}

/// A call under way; it has ended when this is dropped.
pub struct Call(Watch, i32, Option<Vec<u8>>);

impl Watch {
    pub fn begins(&self, record: &Record) -> Call {
        let (partition, key) = (record.partition().0, record.key().map(<[u8]>::to_vec));
        let mut watched = self.0.lock().unwrap();
        let of_key = watched.running.entry((partition, key.clone())).or_default();
        *of_key += 1;
        let overlap = key.is_some() && *of_key > 1;
        watched.overlaps += usize::from(overlap);
        let of_partition = watched.of_partition.entry(partition).or_default();
        *of_partition += 1;
        let of_partition = *of_partition;
        let most = watched.most_of_partition.entry(partition).or_default();
        *most = (*most).max(of_partition);
        watched.most = watched.most.max(watched.of_partition.values().sum());
        Call(self.clone(), partition, key)
    }

    pub fn ended(&self, record: &Record) {
        let entry = (record.partition().0, record.key().map(<[u8]>::to_vec), record.offset().0);
        self.0.lock().unwrap().ended.push(entry);
    }

    pub fn most_of_partition(&self, partition: i32) -> usize {
        self.0.lock().unwrap().most_of_partition[&partition]
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().ended.len()
    }

    pub fn offsets(&self, partition: i32) -> Vec<i64> {
        self.0.lock().unwrap().ended.iter().filter(|(of, ..)| *of == partition).map(|(.., offset)| *offset).collect()
    }

    /// Each record once, and each key's in order.
    #[track_caller]
    pub fn assert_once_each_in_key_order(&self, partitions: i32, count: i64) {
        let watched = self.0.lock().unwrap();
        assert_eq!(watched.overlaps, 0, "two calls held one key");
        let mut last: HashMap<_, i64> = HashMap::new();
        for (partition, key, offset) in &watched.ended {
            if key.is_some()
                && let Some(before) = last.insert((partition, key), *offset)
            {
                assert!(before < *offset, "{partition}: {offset} of {key:?} after {before}");
            }
        }
        drop(watched);
        (0..partitions).for_each(|partition| self.assert_once_each(partition, count));
    }

    #[track_caller]
    pub fn assert_once_each(&self, partition: i32, count: i64) {
        let mut offsets = self.offsets(partition);
        offsets.sort_unstable();
        assert_eq!(offsets, (0..count).collect::<Vec<_>>(), "partition {partition}");
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut watched = self.0.0.lock().unwrap();
        *watched.running.get_mut(&(self.1, self.2.clone())).unwrap() -= 1;
        *watched.of_partition.get_mut(&self.1).unwrap() -= 1;
    }
}

/// A handler that takes a while, another one for each record.
fn watched(builder: ConsumerBuilder, watch: &Watch) -> ConsumerBuilder {
    let watch = watch.clone();
    builder.async_handler(move |record: Record| {
        let watch = watch.clone();
        async move {
            let call = watch.begins(&record);
            // From ready at once to three milliseconds.
            let pause = Duration::from_millis((record.offset().0 * 7 % 4) as u64);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            watch.ended(&record);
            drop(call);
        }
    })
}

fn keys_run_beside_each_other_and_the_records_of_each_one_at_a_time_in_order(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce_keyed(2000, |number| Some(format!("k{}", number * number % 13)));
    let watch = Watch::default();
    let builder = watched(stage.consumer("g"), &watch).order(Order::Key).concurrency(16);
    let consumer = builder.start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 2000), (1, 2000)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    watch.assert_once_each_in_key_order(2, 2000);
    let most = watch.0.lock().unwrap().most;
    assert!((3..=16).contains(&most), "{most} at once");
    assert_eq!(consumer.state().invariants, Default::default());
}

fn records_without_a_key_are_independent_and_the_empty_key_is_a_key(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce_keyed(200, |number| (number % 2 == 0).then(String::new));
    let watch = Watch::default();
    let consumer = watched(stage.consumer("g"), &watch).order(Order::Key).start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 200)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    watch.assert_once_each_in_key_order(1, 200);
    let most = watch.0.lock().unwrap().most;
    assert!(most > 10, "records without a key wait for nothing: {most} at once");
}

fn in_no_order_everything_runs_beside_everything(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce_keyed(1000, |_| Some("one".to_owned()));
    let watch = Watch::default();
    let consumer = watched(stage.consumer("g"), &watch).order(Order::Unordered).concurrency(50).start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 1000), (1, 1000)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    (0..2).for_each(|partition| watch.assert_once_each(partition, 1000));
    assert_eq!(watch.0.lock().unwrap().most, 50);
    assert_eq!(consumer.state().invariants, Default::default());
}

fn a_key_that_is_slow_delays_only_itself(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce_keyed(1000, |number| Some(if number == 3 || number == 5 { "slow" } else { "fast" }.to_owned()));
    let (watch, gate) = (Watch::default(), Gate::default());
    let (seen, at_gate) = (watch.clone(), gate.clone());
    let handler = move |record: Record| {
        let (seen, gate) = (seen.clone(), at_gate.clone());
        async move {
            let call = seen.begins(&record);
            if record.key() == Some(b"slow") {
                tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
            }
            seen.ended(&record);
            drop(call);
        }
    };
    let consumer = stage.consumer("g").async_handler(handler).order(Order::Key).start().unwrap();
    eventually("the other key is through", || watch.count() == 998);
    eventually("the state names what holds it", || {
        let partition = consumer.state().partitions.into_iter().next();
        partition.is_some_and(|p| p.watermark == 3 && p.in_flight == 1 && p.oldest_in_flight.unwrap().offset == 3)
    });
    assert_eq!(consumer.state().partitions[0].buffered_records, 2, "what is finished is not buffered");
    gate.open();
    eventually("all is committed", || stage.committed("g") == [(0, 1000)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    watch.assert_once_each_in_key_order(1, 1000);
}

fn a_key_that_fails_is_tried_again_and_delays_only_itself(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce_keyed(400, |number| Some(if number % 100 == 10 { "bad" } else { "good" }.to_owned()));
    let (watch, mended) = (Watch::default(), Arc::new(AtomicUsize::new(0)));
    let (seen, good) = (watch.clone(), Arc::clone(&mended));
    let handler = move |record: Record| {
        let (seen, good) = (seen.clone(), Arc::clone(&good));
        async move {
            let _call = seen.begins(&record);
            match (record.key(), record.attempt()) {
                (Some(b"bad"), _) if good.load(Ordering::SeqCst) == 0 => return Err("not yet"),
                (Some(b"bad"), 1) => panic!("once more"),
                _ => seen.ended(&record),
            }
            Ok(())
        }
    };
    let pause = Duration::from_millis(5);
    let builder = stage.consumer("g").async_handler(handler).order(Order::Key).retry_pause(pause, pause);
    // A pause takes up no permit.
    let consumer = builder.max_attempts(u32::MAX).concurrency(1).start().unwrap();
    eventually("the other key is through", || watch.count() == 396);
    eventually("it is tried again", || consumer.state().counters.retries > 3);
    assert!(consumer.state().partitions[0].last_error.is_some());
    mended.store(1, Ordering::SeqCst);
    eventually("all is committed", || stage.committed("g") == [(0, 400)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    watch.assert_once_each_in_key_order(1, 400);
}

/// Each partition's record stands at the gate until the test opens it.
fn gated(builder: ConsumerBuilder, watch: &Watch, gate: &Gate) -> ConsumerBuilder {
    let (watch, gate) = (watch.clone(), gate.clone());
    builder.async_handler(move |record: Record| {
        let (watch, gate) = (watch.clone(), gate.clone());
        async move {
            let call = watch.begins(&record);
            tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
            watch.ended(&record);
            drop(call);
        }
    })
}

fn the_bound_holds_in_all_partitions_together_and_they_share_it_fairly(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce_keyed(800, |number| Some(number.to_string()));
    let watch = Watch::default();
    let consumer = watched(stage.consumer("g"), &watch).order(Order::Key).concurrency(8).start().unwrap();
    eventually("much is handled", || watch.count() > 2000);
    let done: Vec<_> = (0..4).map(|partition| watch.offsets(partition).len()).collect();
    eventually("all is committed", || stage.committed("g").values().sum::<i64>() == 3200);
    consumer.shutdown_blocking(STOP).unwrap();
    watch.assert_once_each_in_key_order(4, 800);
    assert_eq!(watch.0.lock().unwrap().most, 8);
    let (least, most) = (done.iter().min().unwrap(), done.iter().max().unwrap());
    assert!(least * 2 >= *most, "partitions go on side by side: {done:?}");
}

fn the_bound_holds_in_partition_order_too(on: On) {
    let stage = Stage::new(on, 6);
    stage.produce_keyed(100, |number| Some(number.to_string()));
    let watch = Watch::default();
    let consumer = watched(stage.consumer("g"), &watch).concurrency(2).start().unwrap();
    eventually("all is committed", || stage.committed("g").values().sum::<i64>() == 600);
    consumer.shutdown_blocking(STOP).unwrap();
    for partition in 0..6 {
        assert_eq!(watch.offsets(partition), (0..100).collect::<Vec<_>>());
    }
    assert_eq!(watch.0.lock().unwrap().most, 2);
}

fn a_worker_that_dies_half_way_repeats_only_what_was_in_flight(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce_keyed(2000, |number| Some(format!("k{}", number % 50)));
    let watch = Watch::default();
    let consumer = watched(stage.consumer("g"), &watch).order(Order::Key).concurrency(20).start().unwrap();
    eventually("some is handled", || watch.count() > 500);
    consumer.kill_worker(&TopicPartition::new(stage.topic.as_str(), 0));
    eventually("all is committed", || stage.committed("g") == [(0, 2000)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    let state = consumer.state();
    assert_eq!(state.counters.workers_replaced, 1);
    assert_eq!((state.buffered_records, state.buffered_bytes), (0, 0), "what the dead one held is given back");
    let (mut offsets, overlaps) = (watch.offsets(0), watch.0.lock().unwrap().overlaps);
    let handled = offsets.len();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!((offsets.len(), overlaps), (2000, 0));
    assert!(handled <= 2000 + 20, "{handled} handled");
}

fn what_is_finished_above_a_record_that_hangs_is_committed_and_not_handled_by_the_next_owner(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce_keyed(500, |number| Some(number.to_string()));
    let watch = Watch::default();
    let seen = watch.clone();
    let handler = move |record: Record| {
        let seen = seen.clone();
        async move {
            match record.offset().0 {
                5 | 77 => std::future::pending().await,
                _ => seen.ended(&record),
            }
        }
    };
    let builder = stage.consumer("g").async_handler(handler).order(Order::Unordered);
    let first = builder.drain_deadline(Duration::from_millis(100)).start().unwrap();
    eventually("the rest is finished", || watch.count() == 498);
    let stopped = first.shutdown_blocking(Duration::from_secs(2)).unwrap();
    let unfinished: Vec<_> = stopped.unfinished.iter().map(|record| record.offset).collect();
    assert_eq!((stopped.drained, unfinished), (false, vec![5, 77]), "named");
    assert_eq!(stage.committed("g"), [(0, 5)].into());
    let second = watched(stage.consumer("g"), &watch).order(Order::Key).start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 500)].into());
    assert_eq!(second.state().counters.remembered, 493);
    second.shutdown_blocking(STOP).unwrap();
    watch.assert_once_each(0, 500);
}

fn a_stop_waits_for_all_that_runs_and_starts_nothing_more(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce_keyed(100, |number| Some(number.to_string()));
    let (watch, gate) = (Watch::default(), Gate::default());
    let consumer = gated(stage.consumer("g"), &watch, &gate).order(Order::Key).concurrency(10).start().unwrap();
    eventually("ten are under way", || watch.0.lock().unwrap().most == 10);
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(consumer.shutdown_blocking(STOP).unwrap().drained));
        eventually("its handlers are to finish", || is_revoking(&consumer));
        gate.open();
    });
    assert_eq!(watch.count(), 10, "what ran has ended, nothing else has begun");
    let committed: i64 = stage.committed("g").values().sum();
    assert_eq!(committed, 10);
}

fn a_handler_that_stops_the_engine_leaves_its_record_and_commits_the_rest(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce_keyed(100, |number| Some(number.to_string()));
    let consumer = stage
        .consumer("g")
        .handler(|record: &Record| match record.offset().0 {
            30 => Outcome::Stop { cause: Cause::new("enough") },
            _ => Outcome::Done,
        })
        .order(Order::Key)
        .start()
        .unwrap();
    let error = consumer.wait_blocking().unwrap_err().to_string();
    assert!(error.contains("offset 30") && error.contains("enough"), "{error}");
    assert_eq!(stage.committed("g"), [(0, 30)].into());
}
