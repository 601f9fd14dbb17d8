use std::time::Duration;

use kafka_troupe::consume::Record;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::each_order::one_of_them;
use crate::fixture::{Journal, On, PATIENCE, Stage, eventually};

scenarios! {
    on Apache Kafka, "the embedded broker writes no markers and compacts nothing":
        the_commit_passes_transaction_markers_and_aborted_records_to_the_end_of_the_log,
        the_commit_passes_what_compaction_removed;
}

const STOP: Duration = Duration::from_secs(20);

/// Sends `count` records to each partition in one transaction, and ends it.
fn transaction(producer: &BaseProducer, stage: &Stage, count: usize, commit: bool) {
    producer.begin_transaction().unwrap();
    for partition in 0..stage.partitions {
        for number in 0..count {
            let text = number.to_string();
            let record = BaseRecord::to(&stage.topic).partition(partition).key(&text).payload(&text);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
    let ended = if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
    ended.unwrap();
}

fn the_commit_passes_transaction_markers_and_aborted_records_to_the_end_of_the_log(on: On) {
    let stage = Stage::new(on, 4);
    let producer: BaseProducer = stage.client().set("transactional.id", &stage.topic).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    let journal = Journal::default();
    let consumer = {
        let journal = journal.clone();
        let builder = stage.consumer("g").order(one_of_them());
        builder.handler(move |record: &Record| journal.note("a", record)).start().unwrap()
    };
    // Before each round the consumer is at the end, so that a marker is the last thing it meets, over and over.
    for round in 1..=5 {
        transaction(&producer, &stage, 10, true);
        transaction(&producer, &stage, 10, false);
        eventually("all that is committed is handled", || journal.len() == 4 * 10 * round);
        eventually("the commit reaches the end", || stage.committed("g") == stage.ends());
    }
    assert!(stage.ends().values().all(|end| *end == 5 * (11 + 11)), "{:?}", stage.ends());
    eventually("there is no lag", || consumer.state().partitions.iter().all(|p| p.lag == Some(0)));
    transaction(&producer, &stage, 10, false);
    eventually("the commit passes a transaction that was aborted whole", || stage.committed("g") == stage.ends());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.distinct(), 200);
    assert_eq!(journal.len(), 200, "nothing of an aborted transaction, nothing twice");
}

/// The offsets that are still in the partition's log.
fn remaining(stage: &Stage, partition: i32) -> Vec<i64> {
    let end = stage.ends()[&partition];
    let consumer: BaseConsumer = stage.client().set("group.id", "reads").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&stage.topic, partition, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut offsets = Vec::new();
    while offsets.last() != Some(&(end - 1)) {
        let record = consumer.poll(PATIENCE).expect("a record within the deadline").unwrap();
        offsets.push(record.offset());
    }
    offsets
}

fn the_commit_passes_what_compaction_removed(on: On) {
    let eager = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "0"),
    ];
    let stage = Stage::with_topic(on, 1, &eager);
    // Each round has the same 100 keys, of which only the last round's are kept, and 10 of its own.
    for round in 1..=10 {
        stage.produce(0, 100, 10);
        stage.produce(1000 * round, 10, 10);
    }
    let mut kept = Vec::new();
    eventually("it is compacted", || {
        // The segment that is written to is not compacted: a record ends it.
        stage.produce(0, 1, 10);
        kept = remaining(&stage, 0);
        kept.len() < 300
    });
    let journal = Journal::default();
    let consumer = {
        let journal = journal.clone();
        let builder = stage.consumer("g").order(one_of_them());
        builder.handler(move |record: &Record| journal.note("a", record)).start().unwrap()
    };
    eventually("the commit reaches the end", || stage.committed("g") == stage.ends());
    consumer.shutdown_blocking(STOP).unwrap();
    let handled = journal.of(0);
    assert!(handled.windows(2).all(|pair| pair[0] < pair[1]), "in order, each once");
    assert!(handled.windows(2).any(|pair| pair[1] > pair[0] + 1), "there are gaps");
    assert!(remaining(&stage, 0).iter().all(|offset| handled.contains(offset)), "whatever is still there was handled");
}
