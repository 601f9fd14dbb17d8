//! Giving partitions up, to a rebalance or to a stop: drain, the listener's turn, last commit, end. Every wait has a deadline.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use tracing::warn;

use super::Poller;
use super::leaving::Leave;
use super::outbox::Verdict;
use super::rebalance::{Asked, Stop};
use crate::consume::command::{Commit, CommitEntry, DrainPlan};
use crate::consume::error::UnfinishedRecord;
use crate::consume::listener::RevokeReason;
use crate::consume::state::Counters;
use crate::consume::teller::PendingCall;
use crate::ids::Epoch;
use crate::offsets::tracker::{BeginDrain, ChunkProgress, DrainDeadline, EpochsEnded};

/// The pause before a last commit that was refused is sent again.
const COMMIT_AGAIN: Duration = Duration::from_millis(50);
/// How many of a partition's unfinished records are named in the log.
const NAMED: usize = 10;
/// Above every id that the tracker gives: what the poller sends of its own is not the tracker's to wait for.
pub(super) const POLLERS_OWN: u64 = 1 << 63;

/// Partitions on their way out.
#[derive(Debug)]
pub(super) struct Revocation {
    pub(super) id: u64,
    pub(super) stays: Vec<(usize, Epoch)>,
    pub(super) stage: Stage,
    /// Not all of what was finished will be committed.
    uncommitted: bool,
    pub(super) listener_deadline: Duration,
    pub(super) commit_deadline: Duration,
}

#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// Handlers finish what they hold.
    Draining { until: Instant },
    /// The listener stores what they have finished; it is called when the tracker has said how far that is.
    Telling { call: Option<PendingCall>, until: Instant },
    /// The last commits are being built (no ids yet) or sent. Those partitions of them that were refused in a way that may pass are kept.
    Committing { commits: Vec<u64>, refused: Vec<CommitEntry>, until: Instant },
    /// The last commit was refused, for these partitions, in a way that may pass: it is sent again.
    Refused { entries: Vec<CommitEntry>, again: Instant, until: Instant },
}

impl Revocation {
    /// Whether the slot is among those that go.
    pub(super) fn holds(&self, slot: usize) -> bool {
        self.stays.iter().any(|(each, _)| *each == slot)
    }

    /// Leaves it no more time than this: a stop began, and has a deadline of its own.
    fn hurry(&mut self, drain_until: Instant, listener: Duration, commit: Duration) {
        self.listener_deadline = self.listener_deadline.min(listener);
        self.commit_deadline = self.commit_deadline.min(commit);
        let (until, latest) = match &mut self.stage {
            Stage::Draining { until } => (until, drain_until),
            Stage::Telling { until, .. } => (until, drain_until + listener),
            Stage::Committing { until, .. } | Stage::Refused { until, .. } => (until, drain_until + listener + commit),
        };
        *until = latest.min(*until);
    }

    /// When the stage has to be looked at.
    pub(super) fn next_look(&self) -> Instant {
        match &self.stage {
            Stage::Draining { until } | Stage::Telling { until, .. } | Stage::Committing { until, .. } => *until,
            Stage::Refused { again, until, .. } => *again.min(until),
        }
    }
}

impl Poller {
    /// Has handlers finish what they hold, and the tracker say when they have.
    pub(super) fn begin_drain(&mut self, stays: Vec<(usize, Epoch)>, plan: DrainPlan, now: Instant) {
        let id = self.rebalance.next_id();
        self.ask_to_finish(id, &stays);
        let stage = Stage::Draining { until: now + plan.drain };
        let DrainPlan { listener: listener_deadline, commit: commit_deadline, .. } = plan;
        self.rebalance.revocation =
            Some(Revocation { id, stays, stage, uncommitted: false, listener_deadline, commit_deadline });
    }

    /// Begins a drain: workers start nothing more, and the tracker says when all of them are through.
    pub(super) fn ask_to_finish(&mut self, id: u64, stays: &[(usize, Epoch)]) {
        let mut asked = Vec::with_capacity(stays.len());
        let mut at_rest = Vec::new();
        for (slot, epoch) in stays {
            if let Some(stay) = self.slots.get_mut(*slot) {
                stay.cell.revoke();
                // A worker that is at rest starts nothing more, and cannot say so while another handler keeps its thread. What it has
                // finished of a chunk is reported for it, before the drain: either it is seen here, or the worker has reported it itself.
                let rests = stay.cell.is_at_rest();
                let finished = if rests { stay.cell.in_hand() } else { Vec::new() };
                at_rest.extend(finished.into_iter().map(|progress| ChunkProgress {
                    slot: *slot,
                    epoch: *epoch,
                    progress,
                    commit: false,
                }));
                asked.push((*slot, *epoch, stay.worker.is_some() && !rests));
            }
        }
        at_rest.into_iter().for_each(|progress| self.tell_tracker(progress));
        self.tell_tracker(BeginDrain { id, stays: asked });
    }

