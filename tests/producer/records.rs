//! What a record is made of.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use troupe_actors::produce::{Delivery, ErrorClass, ProducerRecord, SendError};

use crate::fixture::{AGES, LONG, cluster, in_time, producer, read};

#[tokio::test]
async fn headers_timestamps_and_null_values_arrive_as_they_were_sent_and_in_order() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let records = [
        ProducerRecord::to("t").key("a").value("plain"),
        ProducerRecord::to("t").key("b").value("dated").timestamp(1_357_034_400_000),
        ProducerRecord::to("t").key("c").header("h", b"1").header("h", b""),
        ProducerRecord::to("t").key("d"),
        ProducerRecord::to("t").key("").value(""),
    ];
    let mut confirmations = Vec::new();
    for record in &records {
        confirmations.push(sender.enqueue(record.clone()).await.unwrap());
    }
    let mut deliveries: Vec<Delivery> = Vec::new();
    for confirmation in confirmations {
        deliveries.push(in_time(confirmation).await.unwrap());
    }
    let offsets: Vec<_> = deliveries.iter().map(|d| d.offset.unwrap().0).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    let found = read(&cluster, "t", 1, 5);
    let values: Vec<_> = found.iter().map(|f| f.value.as_deref()).collect();
    assert_eq!(values, [Some(&b"plain"[..]), Some(b"dated"), None, None, Some(b"")]);
    assert_eq!(found[1].timestamp, Some(1_357_034_400_000));
    assert_eq!(found[2].headers, [("h".to_owned(), Some(b"1".to_vec())), ("h".to_owned(), Some(Vec::new()))]);
    assert_eq!(found[4].key.as_deref(), Some(&b""[..]));
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_record_that_is_too_large_fails_alone() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).property("message.max.bytes", "2000").start().unwrap();
    let sender = producer.sender();
    let large = vec![0; 3_000];
    let before = sender.enqueue(ProducerRecord::to("t").value("1")).await.unwrap();
    let between = sender.enqueue(ProducerRecord::to("t").value(&large)).await.unwrap();
    let after = sender.enqueue(ProducerRecord::to("t").value("2")).await.unwrap();
    assert_eq!(in_time(before).await.unwrap().offset.unwrap().0, 0);
    assert_eq!(in_time(after).await.unwrap().offset.unwrap().0, 1);
    let error = in_time(between).await.unwrap_err();
    assert!(matches!(error, SendError::TooLarge { bytes: 3_000, by_broker: false, .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Permanent);
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn records_of_a_request_that_is_too_large_for_the_topic_are_told_what_to_do() {
    let cluster = cluster(&[("t", 1)]);
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let producer = producer(&cluster).batch_records(3).linger(AGES).start().unwrap();
    let sender = producer.sender();
    let mut shared = Vec::new();
    for _ in 0..3 {
        shared.push(sender.enqueue(ProducerRecord::to("t").value("small")).await.unwrap());
    }
    for confirmation in shared {
        let error = in_time(confirmation).await.unwrap_err();
        assert!(matches!(error, SendError::TooLarge { bytes: 5, by_broker: true, .. }), "{error}");
        let told = error.to_string();
        assert!(told.starts_with("t-0: a record of 5 bytes is too large for the topic, or"), "{told}");
        assert!(told.contains("`batch.size`") && told.contains("`max.message.bytes`"), "{told}");
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}
