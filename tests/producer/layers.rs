//! Headers that are added on the way out.

use std::cell::Cell;

use troupe_actors::produce::{ProducerRecord, TrySendError};

use crate::fixture::{LONG, cluster, cut_off, in_time, producer, read};

thread_local! {
    static TRACE: Cell<u8> = const { Cell::new(0) };
}

#[tokio::test]
async fn layers_add_headers_to_every_record_in_the_context_of_its_sender() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).layer(|record| record.add_header("trace", [TRACE.get()])).layer(|record| {
        let before = record.record().headers().len() as u8;
        let topic = record.record().topic().to_owned();
        record.add_header("schema", format!("{topic}/{before}"));
    });
    let producer = builder.start().unwrap();
    let sender = producer.sender();
    TRACE.set(5);
    in_time(sender.send(ProducerRecord::to("t").header("own", "1"))).await.unwrap();
    TRACE.set(6);
    in_time(sender.send_all([ProducerRecord::to("t")])).await.unwrap();
    in_time(sender.try_send(ProducerRecord::to("t")).unwrap()).await.unwrap();
    let headers: Vec<Vec<_>> = read(&cluster, "t", 1, 3).into_iter().map(|found| found.headers).collect();
    let header = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    assert_eq!(headers[0], [header("own", b"1"), header("trace", &[5]), header("schema", b"t/2")]);
    assert_eq!(headers[1], [header("trace", &[6]), header("schema", b"t/1")]);
    assert_eq!(headers[2], headers[1]);
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_record_that_is_handed_back_is_as_it_was() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).buffer_records(1).layer(|record| record.add_header("h", "v"));
    let (producer, sender) = cut_off(&cluster, builder).await;
    let _first = sender.try_send(ProducerRecord::to("t")).unwrap();
    let Err(TrySendError::Full(record)) = sender.try_send(ProducerRecord::to("t").header("own", "1")) else {
        panic!("room for two in one");
    };
    assert!(record.headers().eq([("own", Some(&b"1"[..]))]));
    in_time(producer.shutdown(std::time::Duration::ZERO)).await.unwrap();
}
