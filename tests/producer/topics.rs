//! Topics that are unknown, denied or late.

use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaRespErr;
use troupe_actors::produce::{ErrorClass, ProducerRecord, SendError};

use crate::fixture::{AGES, Cluster, LONG, cluster, in_time, is_pending, producer};

/// A topic that the brokers deny, until told otherwise.
fn deny(cluster: &Cluster, topic: &str) {
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error(topic, unknown).unwrap();
}

#[tokio::test]
async fn records_of_an_unknown_topic_fail_after_the_metadata_timeout() {
    let cluster = cluster(&[]);
    deny(&cluster, "unknown");
    let timeout = Duration::from_millis(300);
    let producer = producer(&cluster).metadata_timeout(timeout).start().unwrap();
    let sender = producer.sender();
    let begun = Instant::now();
    let error = in_time(sender.send(ProducerRecord::to("unknown").key("k"))).await.unwrap_err();
    assert!(matches!(error, SendError::UnknownTopic { .. }), "{error}");
    assert_eq!((&**error.topic(), error.class()), ("unknown", ErrorClass::Retriable));
    assert!(begun.elapsed() >= timeout);
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn records_that_wait_for_their_topic_hold_up_no_other_topic() {
    let cluster = cluster(&[("known", 1)]);
    deny(&cluster, "unknown");
    let producer = producer(&cluster).metadata_timeout(AGES).start().unwrap();
    let sender = producer.sender();
    let mut waits = sender.enqueue(ProducerRecord::to("unknown").key("k")).await.unwrap();
    for _ in 0..10 {
        in_time(sender.send(ProducerRecord::to("known").key("k"))).await.unwrap();
    }
    assert!(is_pending(&mut waits));
    in_time(producer.shutdown(Duration::ZERO)).await.unwrap();
    let error = in_time(waits).await.unwrap_err();
    assert!(matches!(error, SendError::Abandoned { .. }), "{error}");
}

#[tokio::test]
async fn records_wait_for_a_topic_that_is_created_after_them() {
    let cluster = cluster(&[]);
    deny(&cluster, "late");
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let mut waiting = Vec::new();
    for n in 0..20_u32 {
        let value = n.to_be_bytes();
        let record = ProducerRecord::to("late").partition(0).value(&value);
        waiting.push(sender.enqueue(record).await.unwrap());
    }
    assert!(waiting.iter_mut().all(is_pending));
    cluster.topic_error("late", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    for (offset, confirmation) in waiting.into_iter().enumerate() {
        let delivery = in_time(confirmation).await.unwrap();
        assert_eq!(delivery.offset.unwrap().0, offset as i64);
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}
