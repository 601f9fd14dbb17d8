//! Topics in which records wait that have failed: those behind them go on, and they are tried again later.
//!
//! ```text
//! cargo run --example retry_topics                # on a broker in this process, until its orders are processed
//! cargo run --example retry_topics -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! In Java: Spring's `@RetryableTopic`. The topics have to exist: the consumer ends with the command that creates one where it does not. On
//! another broker it runs until Ctrl-C.

mod stage;

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_troupe::consume::{Consumer, DeadLetters, Order, Record, RetryTopics};
use stage::Stage;

const ORDERS: u64 = 40;
static DONE: AtomicU64 = AtomicU64::new(0);

async fn handle(record: Record) -> Result<(), String> {
    let text = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
    let number: u64 = text.strip_prefix("order ").and_then(|number| number.parse().ok()).unwrap_or_default();
    println!("{} offset {}, attempt {}: {text}", record.topic_partition(), record.offset(), record.attempt());
    match number % 10 {
        // One that never works.
        4 => return Err("its customer has left".to_owned()),
        // One whose time comes later.
        7 if record.origin().is_none() => return Err("the warehouse does not answer".to_owned()),
        _ => {}
    }
    DONE.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(ORDERS as usize)?;
    let is_own = stage.is_own();
    let named = |what: &str| format!("{}.{what}", stage.topic);
    let steps = [("retry-500ms", 500), ("retry-1s", 1000)].map(|(name, ms)| (named(name), Duration::from_millis(ms)));
    let dead = named("dead");
    for topic in steps.iter().map(|(topic, _)| topic).chain([&dead]) {
        stage.create_topic(topic)?;
    }
    let consumer = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .group_id(&stage.group)
        .topics([&stage.topic])
        .properties(stage.properties)
        // In another order it takes `allow_reordering()` too.
        .order(Order::Unordered)
        .async_handler(handle)
        .max_attempts(2)
        .retry_pause(Duration::from_millis(10), Duration::from_millis(50))
        .retry_topics(RetryTopics::new(steps))
        // Where there is no order, those that fail come to their end together, after all others.
        .dead_letters(DeadLetters::to(&dead).max_in_a_row(1000))
        .start()?;
    let token = consumer.cancellation_token();
    let letters =
        || consumer.state().dead_letters.map(|letters| (letters.retried, letters.written)).unwrap_or_default();
    let is_over = || is_own && DONE.load(Ordering::Relaxed) + letters().1 == ORDERS;
    while !is_over() && !token.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                break;
            }
        }
    }
    let (retried, written) = letters();
    let stopped = consumer.shutdown(Duration::from_secs(20)).await?;
    let done = DONE.load(Ordering::Relaxed);
    println!(
        "{done} done, {retried} times by way of a retry topic; {written} went to {dead}; all is committed: {}",
        stopped.drained
    );
    Ok(())
}
