//! Brokers that go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use troupe_actors::produce::{ProducerRecord, SendError};

use crate::fixture::{LONG, cluster, cut_off, enqueue_many, in_time, producer};

#[tokio::test]
async fn records_outlive_a_broker_that_goes_away_and_comes_back() {
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster)).await;
    let confirmations = enqueue_many(&sender, 1_000).await;
    assert_eq!(producer.state().in_flight_records, 1_000);
    cluster.broker_up(-1).unwrap();
    for (n, confirmation) in confirmations.into_iter().enumerate() {
        let delivery = in_time(confirmation).await.unwrap();
        assert_eq!(delivery.offset.unwrap().0, 1 + n as i64);
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn records_for_a_broker_that_stays_away_time_out_each_once() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).property("message.timeout.ms", "300");
    let (producer, sender) = cut_off(&cluster, builder).await;
    let answers = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let answers = answers.clone();
        sender
            .send_with(ProducerRecord::to("t").value("v"), move |answer| {
                assert!(matches!(answer, Err(SendError::TimedOut { .. })), "{answer:?}");
                answers.fetch_add(1, Ordering::Relaxed);
            })
            .await
            .unwrap();
    }
    in_time(producer.flush(LONG)).await.unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), 100);
    let state = producer.state();
    assert_eq!((state.failed, state.callback_panics), (100, 0));
    in_time(producer.shutdown(LONG)).await.unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), 100);
}
