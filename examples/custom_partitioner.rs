//! Chooses partitions otherwise than by a hash of the key: partition 0 is for important customers.
//!
//! ```text
//! cargo run --example custom_partitioner          # on a broker in this process
//! cargo run --example custom_partitioner -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! In Java: a class that implements `Partitioner`, named by `partitioner.class`. Without one, both producers place a key alike.

mod stage;

use std::error::Error;
use std::num::NonZeroU32;
use std::time::Duration;

use kafka_troupe::ids::PartitionId;
use kafka_troupe::produce::{Partitioner, Placement, Producer, ProducerRecord, Unplaced, partition_of_key};
use stage::Stage;

/// The others share the other partitions by their keys.
struct ImportantFirst;

impl Partitioner for ImportantFirst {
    fn partition(&self, record: Unplaced<'_>, partitions: NonZeroU32) -> Placement {
        let Some(key) = record.key else {
            return Placement::Any;
        };
        match NonZeroU32::new(partitions.get() - 1) {
            Some(others) if !key.starts_with(b"important-") => {
                Placement::Partition(PartitionId(partition_of_key(key, others).0 + 1))
            }
            _ => Placement::Partition(PartitionId(0)),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::empty()?;
    let producer = Producer::builder()
        .bootstrap_servers(&stage.servers)
        .properties(stage.properties)
        .partitioner(ImportantFirst)
        .start()?;
    let sender = producer.sender();
    for customer in ["important-1", "customer-1", "customer-2", "important-2", "customer-3"] {
        let delivery = sender.send_blocking(ProducerRecord::to(&stage.topic).key(customer).value("an order"))?;
        println!("{customer} has partition {}", delivery.partition);
    }
    // A record that names its partition is not asked about.
    let delivery =
        sender.send_blocking(ProducerRecord::to(&stage.topic).partition(0).key("customer-1").value("this"))?;
    println!("customer-1 has partition {} as asked", delivery.partition);
    producer.shutdown_blocking(Duration::from_secs(10))?;
    Ok(())
}
