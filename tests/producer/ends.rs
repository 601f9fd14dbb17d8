//! How a producer ends, and what its records are told.

use std::time::Duration;

use troupe_actors::produce::{ProducerError, ProducerRecord, SendError};

use crate::fixture::{LONG, cluster, cut_off, enqueue_many, in_time, producer, until};

#[tokio::test]
async fn a_shutdown_whose_deadline_passes_answers_everything_and_returns() {
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster)).await;
    let confirmations = enqueue_many(&sender, 500).await;
    let unknown = sender.enqueue(ProducerRecord::to("nobody-knows")).await.unwrap();
    let report = in_time(producer.shutdown(Duration::from_millis(100))).await.unwrap();
    assert_eq!((report.accepted, report.confirmed), (502, 1));
    assert_eq!((report.failed, report.abandoned), (501, 501));
    for confirmation in confirmations.into_iter().chain([unknown]) {
        let error = in_time(confirmation).await.unwrap_err();
        assert!(matches!(error, SendError::Abandoned { .. }), "{error}");
    }
    let error = in_time(sender.send(ProducerRecord::to("t"))).await.unwrap_err();
    assert!(matches!(error, SendError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_producer_that_is_dropped_answers_everything() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).buffer_records(501);
    let (producer, sender) = cut_off(&cluster, builder).await;
    let confirmations = enqueue_many(&sender, 501).await;
    let waiting = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(ProducerRecord::to("t")).await })
    };
    until(|| producer.state().waiting_senders == 1).await;
    drop(producer);
    for confirmation in confirmations {
        let error = in_time(confirmation).await.unwrap_err();
        assert!(matches!(error, SendError::Abandoned { .. }), "{error}");
    }
    let error = in_time(waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, SendError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_flush_whose_deadline_passes_says_how_many_are_left_and_gives_nothing_up() {
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster)).await;
    let confirmations = enqueue_many(&sender, 3).await;
    let error = in_time(producer.flush(Duration::from_millis(20))).await.unwrap_err();
    assert!(matches!(error, ProducerError::DeadlinePassed { unanswered: 3, .. }), "{error}");
    cluster.broker_up(-1).unwrap();
    for confirmation in confirmations {
        in_time(confirmation).await.unwrap();
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}
