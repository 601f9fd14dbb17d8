//! The rebalance protocol: what the group asks, and how it is answered.
//!
//! librdkafka's callback only notes what is asked and returns. The poller goes on serving queues, commands and commits until it can answer;
//! librdkafka fetches nothing meanwhile, of no partition, so every wait has a deadline, and every path ends in an assign or unassign.
//!
//! ```text
//! assigned ─▶ Resolving ── positions known ─▶ assign, epochs begin
//! revoked ──▶ Draining ── drained, or drain deadline ─▶ Committing ── answer, or commit deadline ─▶ unassign, epochs end
//! lost ─────▶ fence, unassign, epochs end; nothing is committed
//! ```
//!
//! Where the app has a listener, it has its turn before the assign and before the last commit: see [`telling`](super::telling).

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use tracing::{debug, info, warn};

use super::leaving::Leave;
use super::revocation::Revocation;
use super::telling::Held;
use super::{Poller, kafka_error};
use crate::consume::command::DrainPlan;
use crate::consume::context::{PollerContext, RebalanceEvent};
use crate::consume::error::ConsumerError;
use crate::consume::listener::RevokeReason;
use crate::consume::native::PartitionQueue;

use crate::consume::resolver::{Resolution, Sought};
use crate::consume::start::StartPosition;
use crate::consume::state::Counters;
use crate::ids::{Epoch, Offset, TopicPartition};
use crate::offsets::tracker::EpochsEnded;

/// Where the protocol stands.
#[derive(Debug, Default)]
pub(crate) struct Rebalance {
    last_id: u64,
    /// What waits for an answer: librdkafka, but for [`Asked::Begin`].
    pub(super) asked: Option<Asked>,
    /// The group has given or taken something, or nothing.
    pub(super) begun: bool,
    /// A stop has begun.
    pub(super) leave: Option<Leave>,
    /// The assignment that the listener is being shown.
    pub(super) held: Option<Held>,
    /// Partitions being given up, to a rebalance or to a stop.
    pub(super) revocation: Option<Revocation>,
    pub(super) stop: Stop,
}

/// What has not been answered yet: a rebalance event, or how an engine begins that no group assigns anything.
#[derive(Debug)]
pub(super) enum Asked {
    /// An engine begins that no group assigns anything: its partitions are being looked up. Nobody waits for an answer.
    Begin {
        id: u64,
    },
    /// Start positions are being looked up.
    Assign {
        id: u64,
        partitions: Vec<TopicPartition>,
        since: Instant,
    },
    Revoke {
        partitions: Vec<TopicPartition>,
        since: Instant,
    },
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Stop {
    #[default]
    No,
    /// Asked for, once the revocation under way is over. Nothing is taken in any more.
    Asked {
        drain_until: Instant,
        listener: Duration,
        commit: Duration,
    },
    Draining,
    Stopped,
}

impl Rebalance {
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.stop, Stop::Stopped)
    }

    /// Whether the engine stops, or has stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        !matches!(self.stop, Stop::No)
    }

    /// Whether librdkafka waits for an answer.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether the slot is being given up.
    pub(crate) fn is_draining(&self, slot: usize) -> bool {
        self.revocation.as_ref().is_some_and(|revocation| revocation.holds(slot))
    }

    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Duration> {
        let next = match (&self.revocation, &self.held) {
            (Some(revocation), _) => revocation.next_look(),
            // A revocation has just ended, and the stop that waited for it begins.
            (None, _) if matches!(self.stop, Stop::Asked { .. }) => now,
            (None, Some(held)) => held.until,
            (None, None) => self.leave.as_ref()?.next_look(now)?,
        };
        Some(next.saturating_duration_since(now))
    }

    /// Closing a consumer that still waits for an answer hangs for ever: answer it.
    pub(crate) fn answer_before_close(self, consumer: &BaseConsumer<PollerContext>) {
        let answered = match &self.asked {
            None | Some(Asked::Begin { .. }) => return,
            // Undone by the unassign that closing asks for.
            Some(Asked::Assign { partitions, .. }) => assign(consumer, &list(partitions, |_| ListOffset::Invalid)),
            Some(Asked::Revoke { partitions, .. }) => unassign(consumer, &list(partitions, |_| ListOffset::Invalid)),
        };
        debug!(?answered, "answered the rebalance that was under way at the stop");
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

fn list(partitions: &[TopicPartition], offset: impl Fn(&TopicPartition) -> ListOffset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for each in partitions {
        // Only an offset that is no offset is refused.
        let _ = list.add_partition_offset(&each.topic, each.partition.0, offset(each));
    }
    list
}

pub(super) fn assign(consumer: &BaseConsumer<PollerContext>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        _ => consumer.assign(list),
    }
}

