//! Why a look-up failed, and what an answer of librdkafka's holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};

use crate::consume::error::{CommitFailure, ConsumerError, commit_failure};
use crate::ids::{NextOffset, TopicPartition};

pub(in crate::consume) type Positions = HashMap<TopicPartition, NextOffset>;

#[derive(Debug)]
pub(crate) enum Failure {
    Passing(String),
    Final(ConsumerError),
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::new(error.rdkafka_error_code(), format!("looking up start positions: {error}"))
    }
}

impl Failure {
    pub(super) fn new(code: Option<RDKafkaErrorCode>, detail: String) -> Self {
        match code {
            Some(code) if commit_failure(code) == CommitFailure::Fatal => {
                Self::Final(ConsumerError::Kafka { code, detail })
            }
            _ => Self::Passing(detail),
        }
    }
}

/// The topics of some partitions, each once.
pub(in crate::consume) fn topics<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> Vec<Arc<str>> {
    let topics: HashSet<_> = partitions.map(|partition| Arc::clone(&partition.topic)).collect();
    topics.into_iter().collect()
}

pub(in crate::consume) fn list(partitions: &[TopicPartition], offset: ListOffset) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for each in partitions {
        list.add_partition_offset(&each.topic, each.partition.0, offset)?;
    }
    Ok(list)
}

/// The offsets of a list, without those that have none.
pub(in crate::consume) fn positions(list: &TopicPartitionList) -> Result<Positions, Failure> {
    let mut positions = Positions::new();
    for element in list.elements() {
        let partition = TopicPartition::new(element.topic(), element.partition());
        if let Err(error) = element.error() {
            return Err(Failure::new(error.rdkafka_error_code(), format!("{partition}: {error}")));
        }
        if let ListOffset::Offset(offset) = element.offset() {
            positions.insert(partition, NextOffset(offset));
        }
    }
    Ok(positions)
}
