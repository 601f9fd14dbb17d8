//! Sends without waiting for each record: with a callback for its answer, with a future of it, and in a batch with one answer.
//!
//! ```text
//! cargo run --example send_async                  # on a broker in this process
//! cargo run --example send_async -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! In Java: `producer.send(record, callback)`, `Future<RecordMetadata>`, `producer.flush()`. Here as there a callback runs on the one thread
//! that hears of all records, and must be short. Unlike Java's `send`, `enqueue` does not block where the buffer is full: it is awaited.

mod stage;

use std::error::Error;
use std::time::{Duration, Instant};

use kafka_troupe::produce::{Producer, ProducerRecord};
use stage::Stage;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::empty()?;
    let producer = Producer::builder().bootstrap_servers(&stage.servers).properties(stage.properties).start()?;
    let sender = producer.sender();

    for number in 0..3 {
        let (customer, order) = (format!("customer-{number}"), format!("order {number}"));
        let record = ProducerRecord::to(&stage.topic).key(&customer).value(&order);
        let callback = move |answer| match answer {
            Ok(delivery) => println!("order {number} is stored: {delivery}"),
            Err(error) => eprintln!("order {number} is not stored: {error}"),
        };
        sender.send_with(record, callback).await?;
    }
    producer.flush(Duration::from_secs(10)).await?;
    println!("all callbacks were called");

    let begun = Instant::now();
    let mut confirmations = Vec::new();
    for number in 0..10_000 {
        let (customer, order) = (format!("customer-{}", number % 100), format!("order {number}"));
        let record = ProducerRecord::to(&stage.topic).key(&customer).value(&order);
        confirmations.push(sender.enqueue(record).await?);
    }
    for confirmation in confirmations {
        confirmation.await?;
    }
    println!("10000 orders are confirmed after {:?}", begun.elapsed());

    // A batch with one answer: what costs least per record.
    let orders: Vec<_> = (0..500).map(|number| format!("order {number}")).collect();
    let batch = orders.iter().map(|order| ProducerRecord::to(&stage.topic).key("customer-0").value(order));
    println!("{} orders are confirmed by one answer", sender.send_all(batch).await?.len());

    // Sends what is on its way. Without it, what is not confirmed is given up.
    let report = producer.shutdown(Duration::from_secs(10)).await?;
    println!("{} stored, {} failed", report.confirmed, report.failed);
    Ok(())
}
