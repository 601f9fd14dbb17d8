//! The offset tracker: gathers per-partition progress, and has committed exactly what is processed.
//!
//! This file takes in what is finished and what is drained; [`rounds`] commits it, [`asked`] what the app asks for, [`listened`] what its listener
//! lets through at the end.

mod asked;
mod epoch;
mod listened;
mod messages;
mod rounds;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context, Handler};
use tracing::{error, warn};

use crate::consume::callback::Callback;
use crate::consume::command::{PollerCommand, PollerPort};
use crate::consume::commit::{CommitPolicy, CommitWhen};
use crate::consume::control::ControlCell;
use crate::consume::error::ConsumerError;
use crate::consume::listener::Offsets;
use crate::consume::state::{Board, Counters};
use crate::consume::supervisor::{ConsumerSupervisor, EngineFailed};
use crate::ids::Epoch;
use crate::offsets::budget::CommitBudget;
use asked::Waiter;
use epoch::TrackedEpoch;
pub(crate) use messages::*;

/// How often the tracker looks whether something is to be committed, at least.
const LOOK: Duration = Duration::from_millis(100);

/// What the tracker commits by.
pub(crate) struct TrackerOptions {
    pub(crate) policy: CommitPolicy,
    /// Of the whole group, per second.
    pub(crate) commit_rate: u64,
    /// The group's name: it is part of what a commit costs.
    pub(crate) group: String,
    pub(crate) callback: Option<Callback>,
    /// The app has a listener, which has its turn between a drain and its last commits.
    pub(crate) listened: bool,
}

/// Owns one [`OffsetLedger`](crate::offsets::OffsetLedger) per assigned partition, and builds every commit from one snapshot of them.
///
/// It commits when the policy says so, changed partitions only, one round of requests at a time; and once more, awaited, when a drain ends.
pub(crate) struct OffsetTracker {
    poller: PollerPort,
    supervisor: Addr<ConsumerSupervisor>,
    board: Arc<Board>,
    options: TrackerOptions,
    epochs: Vec<Option<TrackedEpoch>>,
    drains: Vec<Drain>,
    last_id: u64,
    /// The requests of the round that have not been answered.
    in_flight: BTreeSet<u64>,
    budget: CommitBudget,
    /// What the app has asked for just now.
    asking: Vec<CommitNow>,
    /// It is looked again when the last round is paid off.
    alarmed: bool,
    /// A round is wanted as soon as one may be sent.
    wanted: bool,
    held_until: Option<Instant>,
    looked: Instant,
    /// When the last round by the interval was due.
    ticked: Instant,
    waiters: Vec<Waiter>,
}

/// Partitions being given up together.
struct Drain {
    id: u64,
    stays: Vec<(usize, Epoch)>,
    waiting: BTreeSet<usize>,
    /// Over, and the listener's turn.
    sealed: bool,
}

impl OffsetTracker {
    /// Room for reports: far more than credits allow to be under way. A full mailbox is a bug, and stops the engine.
    pub(crate) const MAILBOX: usize = 1 << 20;

    pub(crate) fn new(
        poller: PollerPort,
        supervisor: Addr<ConsumerSupervisor>,
        board: Arc<Board>,
        options: TrackerOptions,
    ) -> Self {
        let now = Instant::now();
        Self {
            poller,
            supervisor,
            board,
            epochs: Vec::new(),
            drains: Vec::new(),
            last_id: 0,
            in_flight: BTreeSet::new(),
            budget: CommitBudget::new(options.commit_rate, now),
            asking: Vec::new(),
            alarmed: false,
            wanted: false,
            held_until: None,
            looked: now,
            ticked: now,
            waiters: Vec::new(),
            options,
        }
    }

    /// How often to look: often enough to keep the interval.
    fn pace(&self) -> Duration {
        match self.options.policy.when {
            CommitWhen::Interval(interval) if interval <= LOOK => interval,
            CommitWhen::Interval(interval) => {
                let looks = interval.as_nanos().div_ceil(LOOK.as_nanos());
                interval.div_f64(looks as f64)
            }
            _ => LOOK,
        }
    }

