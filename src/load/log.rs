//! The run's topic and its group's commits, as a bare client reads them.

use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::ledger::Place;
use super::plan::Plan;
use super::quiet::Quiet;

/// How long the log may stay silent while it is read.
const SILENCE: Duration = Duration::from_secs(30);

/// Its calls wait for the brokers.
pub(crate) struct Log {
    client: BaseConsumer<Quiet>,
    topic: String,
    partitions: i32,
    timeout: Duration,
}

impl Log {
    pub(crate) fn new(plan: &Plan, mut client: ClientConfig, timeout: Duration) -> anyhow::Result<Self> {
        client.set("group.id", &plan.group).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        let client = client.create_with_context(Quiet).context("the client that looks at the end cannot be made")?;
        Ok(Self { client, topic: plan.topic.clone(), partitions: i32::try_from(plan.partitions)?, timeout })
    }

    /// By partition; 0 where nothing is committed.
    pub(crate) fn committed(&self) -> anyhow::Result<Vec<u64>> {
        let committed = self.client.committed_offsets(self.list(Offset::Invalid)?, self.timeout);
        let committed = committed.context("cannot see what the group has committed")?;
        let offsets = (0..self.partitions).map(|partition| {
            let found = committed.find_partition(&self.topic, partition);
            match found.map(|it| it.offset()) {
                Some(Offset::Offset(offset)) => u64::try_from(offset).unwrap_or_default(),
                _ => 0,
            }
        });
        Ok(offsets.collect())
    }

    /// Reads all there is, from the beginning to where the partitions end, or until it is `cut`. Says whether that was all.
    pub(crate) fn read(&self, cut: &CancellationToken, mut each: impl FnMut(Place, &[u8])) -> anyhow::Result<bool> {
        self.client.assign(&self.list(Offset::Beginning)?).context("cannot read the topic again")?;
        let (mut ended, mut until) = (vec![false; self.partitions as usize], Instant::now() + SILENCE);
        while ended.contains(&false) {
            if cut.is_cancelled() {
                return Ok(false);
            }
            match self.client.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => {
                    until = Instant::now() + SILENCE;
                    let place = Place { partition: record.partition() as u32, offset: record.offset() as u64 };
                    each(place, record.payload().unwrap_or_default());
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(ended) = ended.get_mut(partition as usize) {
                        *ended = true;
                    }
                }
                Some(Err(error)) => tracing::debug!(%error, "while reading {} again", self.topic),
                None => {}
            }
            anyhow::ensure!(
                Instant::now() < until,
                "{} cannot be read to its end: nothing came for {SILENCE:?}",
                self.topic
            );
        }
        Ok(true)
    }

    fn list(&self, offset: Offset) -> anyhow::Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&self.topic, partition, offset)?;
        }
        Ok(list)
    }
}
