use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::letter::Letter;
use crate::cli::connect::Connection;
use crate::cli::exit::Interrupted;

/// One wait for a record, so that a signal is seen soon.
const LOOK: Duration = Duration::from_millis(200);

/// Ends of partitions: the offsets that their next records will have.
pub(super) type Ends = BTreeMap<i32, i64>;

/// Reads a topic from its start to its end, or to these ends, and gives `each` its records, by partition in their order. Blocks: it belongs on
/// a thread of its own.
pub(super) fn read(
    connection: &Connection,
    topic: &str,
    partitions: usize,
    until: Option<&Ends>,
    stop: &CancellationToken,
    mut each: impl FnMut(Letter) -> anyhow::Result<()>,
) -> anyhow::Result<Ends> {
    let mut config = connection.client_config();
    // librdkafka assigns nothing to a client without a group. This one is neither joined nor committed to.
    config
        .set("group.id", "troupe-dead-letters")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        // Where retention takes away what is read next: on from what is left, and not from the end.
        .set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().context("the client cannot be made")?;
    let mut open: BTreeSet<i32> = (0..).take(partitions).collect();
    if let Some(until) = until {
        open.retain(|partition| until.contains_key(partition));
    }
    let mut list = TopicPartitionList::with_capacity(open.len());
    for partition in &open {
        list.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut ends = Ends::new();
    while !open.is_empty() {
        if stop.is_cancelled() {
            return Err(Interrupted.into());
        }
        match consumer.poll(LOOK) {
            None => {}
            Some(Ok(message)) => {
                let (partition, next) = (message.partition(), message.offset() + 1);
                let end = until.and_then(|until| until.get(&partition)).copied().unwrap_or(i64::MAX);
                if next <= end && open.contains(&partition) {
                    ends.insert(partition, next);
                    each(Letter::read(&message))?;
                }
                if next >= end {
                    open.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                // A connection that breaks is made anew.
                Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure) => {
                    tracing::debug!(%error, "the dead letters are not there for now");
                }
                _ => return Err(error).with_context(|| format!("cannot read the topic {topic}")),
            },
        }
    }
    Ok(ends)
}
