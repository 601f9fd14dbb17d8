//! Full buffers and full queues.

use std::time::Duration;

use troupe_actors::produce::{ProducerRecord, SendError, TrySendError};

use crate::fixture::{AGES, LONG, by_key, cluster, cut_off, enqueue_many, in_time, producer, read, until};

#[tokio::test]
async fn a_full_buffer_holds_senders_back_until_records_are_confirmed() {
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster).buffer_records(10)).await;
    let confirmations = enqueue_many(&sender, 10).await;
    match sender.try_send(ProducerRecord::to("t").value("eleventh")) {
        Err(TrySendError::Full(record)) => {
            assert!(format!("{record:?}").contains("value_bytes: Some(8)"));
        }
        other => panic!("{other:?}"),
    }
    let waiting = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(ProducerRecord::to("t").value("twelfth")).await })
    };
    let cancelled = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(ProducerRecord::to("t").value("never")).await })
    };
    until(|| producer.state().waiting_senders == 2).await;
    cancelled.abort();
    until(|| producer.state().waiting_senders == 1).await;
    assert_eq!(producer.state().in_flight_records, 10);
    cluster.broker_up(-1).unwrap();
    for confirmation in confirmations {
        in_time(confirmation).await.unwrap();
    }
    assert_eq!(in_time(waiting).await.unwrap().unwrap().offset.unwrap().0, 11);
    let report = in_time(producer.shutdown(LONG)).await.unwrap();
    assert_eq!(report.accepted, 12);
}

/// Whichever way records are sent, none has to wait for the linger of those that fill the buffer.
#[tokio::test]
async fn a_full_buffer_sends_at_once_what_lingers_in_it() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).buffer_records(10).linger(AGES).start().unwrap();
    let sender = producer.sender();
    // The last of each kind find room, and linger until the flush.
    let all_are_in = async |count| {
        until(|| producer.state().accepted == count).await;
        in_time(producer.flush(LONG)).await.unwrap();
    };
    drop(in_time(enqueue_many(&sender, 100)).await);
    all_are_in(100).await;
    let many = sender.send_all((0..100).map(|_| ProducerRecord::to("t")));
    assert_eq!(tokio::join!(in_time(many), all_are_in(200)).0.unwrap().len(), 100);
    for n in 0..100_i32 {
        until(|| sender.try_send(ProducerRecord::to("t").value(&n)).is_ok()).await;
    }
    all_are_in(300).await;
    let threads: Vec<_> = (0..25)
        .map(|_| {
            let sender = sender.clone();
            tokio::task::spawn_blocking(move || sender.send_blocking(ProducerRecord::to("t")).map(drop))
        })
        .collect();
    all_are_in(325).await;
    for thread in threads {
        in_time(thread).await.unwrap().unwrap();
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_full_library_queue_keeps_the_order_of_each_partition() {
    let cluster = cluster(&[("t", 3)]);
    let producer = producer(&cluster).library_queue_records(50).batch_records(64).start().unwrap();
    let sender = producer.sender();
    for n in 0..5_000_u32 {
        let key = [(n % 11) as u8];
        let value = n.to_be_bytes();
        let record = ProducerRecord::to("t").key(&key).value(&value);
        // Every tenth takes the way of records with headers.
        let record = if n % 10 == 0 { record.header("h", b"") } else { record };
        drop(sender.enqueue(record).await.unwrap());
    }
    in_time(producer.flush(LONG)).await.unwrap();
    let state = producer.state();
    assert!(state.queue_full_events > 0);
    assert_eq!((state.confirmed, state.failed), (5_000, 0));
    for (key, numbers) in by_key(&read(&cluster, "t", 3, 5_000)) {
        assert!(numbers.is_sorted(), "{key:?}: {numbers:?}");
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn what_a_full_library_queue_kept_out_is_given_up_as_never_sent() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).library_queue_records(50);
    let (producer, sender) = cut_off(&cluster, builder).await;
    let confirmations = enqueue_many(&sender, 500).await;
    until(|| producer.state().queue_full_events > 0).await;
    in_time(producer.shutdown(Duration::ZERO)).await.unwrap();
    for confirmation in confirmations {
        let error = in_time(confirmation).await.unwrap_err();
        assert!(matches!(error, SendError::Abandoned { .. }), "{error}");
        assert!(!error.possibly_persisted());
    }
}
