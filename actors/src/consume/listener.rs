//! What an app is told of its partitions' comings and goings, and what it may say to them.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[allow(unused_imports)]
use crate::consume::commit::CommitWhen;
#[allow(unused_imports)]
use crate::consume::resolver::AutoOffsetReset;
use crate::ids::{NextOffset, TopicPartition};

/// Offsets of chosen partitions: of each that of the next record to process.
pub type Offsets = Vec<(TopicPartition, NextOffset)>;

/// Why a listener could not do its work. `?` makes one of any error; `"a text".into()` too.
pub type ListenerError = Box<dyn Error + Send + Sync>;

/// Told when partitions come and go, as Java's `ConsumerRebalanceListener` is.
///
/// A rebalance takes partitions before it gives others: [`on_revoked`](Self::on_revoked) comes first. Under cooperative assignment both are
/// told only of the partitions that move. A partition that was told as assigned is later told once, as revoked or as lost; none is told as
/// gone that was not told as assigned.
///
/// The calls come one at a time and in order, on a thread of their own. They may block, and may wait for anything of the engine's: the
/// group's work and the other partitions do not wait for them, but for this, and within
/// [`listener_deadline`](crate::consume::ConsumerBuilder::listener_deadline): an assignment for `on_assigned`, a last commit for `on_revoked`.
/// (librdkafka fetches nothing of any partition while it waits for the member's answer.) What has not returned by then is gone on without.
/// An error, a panic and a deadline that is not met are logged and counted, in
/// [`listener_failures`](crate::consume::CounterState::listener_failures) and
/// [`listener_overdue`](crate::consume::CounterState::listener_overdue). A call that never returns keeps the later ones from being made; its
/// thread is left behind at the end.
///
/// A listener that holds a [`ConsumerHandle`](crate::consume::ConsumerHandle) keeps the consumer from stopping when the app drops its last one.
/// One that waits for the consumer's end in a call waits for itself, until the deadline: cancel the
/// [token](crate::consume::ConsumerHandle::cancellation_token) instead.
///
/// # Results that are buffered
/// A handler that only buffers its results finishes records before they are stored. Periodic commits then cover what a crash would lose, so
/// such an app uses [`CommitWhen::Manual`]: it commits by [`commit_offsets`](crate::consume::ConsumerHandle::commit_offsets) after each flush,
/// and in `on_revoked` flushes the rest and gives its offsets back. `examples/buffered_sqlite.rs` does.
pub trait RebalanceListener: Send + Sync + 'static {
    /// Partitions are assigned; no record of them is fetched before this has returned, or its deadline has passed. Called with an empty slice
    /// when a rebalance gives this member nothing more. (To a new member of a `group.protocol=consumer` that gets nothing librdkafka tells
    /// nothing.) One without a committed offset has its start looked up before: with [`AutoOffsetReset::None`] the consumer ends instead.
    ///
    /// Offsets given back are started at instead, for instance those of another store. They must be in the log, and may lie above or below
    /// what is committed; the next commit says what is finished from there. What the commit remembers of records finished above it (they are
    /// not run again) is kept only for a partition that starts where it would have.
    ///
    /// # Errors
    /// The partitions start where they would have. Where that is wrong, use
    /// [`external_offsets`](crate::consume::ConsumerBuilder::external_offsets), which is repeated until it succeeds.
    fn on_assigned(&self, assigned: &[AssignedPartition]) -> Result<Offsets, ListenerError> {
        let _ = assigned;
        Ok(Offsets::new())
    }

    /// Partitions are given up, to another member or at a stop: their handlers have finished, or had the drain deadline to; nothing more will
    /// count as finished, and nothing has been handed to others yet. When this has returned, the last commit is made.
    ///
    /// For a partition whose offset is given back the last commit says that, but never more than is finished; for the others what their
    /// [`CommitWhen`] says: all that is finished, or where the app commits, what it has asked for until now. Commits asked of the handle from
    /// in here are made, and may be waited for.
    ///
    /// Not called for partitions that are lost before it begins. If they are lost later, nothing is committed, as with any last commit that
    /// fails: the next owner repeats.
    ///
    /// # Errors
    /// Nothing is committed any more of these partitions but what the app has asked for by offset: what could not be stored must not count as
    /// processed, and the next owner repeats it. The same after a panic, and past the deadline. At a stop
    /// [`Stopped::drained`](crate::consume::Stopped::drained) is then false. Commits that were made before stand; and the client's own
    /// ([`client_auto_commit`](crate::consume::ConsumerBuilder::client_auto_commit)) know nothing of this.
    fn on_revoked(&self, revoked: &Revoked) -> Result<Offsets, ListenerError> {
        let _ = revoked;
        Ok(Offsets::new())
    }

    /// Partitions went to others without having been given up: the session ended, or the group went on without this member. Nothing more is
    /// committed of them, and their next owners may be at work already. Nobody waits for this call.
    fn on_lost(&self, lost: &[TopicPartition]) {
        let _ = lost;
    }
}

/// A partition that is about to start.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssignedPartition {
    /// Which.
    pub topic_partition: TopicPartition,
    /// Where it starts, unless the listener says otherwise.
    pub start: NextOffset,
    /// What the group has committed; `None` where nothing is, and for offsets that the group does not keep.
    pub committed: Option<NextOffset>,
}

/// A partition that is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevokedPartition {
    /// Which.
    pub topic_partition: TopicPartition,
    /// Every record below is finished. One at or above that a handler has begun is repeated by the next owner.
    pub finished: NextOffset,
}

/// Why partitions are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevokeReason {
    /// The group gives them to another member, or the same anew.
    Rebalance,
    /// The consumer stops.
    Stop,
}

/// Partitions that are given up together; none, when a rebalance takes nothing and says so.
#[derive(Debug)]
#[non_exhaustive]
pub struct Revoked {
    /// Which.
    pub partitions: Vec<RevokedPartition>,
    /// Why.
    pub reason: RevokeReason,
    /// The last commit waits until then, and is held back after.
    pub deadline: Instant,
    pub(crate) withdrawn: Arc<AtomicBool>,
}

impl Revoked {
    /// Whether the last commit still waits for this call: the deadline has not passed, and the partitions are not lost. To be asked last thing
    /// before what is flushed becomes final: when it is false, the next owner does all of it again.
    pub fn still_counts(&self) -> bool {
        !self.withdrawn.load(Ordering::Acquire) && Instant::now() < self.deadline
    }
}
