use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::edges::Edges;
use crate::cli::connect::Connection;

/// A client beside the engine's, which only looks.
///
/// Its calls wait for the broker, each as long as the command's timeout at most: make them [`apart`](crate::cli::apart::apart).
pub(super) struct Cluster {
    client: BaseConsumer,
    topic: String,
    timeout: Duration,
}

impl Cluster {
    pub(super) fn new(connection: &Connection, topic: &str, group: Option<&str>) -> anyhow::Result<Self> {
        let mut config = connection.client_config();
        // It decides where a log ends.
        if let Some(level) = connection.get("isolation.level") {
            config.set("isolation.level", level);
        }
        if let Some(group) = group {
            config.set("group.id", group);
        }
        let client = config.create().context("the client cannot be made")?;
        Ok(Self { client, topic: topic.to_owned(), timeout: connection.timeout() })
    }

    /// Where each partition begins and ends, for a reader of the client's isolation level.
    pub(super) fn edges(&self, partitions: &[i32]) -> KafkaResult<Edges> {
        Ok(Edges::new(&self.begins(partitions)?, &self.offsets_at(partitions, Offset::End)?))
    }

    pub(super) fn begins(&self, partitions: &[i32]) -> KafkaResult<BTreeMap<i32, i64>> {
        self.offsets_at(partitions, Offset::Beginning)
    }

    /// ListOffsets takes begin and end as special times, for many partitions in one request per broker.
    fn offsets_at(&self, partitions: &[i32], edge: Offset) -> KafkaResult<BTreeMap<i32, i64>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        offsets(&self.client.offsets_for_times(self.list(partitions, edge)?, self.timeout)?)
    }

    /// What the group has committed, by whichever of its members.
    pub(super) fn committed(&self, partitions: &[i32]) -> KafkaResult<BTreeMap<i32, i64>> {
        offsets(&self.client.committed_offsets(self.list(partitions, Offset::Invalid)?, self.timeout)?)
    }

    fn list(&self, partitions: &[i32], offset: Offset) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(&self.topic, *partition, offset)?;
        }
        Ok(list)
    }
}

/// The offsets of a list, without those that have none.
fn offsets(list: &TopicPartitionList) -> KafkaResult<BTreeMap<i32, i64>> {
    let mut offsets = BTreeMap::new();
    for each in list.elements() {
        each.error()?;
        if let Offset::Offset(offset) = each.offset() {
            offsets.insert(each.partition(), offset);
        }
    }
    Ok(offsets)
}
