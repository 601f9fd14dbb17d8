//! Handlers that take a batch of records, in each order.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::consume::{BatchBounds, ConsumerBuilder, Failure, FailureKind, Order, Outcome, Outcomes, Record};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::fixture::{Gate, On, PATIENCE, Stage, eventually};

scenarios! {
    on both brokers:
        batches_in_each_order_finish_all_though_records_fail_and_calls_fail;
    on the embedded broker, "there is nothing of a broker's in it":
        a_batch_is_bounded_by_count_and_by_bytes_and_waits_no_longer_than_it_lingers,
        in_partition_order_the_first_that_is_not_done_holds_back_all_behind_it,
        a_record_that_fails_every_call_it_is_in_is_found_and_named_alone,
        a_batch_that_a_stop_cuts_short_is_left_to_the_next_owner_whole,
        what_is_done_of_a_batch_is_committed_and_not_given_to_the_next_owner;
}

const STOP: Duration = Duration::from_secs(20);
const ORDERS: [Order; 3] = [Order::Partition, Order::Key, Order::Unordered];

/// Appends to each partition `count` records of 10 bytes with one of `keys` keys each.
fn produce(stage: &Stage, count: usize, keys: usize) {
    let producer: BaseProducer = stage.client().set("linger.ms", "2").create().unwrap();
    for number in 0..count {
        let key = format!("k{:04}", number * number % keys);
        for partition in 0..stage.partitions {
            let record = BaseRecord::to(&stage.topic).partition(partition).key(&key).payload("value");
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
}

/// What a handler was given, and which of it was finished.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// Of each partition and key, the offsets as they were finished.
    finished: BTreeMap<(i32, Vec<u8>), Vec<i64>>,
    away: HashMap<(i32, Vec<u8>), usize>,
    overlaps: usize,
    largest: usize,
    calls: Vec<Vec<i64>>,
}

impl Book {
    /// The key that must not be away twice, in this order.
    fn key(order: Order, record: &Record) -> Option<(i32, Vec<u8>)> {
        let key = match order {
            Order::Partition => Vec::new(),
            Order::Key => record.key().unwrap().to_vec(),
            Order::Unordered => return None,
        };
        Some((record.partition().0, key))
    }

    fn begins(&self, order: Order, records: &[Record]) {
        let mut kept = self.0.lock().unwrap();
        let mut keys: Vec<_> = records.iter().filter_map(|record| Self::key(order, record)).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let away = kept.away.entry(key).or_default();
            *away += 1;
            let overlap = *away > 1;
            kept.overlaps += usize::from(overlap);
        }
        kept.largest = kept.largest.max(records.len());
        kept.calls.push(records.iter().map(|record| record.offset().0).collect());
    }

    /// Notes what counts: of each key up to the first that is not done.
    fn ends(&self, order: Order, records: &[Record], done: impl Fn(&Record) -> bool) {
        let mut kept = self.0.lock().unwrap();
        let mut held = Vec::new();
        for record in records {
            let key = Self::key(order, record);
            if key.as_ref().is_some_and(|key| held.contains(key)) {
                continue;
            }
            match done(record) {
                true => {
                    let of = (record.partition().0, key.map_or(Vec::new(), |(_, key)| key));
                    kept.finished.entry(of).or_default().push(record.offset().0);
                }
                false => held.extend(key),
            }
        }
        for key in records.iter().filter_map(|record| Self::key(order, record)) {
            kept.away.insert(key, 0);
        }
    }

    fn finished(&self) -> usize {
        self.0.lock().unwrap().finished.values().map(Vec::len).sum()
    }
}