    /// The tracker has closed the ledgers: their last commits go out.
    pub(super) fn on_drain_ended(&mut self, id: u64, commits: Vec<Commit>, now: Instant) {
        if !matches!(&self.rebalance.revocation, Some(revocation) if revocation.id == id) {
            return;
        }
        if self.board.membership.stores() {
            // The unassign that follows commits what is stored, and nobody hears what becomes of it: so it is committed here as well.
            commits.iter().for_each(|commit| self.store(&commit.entries));
        }
        if commits.is_empty() {
            return self.end_revocation(now);
        }
        if let Some(revocation) = &mut self.rebalance.revocation {
            let (ids, until) = (commits.iter().map(|commit| commit.id).collect(), now + revocation.commit_deadline);
            revocation.stage = Stage::Committing { commits: ids, refused: Vec::new(), until };
        }
        commits.into_iter().for_each(|commit| self.outbox.push(commit));
        self.submit_next(now);
    }

    /// A commit was answered. Were all the last ones of what is being given up, that is over, but for the partitions that were refused in a
    /// way that may pass.
    pub(super) fn on_commit_answered(&mut self, id: u64, Verdict { refused, given_up }: Verdict, now: Instant) {
        let Some(revocation) = &mut self.rebalance.revocation else {
            return;
        };
        let Stage::Committing { commits, refused: kept, until } = &mut revocation.stage else {
            return;
        };
        let Some(at) = commits.iter().position(|commit| *commit == id) else {
            return;
        };
        commits.swap_remove(at);
        kept.extend(refused);
        let over = commits.is_empty() && kept.is_empty();
        if commits.is_empty() && !kept.is_empty() {
            let entries = std::mem::take(kept);
            revocation.stage = Stage::Refused { entries, again: now + COMMIT_AGAIN, until: *until };
        }
        if given_up {
            self.note_uncommitted();
        }
        if over {
            self.end_revocation(now);
        }
    }

    /// Sends the last commit again, as it was: nothing was finished since that would count.
    fn commit_again(&mut self, now: Instant) {
        let id = POLLERS_OWN + self.rebalance.next_id();
        let Some(revocation) = &mut self.rebalance.revocation else {
            return;
        };
        if let Stage::Refused { entries, until, .. } = &mut revocation.stage {
            let (entries, until) = (std::mem::take(entries), *until);
            revocation.stage = Stage::Committing { commits: vec![id], refused: Vec::new(), until };
            self.outbox.push(Commit::new(id, entries));
            self.submit_next(now);
        }
    }

    /// Deadlines, and the loss of what is being given up.
    pub(super) fn check_rebalance(&mut self, now: Instant) {
        self.check_held(now);
        self.check_idle_member();
        if self.rebalance.revocation.is_none()
            && let Stop::Asked { drain_until, listener, commit } = self.rebalance.stop
        {
            let stays: Vec<_> = self.slots.iter().map(|(slot, stay)| (slot, stay.cell.epoch)).collect();
            self.rebalance.stop = Stop::Draining;
            let drain = drain_until.saturating_duration_since(now);
            self.begin_drain(stays, DrainPlan { drain, listener, commit }, now);
        }
        let Some(revocation) = &self.rebalance.revocation else {
            return;
        };
        let (id, commit_deadline) = (revocation.id, revocation.commit_deadline);
        if matches!(self.rebalance.asked, Some(Asked::Revoke { .. })) && self.consumer.assignment_lost() {
            warn!("the partitions being given up were lost meanwhile: nothing is committed of them");
            self.note_uncommitted();
            let draining = self.rebalance.revocation.take();
            let told = self.withdraw_calls(&[], draining.as_ref());
            let stays = draining.map(|revocation| revocation.stays).unwrap_or_default();
            Counters::add(&self.board.counters.lost, stays.len() as u64);
            self.end(&stays, false);
            self.tell_lost(told);
            self.answer_revoke(now);
            return;
        }
        match &revocation.stage {
            Stage::Draining { until } if now >= *until => {
                self.cut_drain_short(now);
                self.tell_tracker(DrainDeadline { id });
                if let Some(revocation) = &mut self.rebalance.revocation {
                    revocation.stage = match &self.teller {
                        Some(_) => Stage::Telling { call: None, until: now + revocation.listener_deadline },
                        None => {
                            Stage::Committing { commits: Vec::new(), refused: Vec::new(), until: now + commit_deadline }
                        }
                    };
                }
            }
            Stage::Telling { until, .. } if now >= *until => self.cut_telling_short(now),
            Stage::Committing { until, .. } | Stage::Refused { until, .. } if now >= *until => {
                warn!("the last commit was not answered by its deadline: what it held is repeated by the next owner");
                self.note_uncommitted();
                self.end_revocation(now);
            }
            Stage::Refused { again, .. } if now >= *again => self.commit_again(now),
            _ => {}
        }
    }

