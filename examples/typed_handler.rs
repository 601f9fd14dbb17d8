//! A handler that takes a decoded value instead of bytes, within layers: a time that each call may take, and a span for what it logs.
//!
//! ```text
//! cargo run --example typed_handler               # on a broker in this process, until its orders are processed
//! cargo run --example typed_handler -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! In Java: a `Deserializer` in the consumer's properties, which throws out of `poll`. Here what cannot be decoded is a failure of its record,
//! and the app decides what becomes of it. For JSON there is `Json`: `typed(|Json(order): Json<Order>, record: Record| ...)`.

mod stage;

use std::error::Error;
use std::time::Duration;

use kafka_troupe::consume::{Consumer, Decode, FailureKind, Layer, Outcome, Record, Timeout, Tracing, typed};
use stage::{Stage, until_done};

/// `order 7`, as the number.
struct Order(u64);

impl Decode for Order {
    type Error = &'static str;

    fn decode(record: &Record) -> Result<Self, Self::Error> {
        let text = std::str::from_utf8(record.value().ok_or("a tombstone")?).map_err(|_| "not UTF-8")?;
        let number = text.strip_prefix("order ").ok_or("no order")?;
        // Each seventh stands for one that somebody else has written in another way.
        number.parse().ok().filter(|number| number % 7 != 6).map(Self).ok_or("its number is none")
    }
}

async fn handle(Order(number): Order, record: Record) {
    // The first time, the third order takes too long.
    let work = if number == 3 && record.attempt() == 1 { Duration::from_secs(60) } else { Duration::from_millis(2) };
    tokio::time::sleep(work).await;
    println!("{} offset {}, attempt {}: order {number}", record.topic_partition(), record.offset(), record.attempt());
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(20)?;
    let consumer = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .group_id(&stage.group)
        .topics([&stage.topic])
        .properties(stage.properties)
        .async_handler(Tracing.layer(Timeout::new(Duration::from_millis(200)).layer(typed(handle))))
        .on_failure(|failed| {
            println!("{} offset {}: {}", failed.record.topic_partition(), failed.record.offset(), failed.cause);
            (failed.kind == FailureKind::Undecodable).then_some(Outcome::Done)
        })
        .start()?;
    until_done(&consumer).await?;
    let stopped = consumer.shutdown(Duration::from_secs(20)).await?;
    let counters = consumer.state().counters;
    println!(
        "{} done, {} of them passed over; all is committed: {}",
        counters.finished, counters.passed_over, stopped.drained
    );
    Ok(())
}