    /// An epoch's ledger begins where the poller has assigned its partition.
    fn begin(&mut self, cell: Arc<ControlCell>) {
        let slot = cell.slot;
        if self.epochs.len() <= slot {
            self.epochs.resize_with(slot + 1, || None);
        }
        self.wanted |= cell.chosen && self.options.policy.when != CommitWhen::Manual;
        let mut tracked = TrackedEpoch::new(cell);
        if let Some(old) = self.epochs[slot].take_if(|old| old.goes_on) {
            tracked.take_over(&old);
            self.wanted |= tracked.asked.is_some();
            self.move_waiters(slot, old.cell.epoch, tracked.cell.epoch);
        }
        self.epochs[slot] = Some(tracked);
        self.held_until = None;
        self.answer_waiters();
    }

    /// The open epoch that a report speaks of, if it is still the current one.
    fn current(&mut self, slot: usize, epoch: Epoch) -> Option<&mut TrackedEpoch> {
        self.epochs.get_mut(slot)?.as_mut().filter(|tracked| tracked.cell.epoch == epoch && !tracked.closed)
    }

    /// Takes in what the worker has finished of what it has in hand.
    fn look_in_hand(&mut self, slot: usize) {
        let Some(tracked) = self.epochs.get(slot).and_then(Option::as_ref).filter(|tracked| !tracked.sealed) else {
            return;
        };
        let epoch = tracked.cell.epoch;
        for progress in tracked.cell.in_hand() {
            self.record(ChunkProgress { slot, epoch, progress, commit: false });
        }
    }

    fn record(&mut self, ChunkProgress { slot, epoch, progress, commit }: ChunkProgress) {
        let board = Arc::clone(&self.board);
        let Some(tracked) = self.current(slot, epoch).filter(|tracked| !tracked.sealed) else {
            Counters::add(&board.counters.fenced_reports, 1);
            return;
        };
        if let Err(error) = tracked.take_in(epoch, progress, &board.invariants) {
            let partition = tracked.cell.partition.clone();
            error!(topic = %partition.topic, partition = partition.partition.0, epoch = epoch.0, %error, "a report contradicts the ledger");
            self.fail(ConsumerError::Engine { detail: format!("{partition} epoch {epoch}: {error}") });
            return;
        }
        self.wanted |= commit;
    }

    /// Begins the commits that the app has asked for: all that was finished by then is known.
    fn commit_asked(&mut self) {
        for asked in std::mem::take(&mut self.asking) {
            (0..self.epochs.len()).for_each(|slot| self.look_in_hand(slot));
            self.commit_now(asked, Instant::now());
        }
    }

    /// All of the drain has drained, or had its time.
    fn drained(&mut self, at: usize) {
        self.commit_asked();
        if self.options.listened {
            self.seal_drain(at);
        } else {
            self.end_drain(at, LastCommit::Made(Offsets::new()));
        }
    }

    /// Closes the drain's ledgers and sends their last commits. Not held back by an earlier answer: there is no later chance.
    fn end_drain(&mut self, at: usize, last: LastCommit) {
        let drain = self.drains.swap_remove(at);
        let only_asked = self.heed(last, &drain.stays);
        let board = Arc::clone(&self.board);
        for (slot, epoch) in &drain.stays {
            if self.current(*slot, *epoch).is_some() {
                self.look_in_hand(*slot);
            }
            if let Some(tracked) = self.current(*slot, *epoch) {
                tracked.closed = true;
                tracked.check_end(&board.invariants);
            }
        }
        let commits = self.last_commits(&drain.stays, &only_asked);
        self.poller.send(PollerCommand::DrainEnded { id: drain.id, commits });
    }

    fn on_drained(&mut self, slot: usize) {
        for drain in &mut self.drains {
            drain.waiting.remove(&slot);
        }
        while let Some(at) = self.drains.iter().position(|drain| drain.waiting.is_empty() && !drain.sealed) {
            self.drained(at);
        }
    }

    /// Looks again as soon as the last round is paid off, where that is before the next look: a worker may wait for what is due.
    fn look_when_paid_off(&mut self, ctx: &mut Context<Self>) {
        if let Some(wait) = self.budget.wait(Instant::now())
            && wait < self.pace()
            && self.wanted
            && !std::mem::replace(&mut self.alarmed, true)
        {
            ctx.run_later(wait, |tracker, _| {
                tracker.alarmed = false;
                tracker.look(Instant::now());
            });
        }
    }

