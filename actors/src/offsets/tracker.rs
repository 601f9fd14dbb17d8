//! The offset tracker: gathers per-partition progress, and has committed exactly what is processed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};
use rdkafka::error::RDKafkaErrorCode;
use tracing::{debug, error, warn};

use crate::consume::command::{Commit, CommitEntry, PollerCommand, PollerPort};
use crate::consume::control::ControlCell;
use crate::consume::error::{CommitFailure, ConsumerError, commit_failure};
use crate::consume::state::{Board, Counters};
use crate::consume::supervisor::{ConsumerSupervisor, EngineFailed};
use crate::ids::{Epoch, NextOffset};
use crate::invariants::At;
use crate::offsets::{OffsetLedger, TileProgress};

/// How long commits are held after an answer that puts the member's place in the group in question, unless a rebalance ends it sooner:
/// the default heartbeat interval.
const HOLD: Duration = Duration::from_secs(3);

/// Owns one [`OffsetLedger`] per assigned partition, and builds every commit from one snapshot of them.
///
/// It commits at most once per interval, changed partitions only, one commit in flight; and once more, awaited, when a drain ends.
pub(crate) struct OffsetTracker {
    poller: PollerPort,
    supervisor: Addr<ConsumerSupervisor>,
    board: Arc<Board>,
    interval: Duration,
    epochs: Vec<Option<TrackedEpoch>>,
    drains: Vec<Drain>,
    last_id: u64,
    in_flight: Option<u64>,
    held_until: Option<Instant>,
    ticked: Instant,
}

struct TrackedEpoch {
    cell: Arc<ControlCell>,
    ledger: OffsetLedger,
    /// What the group has, as far as this member knows: the resolved offset, then each confirmed commit's.
    committed: Option<NextOffset>,
    /// The last of this epoch's own commits, or its start.
    confirmed: NextOffset,
    drained: bool,
    /// Nothing reported from here on counts.
    closed: bool,
}

impl TrackedEpoch {
    /// What there is to commit.
    fn due(&self) -> Option<NextOffset> {
        let watermark = self.ledger.watermark();
        (watermark > self.committed.unwrap_or(self.cell.start)).then_some(watermark)
    }
}

/// Partitions being given up together.
struct Drain {
    id: u64,
    stays: Vec<(usize, Epoch)>,
    waiting: BTreeSet<usize>,
}

/// A partition's epoch begins.
pub(crate) struct EpochStarted(pub(crate) Arc<ControlCell>);
/// Which records of a chunk are finished.
pub(crate) struct ChunkProgress {
    pub(crate) slot: usize,
    pub(crate) epoch: Epoch,
    pub(crate) progress: TileProgress,
}
/// A worker's last word.
pub(crate) struct EpochDrained {
    pub(crate) slot: usize,
    pub(crate) epoch: Epoch,
}
/// Say when these are drained: slot, epoch, and whether its worker ever started.
pub(crate) struct BeginDrain {
    pub(crate) id: u64,
    pub(crate) stays: Vec<(usize, Epoch, bool)>,
}
/// Wait no longer.
pub(crate) struct DrainDeadline {
    pub(crate) id: u64,
}
/// These epochs are over: unassigned after their drain, or lost.
pub(crate) struct EpochsEnded(pub(crate) Vec<(usize, Epoch)>);
/// Close this epoch's ledger and say where it stands: its worker died.
pub(crate) struct CloseLedger {
    pub(crate) slot: usize,
    pub(crate) epoch: Epoch,
}
/// What became of a commit.
pub(crate) struct CommitAnswered {
    pub(crate) id: u64,
    pub(crate) results: Vec<(CommitEntry, Option<RDKafkaErrorCode>)>,
}

macro_rules! plain_messages {
    ($($message:ty),*) => { $(impl Message for $message { type Result = (); })* };
}
plain_messages!(
    EpochStarted,
    ChunkProgress,
    EpochDrained,
    BeginDrain,
    DrainDeadline,
    EpochsEnded,
    CloseLedger,
    CommitAnswered
);

impl OffsetTracker {
    /// Room for reports: far more than credits allow to be under way. A full mailbox is a bug, and stops the engine.
    pub(crate) const MAILBOX: usize = 1 << 20;

    pub(crate) fn new(
        poller: PollerPort,
        supervisor: Addr<ConsumerSupervisor>,
        board: Arc<Board>,
        interval: Duration,
    ) -> Self {
        Self {
            poller,
            supervisor,
            board,
            interval,
            epochs: Vec::new(),
            drains: Vec::new(),
            last_id: 0,
            in_flight: None,
            held_until: None,
            ticked: Instant::now(),
        }
    }

