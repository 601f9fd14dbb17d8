//! Leaving the group: when a member that has stopped may close, so that the group strikes it off at once.
//!
//! A member that closes at a bad moment stays in its group as a ghost until its session ends, and the others wait for it in their next
//! rebalance. What librdkafka 2.12 does is told in docs/pitfalls.md; the moments are these:
//!
//! - a member of the new protocol before the group has answered its first heartbeat, and one of a classic group before it has a member id;
//! - one of a classic group while it joins: what it sends waits behind its own join, the farewell too;
//! - one of a classic group, cooperative, that has no partitions: no farewell is sent.
//!
//! So a stopped member waits for its first word, and in a classic group unsubscribes before it closes. That sends the farewell in the last case
//! as well, and librdkafka puts it off until a join under way is over.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::TopicPartitionList;
use tracing::debug;

use super::Poller;
use super::rebalance::{Asked, assign};
use crate::consume::command::DrainPlan;
use crate::consume::native::member_id;

/// How long a member that stops while it joins waits for the group's first word.
const FIRST_WORD: Duration = Duration::from_secs(1);
/// How often a member that has unsubscribed looks whether it has left.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long a member that has stopped may wait before it closes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leave {
    /// For the group's first word.
    first_word: Instant,
    /// For a join under way to end.
    join_over: Instant,
    unsubscribed: bool,
}

impl Leave {
    /// Of a stop that begins now: it takes what the stop leaves of its time, less what closing takes.
    pub(super) fn of(plan: DrainPlan, now: Instant) -> Self {
        let join_over = now + plan.drain + plan.listener + plan.commit;
        Self { first_word: join_over.min(now + FIRST_WORD), join_over, unsubscribed: false }
    }

    /// When to look whether it has left; nobody tells.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        self.unsubscribed.then(|| now + LOOK_AGAIN)
    }

    /// A second, shorter stop.
    pub(super) fn hurry(&mut self, plan: DrainPlan, now: Instant) {
        let sooner = Self::of(plan, now);
        self.first_word = self.first_word.min(sooner.first_word);
        self.join_over = self.join_over.min(sooner.join_over);
    }
}

impl Poller {
    /// Whether the stopped engine may close its consumer. Looked at again and again until it may.
    pub(super) fn may_leave(&mut self, now: Instant) -> bool {
        let Some(leave) = self.rebalance.leave else { return true };
        if !self.board.membership.is_member() {
            return true;
        }
        if self.options.new_protocol {
            return self.rebalance.begun || now >= leave.first_word;
        }
        // A static member does not leave: its partitions wait for it.
        if self.options.static_member.is_some() || now >= leave.join_over {
            return true;
        }
        if !leave.unsubscribed {
            if member_id(&self.consumer).is_none() && now < leave.first_word {
                return false;
            }
            self.consumer.unsubscribe();
            self.rebalance.leave = Some(Leave { unsubscribed: true, ..leave });
        }
        self.answer_while_leaving(now);
        // With its farewell a member gives up its id.
        member_id(&self.consumer).is_none()
    }

    /// A join that goes on ends only if it is answered. Nothing is taken that it gives.
    fn answer_while_leaving(&mut self, now: Instant) {
        match self.rebalance.asked {
            Some(Asked::Assign { .. }) => {
                self.rebalance.asked = None;
                if let Err(error) = assign(&self.consumer, &TopicPartitionList::new()) {
                    debug!(%error, "assigning no partitions while leaving");
                }
            }
            Some(Asked::Revoke { .. }) => self.answer_revoke(now),
            Some(Asked::Begin { .. }) | None => {}
        }
    }
}
