//! Many records by one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use troupe_actors::produce::{ProducerRecord, SendError};

use crate::fixture::{LONG, cluster, cut_off, in_time, number, producer, read, until};

#[tokio::test]
async fn a_batch_has_one_answer_with_each_records_place_also_where_it_is_larger_than_the_buffer() {
    let cluster = cluster(&[("t", 3)]);
    let producer = producer(&cluster).buffer_records(100).batch_records(30).start().unwrap();
    let values: Vec<_> = (0..1_000_u32).map(u32::to_be_bytes).collect();
    let records = values.iter().map(|value| ProducerRecord::to("t").key(value).value(value));
    let deliveries = in_time(producer.sender().send_all(records)).await.unwrap();
    assert_eq!(deliveries.len(), 1_000);
    for found in read(&cluster, "t", 3, 1_000) {
        let delivery = &deliveries[number(&found) as usize];
        assert_eq!((delivery.partition.0, delivery.offset.unwrap().0), (found.partition, found.offset));
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn of_a_batch_only_the_records_at_fault_fail_and_are_named_by_their_places() {
    let cluster = cluster(&[("t", 2), ("u", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let fine = || ProducerRecord::to("t").key("k").value("v");
    let batch = [fine(), fine().partition(9), ProducerRecord::to("u"), ProducerRecord::to("no such name"), fine()];
    let error = in_time(producer.sender().send_all(batch)).await.unwrap_err();
    let places: Vec<_> = error.failures.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [1, 3]);
    assert!(matches!(error.failures[0].1, SendError::UnknownPartition { .. }));
    assert!(matches!(error.failures[1].1, SendError::InvalidTopic { .. }));
    let stored: Vec<_> = error.deliveries.iter().map(|each| each.as_ref().map(|at| &*at.topic)).collect();
    assert_eq!(stored, [Some("t"), None, Some("u"), None, Some("t")]);
    assert!(error.to_string().starts_with("2 of 5 records failed, the first at place 1: "), "{error}");
    assert!(in_time(producer.sender().send_all([])).await.unwrap().is_empty());
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_stream_is_taken_no_faster_than_it_is_stored_and_in_its_order() {
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster).buffer_records(50)).await;
    let taken = Arc::new(AtomicU64::new(0));
    let counts = taken.clone();
    let records = stream::iter(0..5_000_u32).map(move |n| {
        counts.fetch_add(1, Ordering::Relaxed);
        ProducerRecord::to("t").value(&n.to_be_bytes()).into_owned()
    });
    let sending = tokio::spawn(async move { sender.send_stream(records).await });
    until(|| producer.state().waiting_senders == 1).await;
    assert_eq!(producer.state().in_flight_records, 50);
    assert!(taken.load(Ordering::Relaxed) <= 256, "{taken:?}");
    cluster.broker_up(-1).unwrap();
    assert_eq!(in_time(sending).await.unwrap().unwrap(), 5_000);
    let numbers: Vec<_> = read(&cluster, "t", 1, 5_001)[1..].iter().map(number).collect();
    assert_eq!(numbers, (0..5_000).collect::<Vec<_>>());
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn records_of_a_slow_stream_do_not_wait_for_those_behind_them() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).linger(Duration::ZERO).start().unwrap();
    let sender = producer.sender();
    let (feed, fed) = futures_util::stream::iter([1, 2])
        .map(|_| ProducerRecord::to("t"))
        .chain(stream::pending())
        .into_future()
        .await;
    let records = stream::iter(feed).chain(fed);
    let sending = tokio::spawn(async move { sender.send_stream(records).await });
    until(|| producer.state().confirmed == 2).await;
    assert!(!sending.is_finished());
    sending.abort();
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_with_its_first_failure_and_says_which_record_it_was() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).linger(Duration::ZERO).start().unwrap();
    let pulled = AtomicU64::new(0);
    let records = (0..).inspect(|_| _ = pulled.fetch_add(1, Ordering::Relaxed)).map(|n: u64| {
        let record = ProducerRecord::to("t");
        if n == 700 { record.partition(1) } else { record }
    });
    let error = in_time(producer.sender().send_each(records)).await.unwrap_err();
    assert_eq!((error.place, error.failed), (700, 1));
    assert_eq!(error.taken, pulled.load(Ordering::Relaxed), "all that were taken are accounted for");
    assert_eq!(error.confirmed, error.taken - 1);
    assert!(matches!(error.error, SendError::UnknownPartition { .. }));
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn records_for_a_closed_producer_fail_each_and_nobody_waits() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    in_time(producer.shutdown(LONG)).await.unwrap();
    let error = in_time(sender.send_all([ProducerRecord::to("t"), ProducerRecord::to("t")])).await.unwrap_err();
    assert_eq!(error.failures.len(), 2);
    let error = in_time(sender.send_each(std::iter::repeat_with(|| ProducerRecord::to("t")))).await.unwrap_err();
    assert!(matches!(error.error, SendError::Closed { .. }));
}
