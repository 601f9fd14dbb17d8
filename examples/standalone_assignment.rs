//! Reads partitions of its own choice without a group, from a time or from the beginning, and one of them twice.
//!
//! ```text
//! cargo run --example standalone_assignment       # on a broker in this process
//! cargo run --example standalone_assignment -- --bootstrap-server localhost:9092 --topic orders 60
//! ```
//! The number is optional: only what came within so many minutes. (The broker in this process does not look for times.)
//!
//! In Java: `consumer.assign(partitions)`, `consumer.offsetsForTimes(...)`, `consumer.seek(partition, offset)`. Nothing is committed. With
//! `group_id` instead of `standalone` the same partitions go on where that group has committed, and commit to it.

mod stage;

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_troupe::consume::{Consumer, Record, StartAt};
use kafka_troupe::ids::{NextOffset, TopicPartition};
use stage::{Stage, until_done};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(20)?;
    let start = match stage.arguments.first() {
        Some(minutes) => minutes_ago(minutes.parse()?)?,
        None => StartAt::Earliest,
    };
    let partition = |number| TopicPartition::new(stage.topic.as_str(), number);
    let consumer = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .standalone()
        .partitions([partition(0), partition(1)])
        .properties(stage.properties)
        .start_at(start)
        .handler(|record: &Record| {
            let order = String::from_utf8_lossy(record.value().unwrap_or_default());
            println!("{} offset {}: {order}", record.topic_partition(), record.offset());
        })
        .start()?;
    until_done(&consumer).await?;

    // Answered when the partition has begun there; `seek_to_beginning`, `seek_to_end` and `seek_to_time` are its siblings.
    for (partition, position) in consumer.seek(partition(0), NextOffset(0)).await? {
        println!("{partition} once more, from offset {position}");
    }
    until_done(&consumer).await?;

    consumer.shutdown(Duration::from_secs(20)).await?;
    println!("{} read", consumer.state().counters.finished);
    Ok(())
}

fn minutes_ago(minutes: u64) -> Result<StartAt, Box<dyn Error>> {
    let then = SystemTime::now().duration_since(UNIX_EPOCH)?.saturating_sub(Duration::from_secs(60 * minutes));
    Ok(StartAt::Timestamp(then.as_millis().try_into()?))
}