fn batches_in_each_order_finish_all_though_records_fail_and_calls_fail(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        produce(&stage, 1000, 17);
        let book = Book::default();
        let calls = Arc::new(AtomicUsize::new(0));
        let (notes, counted) = (book.clone(), Arc::clone(&calls));
        let handler = move |records: Arc<[Record]>| {
            let (notes, call) = (notes.clone(), counted.fetch_add(1, Ordering::SeqCst));
            async move {
                notes.begins(order, &records);
                tokio::time::sleep(Duration::from_millis(call as u64 % 3)).await;
                // Some calls fail as a whole, and some records at their first attempt.
                let whole = call % 11 == 5;
                let done = |record: &Record| !whole && (record.offset().0 % 97 != 13 || record.attempt() > 1);
                notes.ends(order, &records, done);
                match whole {
                    true => Outcomes::Failed(Failure::new(FailureKind::Error, "the whole call")),
                    false => Outcomes::Each(
                        records
                            .iter()
                            .map(|record| match done(record) {
                                true => Ok(Outcome::Done),
                                false => Err(Failure::new(FailureKind::Error, "not yet")),
                            })
                            .collect(),
                    ),
                }
            }
        };
        let pause = Duration::from_millis(2);
        let builder = stage.lone_consumer("g").order(order).retry_pause(pause, pause).max_attempts(u32::MAX);
        let bounds = BatchBounds::default().records(20).linger(Duration::from_millis(1));
        let consumer = builder.async_batch_handler(bounds, handler).concurrency(8).start().unwrap();
        eventually("all is committed", || stage.committed("g") == [(0, 1000), (1, 1000)].into());
        let state = consumer.state();
        assert_eq!((state.buffered_records, state.counters.finished), (0, 2000), "{order:?}");
        assert_eq!(state.invariants, Default::default());
        consumer.shutdown_blocking(STOP).unwrap();
        let kept = book.0.lock().unwrap();
        assert_eq!(kept.overlaps, 0, "{order:?}: two calls held one key");
        assert!((5..=20).contains(&kept.largest), "{order:?}: {} records", kept.largest);
        for (key, offsets) in &kept.finished {
            assert!(order == Order::Unordered || offsets.is_sorted(), "{order:?}: {key:?} finished as {offsets:?}");
        }
        let mut all: Vec<_> = kept.finished.iter().flat_map(|((p, _), o)| o.iter().map(move |o| (*p, *o))).collect();
        all.sort_unstable();
        let expected: Vec<_> = (0..2).flat_map(|partition| (0..1000).map(move |offset| (partition, offset))).collect();
        assert_eq!(all, expected, "{order:?}: each is finished once");
    }
}

/// A handler that notes its calls and finds all records done.
fn noting(builder: ConsumerBuilder, bounds: BatchBounds, book: &Book) -> ConsumerBuilder {
    let notes = book.clone();
    builder.batch_handler(bounds, move |records: &[Record]| {
        notes.begins(Order::Unordered, records);
        notes.ends(Order::Unordered, records, |_| true);
    })
}

fn a_batch_is_bounded_by_count_and_by_bytes_and_waits_no_longer_than_it_lingers(on: On) {
    let long = Duration::from_secs(60);
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        // Of ten bytes each.
        produce(&stage, 95, 10);
        for (group, bounds, size) in [
            ("count", BatchBounds::default().records(10).linger(long), 10),
            ("bytes", BatchBounds::default().bytes(50).linger(long), 5),
        ] {
            let book = Book::default();
            let consumer = noting(stage.lone_consumer(group).order(order), bounds, &book).start().unwrap();
            eventually("full batches are handled", || book.finished() == 95 / size * size);
            // The last five wait for more, up to a minute; no stop waits for that.
            consumer.shutdown_blocking(STOP).unwrap();
            let kept = book.0.lock().unwrap();
            assert!(kept.calls.iter().all(|call| call.len() == size), "{order:?} {group}: {:?}", kept.calls);
            assert_eq!(stage.committed(group)[&0], (95 / size * size) as i64);
        }
        let book = Book::default();
        let bounds = BatchBounds::default().linger(Duration::from_millis(30));
        let consumer = noting(stage.lone_consumer("linger").order(order), bounds, &book).start().unwrap();
        eventually("a batch that is not full is handled", || book.finished() == 95);
        consumer.shutdown_blocking(STOP).unwrap();
    }
}

