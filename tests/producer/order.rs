//! Each sender's records are stored in its order, and confirmed where they are.

use std::collections::{BTreeMap, HashMap};

use troupe_actors::ids::PartitionId;
use troupe_actors::produce::{ProducerRecord, partition_of_key};

use crate::fixture::{LONG, by_key, cluster, four, in_time, number, producer, read};

#[tokio::test]
async fn every_record_is_confirmed_with_the_offset_at_which_it_is_then_read() {
    let cluster = cluster(&[("t", 4)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let mut confirmations = Vec::new();
    for n in 0..2_000_u32 {
        let key = (n % 37).to_be_bytes();
        let value = n.to_be_bytes();
        let record = ProducerRecord::to("t").key(&key).value(&value);
        confirmations.push(sender.enqueue(record).await.unwrap());
    }
    let mut confirmed = HashMap::new();
    for (n, confirmation) in confirmations.into_iter().enumerate() {
        let delivery = in_time(confirmation).await.unwrap();
        assert_eq!(&*delivery.topic, "t");
        assert!(delivery.timestamp.is_some());
        confirmed.insert((delivery.partition.0, delivery.offset.unwrap().0), n as u32);
    }
    for found in read(&cluster, "t", 4, 2_000) {
        let n = confirmed.remove(&(found.partition, found.offset));
        assert_eq!(n, Some(number(&found)));
        let partition = partition_of_key(found.key.as_deref().unwrap(), four());
        assert_eq!(partition, PartitionId(found.partition), "where Java puts it");
    }
    assert!(confirmed.is_empty());
    let state = producer.state();
    assert_eq!((state.accepted, state.confirmed, state.failed), (2_000, 2_000, 0));
    assert_eq!(state.partitions, BTreeMap::from([("t".to_owned(), 4)]));
    assert_eq!(serde_json::to_value(&state).unwrap()["confirmed"], 2_000);
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_order_of_each_sender_is_kept_for_each_key() {
    let cluster = cluster(&[("t", 3)]);
    // Little batches and a small buffer, so that senders wait for room and batches follow each other.
    let producer = producer(&cluster).actors(3).batch_records(7).buffer_records(90).start().unwrap();
    let tasks: Vec<_> = (0..6_u8)
        .map(|task| {
            let sender = producer.sender();
            tokio::spawn(async move {
                for n in 0..500_u32 {
                    let key = [task, (n % 3) as u8];
                    let value = n.to_be_bytes();
                    let record = ProducerRecord::to("t").key(&key).value(&value);
                    drop(sender.enqueue(record).await.unwrap());
                }
            })
        })
        .collect();
    for task in tasks {
        in_time(task).await.unwrap();
    }
    let report = in_time(producer.shutdown(LONG)).await.unwrap();
    assert_eq!((report.accepted, report.confirmed), (3_000, 3_000));
    let keys = by_key(&read(&cluster, "t", 3, 3_000));
    assert_eq!(keys.len(), 18);
    for (key, numbers) in keys {
        assert!(numbers.is_sorted(), "{key:?}: {numbers:?}");
    }
}

#[tokio::test]
async fn clones_of_a_sender_share_its_order() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).actors(4).start().unwrap();
    let senders = {
        let sender = producer.sender();
        [sender.clone(), sender.clone(), sender]
    };
    for n in 0..300_u32 {
        let value = n.to_be_bytes();
        let record = ProducerRecord::to("t").value(&value);
        drop(senders[n as usize % 3].enqueue(record).await.unwrap());
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
    let numbers: Vec<_> = read(&cluster, "t", 1, 300).iter().map(number).collect();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
}
