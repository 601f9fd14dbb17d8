//! What earlier owners have remembered in the metadata of their commits: read, and believed only where it fits.

use std::collections::HashSet;
use std::sync::Arc;

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset as ListOffset;
use tracing::{info, warn};

use crate::consume::resolver::{Failure, Lookup, TRY, list, positions};
use crate::consume::start::StartPosition;
use crate::consume::state::Cluster;
use crate::consume::topic_id::describe_topics;
use crate::ids::TopicPartition;
use crate::offsets::CommittedOffset;
use crate::offsets::limit::ClusterLimit;
use crate::offsets::memory::{DecodeError, LogIdentity, decode};
use crate::offsets::remembered::Remembered;

impl Lookup {
    /// Learns once which cluster this is: what is remembered holds for one cluster only.
    pub(super) fn know_cluster(&self) {
        if self.board.cluster.get().is_none()
            && let Some(id) = self.consumer.client().fetch_cluster_id(TRY)
        {
            let limit = ClusterLimit::of(&id);
            let _ = self.board.cluster.set(Cluster { id, limit });
        }
    }

    /// Gives each start what its commit remembers. What does not fit is told and left: the committed offset is good without it.
    pub(super) fn recall(&self, starts: &mut [StartPosition], committed: Vec<CommittedOffset>) -> Result<(), Failure> {
        let mut found = Vec::new();
        for each in committed {
            match decode(&each.metadata) {
                Ok(memory) => found.push((each.partition, memory)),
                Err(DecodeError::NotOurs) => {
                    if !each.metadata.is_empty() {
                        info!(topic = %each.partition.topic, partition = each.partition.partition.0, "the commit's metadata is somebody else's: left alone");
                    }
                }
                Err(error) => ignored(&each.partition, &error),
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let partitions: Vec<_> = found.iter().map(|(partition, _)| partition.clone()).collect();
        let ends = positions(&self.consumer.offsets_for_times(list(&partitions, ListOffset::End)?, TRY)?)?;
        let topics: HashSet<_> = partitions.iter().map(|partition| Arc::clone(&partition.topic)).collect();
        let topics: Vec<_> = topics.into_iter().collect();
        let described = describe_topics(&self.consumer, &topics, TRY);
        if described.is_none() && found.iter().any(|(_, memory)| memory.names_topic_id()) {
            return Err(Failure::Passing("the topics' ids are not known, which their commits name".to_owned()));
        }
        let described = described.unwrap_or_default();
        let cluster = self.board.cluster.get().map_or("", |cluster| &cluster.id);
        for (partition, memory) in found {
            let Some(start) = starts.iter_mut().find(|start| start.partition == partition) else { continue };
            let Some(end) = ends.get(&partition) else { continue };
            let id = described.get(&partition.topic).map(|topic| topic.id.bytes());
            let log = |id| LogIdentity::of(cluster, &partition.topic, id, partition.partition.0);
            match memory.check(start.position, log(id), log(None), *end) {
                Ok(finished) => start.remembered = Remembered::new(finished),
                Err(mismatch) => ignored(&partition, &mismatch),
            }
        }
        Ok(())
    }
}

fn ignored(partition: &TopicPartition, why: &dyn std::fmt::Display) {
    warn!(
        topic = %partition.topic, partition = partition.partition.0, %why,
        "what the commit remembers is ignored: finished records above the committed offset run again"
    );
}
