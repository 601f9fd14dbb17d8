//! When a batch leaves.

use std::time::{Duration, Instant};

use troupe_actors::produce::{ProducerBuilder, ProducerRecord};

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
