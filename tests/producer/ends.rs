//! How a producer ends, and what its records are told.

use std::sync::mpsc;
use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use troupe_actors::produce::{ErrorClass, ProducerError, ProducerRecord, SendError};

use crate::fixture::{AGES, LONG, cluster, cut_off, enqueue_many, in_time, producer, read, until};
use crate::log;

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
async fn the_records_that_bring_a_fatal_error_are_told_so_and_that_they_may_be_stored() {
    let cluster = cluster(&[("t", 1)]);
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    let producer = producer(&cluster).batch_records(3).linger(AGES).start().unwrap();
    for confirmation in enqueue_many(&producer.sender(), 3).await {
        let error = in_time(confirmation).await.unwrap_err();
        assert_eq!((error.class(), error.possibly_persisted()), (ErrorClass::Fatal, true), "{error}");
    }
    assert!(matches!(in_time(producer.shutdown(LONG)).await, Err(ProducerError::Failed { .. })));
}

#[tokio::test]
async fn a_shutdown_ends_though_a_delivery_callback_does_not_return() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let (tell, told) = mpsc::sync_channel(0);
    let sender = producer.sender();
    for _ in 0..2_000 {
        let tell = tell.clone();
        sender.send_with(ProducerRecord::to("t"), move |_| _ = tell.send(())).await.unwrap();
    }
    let report = in_time(producer.shutdown(Duration::from_millis(100))).await.unwrap();
    assert_eq!(report.accepted, 2_000);
    drop(told);
}

#[tokio::test]
async fn slow_delivery_callbacks_keep_no_record_from_the_report() {
    let cluster = cluster(&[("t", 4)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster)).await;
    for number in 0..3_000 {
        let record = ProducerRecord::to("t").partition(number % 4).value("v");
        sender.send_with(record, |_| std::thread::sleep(Duration::from_millis(3))).await.unwrap();
    }
    // They are in librdkafka's hands then, as a rule.
    let _ = in_time(producer.flush(Duration::from_millis(100))).await;
    let report = in_time(producer.shutdown(Duration::ZERO)).await.unwrap();
    assert_eq!((report.accepted, report.undelivered.len()), (3_001, 3_000));
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

#[tokio::test]
async fn what_a_shutdown_could_not_deliver_comes_back_as_records_in_order_and_can_be_sent_elsewhere() {
    let down = cluster(&[("t", 2)]);
    let builder = producer(&down).library_queue_records(40).batch_records(16);
    let (first, sender) = cut_off(&down, builder).await;
    let mut sent = Vec::new();
    for n in 0..200_u32 {
        let value = n.to_be_bytes();
        let record = ProducerRecord::to("t").key(&value).value(&value);
        let record = if n % 3 == 0 { record.header("h", "v").null_header("n").timestamp(1_000) } else { record };
        sent.push(sender.enqueue(record).await.unwrap());
    }
    until(|| first.state().queue_full_events > 0).await;
    // One waits for its topic, some in librdkafka's queue, some for room there, and some linger.
    sent.push(sender.enqueue(ProducerRecord::to("nobody-knows").value(&200_u32.to_be_bytes())).await.unwrap());
    let report = in_time(first.shutdown(Duration::from_millis(50))).await.unwrap();
    assert_eq!((report.abandoned, report.undelivered.len()), (201, 201));
    for answer in sent {
        assert!(matches!(in_time(answer).await.unwrap_err(), SendError::Abandoned { .. }));
    }
    let number = |value: &[u8]| u32::from_be_bytes(value.try_into().unwrap());
    let numbers: Vec<_> = report.undelivered.iter().map(|each| number(each.record.value_bytes().unwrap())).collect();
    let of_t: Vec<_> = numbers.iter().copied().filter(|n| *n < 200).collect();
    assert_eq!(of_t, (0..200).collect::<Vec<_>>(), "in the order in which they were accepted");
    for each in &report.undelivered {
        let n = number(each.record.value_bytes().unwrap());
        assert!(!each.possibly_persisted, "{n} never left");
        let marked = n % 3 == 0 && n < 200;
        assert_eq!(each.record.headers().len(), if marked { 2 } else { 0 });
        assert!(!marked || each.record.timestamp_set() == Some(1_000));
        assert_eq!(each.record.topic(), if n == 200 { "nobody-knows" } else { "t" });
    }
    let up = cluster(&[("t", 2)]);
    let second = producer(&up).start().unwrap();
    let again = report.undelivered.into_iter().map(|each| each.record).filter(|record| record.topic() == "t");
    in_time(second.sender().send_all(again)).await.unwrap();
    let found = read(&up, "t", 2, 200);
    assert_eq!(found.iter().filter(|found| found.headers.len() == 2).count(), 67);
    in_time(second.shutdown(LONG)).await.unwrap();
}

/// Credits come back behind the callbacks.
#[test]
fn a_producer_that_is_dropped_does_not_warn_of_records_that_are_answered() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let ((tell, told), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    let callback = move |answer: Result<_, _>| {
        tell.send(answer.is_ok()).unwrap();
        let _ = released.recv();
    };
    producer.sender().try_send_with(ProducerRecord::to("t").value("v"), callback).unwrap();
    assert_eq!(told.recv_timeout(LONG), Ok(true));
    let before = log::here().len();
    drop(producer);
    assert!(!log::here()[before..].contains("dropped without"), "{}", log::here());
    drop(release);
}

#[tokio::test]
async fn a_producer_that_is_dropped_without_a_shutdown_warns_of_the_records_it_gives_up() {
    let cluster = cluster(&[("t", 1)]);
    let (first, sender) = cut_off(&cluster, producer(&cluster)).await;
    let sent = enqueue_many(&sender, 7).await;
    drop(first);
    let told = log::here;
    assert!(told().contains("dropped without a shutdown") && told().contains("records=7"), "{}", told());
    drop(sent);
    let before = told().len();
    cluster.broker_up(-1).unwrap();
    let (second, _) = (producer(&cluster).start().unwrap(), sender);
    drop(second);
    assert!(!told()[before..].contains("dropped without"), "nothing is given up: {}", told());
}