    /// An epoch's ledger begins where the poller has assigned its partition.
    fn begin(&mut self, cell: Arc<ControlCell>) {
        let slot = cell.slot;
        if self.epochs.len() <= slot {
            self.epochs.resize_with(slot + 1, || None);
        }
        let (ledger, committed, confirmed) = (OffsetLedger::new(cell.start), cell.committed(), cell.start);
        self.epochs[slot] = Some(TrackedEpoch { cell, ledger, committed, confirmed, drained: false, closed: false });
        self.held_until = None;
    }

    /// The open epoch that a report speaks of, if it is still the current one.
    fn current(&mut self, slot: usize, epoch: Epoch) -> Option<&mut TrackedEpoch> {
        self.epochs.get_mut(slot)?.as_mut().filter(|tracked| tracked.cell.epoch == epoch && !tracked.closed)
    }

    /// Builds a commit of what `choose` lets through. Without a group there is nobody to commit to.
    fn build(&mut self, choose: impl Fn(&TrackedEpoch) -> bool) -> Option<Commit> {
        if !self.board.membership.commits() {
            return None;
        }
        let entries: Vec<_> = self
            .epochs
            .iter()
            .flatten()
            .filter(|tracked| choose(tracked))
            .filter_map(|tracked| {
                let cell = &tracked.cell;
                let next = tracked.due()?;
                Some(CommitEntry { slot: cell.slot, epoch: cell.epoch, partition: cell.partition.clone(), next })
            })
            .collect();
        (!entries.is_empty()).then(|| {
            self.last_id += 1;
            Commit { id: self.last_id, entries }
        })
    }

    /// Commits what is finished, at most once per interval and one commit at a time.
    fn tick(&mut self, now: Instant) {
        self.ticked = now;
        if self.in_flight.is_some() || self.held_until.is_some_and(|until| now < until) {
            return;
        }
        self.held_until = None;
        (0..self.epochs.len()).for_each(|slot| self.look_in_hand(slot));
        if let Some(commit) = self.build(|tracked| !tracked.closed) {
            self.in_flight = Some(commit.id);
            self.poller.send(PollerCommand::Commit(commit));
        }
    }

    /// Takes in what the worker has finished of the chunk in its hand.
    fn look_in_hand(&mut self, slot: usize) {
        let Some(Some(tracked)) = self.epochs.get(slot) else {
            return;
        };
        if let Some(progress) = tracked.cell.in_hand() {
            let epoch = tracked.cell.epoch;
            self.record(ChunkProgress { slot, epoch, progress });
        }
    }

    fn record(&mut self, ChunkProgress { slot, epoch, progress }: ChunkProgress) {
        let board = Arc::clone(&self.board);
        let Some(tracked) = self.current(slot, epoch) else {
            Counters::add(&board.counters.fenced_reports, 1);
            return;
        };
        if let Err(error) = tracked.ledger.record(progress) {
            let partition = tracked.cell.partition.clone();
            error!(topic = %partition.topic, partition = partition.partition.0, epoch = epoch.0, %error, "a report contradicts the ledger");
            self.fail(ConsumerError::Engine { detail: format!("{partition} epoch {epoch}: {error}") });
            return;
        }
        let at = At { partition: &tracked.cell.partition, epoch };
        let (delivered, finished) = (tracked.ledger.delivered(), tracked.ledger.finished());
        board.invariants.one_outcome(at, delivered, finished, false);
        tracked.cell.set_watermark(tracked.ledger.watermark());
    }

    /// Closes the drain's ledgers and sends their last commit. Not held back by an earlier answer: there is no later chance.
    fn end_drain(&mut self, at: usize) {
        let drain = self.drains.swap_remove(at);
        for (slot, epoch) in &drain.stays {
            if self.current(*slot, *epoch).is_some() {
                self.look_in_hand(*slot);
            }
            if let Some(tracked) = self.current(*slot, *epoch) {
                tracked.closed = true;
            }
        }
        let commit = self.build(|tracked| drain.stays.contains(&(tracked.cell.slot, tracked.cell.epoch)));
        self.poller.send(PollerCommand::DrainEnded { id: drain.id, commit });
    }

    fn on_drained(&mut self, slot: usize) {
        for drain in &mut self.drains {
            drain.waiting.remove(&slot);
        }
        while let Some(at) = self.drains.iter().position(|drain| drain.waiting.is_empty()) {
            self.end_drain(at);
        }
    }

    fn fail(&self, error: ConsumerError) {
        self.supervisor.do_send(EngineFailed(error));
    }
}

