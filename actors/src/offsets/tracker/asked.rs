//! Commits that the app asks for, and who waits for them.

use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::oneshot;

use super::epoch::{AskedOffset, TrackedEpoch};
use super::{Asked, CommitNow, OffsetTracker};
use crate::consume::command::CommitEntry;
use crate::consume::commit::CommitError;
use crate::ids::{Epoch, NextOffset, TopicPartition};

/// Somebody waits for these to be committed.
pub(super) struct Waiter {
    goals: Vec<Goal>,
    answer: oneshot::Sender<Result<(), CommitError>>,
}

struct Goal {
    slot: usize,
    epoch: Epoch,
    partition: TopicPartition,
    next: NextOffset,
}

impl Goal {
    fn of(tracked: &TrackedEpoch, next: NextOffset) -> Self {
        let (slot, epoch, partition) = (tracked.cell.slot, tracked.cell.epoch, tracked.cell.partition.clone());
        Self { slot, epoch, partition, next }
    }
}

impl Waiter {
    /// Tells it, if there is something to tell; gives it back if it has to wait, and somebody waits for it.
    fn answered(mut self, epochs: &[Option<TrackedEpoch>]) -> Option<Self> {
        let mut lost = None;
        self.goals.retain(|goal| {
            let tracked = epochs.get(goal.slot).and_then(Option::as_ref);
            let Some(tracked) = tracked.filter(|tracked| tracked.cell.epoch == goal.epoch) else {
                lost.get_or_insert_with(|| (goal.partition.clone(), goal.next));
                return false;
            };
            tracked.committed.is_none_or(|committed| committed < goal.next)
        });
        let answer = match lost {
            Some((partition, offset)) => Err(CommitError::NotAssigned { partition, offset }),
            None if self.goals.is_empty() => Ok(()),
            None => return (!self.answer.is_closed()).then_some(self),
        };
        let _ = self.answer.send(answer);
        None
    }
}

impl OffsetTracker {
    pub(super) fn commit_now(&mut self, CommitNow { what, answer }: CommitNow, now: Instant) {
        if !self.board.membership.commits() {
            let _ = answer.send(Err(CommitError::NotKept));
            return;
        }
        let goals = match what {
            Asked::Finished => Ok(self.ask_for_all()),
            Asked::Offsets { offsets, past_watermark } => self.ask_for(offsets, past_watermark),
        };
        match goals {
            Ok(goals) => {
                self.wanted = true;
                let waiter = Waiter { goals, answer };
                self.waiters.extend(waiter.answered(&self.epochs));
                self.look(now);
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Notes what is finished now, partition by partition: what is finished from here on was not asked for.
    fn ask_for_all(&mut self) -> Vec<Goal> {
        // Those being given up are waited for too: their last commits are on their way, or hold nothing.
        let due = self.epochs.iter_mut().flatten().filter(|tracked| tracked.is_due());
        due.map(|tracked| {
            let next = tracked.ledger.watermark();
            tracked.ask(AskedOffset { next, past_watermark: false, remember: true });
            Goal::of(tracked, next)
        })
        .collect()
    }

    /// Notes the offsets asked for, all or none.
    fn ask_for(
        &mut self,
        offsets: Vec<(TopicPartition, NextOffset)>,
        past_watermark: bool,
    ) -> Result<Vec<Goal>, CommitError> {
        let mut goals = Vec::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            let open = self.epochs.iter().flatten().filter(|tracked| !tracked.closed || tracked.goes_on);
            let Some(tracked) = open.into_iter().find(|tracked| tracked.cell.partition == partition) else {
                return Err(CommitError::NotAssigned { partition, offset });
            };
            let (watermark, committed) = (tracked.ledger.watermark(), tracked.confirmed);
            if offset > watermark && !past_watermark {
                return Err(CommitError::PastWatermark { partition, offset, watermark });
            }
            if offset < committed {
                return Err(CommitError::BelowCommitted { partition, offset, committed });
            }
            goals.push(Goal::of(tracked, offset));
        }
        for goal in &goals {
            let tracked = self.epochs.get_mut(goal.slot).and_then(Option::as_mut);
            if let Some(tracked) = tracked.filter(|tracked| tracked.cell.epoch == goal.epoch)
                && tracked.committed.is_none_or(|committed| committed < goal.next)
            {
                tracked.ask(AskedOffset { next: goal.next, past_watermark, remember: false });
            }
        }
        Ok(goals)
    }

    /// Tells those whose commits are stored, or whose partitions are another's.
    pub(super) fn answer_waiters(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        self.waiters = waiters.into_iter().filter_map(|waiter| waiter.answered(&self.epochs)).collect();
    }

    /// A partition goes on in another epoch: who waits for its commit waits for that one's.
    pub(super) fn move_waiters(&mut self, slot: usize, from: Epoch, to: Epoch) {
        let goals = self.waiters.iter_mut().flat_map(|waiter| &mut waiter.goals);
        goals.filter(|goal| (goal.slot, goal.epoch) == (slot, from)).for_each(|goal| goal.epoch = to);
    }

    /// Tells those who wait for a commit of an epoch that was replaced elsewhere.
    pub(super) fn tell_moved(&mut self, slot: usize, epoch: Epoch) {
        let goal = |waiter: &Waiter| {
            let goal = waiter.goals.iter().find(|goal| goal.slot == slot && goal.epoch == epoch)?;
            Some((goal.partition.clone(), goal.next))
        };
        for waiter in self.waiters.extract_if(.., |waiter| goal(waiter).is_some()) {
            if let Some((partition, offset)) = goal(&waiter) {
                let _ = waiter.answer.send(Err(CommitError::Moved { partition, offset }));
            }
        }
    }

    /// Tells those who wait for a commit that will never be made.
    pub(super) fn refuse_waiters(&mut self, entry: &CommitEntry, code: RDKafkaErrorCode) {
        let concerned =
            |waiter: &mut Waiter| waiter.goals.iter().any(|goal| goal.slot == entry.slot && goal.epoch == entry.epoch);
        for waiter in self.waiters.extract_if(.., concerned) {
            let (partition, offset) = (entry.partition.clone(), entry.next);
            let _ = waiter.answer.send(Err(CommitError::Refused { partition, offset, code }));
        }
    }
}
