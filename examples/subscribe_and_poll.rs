//! Subscribes as a member of a group and polls: the app asks for records, and says of each when it is done.
//!
//! ```text
//! cargo run --example subscribe_and_poll          # on a broker in this process, until its orders are processed
//! cargo run --example subscribe_and_poll -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! In Java: `consumer.subscribe(topics)`, and `consumer.poll(timeout)` in a loop. What differs: however long the loop takes between two polls,
//! the group does not put this member out (no `max.poll.interval.ms`); a record's completion may go to any thread or task; only what is done
//! is committed, every 100 ms and at the end.

mod stage;

use std::error::Error;
use std::time::Duration;

use kafka_troupe::consume::{Consumer, Pulled};
use stage::{Stage, is_caught_up};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(20)?;
    let (consumer, mut records) = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .group_id(&stage.group)
        .topics([&stage.topic])
        .properties(stage.properties)
        .pull()?;

    // Java's `consumer.wakeup()`, from any thread: the loop ends.
    let token = consumer.cancellation_token();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            token.cancel();
        }
    });

    while !records.is_over() {
        let batch = records.poll(Duration::from_millis(100)).await;
        if batch.is_empty() && is_caught_up(&consumer.state()) {
            break;
        }
        for Pulled { record, completion, .. } in batch {
            let order = String::from_utf8_lossy(record.value().unwrap_or_default());
            println!("{} offset {}: {order}", record.topic_partition(), record.offset());
            // Dropped instead, the completion has the record come again.
            completion.done();
        }
    }

    // Java's `consumer.close(timeout)`: commits, and leaves the group.
    let stopped = consumer.shutdown(Duration::from_secs(20)).await?;
    println!("all is committed: {}", stopped.drained);
    Ok(())
}
