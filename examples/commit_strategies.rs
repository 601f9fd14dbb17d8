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
use std::time::Duration;

use kafka_troupe::consume::{CommitReport, CommitWhen, Consumer, ConsumerBuilder, ConsumerHandle, Record};
use kafka_troupe::ids::{NextOffset, TopicPartition};
use stage::{Stage, is_caught_up, until_done};

const ALL: [&str; 5] = ["interval", "sync", "async", "combined", "per-partition"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(60)?;
    let all = ALL.map(str::to_owned).to_vec();
    let strategies = if stage.arguments.is_empty() { &all } else { &stage.arguments };
    for strategy in strategies {
        let builder = Consumer::builder()
            .bootstrap_servers(&stage.servers)
            .group_id(format!("{}-{strategy}", stage.group))
            .topics([&stage.topic])
            .properties(stage.properties.clone())
            .handler(|_: &Record| ());
        let consumer = match strategy.as_str() {
            // Java: `enable.auto.commit=true` and `auto.commit.interval.ms`.
            "interval" => builder.commit_when(CommitWhen::Interval(Duration::from_millis(100))).start()?,
            // Java: `consumer.commitSync()` after every so many records. A partition's next record waits for the answer.
            "sync" => builder.commit_when(CommitWhen::Records(5)).await_commits(true).start()?,
            // Java: `consumer.commitAsync(callback)`. Nobody waits; what fails in passing is repeated.
            "async" => builder.commit_when(CommitWhen::Records(5)).on_commit(report).start()?,
            // Java: `commitAsync()` in the loop, `commitSync()` at its end. All but the last one do that: at a stop, and when a partition
            // goes, what is done is committed and the answer awaited.
            "combined" => builder.commit_when(CommitWhen::Chunk).start()?,
            "per-partition" => per_partition(builder).await?,
            unknown => return Err(format!("{unknown:?} is none of {ALL:?}").into()),
        };
        until_done(&consumer).await?;
        let stopped = consumer.shutdown(Duration::from_secs(20)).await?;
        let counters = consumer.state().counters;
        println!("{strategy}: {} done, {} commits, drained: {}", counters.finished, counters.commits, stopped.drained);
    }
    Ok(())
}

/// On a thread of its own: it may block.
fn report(report: &CommitReport) {
    for each in &report.partitions {
        match each.error {
            None => println!("  {} is committed at {}", each.topic_partition, each.offset),
            Some(error) => println!("  {} is not committed at {}: {error}", each.topic_partition, each.offset),
        }
    }
}

/// In Java: `consumer.commitSync(Map.of(partition, new OffsetAndMetadata(offset)))`. Nothing is committed unless the app says so.
async fn per_partition(builder: ConsumerBuilder) -> Result<ConsumerHandle, Box<dyn Error>> {
    let consumer = builder.commit_when(CommitWhen::Manual).start()?;
    let mut over = false;
    while !over && !consumer.cancellation_token().is_cancelled() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let state = consumer.state();
        over = is_caught_up(&state);
        for each in state.partitions.into_iter().filter(|each| each.committed.is_none_or(|at| at < each.watermark)) {
            let partition = TopicPartition::new(each.topic, each.partition);
            // All below is done. `consumer.commit()` does it for all partitions.
            consumer.commit_offsets([(partition.clone(), NextOffset(each.watermark))]).await?;
            println!("  {partition} is committed at {}", each.watermark);
        }
    }
    Ok(consumer)
}
