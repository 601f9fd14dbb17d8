//! Subscribes as a member of a group and hands records to a function: no loop. Partitions are worked on beside each other, and a record whose
//! handler fails is tried again.
//!
//! ```text
//! cargo run --example subscribe_with_a_handler    # on a broker in this process, until its orders are processed
//! cargo run --example subscribe_with_a_handler -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! In Java: `consumer.subscribe(topics)`, a poll loop, threads behind it, and a count of what they have finished; or a `@KafkaListener`.

mod stage;

use std::error::Error;
use std::time::Duration;

use kafka_troupe::consume::{Consumer, Record};
use stage::{Stage, until_done};

/// What returns `Ok` is done, and will be committed. After an error or a panic the record is handled again, and what follows in its partition
/// waits for it.
async fn handle(record: Record) -> Result<(), Box<dyn Error + Send + Sync>> {
    let order = std::str::from_utf8(record.value().unwrap_or_default())?;
    // Stands for a service that is asked, and for the one time that it does not answer.
    tokio::time::sleep(Duration::from_millis(5)).await;
    if record.offset().0 == 2 && record.attempt() == 1 {
        return Err("the warehouse does not answer".into());
    }
    println!("{} offset {}, attempt {}: {order}", record.topic_partition(), record.offset(), record.attempt());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(20)?;
    let consumer = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .group_id(&stage.group)
        .topics([&stage.topic])
        .properties(stage.properties)
        .async_handler(handle)
        .start()?;
    until_done(&consumer).await?;
    let stopped = consumer.shutdown(Duration::from_secs(20)).await?;
    let counters = consumer.state().counters;
    println!("{} done, {} tried again; all is committed: {}", counters.finished, counters.retries, stopped.drained);
    Ok(())
}
