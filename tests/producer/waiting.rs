//! Calls that wait, where something may wait and where nothing may.

use std::sync::mpsc;

use troupe_actors::produce::{MustNotBlock, ProducerRecord, SendError};

use crate::fixture::{LONG, cluster, in_time, producer};

#[track_caller]
fn assert_refused<T>(sent: Result<T, SendError>, expected: MustNotBlock) {
    match sent.map(drop).unwrap_err() {
        SendError::MustNotBlock { place, .. } => assert_eq!(place, expected),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn in_a_task_calls_that_wait_are_refused_with_what_to_do_instead() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let error = sender.send_blocking(ProducerRecord::to("t")).unwrap_err();
    assert!(error.to_string().contains("spawn_blocking"), "{error}");
    assert_refused(Err::<(), _>(error), MustNotBlock::Task);
    assert_refused(sender.enqueue_blocking(ProducerRecord::to("t")), MustNotBlock::Task);
    assert_refused(sender.enqueue(ProducerRecord::to("t")).await.unwrap().wait_blocking(), MustNotBlock::Task);
    let of_a_task = sender.clone();
    let spawned = tokio::spawn(async move { of_a_task.send_blocking(ProducerRecord::to("t")).map(drop) });
    assert_refused(in_time(spawned).await.unwrap(), MustNotBlock::Task);
    let aside = tokio::task::spawn_blocking(move || sender.send_blocking(ProducerRecord::to("t")).map(drop));
    in_time(aside).await.unwrap().unwrap();
    assert_eq!(in_time(producer.shutdown(LONG)).await.unwrap().accepted, 2, "the refused are not sent");
}

#[test]
fn in_a_delivery_callback_calls_that_wait_are_refused() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let (tell, told) = mpsc::channel();
    let again = sender.clone();
    let sent = sender.try_send_with(ProducerRecord::to("t"), move |_| {
        let name = std::thread::current().name().map(str::to_owned);
        tell.send((again.send_blocking(ProducerRecord::to("t")).map(drop), name)).unwrap();
    });
    sent.unwrap();
    let (sent, thread) = told.recv_timeout(LONG).unwrap();
    assert_refused(sent, MustNotBlock::Callback);
    assert_eq!(thread.as_deref(), Some("producer-delivery"), "a thread of the producer's own, not one of librdkafka's");
    producer.shutdown_blocking(LONG).unwrap();
}

#[test]
fn on_an_arbiter_of_the_apps_own_calls_that_wait_are_refused() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let system = actix_rt::System::new();
    let sent = system.block_on(async move {
        actix_rt::spawn(async move { sender.send_blocking(ProducerRecord::to("t")).map(drop) }).await.unwrap()
    });
    assert_refused(sent, MustNotBlock::Task);
    producer.shutdown_blocking(LONG).unwrap();
}