    fn fail(&self, error: ConsumerError) {
        self.supervisor.do_send(EngineFailed(error));
    }
}

impl Actor for OffsetTracker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.pace(), |tracker, _| tracker.look(Instant::now()));
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

    fn handle(&mut self, progress: ChunkProgress, ctx: &mut Context<Self>) {
        self.record(progress);
        let now = Instant::now();
        // Timers starve behind a busy mailbox.
        if self.wanted || now.saturating_duration_since(self.looked) >= self.pace() {
            self.look(now);
            self.look_when_paid_off(ctx);
        }
    }
}

impl Handler<EpochDrained> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, EpochDrained { slot, epoch }: EpochDrained, _: &mut Context<Self>) {
        let board = Arc::clone(&self.board);
        if let Some(tracked) = self.current(slot, epoch) {
            tracked.drained = true;
            tracked.check_end(&board.invariants);
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
        self.drains.push(Drain { id, stays, waiting, sealed: false });
        if ended {
            self.drained(self.drains.len() - 1);
        }
    }
}

impl Handler<DrainDeadline> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, DrainDeadline { id }: DrainDeadline, _: &mut Context<Self>) {
        if let Some(at) = self.drains.iter().position(|drain| drain.id == id && !drain.sealed) {
            self.drained(at);
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
        self.drains.retain(|drain| drain.stays.is_empty() || !drain.stays.iter().all(|stay| stays.contains(stay)));
        self.held_until = None;
        self.answer_waiters();
    }
}

impl Handler<EpochReplaced> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, EpochReplaced { slot, epoch, goes_on }: EpochReplaced, _: &mut Context<Self>) {
        self.drains.retain(|drain| drain.stays.is_empty() || !drain.stays.iter().all(|stay| *stay == (slot, epoch)));
        let old = self.epochs.get_mut(slot).filter(|old| old.as_ref().is_some_and(|old| old.cell.epoch == epoch));
        match old {
            // It stays until the next one has taken over what is asked of it.
            Some(Some(old)) if goes_on => (old.closed, old.goes_on) = (true, true),
            old => {
                old.map(Option::take);
                self.tell_moved(slot, epoch);
            }
        }
    }
}

impl Handler<CloseLedger> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, CloseLedger { slot, epoch, rewound }: CloseLedger, _: &mut Context<Self>) {
        self.commit_asked();
        if self.current(slot, epoch).is_some() {
            self.look_in_hand(slot);
        }
        let board = Arc::clone(&self.board);
        let Some(tracked) = self.current(slot, epoch) else {
            return;
        };
        (tracked.closed, tracked.goes_on) = (true, !rewound);
        tracked.check_end(&board.invariants);
        let (watermark, remembered) = (tracked.ledger.watermark(), tracked.remembered());
        self.poller.send(PollerCommand::LedgerClosed { slot, epoch, watermark, remembered });
        if rewound {
            self.epochs[slot] = None;
            self.tell_moved(slot, epoch);
        }
    }
}

impl Handler<CommitAnswered> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, CommitAnswered { id, results }: CommitAnswered, ctx: &mut Context<Self>) {
        if self.board.membership.commits() {
            self.answered(id, results, Instant::now());
            self.look_when_paid_off(ctx);
        } else {
            // Where librdkafka commits, only the positions of seeks and of what is given up are committed beside it.
            for (entry, code) in results.iter().filter_map(|(entry, code)| Some((entry, (*code)?))) {
                let (topic, partition) = (&*entry.partition.topic, entry.partition.partition.0);
                warn!(topic, partition, offset = entry.next.0, error = %code, "a position was not committed: a crash forgets it");
            }
        }
    }
}

impl Handler<CommitNow> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, asked: CommitNow, ctx: &mut Context<Self>) {
        // What a worker has put down just now, it has reported before, but perhaps behind this message.
        (0..self.epochs.len()).for_each(|slot| self.look_in_hand(slot));
        self.asking.push(asked);
        ctx.address().do_send(CommitLooked);
    }
}

impl Handler<CommitLooked> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, _: CommitLooked, ctx: &mut Context<Self>) {
        self.commit_asked();
        self.look_when_paid_off(ctx);
    }
}
