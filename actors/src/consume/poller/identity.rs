//! Whether a log is still the one that an epoch began with, and what it means when a position is not in it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{debug, error, info};

use super::Poller;
use crate::consume::assignment::{Lost, Stay};
use crate::consume::error::ConsumerError;
use crate::consume::resolver::Identification;
use crate::consume::start::StartPosition;
use crate::consume::state::Counters;
use crate::consume::subscription::Subscription;
use crate::consume::topic_id::DescribedTopic;
use crate::ids::{Epoch, NextOffset, Offset, TopicPartition};
use crate::offsets::tracker::{CloseLedger, EpochsEnded};

/// What to do when a log goes back: its topic was created again, or it was truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLogRewind {
    /// Stop with [`ConsumerError::LogRewound`]: nothing is processed twice unnoticed. A topic that was created again is noticed up to 5 s
    /// later, and what was committed until then stands in the new one: see the error.
    #[default]
    Stop,
    /// Begin a new epoch where the log goes on, and say so.
    Continue,
}

/// What to do when the position to go on from lies before the start of the log: retention has passed it, or somebody deleted the records.
///
/// With either of the last two the consumer finishes what it has in hand, logs the offsets that are lost as an error, counts them in
/// [`CounterState::offsets_lost`](crate::consume::CounterState::offsets_lost), and begins a new epoch there. A position behind the log's end is
/// no such case: the log went back, see [`OnLogRewind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOffsetOutOfRange {
    /// Stop with [`ConsumerError::OffsetOutOfRange`], which names what is lost: nothing is lost unnoticed.
    #[default]
    Fail,
    /// Go on with the first record that the log still has.
    Earliest,
    /// Go on at the log's end, with what comes from now on: also the records that the log still has are passed over, and not counted as lost.
    Latest,
}

/// How often the topics' ids are asked for: one small request. What is fetched of a topic that was created again until then is repeated,
/// where the policy is to go on.
const INTERVAL: Duration = Duration::from_secs(5);

/// The poller's side of it.
#[derive(Debug)]
pub(crate) struct Identities {
    next: Instant,
    asked: bool,
    /// How many partitions each of the topics had when that was last told.
    partitions: HashMap<Arc<str>, usize>,
}