fn in_partition_order_the_first_that_is_not_done_holds_back_all_behind_it(on: On) {
    let stage = Stage::new(on, 1);
    produce(&stage, 10, 10);
    let book = Book::default();
    let notes = book.clone();
    let handler = move |records: &[Record]| {
        notes.begins(Order::Partition, records);
        let done = |record: &Record| record.offset().0 != 4 || record.attempt() == 3;
        notes.ends(Order::Partition, records, done);
        records.iter().map(|record| if done(record) { Ok(()) } else { Err("not yet") }).collect::<Vec<_>>()
    };
    let pause = Duration::from_millis(1);
    let bounds = BatchBounds::default().records(10).linger(Duration::from_millis(100));
    let builder = stage.lone_consumer("g").retry_pause(pause, pause);
    let consumer = builder.batch_handler(bounds, handler).start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 10)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    let kept = book.0.lock().unwrap();
    let behind: Vec<i64> = (4..10).collect();
    assert_eq!(kept.calls, [(0..10).collect(), behind.clone(), behind]);
}

fn a_record_that_fails_every_call_it_is_in_is_found_and_named_alone(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        produce(&stage, 50, 50);
        let handler = |records: &[Record]| match records.iter().any(|record| record.offset().0 == 31) {
            true => Err("poison"),
            false => Ok(()),
        };
        let pause = Duration::from_millis(1);
        let builder = stage.lone_consumer("g").order(order).retry_pause(pause, pause).max_attempts(3);
        let bounds = BatchBounds::default().records(50).linger(Duration::from_millis(50));
        let consumer = builder.batch_handler(bounds, handler).start().unwrap();
        let error = consumer.wait_blocking().unwrap_err().to_string();
        assert!(error.contains("offset 31") && error.contains("poison"), "{order:?}: {error}");
        assert_eq!(stage.committed("g"), [(0, 31)].into(), "{order:?}: all below is done");
    }
}

fn a_batch_that_a_stop_cuts_short_is_left_to_the_next_owner_whole(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        produce(&stage, 10, 10);
        let begun = Gate::default();
        let begins = begun.clone();
        let handler = move |_: Arc<[Record]>| {
            begins.open();
            std::future::pending::<()>()
        };
        let bounds = BatchBounds::default().records(10).linger(Duration::from_secs(60));
        let builder = stage.consumer("g").order(order).drain_deadline(Duration::from_millis(100));
        let consumer = builder.async_batch_handler(bounds, handler).start().unwrap();
        begun.wait();
        assert_eq!(consumer.state().partitions[0].in_flight, 10);
        let stopped = consumer.shutdown_blocking(Duration::from_secs(2)).unwrap();
        let named: Vec<_> = stopped.unfinished.iter().map(|record| record.offset).collect();
        assert_eq!((stopped.drained, named), (false, (0..10).collect()), "{order:?}: each is named");
        let book = Book::default();
        let next = noting(stage.consumer("g").order(order), BatchBounds::default(), &book).start().unwrap();
        eventually("the next owner has all", || stage.committed("g") == [(0, 10)].into());
        next.shutdown_blocking(STOP).unwrap();
        assert_eq!(book.finished(), 10);
    }
}

fn what_is_done_of_a_batch_is_committed_and_not_given_to_the_next_owner(on: On) {
    for order in [Order::Key, Order::Unordered] {
        let stage = Stage::new(on, 1);
        // Each of a key of its own.
        produce(&stage, 20, 1000);
        let handler = |records: &[Record]| {
            let outcome = |record: &Record| match record.offset().0 {
                5 | 12 => Outcome::Retry { after: Duration::from_secs(60), cause: "later".into() },
                _ => Outcome::Done,
            };
            records.iter().map(outcome).collect::<Vec<_>>()
        };
        let bounds = BatchBounds::default().records(20).linger(Duration::from_secs(60));
        let builder = stage.consumer("g").order(order);
        let consumer = builder.batch_handler(bounds, handler).start().unwrap();
        eventually("what is done is counted", || consumer.state().counters.finished == 18);
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained, "a pause is not waited for");
        assert_eq!(stage.committed("g"), [(0, 5)].into());
        let book = Book::default();
        let next = noting(stage.consumer("g").order(order), BatchBounds::default(), &book).start().unwrap();
        eventually("all is committed", || stage.committed("g") == [(0, 20)].into());
        next.shutdown_blocking(STOP).unwrap();
        let mut given = book.0.lock().unwrap().calls.concat();
        given.sort_unstable();
        assert_eq!(given, [5, 12], "{order:?}");
    }
}