impl Actor for OffsetTracker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.interval, |tracker, _| tracker.tick(Instant::now()));
    }
}

impl Handler<EpochStarted> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, EpochStarted(cell): EpochStarted, _: &mut Context<Self>) {
        self.begin(cell);
    }
}

impl Handler<ChunkProgress> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, progress: ChunkProgress, _: &mut Context<Self>) {
        self.record(progress);
        // Timers starve behind a busy mailbox.
        let now = Instant::now();
        if now.saturating_duration_since(self.ticked) >= self.interval {
            self.tick(now);
        }
    }
}

impl Handler<EpochDrained> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, EpochDrained { slot, epoch }: EpochDrained, _: &mut Context<Self>) {
        if let Some(tracked) = self.current(slot, epoch) {
            tracked.drained = true;
            self.on_drained(slot);
        }
    }
}

impl Handler<BeginDrain> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, BeginDrain { id, stays }: BeginDrain, _: &mut Context<Self>) {
        let waiting = stays
            .iter()
            .filter(|(slot, epoch, started)| {
                *started && self.current(*slot, *epoch).is_some_and(|tracked| !tracked.drained)
            })
            .map(|(slot, ..)| *slot)
            .collect::<BTreeSet<_>>();
        let stays = stays.into_iter().map(|(slot, epoch, _)| (slot, epoch)).collect();
        let ended = waiting.is_empty();
        self.drains.push(Drain { id, stays, waiting });
        if ended {
            self.end_drain(self.drains.len() - 1);
        }
    }
}

impl Handler<DrainDeadline> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, DrainDeadline { id }: DrainDeadline, _: &mut Context<Self>) {
        if let Some(at) = self.drains.iter().position(|drain| drain.id == id) {
            self.end_drain(at);
        }
    }
}

impl Handler<EpochsEnded> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, EpochsEnded(stays): EpochsEnded, _: &mut Context<Self>) {
        for (slot, epoch) in &stays {
            if let Some(entry) = self.epochs.get_mut(*slot)
                && entry.as_ref().is_some_and(|tracked| tracked.cell.epoch == *epoch)
            {
                *entry = None;
            }
        }
        self.drains.retain(|drain| !drain.stays.iter().all(|stay| stays.contains(stay)));
        self.held_until = None;
    }
}

impl Handler<CloseLedger> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, CloseLedger { slot, epoch }: CloseLedger, _: &mut Context<Self>) {
        if self.current(slot, epoch).is_some() {
            self.look_in_hand(slot);
        }
        let Some(tracked) = self.current(slot, epoch) else {
            return;
        };
        tracked.closed = true;
        let watermark = tracked.ledger.watermark();
        self.poller.send(PollerCommand::LedgerClosed { slot, epoch, watermark });
    }
}

impl Handler<CommitAnswered> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, CommitAnswered { id, results }: CommitAnswered, _: &mut Context<Self>) {
        self.answered(id, results);
    }
}

impl OffsetTracker {
    fn answered(&mut self, id: u64, results: Vec<(CommitEntry, Option<RDKafkaErrorCode>)>) {
        if self.in_flight == Some(id) {
            self.in_flight = None;
        }
        let board = Arc::clone(&self.board);
        if results.iter().all(|(_, failed)| failed.is_none()) {
            Counters::add(&board.counters.commits, 1);
        } else {
            Counters::add(&board.counters.failed_commits, 1);
        }
        for (entry, failed) in results {
            match failed {
                None => self.on_committed(&entry, &board),
                Some(code) => self.on_refused(&entry, code),
            }
        }
    }

    fn on_committed(&mut self, entry: &CommitEntry, board: &Board) {
        let known = self.epochs.get_mut(entry.slot).and_then(Option::as_mut);
        // An answer of an old epoch says nothing of the current one, which read the committed offset for itself.
        let Some(tracked) = known.filter(|tracked| tracked.cell.epoch == entry.epoch) else {
            return;
        };
        let at = At { partition: &entry.partition, epoch: entry.epoch };
        board.invariants.commit_within_watermark(at, entry.next, tracked.ledger.watermark());
        // The group's own offset may lie above a start that a person chose: only this epoch's commits may not fall.
        board.invariants.commits_rise(at, tracked.confirmed, entry.next);
        tracked.confirmed = entry.next;
        tracked.committed = Some(entry.next);
        tracked.cell.set_committed(entry.next);
        debug!(topic = %entry.partition.topic, partition = entry.partition.partition.0, epoch = entry.epoch.0, offset = entry.next.0, "committed");
    }

