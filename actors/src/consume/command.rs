//! What others ask of the poller, and the port through which they do.

use std::sync::Arc;
use std::time::Duration;

use actix::{Message, Recipient};
use crossbeam_channel::Sender;
use rdkafka::error::RDKafkaErrorCode;

use crate::consume::record::RecordChunk;
use crate::consume::resolver::{Identification, Places, Resolution};
use crate::consume::seek::{Partitions, Seek};
use crate::consume::teller::ListenerAnswer;
use crate::consume::wake::{Source, Wake};
use crate::ids::{Epoch, NextOffset, TopicPartition};
use crate::offsets::memory::Packing;
use crate::offsets::remembered::Remembered;

/// A chunk on its way to a partition's worker.
pub(crate) struct Deliver(pub(crate) Arc<RecordChunk>);

impl Message for Deliver {
    type Result = ();
}

/// One partition of a commit.
#[derive(Debug, Clone)]
pub(crate) struct CommitEntry {
    pub(crate) slot: usize,
    pub(crate) epoch: Epoch,
    pub(crate) partition: TopicPartition,
    pub(crate) next: NextOffset,
    /// What is finished above.
    pub(crate) metadata: Option<Metadata>,
    /// How many records the ledger counted as finished when the entry was built.
    pub(crate) finished: u64,
    /// It was sent before with more metadata.
    pub(crate) halved: bool,
    /// The app gives up the unfinished records below.
    pub(crate) past_watermark: bool,
}

/// A commit's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) packing: Packing,
    pub(crate) text: Arc<str>,
}

impl Metadata {
    /// In characters, as brokers count.
    pub(crate) fn length(&self) -> usize {
        match self.packing {
            Packing::Dense => self.text.chars().count(),
            Packing::Base64 => self.text.len(),
        }
    }
}

impl CommitEntry {
    /// An offset and nothing else.
    pub(crate) fn plain(slot: usize, epoch: Epoch, partition: TopicPartition, next: NextOffset) -> Self {
        Self { slot, epoch, partition, next, metadata: None, halved: false, finished: 0, past_watermark: false }
    }

    pub(crate) fn text(&self) -> &str {
        self.metadata.as_ref().map_or("", |metadata| &metadata.text)
    }
}

/// A commit request as the tracker builds it: from one snapshot of the ledgers.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) id: u64,
    /// What is still to be sent.
    pub(crate) entries: Vec<CommitEntry>,
    /// What has been answered. A commit is answered as a whole, once nothing of it is sent again with less metadata.
    pub(crate) answered: Vec<(CommitEntry, Option<RDKafkaErrorCode>)>,
}

impl Commit {
    pub(crate) fn new(id: u64, entries: Vec<CommitEntry>) -> Self {
        Self { id, entries, answered: Vec::new() }
    }
}

/// How long it may take to give partitions up, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DrainPlan {
    /// For handlers to finish what they hold.
    pub(crate) drain: Duration,
    /// For the listener to have stored it; nothing where there is none.
    pub(crate) listener: Duration,
    /// For the last commit's answer.
    pub(crate) commit: Duration,
}

impl DrainPlan {
    /// Shares out `deadline`: a tenth, and at most a second, stays for leaving the group; a fifth each, and at most what they have otherwise,
    /// for listener and commit.
    pub(crate) fn within(deadline: Duration, listener: Duration, commit: Duration) -> Self {
        let close = (deadline / 10).min(Duration::from_secs(1));
        let (listener, commit) = ((deadline / 5).min(listener), (deadline / 5).min(commit));
        Self { drain: deadline.saturating_sub(close + listener + commit), listener, commit }
    }
}

/// The poller does these between chunks.
pub(crate) enum PollerCommand {
    /// The worker of this epoch takes chunks.
    WorkerReady { slot: usize, epoch: Epoch, worker: Recipient<Deliver> },
    /// The worker of this epoch is no more, and nobody asked for that.
    WorkerDied { slot: usize, epoch: Epoch },
    /// Start positions of an assignment.
    Resolved(Resolution),
    /// The topics' ids, and the ends of logs that were asked for.
    Identified(Identification),
    /// Have partitions go on elsewhere in their logs.
    Seek(Seek),
    /// The places that a seek goes to.
    Found(Places),
    /// Take nothing more out of these partitions' queues, or go on taking.
    Pause { partitions: Partitions, paused: bool },
    /// Send this commit.
    Commit(Commit),
    /// Drained, or cut short, up to these positions, slot by slot: the listener's turn.
    Drained { id: u64, finished: Vec<(usize, NextOffset)> },
    /// What the listener said.
    ListenerAnswered(ListenerAnswer),
    /// A drain is over: send its last commits, if it has any.
    DrainEnded { id: u64, commits: Vec<Commit> },
    /// The watermark at which a dead worker's ledger was closed, and what was finished above.
    LedgerClosed { slot: usize, epoch: Epoch, watermark: NextOffset, remembered: Remembered },
    /// Take no more records, drain, commit, leave the group.
    Stop(DrainPlan),
}

/// Where commands for the poller go in.
#[derive(Clone)]
pub(crate) struct PollerPort {
    commands: Sender<PollerCommand>,
    wake: Arc<Wake>,
}

impl PollerPort {
    pub(crate) fn new(commands: Sender<PollerCommand>, wake: Arc<Wake>) -> Self {
        Self { commands, wake }
    }

    /// Hands the command over; one that comes after the poller's end is dropped, for there is nothing left to do it to.
    pub(crate) fn send(&self, command: PollerCommand) {
        if self.commands.send(command).is_ok() {
            self.wake.source(Source::Commands);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_leaves_time_to_commit_and_to_leave_the_group() {
        let (none, two) = (Duration::ZERO, Duration::from_secs(2));
        let plan = DrainPlan::within(Duration::from_secs(25), none, two);
        assert_eq!((plan.drain, plan.listener, plan.commit), (Duration::from_secs(22), none, two));
        let plan = DrainPlan::within(Duration::from_secs(1), none, two);
        assert_eq!((plan.drain, plan.commit), (Duration::from_millis(700), Duration::from_millis(200)));
        let plan = DrainPlan::within(Duration::from_secs(25), two, two);
        assert_eq!((plan.drain, plan.listener, plan.commit), (Duration::from_secs(20), two, two));
        let plan = DrainPlan::within(Duration::from_secs(1), two, two);
        assert_eq!((plan.drain, plan.listener), (Duration::from_millis(500), Duration::from_millis(200)));
    }
}
