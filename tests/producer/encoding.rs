//! Keys, values and headers as what they are to the program.

use std::collections::BTreeMap;

use troupe_actors::consume::Cause;
use troupe_actors::produce::{Encode, Encoded, ErrorClass, Json, ProducerRecord, SendError};

use crate::fixture::{LONG, cluster, in_time, producer, read};

#[tokio::test]
async fn texts_numbers_json_and_nulls_arrive_as_kafkas_serializers_write_them() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let order = Json(BTreeMap::from([("amount", 7)]));
    let nothing = None::<&str>;
    let records = [
        ProducerRecord::to("t").key("k").value(&order).header("h", &1.5_f64),
        ProducerRecord::to("t").key(&-2_i64).value(&7_i32).header("h", &nothing),
        ProducerRecord::to("t").key(&1_i16).value(&nothing).header("h", ""),
        ProducerRecord::to(String::from("t")).key(&nothing).value(b""),
    ];
    for record in records {
        in_time(sender.send(record)).await.unwrap();
    }
    let found = read(&cluster, "t", 1, 4);
    let parts: Vec<_> = found.iter().map(|each| (each.key.as_deref(), each.value.as_deref())).collect();
    assert_eq!(
        parts,
        [
            (Some(&b"k"[..]), Some(&br#"{"amount":7}"#[..])),
            (Some(&(-2_i64).to_be_bytes()[..]), Some(&7_i32.to_be_bytes()[..])),
            (Some(&[0, 1][..]), None),
            (None, Some(&[][..])),
        ]
    );
    let headers: Vec<_> = found.iter().flat_map(|each| each.headers.iter().map(|(_, value)| value.clone())).collect();
    assert_eq!(headers, [Some(1.5_f64.to_be_bytes().to_vec()), None, Some(Vec::new())]);
    in_time(producer.shutdown(LONG)).await.unwrap();
}

struct Unspeakable;

impl Encode for Unspeakable {
    fn encode(&self) -> Result<Option<Encoded<'_>>, Cause> {
        Err("no words for it".into())
    }
}

#[tokio::test]
async fn what_cannot_be_encoded_fails_when_it_is_sent_and_alone() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let error = in_time(sender.send(ProducerRecord::to("t").key("k").value(&Unspeakable))).await.unwrap_err();
    assert!(matches!(error, SendError::NotEncoded { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Permanent);
    assert!(error.to_string().contains("no words for it"), "{error}");
    in_time(sender.send(ProducerRecord::to("t"))).await.unwrap();
    assert_eq!(in_time(producer.shutdown(LONG)).await.unwrap().accepted, 1);
}
