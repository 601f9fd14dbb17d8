//! The listener's turn in a rebalance: an assignment is shown to it before it is made, what is given up before the last commit is built. The
//! poller never waits for it: it goes on serving, up to a deadline, after which the rebalance goes on without the answer.
//!
//! ```text
//! assigned ─▶ Resolving ─▶ Held ── answer, or deadline ─▶ assign, at what was resolved or what the listener gave
//! revoked ──▶ Draining ─▶ Telling ── answer, or deadline ─▶ Committing, or with nothing to commit but what the app asked for
//! ```

use std::time::Instant;

use rdkafka::consumer::Consumer;
use tracing::{debug, warn};

use super::Poller;
use super::rebalance::Stop;
use super::revocation::{Revocation, Stage};
use crate::consume::listener::{AssignedPartition, Offsets, RevokeReason, RevokedPartition};
use crate::consume::start::StartPosition;
use crate::consume::state::Counters;
use crate::consume::teller::{ListenerAnswer, PendingCall};
use crate::ids::{NextOffset, TopicPartition};
use crate::offsets::tracker::{EndDrain, LastCommit};

/// An assignment that is shown to the listener before it is made.
#[derive(Debug)]
pub(super) struct Held {
    call: PendingCall,
    starts: Vec<StartPosition>,
    pub(super) until: Instant,
}

impl Poller {
    /// Start positions are known: the listener sees them first, if there is one.
    pub(super) fn show_starts(&mut self, starts: Vec<StartPosition>, now: Instant) {
        let Some(teller) = &self.teller else {
            return self.begin_assigned(starts, now);
        };
        let shown = starts.iter().map(|start| AssignedPartition {
            topic_partition: start.partition.clone(),
            start: start.position,
            committed: start.committed,
        });
        let call = teller.assigned(self.rebalance.next_id(), shown.collect());
        self.rebalance.held = Some(Held { call, starts, until: now + self.options.listener_deadline });
    }

    /// The group gives this member nothing more. Nobody waits for what the listener says to that.
    pub(super) fn tell_nothing_assigned(&mut self) {
        if let Some(teller) = &self.teller {
            teller.assigned(self.rebalance.next_id(), Vec::new());
        }
    }

    /// A member of the new protocol that joins and gets nothing is told so by nobody: librdkafka 2.12 compares what it is to have with what it
    /// has, and finds them the same, and its join state stays that of a beginner. Its statistics tell that it has been there for a while.
    pub(super) fn check_idle_member(&mut self) {
        if !self.rebalance.begun && self.teller.is_some() && self.consumer.context().is_settled() {
            self.rebalance.begun = true;
            self.tell_nothing_assigned();
        }
    }

    /// A rebalance takes nothing.
    pub(super) fn tell_nothing_revoked(&mut self, now: Instant) {
        if let Some(teller) = &self.teller {
            let until = now + self.options.listener_deadline;
            teller.revoked(self.rebalance.next_id(), Vec::new(), RevokeReason::Rebalance, until);
        }
    }

    /// What the listener is being shown will not be assigned: what it says to that is dropped, and if it has been shown it, it is told so.
    /// No record was handed out, so nothing waits for it.
    pub(super) fn overtake_held(&mut self, reason: RevokeReason, now: Instant) {
        if let (Some(held), Some(teller)) = (self.rebalance.held.take(), &self.teller) {
            held.call.withdraw();
            let partitions = held
                .starts
                .into_iter()
                .map(|start| RevokedPartition { topic_partition: start.partition, finished: start.position });
            teller.revoked(
                self.rebalance.next_id(),
                partitions.collect(),
                reason,
                now + self.options.listener_deadline,
            );
        }
    }

    /// These are others' already, and what was `draining`: what the listener has not begun to be told of them it is not told any more. Gives
    /// all of it, to be told as lost once it is fenced.
    pub(super) fn withdraw_calls(
        &mut self,
        partitions: &[TopicPartition],
        draining: Option<&Revocation>,
    ) -> Vec<TopicPartition> {
        if self.teller.is_none() {
            return Vec::new();
        }
        let mut all = partitions.to_vec();
        if let Some(held) = self.rebalance.held.take() {
            held.call.withdraw();
            all.extend(held.starts.into_iter().map(|start| start.partition));
        }
        if let Some(Revocation { stage: Stage::Telling { call: Some(call), .. }, .. }) = draining {
            call.withdraw();
        }
        let stays = draining.into_iter().flat_map(|draining| &draining.stays);
        all.extend(stays.filter_map(|(slot, _)| Some(self.slots.get_mut(*slot)?.cell.partition.clone())));
        all
    }

    pub(super) fn tell_lost(&self, partitions: Vec<TopicPartition>) {
        if let Some(teller) = &self.teller {
            teller.lost(partitions);
        }
    }