fn unassign(consumer: &BaseConsumer<PollerContext>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        _ => consumer.unassign(),
    }
}

impl Poller {
    pub(super) fn on_rebalance(&mut self, event: RebalanceEvent, now: Instant) {
        self.rebalance.begun = true;
        match event {
            RebalanceEvent::Assigned(partitions) => self.on_assigned(partitions, now),
            RebalanceEvent::Revoked { partitions, lost } => self.on_revoked(partitions, lost, now),
            RebalanceEvent::Failed(code) => {
                // librdkafka's rule: whatever the event, answer it.
                warn!(error = %code, "a rebalance failed");
                self.on_revoked(self.slots.iter().map(|(_, stay)| stay.cell.partition.clone()).collect(), true, now);
            }
        }
    }

    /// An engine whose partitions no group shares out assigns itself what it was told to read, through the same look-up as a group's
    /// assignment.
    pub(super) fn begin_by_hand(&mut self) {
        let id = self.rebalance.next_id();
        self.resolver.request(id, Sought::Subscribed(self.options.subscription.clone()));
        self.rebalance.asked = Some(Asked::Begin { id });
    }

    fn on_assigned(&mut self, partitions: Vec<TopicPartition>, now: Instant) {
        info!(partitions = partitions.len(), "assigned");
        let id = self.rebalance.next_id();
        if partitions.is_empty() {
            if let Err(error) = assign(&self.consumer, &TopicPartitionList::new()) {
                self.fail(kafka_error(&error, "assigning no partitions".to_owned()));
            }
            // No epoch begins or ends that would tell the tracker: what it holds until the rebalance is over may go.
            self.tell_tracker(EpochsEnded(Vec::new()));
            self.tell_nothing_assigned();
            return;
        }
        if matches!(self.rebalance.stop, Stop::No) {
            let again = partitions.iter().filter(|each| self.slots.had(each)).cloned().collect();
            self.resolver.request(id, Sought::Assigned { partitions: partitions.clone(), again });
        }
        self.rebalance.asked = Some(Asked::Assign { id, partitions, since: now });
    }

    /// Start positions are known: assign with exactly these, and begin the epochs with the same.
    pub(super) fn on_resolved(&mut self, resolution: Resolution, now: Instant) {
        let wanted = match &self.rebalance.asked {
            Some(Asked::Assign { id, .. } | Asked::Begin { id }) => *id == resolution.id,
            _ => false,
        };
        if !wanted || !matches!(self.rebalance.stop, Stop::No) {
            debug!("start positions of an assignment that is no longer wanted are dropped");
            return;
        }
        match resolution.starts {
            Ok(starts) => self.show_starts(starts, now),
            Err(error) => self.fail(error),
        }
    }

    pub(super) fn begin_assigned(&mut self, starts: Vec<StartPosition>, now: Instant) {
        if self.assign(starts)
            && let Some(Asked::Assign { since, .. }) = self.rebalance.asked.take()
        {
            self.stalled(since, now);
        }
    }

    /// False when the engine fails instead: librdkafka is still to be answered then, at the close.
    pub(super) fn assign(&mut self, starts: Vec<StartPosition>) -> bool {
        // Each queue is split before the assign: no record can reach the main queue.
        let mut queues = Vec::with_capacity(starts.len());
        for start in &starts {
            let slot = self.slots.number(&start.partition);
            let queue = slot.and_then(|slot| PartitionQueue::split(&self.consumer, &start.partition, &self.wake, slot));
            let (Some(slot), Some(queue)) = (slot, queue) else {
                let detail =
                    format!("no room for {}: an engine holds 65,536 partitions over its life", start.partition);
                self.fail(ConsumerError::Engine { detail });
                return false;
            };
            if let Some(expected) = self.slots.gone_back(slot, start.committed)
                && self.report_rewind(&start.partition, expected, Offset(start.position.0))
            {
                return false;
            }
            queues.push((slot, queue));
        }
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for start in &starts {
            let (topic, partition) = (&start.partition.topic, start.partition.partition.0);
            let _ = list.add_partition_offset(topic, partition, ListOffset::Offset(start.position.0));
        }
        let assigned = match self.board.membership.is_member() {
            true => assign(&self.consumer, &list),
            // Beside those that it has: partitions may be added later.
            false => self.consumer.incremental_assign(&list),
        };
        if let Err(error) = assigned {
            self.fail(kafka_error(&error, format!("assigning {} partitions", starts.len())));
            return false;
        }
        Counters::add(&self.board.counters.assigned, starts.len() as u64);
        for (start, (slot, queue)) in starts.into_iter().zip(queues) {
            self.admit(start, slot, queue);
        }
        self.warn_of_memory();
        true
    }

