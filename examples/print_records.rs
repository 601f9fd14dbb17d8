//! Prints partition and offset of every record of a topic, and commits exactly what was printed.
//!
//! ```text
//! cargo run --example print_records -- localhost:9092 my-group my-topic [librdkafka.property=value ...]
//! ```
//! Ends when its input does: press Ctrl-D. `WORK_MS=10` makes each record take 10 ms instead of 1.

use std::io::Read;
use std::time::Duration;

use kafka_troupe::consume::{Consumer, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut required = |what: &str| args.next().ok_or_else(|| format!("missing: {what}"));
    let (servers, group, topic) = (required("bootstrap servers")?, required("group")?, required("topic")?);
    let builder = Consumer::builder().bootstrap_servers(servers).group_id(group).topics([topic]);
    let builder = args.try_fold(builder, |builder, property| {
        let (name, value) = property.split_once('=').ok_or("a property is name=value")?;
        Ok::<_, &str>(builder.property(name, value))
    })?;
    // Stands for work that waits.
    let work = std::env::var("WORK_MS").map_or(Ok(1), |millis| millis.parse())?;
    let work = Duration::from_millis(work);
    let consumer = builder
        .async_handler(move |record: Record| async move {
            tokio::time::sleep(work).await;
            println!("{} {}", record.partition(), record.offset());
        })
        .start()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let stopped = consumer.shutdown_blocking(Duration::from_secs(20))?;
    eprintln!("drained: {}", stopped.drained);
    Ok(())
}
