//! When a batch leaves.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use troupe_actors::produce::{Partitioner, Placement, ProducerBuilder, ProducerRecord, Unplaced};

use crate::fixture::{AGES, LONG, cluster, in_time, is_pending, producer};

/// Enqueues records of `bytes` bytes and says how many leave without a flush; the one after them stays.
async fn sent_unasked(builder: ProducerBuilder, bytes: usize, count: usize, expected: usize) {
    let producer = builder.linger(AGES).start().unwrap();
    let sender = producer.sender();
    let value = vec![b'x'; bytes];
    let mut confirmations = Vec::new();
    for _ in 0..count {
        let record = ProducerRecord::to("t").value(&value);
        confirmations.push(sender.enqueue(record).await.unwrap());
    }
    let mut rest = confirmations.split_off(expected);
    for confirmation in confirmations {
        in_time(confirmation).await.unwrap();
    }
    assert!(rest.iter_mut().all(is_pending), "they linger");
    producer.flush(LONG).await.unwrap();
    for confirmation in rest {
        in_time(confirmation).await.unwrap();
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_batch_leaves_when_its_count_is_full() {
    let cluster = cluster(&[("t", 1)]);
    sent_unasked(producer(&cluster).batch_records(10), 1, 25, 20).await;
}

#[tokio::test]
async fn a_batch_leaves_when_its_bytes_are_full() {
    let cluster = cluster(&[("t", 1)]);
    sent_unasked(producer(&cluster).batch_bytes(1_000), 300, 8, 6).await;
}

/// Counts the records of the topic `many` that leave their batch.
#[derive(Clone, Default)]
struct Leaving(Arc<AtomicUsize>);

impl Partitioner for Leaving {
    fn partition(&self, record: Unplaced<'_>, _: NonZeroU32) -> Placement {
        self.0.fetch_add(usize::from(record.topic == "many"), Ordering::SeqCst);
        Placement::Any
    }
}

#[tokio::test]
async fn a_batch_is_as_large_as_the_partitions_of_its_topic_ask_for() {
    let cluster = cluster(&[("many", 24), ("one", 1)]);
    let leaving = Leaving::default();
    let producer = producer(&cluster).partitioner(leaving.clone()).batch_records(10).linger(AGES).start().unwrap();
    let sender = producer.sender();
    let enqueue = async |topic, count| {
        let mut confirmations = Vec::new();
        for _ in 0..count {
            confirmations.push(sender.enqueue(ProducerRecord::to(topic).value("x")).await.unwrap());
        }
        confirmations
    };
    // From the first answer on, the partitions are known.
    let first = enqueue("many", 1).await;
    producer.flush(LONG).await.unwrap();
    let mut many = enqueue("many", 29).await;
    // What was full before these has left before them.
    for confirmation in first.into_iter().chain(enqueue("one", 10).await) {
        in_time(confirmation).await.unwrap();
    }
    assert_eq!(leaving.0.load(Ordering::SeqCst), 1);
    many.extend(enqueue("many", 1).await);
    for confirmation in many {
        in_time(confirmation).await.unwrap();
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_batch_leaves_when_it_has_lingered() {
    let cluster = cluster(&[("t", 1)]);
    let linger = Duration::from_millis(50);
    let producer = producer(&cluster).linger(linger).start().unwrap();
    let sender = producer.sender();
    let begun = Instant::now();
    in_time(sender.send(ProducerRecord::to("t").value("x"))).await.unwrap();
    assert!(begun.elapsed() >= linger);
    in_time(producer.shutdown(LONG)).await.unwrap();
}
