//! Callbacks per record.

use std::sync::mpsc;

use troupe_actors::produce::ProducerRecord;

use crate::fixture::{LONG, cluster, in_time, producer};

#[tokio::test]
async fn a_callback_that_panics_harms_no_other_record() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let (tell, told) = mpsc::channel();
    for n in 0..9 {
        let tell = tell.clone();
        sender
            .enqueue_with(ProducerRecord::to("t").value("v"), move |answer| {
                assert!(n % 3 != 0, "on purpose");
                tell.send(answer.unwrap().offset.0).unwrap();
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
