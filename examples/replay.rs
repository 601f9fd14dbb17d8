//! Prints partition and offset of every record, and does with its partitions what its input says while it runs.
//!
//! ```text
//! cargo run --example replay -- localhost:9092 my-group my-topic [librdkafka.property=value ...]
//! ```
//! Each line of its input is a command: `beginning`, `end`, `offset PARTITION OFFSET`, `time MILLISECONDS-SINCE-1970`, `pause`, `resume`. It ends
//! when its input does: press Ctrl-D. `WORK_MS=10` makes each record take 10 ms instead of 1.

use std::time::Duration;

use kafka_troupe::consume::{Consumer, ConsumerHandle, Partitions, PendingSeek, Record};
use kafka_troupe::ids::{NextOffset, TopicPartition};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut required = |what: &str| args.next().ok_or_else(|| format!("missing: {what}"));
    let (servers, group, topic) = (required("bootstrap servers")?, required("group")?, required("topic")?);
    let builder = Consumer::builder().bootstrap_servers(servers).group_id(group).topics([&topic]);
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
    for line in std::io::stdin().lines() {
        if let Err(error) = obey(&consumer, &topic, &line?) {
            eprintln!("{error}");
        }
    }
    let stopped = consumer.shutdown_blocking(Duration::from_secs(20))?;
    eprintln!("drained: {}", stopped.drained);
    Ok(())
}

fn obey(consumer: &ConsumerHandle, topic: &str, line: &str) -> Result<(), Box<dyn std::error::Error>> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["beginning"] => report(consumer.seek_to_beginning(Partitions::All)),
        ["end"] => report(consumer.seek_to_end(Partitions::All)),
        ["time", millis] => report(consumer.seek_to_time(Partitions::All, millis.parse()?)),
        ["offset", partition, offset] => {
            let partition = TopicPartition::new(topic, partition.parse()?);
            report(consumer.seek(partition, NextOffset(offset.parse()?)))
        }
        ["pause"] => Ok(consumer.pause(Partitions::All)?),
        ["resume"] => Ok(consumer.resume(Partitions::All)?),
        _ => Err(format!("not a command: {line}").into()),
    }
}

/// The answer comes when the partitions have begun anew.
fn report(seek: PendingSeek) -> Result<(), Box<dyn std::error::Error>> {
    for (partition, position) in seek.wait_blocking()? {
        eprintln!("{partition} goes on at {position}");
    }
    Ok(())
}
