//! Where records go.

use std::num::NonZeroU32;

use troupe_actors::ids::PartitionId;
use troupe_actors::produce::{Partitioner, ProducerRecord, SendError, Unplaced};

use crate::fixture::{AGES, LONG, cluster, in_time, producer};

#[tokio::test]
async fn a_partition_that_is_named_is_taken_and_one_that_does_not_exist_is_an_error() {
    let cluster = cluster(&[("t", 4)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    for partition in [3, 0, 3] {
        let record = ProducerRecord::to("t").key("k").partition(partition);
        let delivery = in_time(sender.send(record)).await.unwrap();
        assert_eq!(delivery.partition, PartitionId(partition));
    }
    for partition in [4, -1] {
        let record = ProducerRecord::to("t").partition(partition);
        let error = in_time(sender.send(record)).await.unwrap_err();
        assert_eq!(
            error,
            SendError::UnknownPartition { topic: "t".into(), partition: PartitionId(partition), partitions: 4 }
        );
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn records_without_key_share_a_partition_within_a_batch_and_move_on_with_the_next() {
    let cluster = cluster(&[("t", 4)]);
    let producer = producer(&cluster).batch_records(5).linger(AGES).start().unwrap();
    let sender = producer.sender();
    let mut confirmations = Vec::new();
    for _ in 0..20 {
        let record = ProducerRecord::to("t").value("v");
        confirmations.push(sender.enqueue(record).await.unwrap());
    }
    let mut partitions = Vec::new();
    for confirmation in confirmations {
        partitions.push(in_time(confirmation).await.unwrap().partition.0);
    }
    let mut batches: Vec<_> = partitions.chunks(5).map(<[i32]>::to_vec).collect();
    assert!(batches.iter().all(|b| b.iter().all(|p| *p == b[0])));
    batches.sort();
    batches.dedup();
    assert_eq!(batches.len(), 4, "{partitions:?}");
    in_time(producer.shutdown(LONG)).await.unwrap();
}

struct Whimsical;

impl Partitioner for Whimsical {
    fn partition(&self, record: Unplaced<'_>, partitions: NonZeroU32) -> Option<PartitionId> {
        match record.value {
            Some(b"panic") => panic!("on purpose"),
            Some(b"beyond") => Some(PartitionId(partitions.get() as i32)),
            _ => Some(PartitionId(partitions.get() as i32 - 1)),
        }
    }
}

#[tokio::test]
async fn a_partitioner_that_panics_or_errs_fails_that_record_only() {
    let cluster = cluster(&[("t", 4)]);
    let producer = producer(&cluster).partitioner(Whimsical).start().unwrap();
    let sender = producer.sender();
    let mut confirmations = Vec::new();
    for value in ["fine", "panic", "beyond", "fine"] {
        let record = ProducerRecord::to("t").value(value);
        confirmations.push(sender.enqueue(record).await.unwrap());
    }
    let mut answers = Vec::new();
    for confirmation in confirmations {
        answers.push(in_time(confirmation).await);
    }
    assert_eq!(answers[0].as_ref().unwrap().partition, PartitionId(3));
    assert!(matches!(answers[1], Err(SendError::PartitionerPanicked { .. })));
    assert!(matches!(answers[2], Err(SendError::UnknownPartition { .. })));
    assert_eq!(answers[3].as_ref().unwrap().partition, PartitionId(3));
    in_time(producer.shutdown(LONG)).await.unwrap();
}
