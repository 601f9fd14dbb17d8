//! What handlers may be made of: decoded values, layers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::consume::{ConsumerError, FailureKind, Json, Layer, Order, Outcome, Record, Timeout, Tracing, typed};
use kafka_troupe::ids::{Offset, TopicPartition};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::fixture::{On, PATIENCE, Stage, eventually, since_1970};

scenarios! {
    on both brokers:
        a_record_that_cannot_be_decoded_is_exhausted_at_once_and_named,
        a_typed_handler_sees_the_value_and_all_else_of_the_record,
        what_cannot_be_decoded_may_be_passed_over_by_the_app,
        a_call_that_takes_too_long_is_dropped_and_its_record_is_tried_again;
}

const STOP: Duration = Duration::from_secs(20);
const ORDERS: [Order; 3] = [Order::Partition, Order::Key, Order::Unordered];

impl Stage {
    /// Appends values to partition 0.
    fn produce_values<'a>(&self, values: impl IntoIterator<Item = &'a str>) {
        let producer: BaseProducer = self.client().create().unwrap();
        for value in values {
            let record = BaseRecord::<(), str>::to(&self.topic).partition(0).payload(value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }
}

fn a_record_that_cannot_be_decoded_is_exhausted_at_once_and_named(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        stage.produce_values(["1", "2", "three", "4"]);
        let sum = Arc::new(AtomicUsize::new(0));
        let handler = typed({
            let sum = Arc::clone(&sum);
            move |Json(number): Json<usize>, _: Record| {
                sum.fetch_add(number, Ordering::Relaxed);
                async {}
            }
        });
        let consumer = stage.consumer("g").order(order).async_handler(handler).start().unwrap();
        let ended = consumer.wait_blocking().unwrap_err();
        let expected = ConsumerError::Exhausted {
            partition: TopicPartition::new(stage.topic.as_str(), 0),
            offset: Offset(2),
            attempts: 1,
            cause: "cannot be decoded: expected ident at line 1 column 2".to_owned(),
        };
        assert_eq!(ended, expected, "{order:?}");
        assert_eq!(stage.committed("g")[&0], 2, "{order:?}");
        assert!([3, 7].contains(&sum.load(Ordering::Relaxed)), "{order:?}: what could be decoded was handled");
    }
}

fn a_typed_handler_sees_the_value_and_all_else_of_the_record(on: On) {
    let stage = Stage::new(on, 1);
    let producer: BaseProducer = stage.client().create().unwrap();
    let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("x") });
    // Of a record that is older, the topic's retention may make an end before it is read.
    let written = since_1970() - 60_000;
    let record = BaseRecord::to(&stage.topic).partition(0).key("k").payload("[5]").timestamp(written).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = typed({
        let seen = Arc::clone(&seen);
        move |Json(value): Json<Vec<u8>>, record: Record| {
            let seen = Arc::clone(&seen);
            async move {
                if record.attempt() == 1 {
                    return Outcome::Retry { after: Duration::ZERO, cause: "once more".into() };
                }
                seen.lock().unwrap().push((value, record.clone()));
                // Until the partition is to be given up, which is when the consumer stops.
                record.revoking().cancelled().await;
                Outcome::Done
            }
        }
    });
    let consumer = stage.consumer("g").async_handler(handler).start().unwrap();
    eventually("it is called", || !seen.lock().unwrap().is_empty());
    let (value, record) = seen.lock().unwrap().remove(0);
    assert!(!record.revoking().is_cancelled());
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained, "it ended when it was told to");
    assert!(record.revoking().is_cancelled());
    assert_eq!(stage.committed("g")[&0], 1);
    assert_eq!((value, record.topic(), record.partition().0, record.offset().0), (vec![5], stage.topic.as_str(), 0, 0));
    assert_eq!((record.key(), record.timestamp(), record.attempt()), (Some(&b"k"[..]), Some(written), 2));
    assert_eq!(record.header("h"), Some(&b"x"[..]));
}

fn what_cannot_be_decoded_may_be_passed_over_by_the_app(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce_values(["1", "two", "3"]);
    // A handler of any shape says it with `?`.
    let handler = |record: &Record| record.decode::<Json<usize>>().map(|_| ());
    let builder = stage.consumer("g").handler(handler);
    let consumer = builder.on_failure(|failed| (failed.kind == FailureKind::Undecodable).then_some(Outcome::Done));
    let consumer = consumer.start().unwrap();
    eventually("all is committed", || stage.committed("g").get(&0) == Some(&3));
    assert_eq!(consumer.state().counters.passed_over, 1);
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_call_that_takes_too_long_is_dropped_and_its_record_is_tried_again(on: On) {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        stage.produce(0, 10, 20);
        let dropped = Arc::new(AtomicUsize::new(0));
        let handler = {
            let dropped = Arc::clone(&dropped);
            move |record: Record| {
                let dropped = Dropped(Arc::clone(&dropped));
                async move {
                    if record.offset().0 == 4 && record.attempt() < 3 {
                        std::future::pending::<()>().await;
                    }
                    std::mem::forget(dropped);
                }
            }
        };
        let (pause, kinds) = (Duration::from_millis(1), Arc::new(Mutex::new(Vec::new())));
        let handler = Tracing.layer(Timeout::new(Duration::from_millis(50)).layer(handler));
        let builder = stage.consumer("g").order(order).async_handler(handler).retry_pause(pause, pause).on_failure({
            let kinds = Arc::clone(&kinds);
            move |failed| {
                kinds.lock().unwrap().push((failed.record.offset().0, failed.kind, failed.cause.to_string()));
                None
            }
        });
        let consumer = builder.start().unwrap();
        eventually("all is committed", || stage.committed("g").get(&0) == Some(&10));
        consumer.shutdown_blocking(STOP).unwrap();
        let timed_out = (4, FailureKind::Timeout, "took longer than 50ms".to_owned());
        assert_eq!(*kinds.lock().unwrap(), [timed_out.clone(), timed_out], "{order:?}");
        assert_eq!(dropped.load(Ordering::SeqCst), 2, "{order:?}");
    }
}
