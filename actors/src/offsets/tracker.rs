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
use crate::invariants::Invariant;
use crate::offsets::{OffsetLedger, TileProgress};

/// Room for reports: far more than credits allow to be under way. A full mailbox is a bug, and stops the engine.
const MAILBOX: usize = 1 << 20;

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
    committed_at: Instant,
    armed: bool,
}

struct TrackedEpoch {
    cell: Arc<ControlCell>,
    ledger: OffsetLedger,
    /// What the group has, as far as this member knows: the resolved offset, then each confirmed commit's.
    committed: Option<NextOffset>,
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
            committed_at: Instant::now(),
            armed: false,
        }
    }

    /// The open epoch that a report speaks of, if it is still the current one.
    fn current(&mut self, slot: usize, epoch: Epoch) -> Option<&mut TrackedEpoch> {
        self.epochs
            .get_mut(slot)?
            .as_mut()
            .filter(|tracked| tracked.cell.epoch == epoch && !tracked.closed)
    }

    /// Builds a commit of what `choose` lets through.
    fn build(&mut self, choose: impl Fn(&TrackedEpoch) -> bool) -> Option<Commit> {
        let entries: Vec<_> = self
            .epochs
            .iter()
            .flatten()
            .filter(|tracked| choose(tracked))
            .filter_map(|tracked| {
                let cell = &tracked.cell;
                let next = tracked.due()?;
                Some(CommitEntry {
                    slot: cell.slot,
                    epoch: cell.epoch,
                    partition: cell.partition.clone(),
                    next,
                })
            })
            .collect();
        (!entries.is_empty()).then(|| {
            self.last_id += 1;
            Commit {
                id: self.last_id,
                entries,
            }
        })
    }

    /// Commits, or sees to it that a commit follows as soon as one may.
    fn commit_soon(&mut self, ctx: &mut Context<Self>) {
        if self.in_flight.is_some() || self.armed {
            return;
        }
        let now = Instant::now();
        let due = (self.committed_at + self.interval).max(self.held_until.unwrap_or(now));
        if due > now {
            self.armed = true;
            ctx.run_later(due - now, |tracker, ctx| {
                tracker.armed = false;
                tracker.commit_soon(ctx);
            });
            return;
        }
        self.held_until = None;
        if let Some(commit) = self.build(|tracked| !tracked.closed) {
            self.committed_at = now;
            self.in_flight = Some(commit.id);
            self.poller.send(PollerCommand::Commit(commit));
        }
    }

    /// Closes the drain's ledgers and sends their last commit. Not held back by an earlier answer: there is no later chance.
    fn end_drain(&mut self, at: usize) {
        let drain = self.drains.swap_remove(at);
        for (slot, epoch) in &drain.stays {
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
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<EpochStarted> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, EpochStarted(cell): EpochStarted, _: &mut Context<Self>) {
        let slot = cell.slot;
        if self.epochs.len() <= slot {
            self.epochs.resize_with(slot + 1, || None);
        }
        let (ledger, committed) = (OffsetLedger::new(cell.start), cell.committed());
        self.epochs[slot] = Some(TrackedEpoch {
            cell,
            ledger,
            committed,
            drained: false,
            closed: false,
        });
        self.held_until = None;
    }
}

impl Handler<ChunkProgress> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, message: ChunkProgress, ctx: &mut Context<Self>) {
        let ChunkProgress { slot, epoch, progress } = message;
        let Some(tracked) = self.current(slot, epoch) else {
            Counters::add(&self.board.counters.fenced_reports, 1);
            return;
        };
        if let Err(error) = tracked.ledger.record(progress) {
            let detail = format!("{} epoch {epoch}: {error}", tracked.cell.partition);
            error!(topic = %tracked.cell.partition.topic, partition = tracked.cell.partition.partition.0, epoch = epoch.0, %error,
                "a progress report contradicts the ledger");
            self.fail(ConsumerError::Engine { detail });
            return;
        }
        tracked.cell.set_watermark(tracked.ledger.watermark());
        if tracked.due().is_some() {
            self.commit_soon(ctx);
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

    fn handle(&mut self, EpochsEnded(stays): EpochsEnded, ctx: &mut Context<Self>) {
        for (slot, epoch) in &stays {
            if let Some(entry) = self.epochs.get_mut(*slot)
                && entry.as_ref().is_some_and(|tracked| tracked.cell.epoch == *epoch)
            {
                *entry = None;
            }
        }
        self.drains
            .retain(|drain| !drain.stays.iter().all(|stay| stays.contains(stay)));
        self.held_until = None;
        self.commit_soon(ctx);
    }
}

impl Handler<CloseLedger> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, CloseLedger { slot, epoch }: CloseLedger, _: &mut Context<Self>) {
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

    fn handle(&mut self, CommitAnswered { id, results }: CommitAnswered, ctx: &mut Context<Self>) {
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
        self.commit_soon(ctx);
    }
}

impl OffsetTracker {
    fn on_committed(&mut self, entry: &CommitEntry, board: &Board) {
        let known = self.epochs.get_mut(entry.slot).and_then(Option::as_mut);
        // An answer of an old epoch says nothing of the current one, which read the committed offset for itself.
        let Some(tracked) = known.filter(|tracked| tracked.cell.epoch == entry.epoch) else {
            return;
        };
        board.invariants.check(
            Invariant::CommittedWithinWatermark,
            entry.next <= tracked.ledger.watermark(),
            &entry.partition,
            entry.epoch,
            entry.next,
        );
        let went_back = tracked.committed.is_some_and(|committed| entry.next < committed);
        board.invariants.check(
            Invariant::CommitsNeverFall,
            !went_back,
            &entry.partition,
            entry.epoch,
            entry.next,
        );
        tracked.committed = Some(entry.next);
        tracked.cell.set_committed(entry.next);
        debug!(topic = %entry.partition.topic, partition = entry.partition.partition.0, epoch = entry.epoch.0, offset = entry.next.0, "committed");
    }

    fn on_refused(&mut self, entry: &CommitEntry, code: RDKafkaErrorCode) {
        let detail = format!("commit of {} at {}: {code}", entry.partition, entry.next);
        warn!(
            topic = %entry.partition.topic, partition = entry.partition.partition.0, epoch = entry.epoch.0, offset = entry.next.0,
            error = %code, "a commit failed and is not counted as done"
        );
        if let Some(tracked) = self.current(entry.slot, entry.epoch) {
            tracked.cell.set_last_error(detail.clone());
        }
        match commit_failure(code) {
            CommitFailure::Retry => {}
            CommitFailure::Hold => self.held_until = Some(Instant::now() + HOLD),
            CommitFailure::Fatal => self.fail(ConsumerError::Kafka { code, detail }),
        }
    }
}
