//! How many brokers' word is waited for.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use troupe_actors::produce::{Producer, ProducerError, ProducerRecord};

use crate::fixture::{AGES, LONG, cluster, cut_off, enqueue_many, in_time, producer};

#[tokio::test]
async fn without_acks_a_delivery_has_no_offset_for_no_broker_told_one() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).property("acks", "0").property("enable.idempotence", "false");
    let producer = builder.start().unwrap();
    let delivery = in_time(producer.sender().send(ProducerRecord::to("t").value("v"))).await.unwrap();
    assert_eq!((delivery.partition.0, delivery.offset), (0, None));
    assert_eq!(delivery.to_string(), "t-0");
    in_time(producer.shutdown(LONG)).await.unwrap();
}

/// librdkafka counts on from -1001: the 1,002nd of a request looked like an offset.
#[tokio::test]
async fn without_acks_no_record_of_a_large_request_has_an_offset_either() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).property("acks", "0").property("enable.idempotence", "false");
    let (producer, sender) = cut_off(&cluster, builder).await;
    let confirmations = enqueue_many(&sender, 5_000).await;
    cluster.broker_up(-1).unwrap();
    for confirmation in confirmations {
        assert_eq!(in_time(confirmation).await.unwrap().offset, None);
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

/// A retry that the broker says it has stored already tells no offset, of any of its records.
#[tokio::test]
async fn a_retry_of_what_is_stored_has_no_offsets() {
    let cluster = cluster(&[("t", 1)]);
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER]);
    let producer = producer(&cluster).batch_records(3).linger(AGES).start().unwrap();
    for confirmation in enqueue_many(&producer.sender(), 3).await {
        assert_eq!(in_time(confirmation).await.unwrap().offset, None);
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn with_the_leaders_word_alone_it_has_one() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).property("acks", "1").property("enable.idempotence", "false");
    let producer = builder.start().unwrap();
    let delivery = in_time(producer.sender().send(ProducerRecord::to("t").value("v"))).await.unwrap();
    assert_eq!(delivery.offset.unwrap().0, 0);
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[test]
fn fewer_acks_than_all_need_idempotence_off_and_the_refusal_says_so() {
    for acks in ["0", "1"] {
        let builder = Producer::builder().bootstrap_servers("localhost:1").property("acks", acks);
        let error = builder.start().unwrap_err();
        assert!(matches!(&error, ProducerError::Property { name, .. } if name == "acks"), "{error}");
        assert!(error.to_string().contains("set `enable.idempotence` to `false`"), "{error}");
    }
}