    /// The partitions being given up have drained, or had their time; nothing of them counts as finished any more. Now the listener.
    pub(super) fn on_drained(&mut self, id: u64, finished: Vec<(usize, NextOffset)>, now: Instant) {
        if self.seeks.is_drain(id) {
            // The partition stays here: the listener has no part in it.
            return self.tell_tracker(EndDrain { id, last: LastCommit::Made(Offsets::new()) });
        }
        let reason = match self.rebalance.stop {
            Stop::Draining => RevokeReason::Stop,
            _ => RevokeReason::Rebalance,
        };
        let call = self.rebalance.next_id();
        let Some(revocation) = self.rebalance.revocation.as_mut().filter(|revocation| revocation.id == id) else {
            return;
        };
        let until = match &revocation.stage {
            Stage::Draining { .. } => now + revocation.listener_deadline,
            Stage::Telling { call: None, until } => *until,
            _ => return,
        };
        let partitions: Vec<_> = finished
            .into_iter()
            .filter_map(|(slot, finished)| {
                let topic_partition = self.slots.get_mut(slot)?.cell.partition.clone();
                Some(RevokedPartition { topic_partition, finished })
            })
            .collect();
        match &self.teller {
            Some(teller) if !partitions.is_empty() => {
                let call = Some(teller.revoked(call, partitions, reason, until));
                revocation.stage = Stage::Telling { call, until };
            }
            _ => self.end_telling(LastCommit::Made(Offsets::new()), now),
        }
    }

    pub(super) fn on_listener_answered(&mut self, ListenerAnswer { id, offsets }: ListenerAnswer, now: Instant) {
        if let Some(Held { mut starts, .. }) = self.rebalance.held.take_if(|held| held.call.id == id) {
            let refused = move_starts(&mut starts, offsets.unwrap_or_default());
            for (partition, offset) in refused {
                warn!(topic = %partition.topic, partition = partition.partition.0, offset = offset.0, "a start that the listener gave is left: it is below 0, or the partition was not shown");
            }
            return self.begin_assigned(starts, now);
        }
        let stage = self.rebalance.revocation.as_ref().map(|revocation| &revocation.stage);
        match (stage, offsets) {
            (Some(Stage::Telling { call: Some(call), .. }), offsets) if call.id == id => match offsets {
                Some(offsets) => self.end_telling(LastCommit::Made(offsets), now),
                None => self.hold_back(now),
            },
            (_, Some(offsets)) if !offsets.is_empty() => {
                warn!("offsets that the listener gave are dropped: nobody waits for them any more");
            }
            _ => debug!("a call of the listener returned that nobody waits for"),
        }
    }

    /// The deadline of an assignment that is held: it is made without the listener's word.
    pub(super) fn check_held(&mut self, now: Instant) {
        if let Some(held) = self.rebalance.held.take_if(|held| now >= held.until) {
            warn!(
                partitions = held.starts.len(),
                "the listener's on_assigned has not returned by its deadline: the assignment goes on without it"
            );
            Counters::add(&self.board.counters.listener_overdue, 1);
            self.begin_assigned(held.starts, now);
        }
    }

    /// The listener has not told by its deadline that it has stored what handlers finished.
    pub(super) fn cut_telling_short(&mut self, now: Instant) {
        warn!("the listener's on_revoked has not returned by its deadline: the rebalance or stop goes on without it");
        Counters::add(&self.board.counters.listener_overdue, 1);
        self.hold_back(now);
    }

    /// What could not be stored must not count as processed.
    fn hold_back(&mut self, now: Instant) {
        if self.board.membership.commits() {
            warn!("the last commit is held back: what was finished since the one before is repeated by the next owner");
            self.note_uncommitted();
        }
        self.end_telling(LastCommit::HeldBack, now);
    }

    /// Has the tracker close the ledgers, and build their last commits.
    fn end_telling(&mut self, last: LastCommit, now: Instant) {
        let Some(revocation) = &mut self.rebalance.revocation else { return };
        let until = now + revocation.commit_deadline;
        revocation.stage = Stage::Committing { commits: Vec::new(), refused: Vec::new(), until };
        let id = revocation.id;
        self.tell_tracker(EndDrain { id, last });
    }
}

/// Moves the starts to where the listener wants them; gives back what it cannot have meant.
fn move_starts(starts: &mut [StartPosition], wanted: Offsets) -> Offsets {
    let mut refused = Offsets::new();
    for (partition, offset) in wanted {
        match starts.iter_mut().find(|start| start.partition == partition) {
            Some(start) if offset.0 >= 0 => start.move_to(offset),
            _ => refused.push((partition, offset)),
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Offset;
    use crate::offsets::FinishedRange;
    use crate::offsets::remembered::Remembered;

    fn start(partition: i32) -> StartPosition {
        let start = StartPosition::at(TopicPartition::new("t", partition), NextOffset(10));
        let remembered = Remembered::new([FinishedRange { first: Offset(12), last: Offset(15) }]);
        StartPosition { committed: Some(NextOffset(10)), remembered, ..start }
    }

    #[test]
    fn a_start_that_is_moved_forgets_what_the_commit_remembers_one_that_stays_keeps_it() {
        let mut starts = [start(0), start(1), start(2)];
        let at = |partition, offset| (TopicPartition::new("t", partition), NextOffset(offset));
        assert!(move_starts(&mut starts, vec![at(0, 10), at(1, 12)]).is_empty());
        let found = starts.map(|start| (start.position.0, start.remembered.runs().len()));
        assert_eq!(found, [(10, 1), (12, 0), (10, 1)]);
    }

    #[test]
    fn a_start_below_zero_or_of_another_partition_is_given_back() {
        let mut starts = [start(0)];
        let odd = vec![(TopicPartition::new("t", 0), NextOffset(-1)), (TopicPartition::new("t", 7), NextOffset(3))];
        assert_eq!(move_starts(&mut starts, odd.clone()), odd);
        assert_eq!(starts[0].position, NextOffset(10));
    }
}