    /// What was finished since the last commit will not be committed by this member: it is counted, once for a drain, and told at a stop.
    pub(super) fn note_uncommitted(&mut self) {
        let revocation = self.rebalance.revocation.as_mut();
        if revocation.is_some_and(|revocation| std::mem::replace(&mut revocation.uncommitted, true)) {
            return;
        }
        self.committed_at_end &= !self.rebalance.is_stopping();
        Counters::add(&self.board.counters.drains_uncommitted, 1);
    }

    /// The drain deadline passed: what handlers still hold is fenced, and named.
    fn cut_drain_short(&mut self, now: Instant) {
        let stays = self.rebalance.revocation.as_ref().map(|revocation| revocation.stays.clone()).unwrap_or_default();
        Counters::add(&self.board.counters.drains_cut_short, 1);
        for (slot, _) in stays {
            self.cut_short(slot, now);
        }
    }

    pub(super) fn cut_short(&mut self, slot: usize, now: Instant) {
        let stopping = self.rebalance.is_stopping();
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let cell = &stay.cell;
        let held = if stay.worker.is_some() && !cell.is_fenced() { cell.sample_handlers(now) } else { Vec::new() };
        let (topic, partition) = (&cell.partition.topic, cell.partition.partition.0);
        for (held, named) in held.iter().zip(1..) {
            if named <= NAMED {
                warn!(
                    %topic,
                    partition,
                    epoch = cell.epoch.0,
                    offset = held.offset,
                    "unfinished at the drain deadline: its result will not count"
                );
            }
            if stopping {
                self.unfinished.push(UnfinishedRecord { topic: topic.to_string(), partition, offset: held.offset });
            }
        }
        if held.len() > NAMED {
            warn!(%topic, partition, epoch = cell.epoch.0, unfinished = held.len(), "and more of them");
        }
        cell.fence();
    }

    fn end_revocation(&mut self, now: Instant) {
        let Some(revocation) = self.rebalance.revocation.take() else {
            return;
        };
        self.end(&revocation.stays, true);
        if matches!(self.rebalance.stop, Stop::Asked { .. }) {
            // The answer would have the member join again, and the group make it wait, before it can leave: the close gives it.
        } else if matches!(self.rebalance.asked, Some(Asked::Revoke { .. })) {
            self.drain_or_answer(now);
        } else if matches!(self.rebalance.stop, Stop::Draining) {
            self.rebalance.stop = Stop::Stopped;
        }
    }

    /// Ends epochs: fenced, forgotten by the tracker, gone from the state. The partitions stay assigned until librdkafka is answered.
    pub(super) fn end(&mut self, stays: &[(usize, Epoch)], revoked: bool) {
        for (slot, epoch) in stays {
            if self.slots.in_epoch(*slot, *epoch).is_none() {
                continue;
            }
            if let Some(stay) = self.slots.take(*slot) {
                stay.cell.fence();
                self.board.partitions.remove(&stay.cell.partition);
                Counters::add(&self.board.counters.revoked, u64::from(revoked));
            }
        }
        self.tell_tracker(EpochsEnded(stays.to_vec()));
    }

    pub(super) fn on_stop(&mut self, plan: DrainPlan, now: Instant) {
        if self.rebalance.is_stopping() {
            // A second, shorter one.
            if let Some(revocation) = &mut self.rebalance.revocation {
                revocation.hurry(now + plan.drain, plan.listener, plan.commit);
            }
            if let Some(leave) = &mut self.rebalance.leave {
                leave.hurry(plan, now);
            }
            return;
        }
        self.resolver.abandon();
        self.seeks.end();
        self.overtake_held(RevokeReason::Stop, now);
        let drain_until = now + plan.drain;
        self.rebalance.leave = Some(Leave::of(plan, now));
        let DrainPlan { mut listener, mut commit, .. } = plan;
        if let Some(revocation) = &mut self.rebalance.revocation {
            // Two commits share the time of one, as do two calls of the listener. The drains run side by side: the partitions that stay end
            // their intake now.
            (listener, commit) = (listener / 2, commit / 2);
            revocation.hurry(drain_until, listener, commit);
            self.slots.iter().for_each(|(_, stay)| stay.cell.revoke());
        }
        self.rebalance.stop = Stop::Asked { drain_until, listener, commit };
        self.check_rebalance(now);
    }
}
