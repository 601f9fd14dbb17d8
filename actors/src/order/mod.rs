//! How much of a partition runs at once: its pump, the long-lived future that feeds records to the handler.
//!
//! [`partition`] runs one record at a time, [`crew`] several, [`batch`] several at a time, by a [`schedule`]: by key, where [`lanes`] say which may start,
//! or in no order.

pub(crate) mod attempt;
pub(crate) mod batch;
pub(crate) mod commits;
pub(crate) mod crew;
mod due;
pub(crate) mod failure;
mod forming;
pub(crate) mod lanes;
mod letters;
pub(crate) mod limiter;
pub(crate) mod pace;
pub(crate) mod partition;
pub(crate) mod pull;
pub(crate) mod pump;
mod schedule;
mod slots;
#[cfg(test)]
mod tests;
mod turn;

use std::fmt;

use serde::{Deserialize, Serialize};

/// In which order the records of a partition are handled, and with that how many at once.
///
/// It holds across retries and, within one process, across epochs. A later owner of a partition may start again from the committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// One at a time, in the order of their offsets. A record that fails holds its partition back.
    #[default]
    Partition,
    /// Of each key one at a time, in the order of their offsets; keys beside each other. A record that fails holds its key back. Keys are told
    /// apart by all of their bytes. A record without key (null) is independent of all others; the empty key is a key.
    ///
    /// The records that wait for a key count against the bounds of their partition: one key that is slow for long fills them in the end, and
    /// then its partition's other keys wait too. Other partitions do not.
    Key,
    /// None: all beside each other.
    Unordered,
}

/// As settings have it: `partition`, `key` or `unordered`.
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
