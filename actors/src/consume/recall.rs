//! What earlier owners have remembered in the metadata of their commits: read, and believed only where it fits.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::consumer::Consumer;
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::Offset as ListOffset;
use tracing::{info, warn};

use crate::consume::resolver::{Failure, Lookup, Positions, TRY, topics};
use crate::consume::start::StartPosition;
use crate::consume::state::Cluster;
use crate::consume::topic_id::{DescribedTopic, describe_topics};
use crate::ids::{NextOffset, TopicPartition};
use crate::offsets::limit::ClusterLimit;
use crate::offsets::memory::{DecodeError, LogIdentity, Memory, Mismatch, decode};
use crate::offsets::remembered::Remembered;
use crate::offsets::{CommittedOffset, FinishedRange};

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

    /// Gives each start what its commit remembers. What does not fit is told and left: the committed offset is good without it. What cannot be
    /// checked is a failure that passes; at the `last` try it is told and left as well, partition by partition.
    pub(super) fn recall(
        &self,
        starts: &mut [StartPosition],
        committed: Vec<CommittedOffset>,
        last: bool,
    ) -> Result<(), Failure> {
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
        let ends = match self.edges_at(&partitions, ListOffset::End) {
            Err(Failure::Passing(_)) if last => self.ends_by_leader(&partitions),
            ends => ends?,
        };
        let topics = describe_topics(&self.consumer, &topics(partitions.iter()), TRY);
        let known = Known { cluster: self.board.cluster.get().map(|cluster| cluster.id.as_str()), topics, ends };
        for (partition, memory) in found {
            let Some(start) = starts.iter_mut().find(|start| start.partition == partition) else { continue };
            match known.check(&partition, memory, start.position) {
                Ok(finished) => start.remembered = Remembered::new(finished),
                Err(Doubt::Unknown(what)) if !last => {
                    return Err(Failure::Passing(format!(
                        "{partition}: what its commit remembers cannot be checked: {what}"
                    )));
                }
                Err(doubt) => ignored(&partition, &doubt),
            }
        }
        Ok(())
    }

    /// The logs' ends, as far as their leaders tell them: one that does not answer keeps only its own partitions from theirs.
    fn ends_by_leader(&self, partitions: &[TopicPartition]) -> Positions {
        let mut led: HashMap<i32, Vec<TopicPartition>> = HashMap::new();
        for topic in topics(partitions.iter()) {
            let Ok(metadata) = self.consumer.fetch_metadata(Some(&topic), TRY) else { continue };
            for each in metadata.topics().iter().flat_map(MetadataTopic::partitions).filter(|each| each.leader() >= 0) {
                let partition = TopicPartition::new(Arc::clone(&topic), each.id());
                if partitions.contains(&partition) {
                    led.entry(each.leader()).or_default().push(partition);
                }
            }
        }
        led.values().filter_map(|partitions| self.edges_at(partitions, ListOffset::End).ok()).flatten().collect()
    }
}

/// What is known of the logs, to check memories against.
struct Known<'a> {
    cluster: Option<&'a str>,
    topics: Option<HashMap<Arc<str>, DescribedTopic>>,
    ends: Positions,
}

/// Why a memory is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Doubt {
    /// It does not fit.
    #[error("{0}")]
    Mismatch(Mismatch),
    /// Nobody can say whether it fits: that may pass.
    #[error("{0}")]
    Unknown(&'static str),
}

impl Known<'_> {
    /// The records that the memory names as finished, if it fits a start at `base`.
    fn check(&self, partition: &TopicPartition, memory: Memory, base: NextOffset) -> Result<Vec<FinishedRange>, Doubt> {
        let cluster = self.cluster.ok_or(Doubt::Unknown("the cluster's id is not known"))?;
        if self.topics.is_none() && memory.names_topic_id() {
            return Err(Doubt::Unknown("the topic's id is not known, which the commit names"));
        }
        let end = *self.ends.get(partition).ok_or(Doubt::Unknown("the log's end is not known"))?;
        let id = self.topics.as_ref().and_then(|topics| topics.get(&partition.topic)).map(|topic| topic.id.bytes());
        let log = |id| LogIdentity::of(cluster, &partition.topic, id, partition.partition.0);
        memory.check(base, log(id), log(None), end).map_err(Doubt::Mismatch)
    }
}

fn ignored(partition: &TopicPartition, why: &dyn std::fmt::Display) {
    warn!(
        topic = %partition.topic, partition = partition.partition.0, %why,
        "what the commit remembers is ignored: finished records above the committed offset run again"
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::consume::topic_id::TopicId;
    use crate::ids::Offset;
    use crate::offsets::memory::{Packing, encode};

    const RUN: FinishedRange = FinishedRange { first: Offset(20), last: Offset(29) };

    fn partition() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    fn memory(id: Option<TopicId>) -> Memory {
        let log = LogIdentity::of("c", "t", id.map(TopicId::bytes), 0);
        decode(encode(NextOffset(10), [RUN].into_iter(), log, Packing::Dense, 4095).unwrap().as_bytes()).unwrap()
    }

    fn known() -> Known<'static> {
        let topic = DescribedTopic { id: TopicId::default(), partitions: 1 };
        let topics = Some(HashMap::from([(Arc::from("t"), topic)]));
        Known { cluster: Some("c"), topics, ends: Positions::from([(partition(), NextOffset(100))]) }
    }

    #[test]
    fn a_memory_that_fits_is_believed_and_one_that_does_not_is_a_mismatch() {
        for id in [None, Some(TopicId::default())] {
            assert_eq!(known().check(&partition(), memory(id), NextOffset(10)), Ok(vec![RUN]));
        }
        let elsewhere = Known { cluster: Some("d"), ..known() };
        let found = elsewhere.check(&partition(), memory(None), NextOffset(10));
        assert_eq!(found, Err(Doubt::Mismatch(Mismatch::Log)));
    }

    #[test]
    fn what_cannot_be_checked_is_no_mismatch() {
        let unknown = |known: Known<'_>, id| {
            matches!(known.check(&partition(), memory(id), NextOffset(10)), Err(Doubt::Unknown(_)))
        };
        assert!(unknown(Known { cluster: None, ..known() }, None));
        assert!(unknown(Known { ends: Positions::new(), ..known() }, None));
        assert!(unknown(Known { topics: None, ..known() }, Some(TopicId::default())));
        assert!(!unknown(Known { topics: None, ..known() }, None), "it names no id");
    }
}
