//! The tracker on a stage of its own: what it is told goes in by hand, what it tells the poller is looked at.

#![allow(clippy::unwrap_used)]

mod asked;
mod chosen;
mod invariants;
mod listened;
mod rounds;

use actix::dev::channel::channel;
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::oneshot;

use super::*;
use crate::consume::command::{CommitEntry, Metadata};
use crate::consume::commit::CommitError;
use crate::consume::control::{Budget, Credits};
use crate::consume::membership::Membership;
use crate::consume::record::ChunkBuilder;
use crate::consume::start::StartPosition;
use crate::consume::state::Cluster;
use crate::consume::wake::Wake;
use crate::ids::{NextOffset, Offset, TopicPartition};
use crate::offsets::limit::ClusterLimit;
use crate::offsets::memory::{Packing, decode};
use crate::offsets::remembered::Remembered;
use crate::offsets::{Finished, FinishedRange, Tile, TileProgress};

struct Stage {
    tracker: OffsetTracker,
    commands: crossbeam_channel::Receiver<PollerCommand>,
    wake: Arc<Wake>,
    now: Instant,
}

impl Stage {
    fn new() -> Self {
        Self::of(Membership::default(), CommitWhen::default())
    }

    fn of(membership: Membership, when: CommitWhen) -> Self {
        Self::on(Board::new(membership, Budget::unbounded(Arc::new(Wake::new()))), when)
    }

    fn on(board: Board, when: CommitWhen) -> Self {
        let (sender, commands) = crossbeam_channel::unbounded();
        let wake = Arc::new(Wake::new());
        let (port, board) = (PollerPort::new(sender, Arc::clone(&wake)), Arc::new(board));
        // Nobody listens: what is told to the supervisor is not looked at here.
        let supervisor = Addr::new(channel(1).0);
        let policy = CommitPolicy { when, awaited: false };
        let options =
            TrackerOptions { policy, commit_rate: 1 << 20, group: "g".to_owned(), callback: None, listened: false };
        let tracker = OffsetTracker::new(port, supervisor, board, options);
        Self { tracker, commands, wake, now: Instant::now() }
    }

    fn begin(&mut self, epoch: u64) -> Arc<ControlCell> {
        self.begin_in(0, epoch, StartPosition::at(TopicPartition::new("t", 0), NextOffset(0)))
    }

    /// Where a person wants it; the group may be further.
    fn begin_chosen(&mut self, epoch: u64, position: i64) -> Arc<ControlCell> {
        let start = StartPosition::at(TopicPartition::new("t", 0), NextOffset(position));
        self.begin_in(0, epoch, StartPosition { chosen: true, ..start })
    }

    fn begin_in(&mut self, slot: usize, epoch: u64, start: StartPosition) -> Arc<ControlCell> {
        let credits = Credits { records: 10, bytes: 1000 };
        let budget = Budget::unbounded(Arc::clone(&self.wake));
        let cell = Arc::new(ControlCell::new(start, Epoch(epoch), slot, credits, budget));
        self.tracker.begin(Arc::clone(&cell));
        cell
    }

    fn report(&mut self, epoch: u64, to: i64) {
        self.report_in(0, epoch, 0..to);
    }

    fn report_in(&mut self, slot: usize, epoch: u64, offsets: std::ops::Range<i64>) {
        let tile = Tile::new(NextOffset(offsets.start), NextOffset(offsets.end));
        let records = (offsets.end - offsets.start) as u32;
        let progress = TileProgress { tile, records, offsets: None, finished: Finished::All };
        self.tracker.record(ChunkProgress { slot, epoch: Epoch(epoch), progress, commit: false });
    }

    /// What the poller is given to commit by now.
    fn sent(&mut self) -> Option<(u64, i64)> {
        let entries = self.sent_entries();
        entries.first().map(|entry| (entry.epoch.0, entry.next.0))
    }

    fn sent_entries(&mut self) -> Vec<CommitEntry> {
        match self.commands.try_recv() {
            Ok(PollerCommand::Commit(commit)) => commit.entries,
            _ => Vec::new(),
        }
    }

    /// What the next commit says of the partition, an interval later.
    fn commit(&mut self) -> Option<(u64, i64)> {
        self.now += Duration::from_millis(200);
        self.tracker.look(self.now);
        self.sent()
    }

    /// Answers the last commit.
    fn answer(&mut self, epoch: u64, next: i64, code: Option<RDKafkaErrorCode>) {
        let partition = TopicPartition::new("t", 0);
        let entry = CommitEntry::plain(0, Epoch(epoch), partition, NextOffset(next));
        self.answer_all(vec![(entry, code)]);
    }

    fn answer_all(&mut self, results: Vec<(CommitEntry, Option<RDKafkaErrorCode>)>) {
        let id = self.tracker.last_id;
        self.tracker.answered(id, results, self.now);
    }

    /// The only partition's drain, at whose end the listener has its turn.
    fn drain(&mut self, epoch: u64) {
        self.tracker.options.listened = true;
        let stays = vec![(0, Epoch(epoch))];
        self.tracker.drains.push(Drain { id: 7, stays, waiting: BTreeSet::new(), sealed: false });
        self.tracker.on_drained(0);
    }

    /// How far the listener is told that the partition is finished.
    fn told(&mut self) -> Option<i64> {
        match self.commands.try_recv() {
            Ok(PollerCommand::Drained { id: 7, finished }) => Some(finished[0].1.0),
            _ => None,
        }
    }

    /// What the last commit says after the listener's turn.
    fn last(&mut self, last: LastCommit) -> Option<i64> {
        self.tracker.end_drain(0, last);
        match self.commands.try_recv() {
            Ok(PollerCommand::DrainEnded { id: 7, commits }) => Some(commits.first()?.entries[0].next.0),
            _ => panic!("the drain ends"),
        }
    }

    fn given(offset: i64) -> LastCommit {
        LastCommit::Made(vec![(TopicPartition::new("t", 0), NextOffset(offset))])
    }

    fn ask(&mut self, what: Asked) -> oneshot::Receiver<Result<(), CommitError>> {
        let (answer, answered) = oneshot::channel();
        self.tracker.commit_now(CommitNow { what, answer }, self.now);
        answered
    }

    fn ask_for(&mut self, offset: i64, past_watermark: bool) -> oneshot::Receiver<Result<(), CommitError>> {
        let offsets = vec![(TopicPartition::new("t", 0), NextOffset(offset))];
        self.ask(Asked::Offsets { offsets, past_watermark })
    }
}
