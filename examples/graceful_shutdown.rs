//! Stops in good order when it is told to: what is under way is finished and committed, and the group knows at once that this member is gone.
//!
//! ```text
//! cargo run --example graceful_shutdown           # on a broker in this process; press Ctrl-C, or wait until its orders are processed
//! cargo run --example graceful_shutdown -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! In Java: a shutdown hook that calls `consumer.wakeup()`, a `WakeupException` that ends the loop, and `consumer.close(timeout)`. The library
//! installs no signal handler: signals are the app's. Where a token ends everything else too, hand it to `cancellation_token`, as
//! `axum_service` does.

mod stage;

use std::error::Error;
use std::time::Duration;

use kafka_troupe::consume::{Consumer, Record};
use stage::{Stage, until_caught_up};
use tokio::signal::unix::{SignalKind, signal};

/// Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(200)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let consumer = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .group_id(&stage.group)
        .topics([&stage.topic])
        .properties(stage.properties)
        .async_handler(|_: Record| async {
            // Stands for work that should not be cut off.
            tokio::time::sleep(Duration::from_millis(20)).await;
        })
        .start()?;
    println!("processing; press Ctrl-C to stop");
    tokio::select! {
        _ = interrupt.recv() => println!("interrupted"),
        _ = terminate.recv() => println!("terminated"),
        () = until_caught_up(&consumer) => {}
    }

    // A consumer that has ended by itself says why here.
    let stopped = consumer.shutdown(GRACE).await?;
    println!("{} done, all of it committed: {}", consumer.state().counters.finished, stopped.drained);
    for record in stopped.unfinished {
        println!(
            "cut off: {}-{} offset {}; the next owner begins it anew",
            record.topic, record.partition, record.offset
        );
    }
    Ok(())
}
