//! Handles the records of a partition many at a time, as a sink likes it that writes in bulk, and answers for each of them.
//!
//! ```text
//! cargo run --example batches            # on a broker in this process, until its orders are stored
//! cargo run --example batches -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! What one loops over in the Java client, the records of a `poll`, is one call here; of a batch with a record that is refused, the others
//! are committed all the same.

mod stage;

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_troupe::consume::{BatchBounds, Consumer, Order, Outcome, Record};
use stage::{Stage, until_done};

/// Stands for a table.
type Rows = Arc<Mutex<Vec<String>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(1000)?;
    let (rows, inserts) = (Rows::default(), Arc::new(AtomicUsize::new(0)));
    let consumer = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .group_id(&stage.group)
        .topics([&stage.topic])
        .properties(stage.properties)
        .order(Order::Key)
        .async_batch_handler(BatchBounds::default().records(200).linger(Duration::from_millis(20)), {
            let (rows, inserts) = (Arc::clone(&rows), Arc::clone(&inserts));
            move |orders| {
                inserts.fetch_add(1, Ordering::Relaxed);
                insert(orders, Arc::clone(&rows))
            }
        })
        .start()?;
    until_done(&consumer).await?;
    let stored = rows.lock().unwrap_or_else(PoisonError::into_inner).len();
    println!("{stored} orders stored by {} inserts", inserts.load(Ordering::Relaxed));
    consumer.shutdown(Duration::from_secs(20)).await?;
    Ok(())
}

/// One write for all of them. Here each fiftieth order is refused the first time: its customer's later ones come again behind it.
async fn insert(orders: Arc<[Record]>, rows: Rows) -> Vec<Outcome> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
    let mut refused = Vec::new();
    let outcome = |order: &Record| {
        if refused.contains(&order.key().map(<[u8]>::to_vec)) {
            // What is said of it does not count, so it is not stored either.
            return Outcome::Done;
        }
        if order.offset().0 % 50 == 7 && order.attempt() == 1 {
            refused.push(order.key().map(<[u8]>::to_vec));
            return Outcome::Retry { after: Duration::from_millis(10), cause: "the table is locked".into() };
        }
        rows.push(String::from_utf8_lossy(order.value().unwrap_or_default()).into_owned());
        Outcome::Done
    };
    orders.iter().map(outcome).collect()
}
