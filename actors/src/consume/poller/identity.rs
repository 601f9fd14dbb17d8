//! Whether a log is still the one that an epoch began with, and what it means when a position is not in it.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{debug, error};

use super::{OnLogRewind, Poller};
use crate::consume::error::ConsumerError;
use crate::consume::resolver::Identification;
use crate::consume::state::Counters;
use crate::ids::{Epoch, NextOffset, Offset, TopicPartition};
use crate::offsets::tracker::{CloseLedger, EpochsEnded};

/// How often the topics' ids are asked for: one small request. What is fetched of a topic that was created again until then is repeated,
/// where the policy is to go on.
const INTERVAL: Duration = Duration::from_secs(5);

/// The poller's side of it.
#[derive(Debug)]
pub(crate) struct Identities {
    next: Instant,
    asked: bool,
}

impl Identities {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now, asked: false }
    }

    /// A partition was assigned or lost its position: ask at the next occasion.
    pub(super) fn ask_soon(&mut self, now: Instant) {
        self.next = now;
    }
}

impl Poller {
    pub(super) fn check_identities(&mut self, now: Instant) {
        if self.identities.asked || now < self.identities.next || self.rebalance.is_stopping() {
            return;
        }
        let topics: HashSet<_> = self.slots.iter().map(|(_, stay)| stay.cell.partition.topic.clone()).collect();
        if topics.is_empty() {
            return;
        }
        let astray = self.slots.iter().filter(|(_, stay)| stay.astray.is_some());
        let astray = astray.map(|(_, stay)| stay.cell.partition.clone()).collect();
        self.identities.asked = true;
        self.resolver.identify(topics.into_iter().collect(), astray, Epoch(self.last_epoch));
    }

    pub(super) fn on_identified(&mut self, answer: Identification, now: Instant) {
        self.identities.asked = false;
        self.identities.next = now + if answer.edges.is_some() { INTERVAL } else { Duration::from_secs(1) };
        let partitions: usize = answer.topics.values().map(|topic| topic.partitions).sum();
        self.board.topic_partitions.store(partitions as u64, Ordering::Relaxed);
        // An epoch that began after the question may be of a log that came after the answer.
        let epochs: Vec<_> = self
            .slots
            .iter()
            .map(|(slot, stay)| (slot, stay.cell.epoch))
            .filter(|(slot, epoch)| *epoch <= answer.until && !self.rebalance.is_draining(*slot))
            .collect();
        for (slot, epoch) in epochs {
            let Some(stay) = self.slots.in_epoch(slot, epoch) else { continue };
            let (partition, expected) = (stay.cell.partition.clone(), stay.guard.expected());
            let id = answer.topics.get(&partition.topic).map(|topic| topic.id);
            let before = stay.topic_id;
            stay.topic_id = id.or(before);
            if id.is_some() && before.is_some() && id != before {
                stay.astray = None;
                // It has all of its life before it.
                self.on_rewind(slot, expected, Offset(0));
                continue;
            }
            if let Some(id) = id {
                stay.cell.set_topic_id(id);
            }
            let Some(edges) = &answer.edges else { continue };
            if let Some((low, high)) = edges.get(&partition)
                && let Some(detail) = stay.astray.take()
            {
                self.on_astray(slot, expected, *low, *high, detail);
            }
        }
        if self.slots.iter().any(|(_, stay)| stay.astray.is_some()) {
            self.identities.next = self.identities.next.min(now + Duration::from_secs(1));
        }
    }

    /// The broker did not have the position that a partition was to go on from; its log goes from `low` to `high`.
    fn on_astray(&mut self, slot: usize, position: NextOffset, low: NextOffset, high: NextOffset, detail: String) {
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let (partition, epoch) = (stay.cell.partition.clone(), stay.cell.epoch);
        if position > high {
            self.on_rewind(slot, position, Offset(high.0));
        } else if position < low {
            let detail = format!("the log goes from {low} to {high}; {detail}");
            self.fail(ConsumerError::OffsetOutOfRange { partition, position, detail });
        } else {
            debug!(%partition, %position, "a position that was out of range is in it again");
            stay.cell.fence();
            stay.worker = None;
            self.tell_tracker(CloseLedger { slot, epoch, rewound: false });
        }
    }

    pub(super) fn on_rewind(&mut self, slot: usize, expected: NextOffset, found: Offset) {
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let (partition, epoch) = (stay.cell.partition.clone(), stay.cell.epoch);
        stay.cell.fence();
        stay.worker = None;
        stay.rewound = Some(NextOffset(found.0));
        // Either way the stop, or a revocation that comes first, commits nothing more of the old log to the new one.
        if self.report_rewind(&partition, expected, found) {
            self.tell_tracker(EpochsEnded(vec![(slot, epoch)]));
        } else {
            self.tell_tracker(CloseLedger { slot, epoch, rewound: true });
        }
    }

    /// Says whether the engine stops for it.
    pub(super) fn report_rewind(&self, partition: &TopicPartition, expected: NextOffset, found: Offset) -> bool {
        Counters::add(&self.board.counters.rewinds, 1);
        error!(topic = %partition.topic, partition = partition.partition.0, expected = expected.0, found = found.0, "the log went back");
        let stops = self.options.on_log_rewind == OnLogRewind::Stop;
        if stops {
            self.fail(ConsumerError::LogRewound { partition: partition.clone(), expected, found });
        }
        stops
    }
}
