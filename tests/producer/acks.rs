//! How many brokers' word is waited for.

use troupe_actors::produce::{Producer, ProducerError, ProducerRecord};

use crate::fixture::{LONG, cluster, in_time, producer};

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
