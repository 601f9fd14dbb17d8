//! Handles the records of a partition beside each other, those of each key one at a time and in order.
//!
//! ```text
//! cargo run --example keys_in_parallel            # on a broker in this process, until its orders are processed
//! cargo run --example keys_in_parallel -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! The Java client has nothing like it; Confluent's Parallel Consumer calls it `ProcessingOrder.KEY` and `maxConcurrency`, Decaton does it with
//! `decaton.partition.concurrency`. What is finished above a record that is not goes into the commit's metadata: the next owner skips it.

mod stage;

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kafka_troupe::consume::{Consumer, Order, Record};
use stage::{Stage, until_done};

const WORK: Duration = Duration::from_millis(20);

/// Each customer's orders, as they were finished.
type Finished = Arc<Mutex<HashMap<Vec<u8>, Vec<i64>>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(200)?;
    let finished = Finished::default();
    let begun = Instant::now();
    let consumer = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .group_id(&stage.group)
        .topics([&stage.topic])
        .properties(stage.properties)
        .order(Order::Key)
        .concurrency(50)
        .async_handler({
            let finished = Arc::clone(&finished);
            move |record: Record| work(record, Arc::clone(&finished))
        })
        .start()?;
    until_done(&consumer).await?;
    println!("{:?} for {} orders of {WORK:?} each", begun.elapsed(), consumer.state().counters.finished);
    consumer.shutdown(Duration::from_secs(20)).await?;

    let finished = finished.lock().unwrap_or_else(PoisonError::into_inner);
    let in_order = finished.values().all(|offsets| offsets.is_sorted());
    println!("{} customers, the orders of each in order: {in_order}", finished.len());
    Ok(())
}

async fn work(record: Record, finished: Finished) {
    tokio::time::sleep(WORK).await;
    let customer = record.key().unwrap_or_default().to_vec();
    finished.lock().unwrap_or_else(PoisonError::into_inner).entry(customer).or_default().push(record.offset().0);
}
