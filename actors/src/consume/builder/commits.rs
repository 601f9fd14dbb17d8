//! When finished work is committed, and who keeps the offsets.

use std::sync::Arc;

use super::ConsumerBuilder;
#[allow(unused_imports)]
use crate::consume::ConsumerHandle;
use crate::consume::commit::{CommitPolicy, CommitReport, CommitWhen};
use crate::consume::error::ConsumerError;
use crate::consume::handle::on_the_clock;
use crate::consume::membership::{Keeper, Membership};
use crate::consume::properties::configuration;
use crate::ids::{NextOffset, TopicPartition};

impl ConsumerBuilder {
    /// When finished work is committed. Default: every 100 ms. [`CommitWhen`] tells what a crash costs with each.
    pub fn commit_when(mut self, when: CommitWhen) -> Self {
        self.commits.when = when;
        self
    }

    /// Whether a partition waits for the answer to a commit before its next record is begun. Default: no. It has no bearing on
    /// [`CommitWhen::Manual`], where the app awaits what it asks for, or does not.
    pub fn await_commits(mut self, awaited: bool) -> Self {
        self.commits.awaited = awaited;
        self
    }

    /// Called with the answer to each commit request, on a thread of its own, one at a time; it may block, and a panic is logged. Reports of
    /// a callback that falls behind by more than 1,024 are dropped and counted. The last ones may come shortly after
    /// [`wait`](ConsumerHandle::wait) has returned.
    pub fn on_commit(mut self, callback: impl Fn(&CommitReport) + Send + Sync + 'static) -> Self {
        self.on_commit = Some(Arc::new(callback));
        self
    }

    /// How many bytes of commits the whole group writes per second, at most. Default: 1 MiB. Each member has the share of its partitions.
    /// Only metadata can weigh that much: what is finished above unfinished records. Beyond, the time between commits is stretched, as
    /// [`ConsumerState::commits`](crate::consume::ConsumerState::commits) shows.
    pub fn commit_rate(mut self, bytes_per_second: u64) -> Self {
        self.commit_rate = bytes_per_second;
        self
    }

    /// Leaves commits to librdkafka, for a group's members: every `auto.commit.interval.ms` (default 5 s) it commits what was *handed out* to workers.
    ///
    /// A crash then loses what was handed out and not finished, up to [`max_buffered_records`](Self::max_buffered_records) of each partition,
    /// and repeats what was finished since the last commit; so does a session that runs out, whose partitions are others' before the member
    /// hears of it. A stop or a rebalance loses nothing, unless the broker does not answer by the [commit deadline](Self::commit_deadline): the
    /// positions are taken back to what is finished before the last commit. Nothing finished above an unfinished record is remembered. For what
    /// may be lost, and for comparison.
    pub fn client_auto_commit(mut self) -> Self {
        self.keeper = Keeper::Client;
        self
    }

    /// The app keeps the offsets itself, with its results and in one transaction with them; the engine commits nothing. The partitions are a
    /// group's to share out, the app's to [name](Self::partitions), or all there are ([`standalone`](Self::standalone)). At each assignment
    /// `load` gives the offset of the next record to process of those partitions that the app knows; the others start by
    /// [`auto_offset_reset`](Self::auto_offset_reset).
    ///
    /// `load` is called on a thread of its own that may block, one call at a time, after the partition's earlier owner has given it up (unless
    /// that one was cut off: an app that cannot bear two writers must fence them itself, for instance by a condition on the offset that it
    /// replaces). An `Err` or a panic is logged, and the call repeated, for as long as the partitions are assigned. A call that hangs is named
    /// in the log every 10 s, and keeps neither a stop nor a rebalance: what it gives after that is dropped, though later calls wait for its
    /// end. What it costs in a crash is the app's: nothing, if
    /// results and offset are written together.
    pub fn external_offsets<F, I, E>(mut self, load: F) -> Self
    where
        F: Fn(&[TopicPartition]) -> Result<I, E> + Send + Sync + 'static,
        I: IntoIterator<Item = (TopicPartition, NextOffset)>,
        E: std::fmt::Display,
    {
        self.keeper = Keeper::App;
        self.load = Some(Arc::new(move |partitions: &[TopicPartition]| {
            load(partitions).map(|offsets| offsets.into_iter().collect()).map_err(|error| error.to_string())
        }));
        self
    }

    pub(super) fn check_commits(&mut self, membership: Membership) -> Result<(), ConsumerError> {
        match &mut self.commits.when {
            CommitWhen::Interval(interval) if interval.is_zero() => {
                return Err(configuration("the commit interval must be above 0".to_owned()));
            }
            CommitWhen::Records(0) => {
                return Err(configuration("a commit every 0 records: use 1 or more".to_owned()));
            }
            CommitWhen::Interval(interval) => *interval = on_the_clock(*interval),
            _ => {}
        }
        if self.commit_rate == 0 {
            return Err(configuration("commit_rate must be above 0".to_owned()));
        }
        if !membership.commits() && (self.commits != CommitPolicy::default() || self.on_commit.is_some()) {
            return Err(configuration(
                "commit_when, await_commits and on_commit are for commits of the engine's own: leave them out, or standalone, \
                 client_auto_commit or external_offsets"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}
