//! Callbacks per record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use troupe_actors::produce::{ProducerRecord, Sender};

use crate::fixture::{LONG, cluster, cut_off, in_time, producer, until};

#[tokio::test]
async fn a_callback_that_panics_harms_no_other_record() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let (tell, told) = mpsc::channel();
    for n in 0..9 {
        let tell = tell.clone();
        sender
            .send_with(ProducerRecord::to("t").value("v"), move |answer| {
                assert!(n % 3 != 0, "on purpose");
                tell.send(answer.unwrap().offset.unwrap().0).unwrap();
            })
            .await
            .unwrap();
    }
    in_time(producer.flush(LONG)).await.unwrap();
    let offsets: Vec<_> = told.try_iter().collect();
    assert_eq!(offsets, [1, 2, 4, 5, 7, 8]);
    assert_eq!(producer.state().callback_panics, 3);
    in_time(sender.send(ProducerRecord::to("t"))).await.unwrap();
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn callbacks_send_again_also_where_the_buffer_is_full_and_others_wait_for_it() {
    const CHAINS: usize = 20;
    const LENGTH: u32 = 50;
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster).buffer_records(CHAINS)).await;
    let (tell, told) = mpsc::channel();
    for _ in 0..CHAINS {
        goes_on(&sender, LENGTH, tell.clone());
    }
    drop(tell);
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(ProducerRecord::to("t")).await })
        })
        .collect();
    until(|| producer.state().waiting_senders == 5).await;
    cluster.broker_up(-1).unwrap();
    for waits in waiting {
        in_time(waits).await.unwrap().unwrap();
    }
    let last = tokio::task::spawn_blocking(move || (0..CHAINS).map(|_| told.recv_timeout(LONG)).collect::<Vec<_>>());
    assert!(in_time(last).await.unwrap().iter().all(|ended| ended.is_ok()));
    let report = in_time(producer.shutdown(LONG)).await.unwrap();
    assert_eq!(report.confirmed as usize, 1 + 5 + CHAINS * LENGTH as usize);
}

/// However many each sends, through whichever actor, and though those who were let in go on in the same way.
#[tokio::test]
async fn callbacks_that_send_several_for_ever_keep_nobody_out_who_waits() {
    const BUFFER: usize = 10;
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).actors(2).buffer_records(2 * BUFFER).start().unwrap();
    let senders = [producer.sender(), producer.sender()];
    let ends = Arc::new(AtomicBool::new(false));
    (0..2 * BUFFER).for_each(|_| multiplies(&senders, &ends));
    for n in 0..4 * BUFFER {
        let (all, ended) = (senders.clone(), ends.clone());
        let waits = senders[n % 2].send_with(ProducerRecord::to("t"), move |_| multiplies(&all, &ended));
        in_time(waits).await.unwrap();
    }
    ends.store(true, Ordering::Relaxed);
    let report = in_time(producer.shutdown(LONG)).await.unwrap();
    assert_eq!(report.accepted, report.confirmed);
}

/// Sends a record through each, and in its callback as many for each.
fn multiplies(senders: &[Sender; 2], ends: &Arc<AtomicBool>) {
    for sender in senders {
        let (all, ended) = (senders.clone(), ends.clone());
        // One that finds no room is one too many.
        let _ = sender.try_send_with(ProducerRecord::to("t"), move |_| {
            if !ended.load(Ordering::Relaxed) {
                (0..2).for_each(|_| multiplies(&all, &ended));
            }
        });
    }
}

/// Sends a record, and in its callback the next.
fn goes_on(sender: &Sender, left: u32, tell: mpsc::Sender<()>) {
    let again = sender.clone();
    let sent = sender.try_send_with(ProducerRecord::to("t").value(&1_i32), move |answer| {
        answer.unwrap();
        match left {
            1 => tell.send(()).unwrap(),
            _ => goes_on(&again, left - 1, tell),
        }
    });
    sent.expect("room for one more");
}
