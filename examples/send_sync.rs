//! Configures a producer, and sends records one by one: each is on the broker, or an error, before the next is sent.
//!
//! ```text
//! cargo run --example send_sync                   # on a broker in this process
//! cargo run --example send_sync -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! In Java: `new KafkaProducer<>(properties)`, `producer.send(record).get()`, `producer.close(timeout)`. There as here each record costs a
//! round trip; `send_async` sends many at once. In async code it is `sender.send(record).await`.

mod stage;

use std::error::Error;
use std::time::Duration;

use kafka_troupe::produce::{ErrorClass, Producer, ProducerRecord};
use stage::Stage;

fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::empty()?;
    // Idempotent and acknowledged by all in-sync replicas, unless it is told otherwise.
    let producer = Producer::builder()
        .bootstrap_servers(&stage.servers)
        .properties(stage.properties)
        .property("compression.type", "lz4")
        // How long a record is tried, Java's delivery.timeout.ms.
        .property("message.timeout.ms", "60000")
        .linger(Duration::from_millis(1))
        .start()?;
    let sender = producer.sender();

    for number in 0..5 {
        let (customer, order) = (format!("customer-{number}"), format!("order {number}"));
        let record = ProducerRecord::to(&stage.topic).key(&customer).value(&order).header("source", "send_sync");
        let delivery = sender.send_blocking(record)?;
        println!("{order} is stored: {delivery}");
    }

    // A record that is not stored says why, and whether another try could help.
    let too_large = vec![b'.'; 2 << 20];
    match sender.send_blocking(ProducerRecord::to(&stage.topic).value(&too_large)) {
        Ok(delivery) => println!("the large order is stored: {delivery}"),
        Err(error) if error.class() == ErrorClass::Retriable => println!("the large order may be sent again: {error}"),
        Err(error) => println!("the large order is refused: {error}"),
    }

    let report = producer.shutdown_blocking(Duration::from_secs(10))?;
    println!("{} stored, {} failed", report.confirmed, report.failed);
    Ok(())
}
