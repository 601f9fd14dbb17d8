//! Hears of partitions that come and go: a second member joins the group, and leaves again.
//!
//! ```text
//! cargo run --example rebalance_listener          # on a broker in this process
//! cargo run --example rebalance_listener -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! In Java: `consumer.subscribe(topics, listener)` with a `ConsumerRebalanceListener`. Nothing has to be committed or waited for in here: when
//! `on_revoked` is called, handlers have finished, and what is finished is committed right after. `buffered_sqlite` stores what it has buffered.

mod stage;

use std::error::Error;
use std::time::Duration;

use kafka_troupe::consume::{
    AssignedPartition, Consumer, ConsumerHandle, ListenerError, Offsets, RebalanceListener, Record, Revoked,
};
use kafka_troupe::ids::TopicPartition;
use stage::{Stage, until_caught_up};

/// A member's name.
struct Announcer(&'static str);

impl RebalanceListener for Announcer {
    /// Nothing is fetched of them before this returns. Offsets given back are started at instead, Java's `seek` in `onPartitionsAssigned`.
    fn on_assigned(&self, assigned: &[AssignedPartition]) -> Result<Offsets, ListenerError> {
        for each in assigned {
            println!("{} gets {} from offset {}", self.0, each.topic_partition, each.start);
        }
        Ok(Offsets::new())
    }

    fn on_revoked(&self, revoked: &Revoked) -> Result<Offsets, ListenerError> {
        for each in &revoked.partitions {
            println!("{} gives up {} at {} ({:?})", self.0, each.topic_partition, each.finished, revoked.reason);
        }
        Ok(Offsets::new())
    }

    /// Others have them already: nothing more is committed.
    fn on_lost(&self, lost: &[TopicPartition]) {
        lost.iter().for_each(|partition| println!("{} has lost {partition}", self.0));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(20)?;
    let member = |name| {
        Consumer::builder()
            .bootstrap_servers(&stage.servers)
            .group_id(&stage.group)
            .topics([&stage.topic])
            .properties(stage.properties.clone())
            .rebalance_listener(Announcer(name))
            .handler(|_: &Record| ())
            .start()
    };
    let first = member("the first")?;
    until_caught_up(&first).await;
    let all = partitions(&first);
    let second = member("the second")?;
    until(&first, || partitions(&second) > 0 && partitions(&first) + partitions(&second) == all).await;
    second.shutdown(Duration::from_secs(20)).await?;
    until(&first, || partitions(&first) == all).await;
    first.shutdown(Duration::from_secs(20)).await?;
    Ok(())
}

fn partitions(member: &ConsumerHandle) -> usize {
    member.state().partitions.len()
}

/// Or until the member ends by itself.
async fn until(member: &ConsumerHandle, condition: impl Fn() -> bool) {
    let token = member.cancellation_token();
    while !condition() && !token.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
