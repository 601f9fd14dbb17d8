//! Consumes, transforms and produces: each order becomes a receipt in another topic, and counts as done only when the receipt is stored.
//!
//! ```text
//! cargo run --example transform                   # on a broker in this process, until its orders are processed
//! cargo run --example transform -- --bootstrap-server localhost:9092 --topic orders receipts
//! ```
//! In Java: poll, `producer.send(...)` for each record, `producer.flush()`, look at every future, `consumer.commitSync()`; or a `map` in Kafka
//! Streams. A crash, or a broker that is away, loses nothing: orders without a confirmed receipt are transformed again, so that a receipt may be
//! there twice (at least once). Receipts keep the key of their order, and with it the order of each key.

mod stage;

use std::error::Error;
use std::time::Duration;

use kafka_troupe::consume::{Consumer, Order, Outcome, Record};
use kafka_troupe::produce::{ErrorClass, Producer, ProducerRecord, Sender};
use stage::{Stage, until_done};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(200)?;
    let receipts = stage.arguments.first().cloned().unwrap_or_else(|| "receipts".to_owned());
    stage.create_topic(&receipts)?;
    let producer =
        Producer::builder().bootstrap_servers(&stage.servers).properties(stage.properties.clone()).start()?;
    let sender = producer.sender();
    let consumer = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .group_id(&stage.group)
        .topics([&stage.topic])
        .properties(stage.properties)
        // The next order of a key waits until the receipt of the one before is stored; other keys go on.
        .order(Order::Key)
        .concurrency(100)
        .async_handler(move |order: Record| transform(order, sender.clone(), receipts.clone()))
        .start()?;
    until_done(&consumer).await?;

    // The consumer first: its last handlers wait for the producer.
    let stopped = consumer.shutdown(Duration::from_secs(20)).await?;
    let report = producer.shutdown(Duration::from_secs(5)).await?;
    println!("{} receipts stored; all that is done is committed: {}", report.confirmed, stopped.drained);
    Ok(())
}

async fn transform(order: Record, sender: Sender, receipts: String) -> Outcome {
    // A record without a value stays one, and deletes its key where the topic is compacted.
    let text = order.value().map(|order| format!("receipt for {}", String::from_utf8_lossy(order)));
    let mut receipt = ProducerRecord::to(&receipts);
    if let Some(key) = order.key() {
        receipt = receipt.key(key);
    }
    if let Some(text) = &text {
        receipt = receipt.value(text);
    }
    match sender.send(receipt).await {
        Ok(_) => Outcome::Done,
        // For as long as it takes: the order is neither lost nor passed over.
        Err(error) if error.class() == ErrorClass::Retriable => {
            Outcome::Retry { after: Duration::from_secs(1), cause: error.to_string().into() }
        }
        Err(error) => Outcome::Stop { cause: error.to_string().into() },
    }
}
