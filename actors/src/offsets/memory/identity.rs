//! Which log a text speaks of.

use crc32fast::Hasher;

/// Which log a text speaks of: 32 bits of hash over cluster id, topic, topic id where it is known, and partition.
///
/// Two partitions of one topic never share a hash, as a CRC-32 tells apart whatever differs within 32 bits in a row.
/// Two other logs share one by accident once in 4 billion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogIdentity {
    pub(super) hash: u32,
    /// A reader that knows the id must not take a text that was written without it for one of another log.
    pub(super) with_id: bool,
}

impl LogIdentity {
    /// The log of `partition` in `topic`; with `topic_id`, a topic that was deleted and created again is another one.
    pub fn of(cluster: &str, topic: &str, topic_id: Option<[u8; 16]>, partition: i32) -> Self {
        let mut hasher = Hasher::new();
        for part in [cluster.as_bytes(), topic.as_bytes(), topic_id.as_ref().map_or(&[], |id| id.as_slice())] {
            // The length keeps `ab` + `c` apart from `a` + `bc`.
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(&partition.to_be_bytes());
        Self { hash: hasher.finalize(), with_id: topic_id.is_some() }
    }
}