    /// The most that records can take, now that the assignment is known.
    fn warn_of_memory(&self) {
        let partitions = self.slots.iter().count() as u64;
        let memory = &self.options.memory;
        let (most, budget) = (memory.worst_case(partitions), memory.budget);
        if most > budget {
            warn!(
                partitions,
                worst_case_mib = most >> 20,
                budget_mib = budget >> 20,
                enough_for = memory.partitions_within_budget(),
                "the assignment can buffer more than the memory budget: raise memory_budget, or lower queued.max.messages.kbytes, \
                 queued.min.messages or the buffers' bounds"
            );
        } else {
            info!(partitions, worst_case_mib = most >> 20, "buffered records are bounded");
        }
    }

    fn on_revoked(&mut self, partitions: Vec<TopicPartition>, lost: bool, now: Instant) {
        info!(partitions = partitions.len(), lost, "revoked");
        if let Some(Asked::Assign { .. }) = self.rebalance.asked.take() {
            // Revoked before it was answered: those partitions were never assigned here.
            self.resolver.abandon();
            if !lost {
                self.overtake_held(RevokeReason::Rebalance, now);
            }
        }
        if partitions.is_empty() && !lost {
            self.tell_nothing_revoked(now);
        }
        let stays = self.stays_of(&partitions);
        self.give_up_seeks(&stays);
        if lost {
            // Also what was draining, or stopping: it is others' already.
            if self.rebalance.revocation.is_some() {
                self.note_uncommitted();
            }
            let draining = self.rebalance.revocation.take();
            let told = self.withdraw_calls(&partitions, draining.as_ref());
            if let Some(draining) = draining {
                self.end(&draining.stays, false);
            }
            Counters::add(&self.board.counters.lost, stays.len() as u64);
            self.end(&stays, false);
            self.tell_lost(told);
        }
        self.rebalance.asked = Some(Asked::Revoke { partitions, since: now });
        // A second signal while the first drains, or during a stop, waits for that drain.
        if self.rebalance.revocation.is_none() {
            self.drain_or_answer(now);
        }
    }

    /// Drains what is still held of the revoke that librdkafka waits on; when nothing is, answers it.
    pub(super) fn drain_or_answer(&mut self, now: Instant) {
        let Some(Asked::Revoke { partitions, .. }) = &self.rebalance.asked else {
            return;
        };
        let stays = self.stays_of(partitions);
        if stays.is_empty() {
            self.answer_revoke(now);
        } else {
            let options = &self.options;
            let (drain, listener) = (options.drain_deadline, options.listener_deadline);
            self.begin_drain(stays, DrainPlan { drain, listener, commit: options.commit_deadline }, now);
        }
    }

    pub(super) fn stays_of(&self, partitions: &[TopicPartition]) -> Vec<(usize, Epoch)> {
        let slots: Vec<_> = partitions.iter().filter_map(|partition| self.slots.assigned(partition)).collect();
        self.slots.iter().filter(|(slot, _)| slots.contains(slot)).map(|(slot, stay)| (slot, stay.cell.epoch)).collect()
    }

    /// Answers the revoke that librdkafka waits on.
    pub(super) fn answer_revoke(&mut self, now: Instant) {
        let Some(Asked::Revoke { partitions, since }) = self.rebalance.asked.take() else {
            return;
        };
        let mut answer = unassign(&self.consumer, &list(&partitions, |_| ListOffset::Invalid));
        if answer.is_err() {
            // Some of them were never assigned: librdkafka refuses the whole list then. Give it what it knows.
            answer = self.consumer.assignment().and_then(|assigned| {
                let known: Vec<_> = partitions
                    .into_iter()
                    .filter(|each| assigned.find_partition(&each.topic, each.partition.0).is_some())
                    .collect();
                unassign(&self.consumer, &list(&known, |_| ListOffset::Invalid))
            });
        }
        if let Err(error) = answer {
            self.fail(kafka_error(&error, "unassigning".to_owned()));
        }
        self.stalled(since, now);
        if matches!(self.rebalance.stop, Stop::Draining) && self.rebalance.revocation.is_none() {
            self.rebalance.stop = Stop::Stopped;
        }
    }

    /// A rebalance is answered; until now nothing was fetched.
    fn stalled(&self, since: Instant, now: Instant) {
        let stall = now.saturating_duration_since(since);
        self.board
            .counters
            .last_rebalance_stall_ms
            .store(stall.as_millis() as u64, std::sync::atomic::Ordering::Relaxed);
        debug!(stall_ms = stall.as_millis() as u64, "a rebalance is answered");
    }
}
