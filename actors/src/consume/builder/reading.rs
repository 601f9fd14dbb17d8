//! What is read, and from where.

use super::{ConsumerBuilder, STANDALONE};
#[allow(unused_imports)]
use crate::consume::ConsumerHandle;
use crate::consume::error::ConsumerError;
use crate::consume::membership::Membership;
use crate::consume::poller::OnLogRewind;
use crate::consume::properties::configuration;
use crate::consume::resolver::AutoOffsetReset;

impl ConsumerBuilder {
    /// Belongs to no group, instead of [`group_id`](Self::group_id): the consumer takes every partition of its topics, starts each by
    /// [`auto_offset_reset`](Self::auto_offset_reset), and commits nothing. For a reader that wants everything and leaves no trace.
    ///
    /// Order, bounds, retries and [`state`](ConsumerHandle::state) are as in a group; the watermarks there are how far it came. It has the
    /// partitions that the topics have when it starts: ones added later are not noticed. A topic that does not exist ends it with
    /// [`ConsumerError::UnknownTopic`].
    ///
    /// It has to be said, for a group that was merely forgotten must not end in work that nobody remembers.
    pub fn standalone(mut self) -> Self {
        self.membership = Membership::Standalone;
        self
    }

    /// The topics to subscribe to. Required: at least one. A name that begins with `^` is a regular expression, for members of a group.
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Where partitions start for which the group has committed nothing, and those of a standalone consumer. Default: [`AutoOffsetReset::Earliest`].
    pub fn auto_offset_reset(mut self, reset: AutoOffsetReset) -> Self {
        self.reset = Some(reset);
        self
    }

    /// What to do when a log goes back. Default: [`OnLogRewind::Stop`].
    pub fn on_log_rewind(mut self, policy: OnLogRewind) -> Self {
        self.on_log_rewind = policy;
        self
    }

    /// Refuses what only a group has.
    pub(super) fn be_standalone(&mut self) -> Result<(), ConsumerError> {
        if let Some(group) = self.properties.get("group.id") {
            return Err(configuration(format!(
                "a standalone consumer has no group: leave out standalone(), or the group {group:?}"
            )));
        }
        if let Some(pattern) = self.topics.iter().find(|topic| topic.starts_with('^')) {
            return Err(configuration(format!(
                "{pattern:?} is a pattern, which only a group's members subscribe to: name the topics of a standalone consumer"
            )));
        }
        self.properties.set("group.id", STANDALONE);
        Ok(())
    }
}
