//! Where records go.

use std::num::NonZeroU32;

use troupe_actors::ids::PartitionId;
use troupe_actors::produce::{BuiltInPartitioner, Partitioner, Placement, ProducerRecord, SendError, Unplaced};

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

#[tokio::test]
async fn a_batch_that_has_grown_with_its_topic_gives_no_partition_more_in_a_row_than_was_configured() {
    let cluster = cluster(&[("t", 24)]);
    let producer = producer(&cluster).batch_records(5).linger(AGES).start().unwrap();
    let sender = producer.sender();
    let first = sender.enqueue(ProducerRecord::to("t").value("v")).await.unwrap();
    // From the first answer on, the partitions are known, and batches are of 15.
    producer.flush(LONG).await.unwrap();
    let mut partitions = vec![in_time(first).await.unwrap().partition.0];
    let records = std::iter::repeat_with(|| ProducerRecord::to("t").value("v")).take(90);
    let deliveries = in_time(sender.send_all(records)).await.unwrap();
    let later: Vec<_> = deliveries.iter().map(|at| at.partition.0).collect();
    let runs: Vec<_> = later.chunk_by(|one, next| one == next).collect();
    assert!(runs.len() == 18 && runs.iter().all(|run| run.len() == 5), "{later:?}");
    partitions.extend(runs.iter().map(|run| run[0]));
    partitions.sort_unstable();
    partitions.dedup();
    assert_eq!(partitions.len(), 19, "no partition had two runs");
    in_time(producer.shutdown(LONG)).await.unwrap();
}

struct Whimsical;

impl Partitioner for Whimsical {
    fn partition(&self, record: Unplaced<'_>, partitions: NonZeroU32) -> Placement {
        match record.value {
            Some(b"panic") => panic!("on purpose"),
            Some(b"beyond") => Placement::Partition(PartitionId(partitions.get() as i32)),
            _ => Placement::Partition(PartitionId(partitions.get() as i32 - 1)),
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

struct ByHeader;

impl Partitioner for ByHeader {
    fn partition(&self, record: Unplaced<'_>, _: NonZeroU32) -> Placement {
        match record.headers().find(|(name, _)| *name == "to") {
            Some((_, Some(b"any"))) => Placement::Any,
            Some((_, Some([partition]))) => Placement::Partition(PartitionId(i32::from(*partition))),
            Some(_) => Placement::Refused("it says no place".into()),
            None => Placement::Next,
        }
    }
}

#[tokio::test]
async fn an_apps_partitioner_sees_the_headers_and_may_refuse_a_record_which_then_fails_alone() {
    let cluster = cluster(&[("t", 3)]);
    let producer = producer(&cluster).partitioner(ByHeader).start().unwrap();
    let sender = producer.sender();
    let batch = [
        ProducerRecord::to("t").header("to", &[2]),
        ProducerRecord::to("t").header("to", "").key("secret"),
        ProducerRecord::to("t").header("to", &[0]),
        ProducerRecord::to("t"),
        ProducerRecord::to("t"),
        ProducerRecord::to("t").header("to", &[9]).partition(1),
    ];
    let error = in_time(sender.send_all(batch)).await.unwrap_err();
    let placed: Vec<_> = error.deliveries.iter().map(|each| each.as_ref().map(|at| at.partition.0)).collect();
    assert_eq!(placed, [Some(2), None, Some(0), Some(1), Some(2), Some(1)]);
    let [(1, refused)] = &*error.failures else { panic!("{error}") };
    assert!(matches!(refused, SendError::RefusedByPartitioner { .. }));
    assert_eq!(refused.to_string(), "t: the partitioner refused the record: it says no place");
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn round_robin_takes_the_partitions_in_turn_whatever_the_keys_and_sticky_one_per_batch() {
    let cluster = cluster(&[("t", 3)]);
    for (partitioner, expected) in [(BuiltInPartitioner::RoundRobin, 3), (BuiltInPartitioner::Sticky, 1)] {
        let producer = producer(&cluster).partitioner(partitioner).linger(AGES).batch_records(9).start().unwrap();
        let keys: Vec<_> = (0..9_i64).collect();
        let records = keys.iter().map(|key| ProducerRecord::to("t").key(key));
        let deliveries = in_time(producer.sender().send_all(records)).await.unwrap();
        let mut partitions: Vec<_> = deliveries.iter().map(|at| at.partition.0).collect();
        if partitioner == BuiltInPartitioner::RoundRobin {
            assert!(partitions.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 3), "{partitions:?}");
        }
        partitions.sort_unstable();
        partitions.dedup();
        assert_eq!(partitions.len(), expected);
        in_time(producer.shutdown(LONG)).await.unwrap();
    }
}
