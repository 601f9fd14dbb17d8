//! What is read, and from where.

use super::{ConsumerBuilder, STANDALONE};
#[allow(unused_imports)]
use crate::consume::ConsumerHandle;
use crate::consume::error::ConsumerError;
use crate::consume::membership::{Keeper, Membership};
use crate::consume::poller::{OnLogRewind, OnOffsetOutOfRange};
use crate::consume::properties::{INSTANCE, configuration};
use crate::consume::resolver::AutoOffsetReset;
use crate::consume::start::StartAt;
use crate::consume::subscription::Subscription;
use crate::ids::TopicPartition;

impl ConsumerBuilder {
    /// Belongs to no group, instead of [`group_id`](Self::group_id): the consumer takes every partition of its topics, or the
    /// [`partitions`](Self::partitions) named, starts each by [`auto_offset_reset`](Self::auto_offset_reset), and commits nothing. For a
    /// reader that wants everything and leaves no trace.
    ///
    /// Order, bounds, retries and [`state`](ConsumerHandle::state) are as in a group; the watermarks there are how far it came. A partition
    /// that is added to one of its topics is noticed within 5 s, on Apache Kafka from 2.8 on, and read from its beginning. A topic that does
    /// not exist ends it with [`ConsumerError::UnknownTopic`].
    ///
    /// It has to be said, for a group that was merely forgotten must not end in work that nobody remembers.
    pub fn standalone(mut self) -> Self {
        self.standalone = true;
        self
    }

    /// The topics to read, at least one. Required, unless [`partitions`](Self::partitions) says what is read.
    ///
    /// A name that begins with `^` is a regular expression, for members of a group. Topics that begin to match it, and partitions that are
    /// added to a topic, are noticed within librdkafka's `topic.metadata.refresh.interval.ms`, here 30 s unless it is set.
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// The partitions to read, instead of [`topics`](Self::topics): these and no others, whatever else its group's consumers do (Java's
    /// `assign`). One that does not exist ends the consumer with [`ConsumerError::UnknownPartition`].
    ///
    /// With a [`group_id`](Self::group_id) each starts where that group has committed, and commits to it. [`standalone`](Self::standalone),
    /// nothing is committed.
    ///
    /// No group watches over partitions that are named: **that no two consumers of a group name the same one is up to the app.** If they do,
    /// both handle its records, and each commits over what the other has. The group must have no members that subscribe: the broker
    /// refuses the commits of others then, and the consumer stops and says so.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = TopicPartition>) -> Self {
        self.partitions = partitions.into_iter().collect();
        self
    }

    /// Where a partition starts that this consumer has for the first time. Default: [`StartAt::Committed`].
    pub fn start_at(mut self, start_at: StartAt) -> Self {
        self.start_at = start_at;
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

    /// What to do when the log no longer has what a partition was to go on with. Default: [`OnOffsetOutOfRange::Fail`].
    pub fn on_offset_out_of_range(mut self, policy: OnOffsetOutOfRange) -> Self {
        self.on_offset_out_of_range = policy;
        self
    }

    /// Who remembers how far it came.
    pub(super) fn membership(&self) -> Result<Membership, ConsumerError> {
        let by_hand = !self.partitions.is_empty();
        match (self.standalone, by_hand, self.keeper) {
            (true, _, Keeper::Client) | (false, true, Keeper::Client) => Err(configuration(
                "client_auto_commit is for a group's members: name topics and a group, or leave it out".to_owned(),
            )),
            (true, ..) => Ok(Membership::Standalone),
            (false, true, keeper) => Ok(Membership::ByHand(keeper)),
            (false, false, keeper) => Ok(Membership::Group(keeper)),
        }
    }

    /// What is read, and refuses what does not go together.
    pub(super) fn subscription(&mut self, membership: Membership) -> Result<Subscription, ConsumerError> {
        let (topics, mut partitions) = (std::mem::take(&mut self.topics), std::mem::take(&mut self.partitions));
        let subscription = match (topics.is_empty(), partitions.is_empty()) {
            (true, true) => return Err(configuration("a topic is missing".to_owned())),
            (false, false) => {
                return Err(configuration("topics and partitions both say what is read: leave one out".to_owned()));
            }
            (false, true) => Subscription::Topics(topics),
            (true, false) => {
                partitions.sort_unstable();
                partitions.dedup();
                Subscription::Partitions(partitions)
            }
        };
        if subscription.topics().iter().any(|topic| topic.is_empty() || topic.contains('\0')) {
            return Err(configuration("a topic's name is empty or holds a NUL".to_owned()));
        }
        if let Subscription::Partitions(named) = &subscription
            && let Some(wrong) = named.iter().find(|each| each.partition.0 < 0)
        {
            return Err(configuration(format!("{wrong}: partitions are numbered from 0")));
        }
        if !membership.is_member() {
            self.refuse_what_members_have(&subscription)?;
        }
        if membership == Membership::Standalone {
            if let Some(group) = self.properties.get("group.id") {
                return Err(configuration(format!(
                    "a standalone consumer has no group: leave out standalone(), or the group {group:?}"
                )));
            }
            self.properties.set("group.id", STANDALONE);
        }
        Ok(subscription)
    }

    fn refuse_what_members_have(&self, subscription: &Subscription) -> Result<(), ConsumerError> {
        if let Some(pattern) = subscription.patterns().next() {
            return Err(configuration(format!(
                "{pattern:?} is a pattern, which only a group's members subscribe to: name the topics of a standalone consumer"
            )));
        }
        match self.properties.get(INSTANCE).filter(|_| !self.standalone) {
            Some(instance) => Err(configuration(format!(
                "{INSTANCE}={instance} is for a member whose group shares partitions out: name topics and a group, or leave it out"
            ))),
            None => Ok(()),
        }
    }

    /// Where partitions start for which nobody has committed anything.
    pub(super) fn reset(&mut self, membership: Membership) -> Result<AutoOffsetReset, ConsumerError> {
        let from_property = self.properties.take_offset_reset()?;
        let reset = self.reset.or(from_property).unwrap_or_default();
        let kept = self.load.is_some() || self.start_at != StartAt::Committed;
        if membership == Membership::Standalone && reset == AutoOffsetReset::None && !kept {
            return Err(configuration(
                "auto_offset_reset is none, and without a group there is no offset to go on from: use earliest or latest".to_owned(),
            ));
        }
        if self.load.is_some() && self.start_at != StartAt::Committed {
            return Err(configuration(
                "start_at and external_offsets both say where partitions start: leave one out".to_owned(),
            ));
        }
        Ok(reset)
    }
}
