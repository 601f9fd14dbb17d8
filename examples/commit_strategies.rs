//! When what is done is committed, and who says so: one group after the other reads the same topic, each with another strategy.
//!
//! ```text
//! cargo run --example commit_strategies           # all of them, on a broker in this process
//! cargo run --example commit_strategies -- --bootstrap-server localhost:9092 --topic orders sync
//! ```
//! In Java each of these is a way to write the poll loop. Here it is a setting, and none of them commits what is not done. What a crash repeats
//! with each is in the docs of `CommitWhen`.

mod stage;

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use kafka_troupe::consume::{CommitReport, CommitWhen, Consumer, ConsumerHandle, Record};
use kafka_troupe::ids::{NextOffset, TopicPartition};
use stage::{Stage, until_done};
use tokio::time::timeout;

const ALL: [&str; 5] = ["interval", "sync", "async", "combined", "per-partition"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(60)?;
    let strategies = if stage.arguments.is_empty() { ALL.map(str::to_owned).to_vec() } else { stage.arguments };
    for strategy in strategies {
        let builder = Consumer::builder()
            .bootstrap_servers(&stage.servers)
            .group_id(format!("{}-{strategy}", stage.group))
            .topics([&stage.topic])
            .properties(stage.properties.clone())
            .handler(|_: &Record| ());
        let builder = match strategy.as_str() {
            // Java: `enable.auto.commit=true` and `auto.commit.interval.ms`.
            "interval" => builder.commit_when(CommitWhen::Interval(Duration::from_millis(100))),
            // Java: `consumer.commitSync()` after every so many records. A partition's next record waits for the answer.
            "sync" => builder.commit_when(CommitWhen::Records(5)).await_commits(true),
            // Java: `consumer.commitAsync(callback)`. Nobody waits; what fails in passing is repeated.
            "async" => builder.commit_when(CommitWhen::Records(5)).on_commit(report),
            // Java: `commitAsync()` in the loop, `commitSync()` at its end. All but the last one do that, at a stop and for what goes.
            "combined" => builder.commit_when(CommitWhen::Chunk),
            // Java: `consumer.commitSync(offsets)`. Nothing is committed unless the app says so.
            "per-partition" => builder.commit_when(CommitWhen::Manual),
            unknown => return Err(format!("{unknown:?} is none of {ALL:?}").into()),
        };
        let consumer = builder.start()?;
        match strategy.as_str() {
            "per-partition" => commit_each_partition(&consumer).await?,
            _ => until_done(&consumer).await?,
        }
        let (stopped, count) = (consumer.shutdown(Duration::from_secs(20)).await?, consumer.state().counters);
        println!("{strategy}: {} done, {} commits, drained: {}", count.finished, count.commits, stopped.drained);
    }
    Ok(())
}

/// On a thread of its own: it may block.
fn report(report: &CommitReport) {
    for each in &report.partitions {
        let answer = each.error.map_or("is committed".to_owned(), |error| format!("is not committed ({error})"));
        println!("  told: {} {answer} at {}", each.topic_partition, each.offset);
    }
}

/// What is new of each, every 50 ms. `consumer.commit()` does it for all at once.
async fn commit_each_partition(consumer: &ConsumerHandle) -> Result<(), Box<dyn Error>> {
    let mut done = pin!(until_done(consumer));
    let mut over = false;
    while !over {
        over = timeout(Duration::from_millis(50), &mut done).await.is_ok();
        let partitions = consumer.state().partitions.into_iter();
        // All below the watermark is done.
        for each in partitions.filter(|each| each.committed.is_none_or(|committed| committed < each.watermark)) {
            let partition = TopicPartition::new(each.topic, each.partition);
            consumer.commit_offsets([(partition.clone(), NextOffset(each.watermark))]).await?;
            println!("  {partition} is committed at {}", each.watermark);
        }
    }
    Ok(())
}