impl Identities {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now, asked: false, partitions: HashMap::new() }
    }

    /// How many partitions the topics have in all; one of which nothing is told this time has those it had.
    fn partitions(&mut self, told: &HashMap<Arc<str>, DescribedTopic>) -> usize {
        self.partitions.extend(told.iter().map(|(topic, described)| (Arc::clone(topic), described.partitions)));
        self.partitions.values().sum()
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
        // What is subscribed to as well: that a partition was added is known only to who has seen its topic without it.
        let mut topics: HashSet<_> = self.slots.iter().map(|(_, stay)| stay.cell.partition.topic.clone()).collect();
        if let Subscription::Topics(subscribed) = &self.options.subscription {
            topics.extend(subscribed.iter().filter(|topic| !topic.starts_with('^')).map(|topic| Arc::from(&**topic)));
        }
        if topics.is_empty() {
            return;
        }
        let astray = self.slots.iter().filter(|(_, stay)| stay.astray);
        let astray = astray.map(|(_, stay)| stay.cell.partition.clone()).collect();
        self.identities.asked = true;
        self.identities.partitions.retain(|topic, _| topics.contains(topic));
        self.resolver.identify(topics.into_iter().collect(), astray, Epoch(self.last_epoch));
    }

    pub(super) fn on_identified(&mut self, answer: Identification, now: Instant) {
        self.identities.asked = false;
        self.identities.next = now + if answer.edges.is_some() { INTERVAL } else { Duration::from_secs(1) };
        let partitions = self.identities.partitions(&answer.topics);
        self.board.topic_partitions.store(partitions as u64, Ordering::Relaxed);
        self.take_added(&answer);
        // An epoch that began after the question may be of a log that came after the answer.
        let epochs: Vec<_> = self
            .slots
            .iter()
            .map(|(slot, stay)| (slot, stay.cell.epoch))
            .filter(|(slot, epoch)| {
                *epoch <= answer.until && !self.rebalance.is_draining(*slot) && !self.seeks.holds(*slot)
            })
            .collect();
        for (slot, epoch) in epochs {
            let Some(stay) = self.slots.in_epoch(slot, epoch) else { continue };
            let (partition, expected) = (stay.cell.partition.clone(), stay.guard.expected());
            let id = answer.topics.get(&partition.topic).map(|topic| topic.id);
            let before = stay.topic_id;
            stay.topic_id = id.or(before);
            if id.is_some() && before.is_some() && id != before {
                stay.astray = false;
                // It has all of its life before it.
                self.on_rewind(slot, expected, Offset(0));
                continue;
            }
            if let Some(id) = id {
                stay.cell.set_topic_id(id);
            }
            let Some(edges) = &answer.edges else { continue };
            if let Some((low, high)) = edges.get(&partition)
                && std::mem::take(&mut stay.astray)
            {
                self.on_astray(slot, expected, *low, *high);
            }
        }
        if self.slots.iter().any(|(_, stay)| stay.astray) {
            self.identities.next = self.identities.next.min(now + Duration::from_secs(1));
        }
    }

    /// A topic has more partitions than it had: nobody but a group assigns them. All of their records are new, so each begins at its first.
    fn take_added(&mut self, answer: &Identification) {
        let by_topic =
            matches!(self.options.subscription, Subscription::Topics(_)) && !self.board.membership.is_member();
        if !by_topic || self.rebalance.is_asked() || self.rebalance.is_stopping() {
            return;
        }
        let mut added = Vec::new();
        for (topic, described) in &answer.topics {
            let all = (0..described.partitions as i32).map(|number| TopicPartition::new(Arc::clone(topic), number));
            added.extend(all.filter(|each| self.slots.assigned(each).is_none()));
        }
        if !added.is_empty() {
            info!(partitions = added.len(), "partitions were added to the topics: they are read from their beginning");
            self.assign(added.into_iter().map(|each| StartPosition::at(each, NextOffset(0))).collect());
        }
    }

    /// The broker did not have the position that a partition was to go on from; its log goes from `low` to `high`.
    fn on_astray(&mut self, slot: usize, position: NextOffset, low: NextOffset, high: NextOffset) {
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let (partition, epoch) = (stay.cell.partition.clone(), stay.cell.epoch);
        if position > high {
            self.on_rewind(slot, position, Offset(high.0));
        } else if position < low {
            let go_on = match self.options.on_offset_out_of_range {
                OnOffsetOutOfRange::Fail => {
                    return self.fail(ConsumerError::OffsetOutOfRange { partition, position, low, high });
                }
                OnOffsetOutOfRange::Earliest => low,
                // What waits there for another try was committed where it came from: nobody else has it.
                OnOffsetOutOfRange::Latest if self.board.retry_delay(&partition.topic).is_some() => low,
                OnOffsetOutOfRange::Latest => high,
            };
            stay.lost = Some(Lost { low, go_on });
            self.pass_lost();
        } else {
            debug!(%partition, %position, "a position that was out of range is in it again");
            stay.cell.fence();
            stay.worker = None;
            self.tell_tracker(CloseLedger { slot, epoch, rewound: false });
        }
    }

    /// Begins new epochs behind what is lost, once all that was handed out is finished: the log cannot give it a second time.
    pub(super) fn pass_lost(&mut self) {
        let finished = |stay: &Stay| stay.lost.is_some() && !stay.cell.is_ending() && stay.cell.in_use().0 == 0;
        let due = self.slots.iter().filter(|(_, stay)| finished(stay));
        for (slot, epoch) in due.map(|(slot, stay)| (slot, stay.cell.epoch)).collect::<Vec<_>>() {
            let Some(stay) = self.slots.get_mut(slot) else { continue };
            stay.cell.fence();
            stay.worker = None;
            self.tell_tracker(CloseLedger { slot, epoch, rewound: false });
        }
    }

    /// Says which records an epoch has to do without.
    pub(super) fn note_lost(&mut self, slot: usize, (from, to): (NextOffset, NextOffset)) {
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let (partition, go_on) = (&stay.cell.partition, stay.reposition.as_ref().map(|anew| anew.position.0));
        Counters::add(&self.board.counters.offsets_lost, (to.0 - from.0) as u64);
        let text = format!("the log no longer has {from} up to {to}: these records are lost");
        error!(topic = %partition.topic, partition = partition.partition.0, from = from.0, to = to.0, go_on, "{text}");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::topic_id::TopicId;

    #[test]
    fn a_look_up_that_fails_leaves_the_topics_the_partitions_they_had() {
        let told = |topics: &[(&str, usize)]| {
            let topic = |(topic, partitions): &(&str, usize)| {
                (Arc::from(*topic), DescribedTopic { id: TopicId::default(), partitions: *partitions })
            };
            topics.iter().map(topic).collect::<HashMap<_, _>>()
        };
        let mut identities = Identities::new(Instant::now());
        assert_eq!(identities.partitions(&told(&[])), 0, "not known yet");
        assert_eq!(identities.partitions(&told(&[("a", 30), ("b", 10)])), 40);
        assert_eq!(identities.partitions(&told(&[])), 40, "no answer");
        assert_eq!(identities.partitions(&told(&[("b", 12)])), 42, "nothing of one of them");
    }
}
