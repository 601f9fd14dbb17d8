//! Where an epoch begins.

use crate::ids::{NextOffset, TopicPartition};
use crate::offsets::remembered::Remembered;

/// Where one partition starts, and what is known of the records from there on.
#[derive(Debug, Clone)]
pub(crate) struct StartPosition {
    pub(crate) partition: TopicPartition,
    pub(crate) position: NextOffset,
    /// What the group has committed.
    pub(crate) committed: Option<NextOffset>,
    /// Finished by an earlier owner: not handled again.
    pub(crate) remembered: Remembered,
}

impl StartPosition {
    /// A start with nothing committed and nothing remembered.
    pub(crate) fn at(partition: TopicPartition, position: NextOffset) -> Self {
        Self { partition, position, committed: None, remembered: Remembered::default() }
    }

    /// Starts elsewhere. What is remembered was found from the position before: it holds there only.
    pub(crate) fn move_to(&mut self, position: NextOffset) {
        if position != self.position {
            self.position = position;
            self.remembered = Remembered::default();
        }
    }
}
