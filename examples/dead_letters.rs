//! A topic for records that nobody can process: each is stored there with its story, and those behind it go on.
//!
//! ```text
//! cargo run --example dead_letters                # on a broker in this process, until its orders are processed
//! cargo run --example dead_letters -- --bootstrap-server localhost:9092 --topic orders dead-orders
//! ```
//! In Java: Spring's `DeadLetterPublishingRecoverer`, or a producer beside the poll loop. The topic has to exist: the consumer ends with the
//! command that creates it where it does not.

mod stage;

use std::error::Error;
use std::time::Duration;

use kafka_troupe::consume::{Consumer, DeadLetters, Outcome, Record};
use stage::{Stage, until_done};

async fn handle(record: Record) -> Result<Outcome, String> {
    let text = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
    let number: u64 = text.strip_prefix("order ").and_then(|number| number.parse().ok()).unwrap_or_default();
    println!("{} offset {}, attempt {}: {text}", record.topic_partition(), record.offset(), record.attempt());
    match number % 10 {
        // One that no attempt will help.
        4 => Ok(Outcome::DeadLetter { cause: "its customer has left".into() }),
        // One that fails each time it is tried.
        7 => Err("the warehouse does not answer".to_owned()),
        _ => Ok(Outcome::Done),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(40)?;
    let dead_letters = stage.arguments.first().cloned().unwrap_or_else(|| "dead-orders".to_owned());
    stage.create_topic(&dead_letters)?;
    let consumer = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .group_id(&stage.group)
        .topics([&stage.topic])
        .properties(stage.properties)
        .async_handler(handle)
        .max_attempts(3)
        .retry_pause(Duration::from_millis(10), Duration::from_millis(50))
        .dead_letters(DeadLetters::to(&dead_letters).max_in_a_row(20))
        .start()?;
    until_done(&consumer).await?;
    let stopped = consumer.shutdown(Duration::from_secs(20)).await?;
    let state = consumer.state();
    if let Some(letters) = state.dead_letters {
        println!(
            "{} of {} went to {}; all is committed: {}",
            letters.written, state.counters.finished, dead_letters, stopped.drained
        );
    }
    Ok(())
}