    fn on_refused(&mut self, entry: &CommitEntry, code: RDKafkaErrorCode) {
        let (partition, epoch) = (&entry.partition, entry.epoch.0);
        let (topic, number, offset) = (&*partition.topic, partition.partition.0, entry.next.0);
        let detail = format!("commit of {partition} at {offset}: {code}");
        match commit_failure(code) {
            // A rebalance is under way: usual, and over soon.
            CommitFailure::Hold | CommitFailure::Superseded => {
                debug!(topic, partition = number, epoch, offset, error = %code, "a commit is held until the rebalance is over");
                self.held_until = Some(Instant::now() + HOLD);
                return;
            }
            CommitFailure::Retry => {
                warn!(topic, partition = number, epoch, offset, error = %code, "a commit failed and is sent again");
            }
            CommitFailure::Fatal => self.fail(ConsumerError::Kafka { code, detail: detail.clone() }),
        }
        if let Some(tracked) = self.current(entry.slot, entry.epoch) {
            tracked.cell.set_last_error(detail);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix::dev::channel::channel;

    use super::*;
    use crate::consume::control::Credits;
    use crate::consume::membership::Membership;
    use crate::consume::wake::Wake;
    use crate::ids::TopicPartition;
    use crate::offsets::{Finished, Tile};

    struct Stage {
        tracker: OffsetTracker,
        commands: crossbeam_channel::Receiver<PollerCommand>,
        wake: Arc<Wake>,
    }

    impl Stage {
        fn new() -> Self {
            Self::of(Membership::Group)
        }

        fn of(membership: Membership) -> Self {
            let (sender, commands) = crossbeam_channel::unbounded();
            let wake = Arc::new(Wake::new());
            let (port, board) = (PollerPort::new(sender, Arc::clone(&wake)), Arc::new(Board::new(membership)));
            // Nobody listens: what is told to the supervisor is not looked at here.
            let supervisor = Addr::new(channel(1).0);
            let tracker = OffsetTracker::new(port, supervisor, board, Duration::from_millis(100));
            Self { tracker, commands, wake }
        }

        fn begin(&mut self, epoch: u64) -> Arc<ControlCell> {
            let credits = Credits { records: 10, bytes: 1000 };
            let (partition, start) = (TopicPartition::new("t", 0), NextOffset(0));
            let wake = Arc::clone(&self.wake);
            let cell = Arc::new(ControlCell::new(partition, Epoch(epoch), 0, start, None, credits, wake));
            self.tracker.begin(Arc::clone(&cell));
            cell
        }

        fn report(&mut self, epoch: u64, to: i64) {
            let tile = Tile::new(NextOffset(0), NextOffset(to));
            let progress = TileProgress { tile, records: to as u32, offsets: None, finished: Finished::All };
            self.tracker.record(ChunkProgress { slot: 0, epoch: Epoch(epoch), progress });
        }

        /// What the next commit says of the partition.
        fn commit(&mut self) -> Option<(u64, i64)> {
            self.tracker.tick(Instant::now());
            match self.commands.try_recv() {
                Ok(PollerCommand::Commit(commit)) => Some((commit.entries[0].epoch.0, commit.entries[0].next.0)),
                _ => None,
            }
        }
    }

    #[test]
    fn a_late_report_of_an_old_epoch_changes_nothing() {
        let mut stage = Stage::new();
        stage.begin(1);
        let cell = stage.begin(2);
        stage.report(1, 7);
        assert_eq!((cell.watermark(), stage.commit()), (NextOffset(0), None));
        assert_eq!(stage.tracker.board.counters.snapshot().fenced_reports, 1);
        stage.report(2, 3);
        assert_eq!(stage.commit(), Some((2, 3)));
    }

    #[test]
    fn a_standalone_engine_follows_the_watermark_and_commits_nothing() {
        let mut stage = Stage::of(Membership::Standalone);
        let cell = stage.begin(1);
        stage.report(1, 3);
        assert_eq!((cell.watermark(), stage.commit()), (NextOffset(3), None));
    }

    #[test]
    fn a_commit_that_failed_is_built_again_with_what_was_finished_since() {
        let mut stage = Stage::new();
        stage.begin(1);
        stage.report(1, 3);
        assert_eq!(stage.commit(), Some((1, 3)));
        assert_eq!(stage.commit(), None, "one in flight at a time");
        let entry =
            CommitEntry { slot: 0, epoch: Epoch(1), partition: TopicPartition::new("t", 0), next: NextOffset(3) };
        stage.tracker.answered(1, vec![(entry, Some(RDKafkaErrorCode::RequestTimedOut))]);
        assert_eq!(stage.commit(), Some((1, 3)));
    }
}
