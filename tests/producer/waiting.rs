//! Calls that wait, where something may wait and where nothing may.

use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::time::Instant;

use troupe_actors::produce::{MustNotBlock, ProducerError, ProducerRecord, SendError};

use crate::fixture::{LONG, cluster, cut_off, enqueue_many, in_time, producer, until};

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

    let producer = Arc::new(producer);
    let (tell, told) = mpsc::channel();
    let flushes = producer.clone();
    sender.try_send_with(ProducerRecord::to("t"), move |_| tell.send(flushes.flush_blocking(LONG)).unwrap()).unwrap();
    let flushed = told.recv_timeout(LONG).unwrap();
    assert!(matches!(flushed, Err(ProducerError::MustNotBlock { place: MustNotBlock::Callback })), "{flushed:?}");
    let deadline = Instant::now() + LONG;
    while Arc::strong_count(&producer) > 1 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    Arc::into_inner(producer).unwrap().shutdown_blocking(LONG).unwrap();
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

/// As `select!` over `&mut sends` leaves it: first in line, woken, and not polled.
#[tokio::test]
async fn a_send_that_nobody_polls_any_more_holds_no_other_up() {
    const BUFFER: usize = 10;
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster).buffer_records(BUFFER)).await;
    let full = enqueue_many(&sender, BUFFER).await;
    let mut asleep = pin!(sender.send(ProducerRecord::to("t")));
    let mut many_asleep = pin!(sender.send_all((0..2 * BUFFER).map(|_| ProducerRecord::to("t"))));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(asleep.as_mut().poll(&mut cx).is_pending() && many_asleep.as_mut().poll(&mut cx).is_pending());
    let others: Vec<_> = (0..3 * BUFFER)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(ProducerRecord::to("t")).await })
        })
        .collect();
    until(|| producer.state().waiting_senders == 2 + 3 * BUFFER).await;
    cluster.broker_up(-1).unwrap();
    for other in others {
        in_time(other).await.unwrap().unwrap();
    }
    drop(full);
    assert_eq!(producer.state().waiting_senders, 2);
    in_time(asleep).await.unwrap();
    assert_eq!(in_time(many_asleep).await.unwrap().len(), 2 * BUFFER);
    in_time(producer.shutdown(LONG)).await.unwrap();
}
