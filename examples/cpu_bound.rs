//! A handler that computes, on threads of its own: the engine's threads serve the other partitions meanwhile, and each key keeps its order.
//!
//! ```text
//! cargo run --example cpu_bound                   # on a broker in this process, until its orders are processed
//! cargo run --example cpu_bound -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! In Java: an executor behind the poll loop, and the order, the bounds and the commits by hand.

mod stage;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_troupe::consume::{Consumer, CpuBound, Order, Record};
use stage::{Stage, until_done};

/// Some milliseconds' work.
fn fingerprint(value: &[u8]) -> u64 {
    (0..200_000).fold(0xcbf2_9ce4_8422_2325, |hash, round| {
        value.iter().fold(hash ^ round, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(50)?;
    let all = Arc::new(AtomicU64::new(0));
    let handler = CpuBound::new({
        let all = Arc::clone(&all);
        move |order: &Record| {
            let print = fingerprint(order.value().unwrap_or_default());
            all.fetch_xor(print, Ordering::Relaxed);
        }
    });
    let consumer = Consumer::builder()
        .bootstrap_servers(&stage.servers)
        .group_id(&stage.group)
        .topics([&stage.topic])
        .properties(stage.properties)
        .order(Order::Key)
        .async_handler(handler)
        .start()?;
    until_done(&consumer).await?;
    let stopped = consumer.shutdown(Duration::from_secs(20)).await?;
    println!("the fingerprint of all orders: {:016x}", all.load(Ordering::Relaxed));
    println!("{} done; all is committed: {}", consumer.state().counters.finished, stopped.drained);
    Ok(())
}
