//! Seeks: a person has partitions go on elsewhere in their logs.
//!
//! ```text
//! asked ─▶ the place is looked up ─▶ drain, up to the drain deadline ─▶ fence ─▶ seek, a new epoch begins ─▶ answered
//! ```
//!
//! What handlers hold is waited for, so that they are not cut off in the midst of it; that it is finished is not committed, for the
//! new epoch's position is, with the next commit. Each partition drains for itself. What ends its epoch meanwhile ends the drain: a revocation
//! or a stop refuses the seek, and where a worker dies the closed ledger is the end of the drain.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Poller;
use super::rebalance::Asked;
use super::revocation::POLLERS_OWN;
use crate::consume::assignment::Anew;
use crate::consume::command::{Commit, CommitEntry};
use crate::consume::control::ControlCell;
use crate::consume::place::{Found, Place};
use crate::consume::resolver::{Failure, Places};
use crate::consume::seek::{PartitionError, Partitions, Seek, SeekAnswer};
use crate::consume::state::Counters;
use crate::ids::{Epoch, NextOffset, TopicPartition};
use crate::offsets::remembered::Remembered;
use crate::offsets::tracker::DrainDeadline;

/// How long a place is looked for that the brokers do not tell.
const LOOK_UP: Duration = Duration::from_secs(10);
/// The pause before a look-up that failed in passing is tried again.
const LOOK_UP_AGAIN: Duration = Duration::from_millis(200);

/// Seeks that have not been answered.
#[derive(Debug, Default)]
pub(crate) struct Seeks {
    last_id: u64,
    looking: Vec<Looking>,
    moves: Vec<Move>,
    /// Who waits for moves.
    waiting: HashMap<u64, Waiting>,
}

/// A seek whose place is being looked up.
#[derive(Debug)]
struct Looking {
    id: u64,
    wanted: Vec<(TopicPartition, Place)>,
    answer: oneshot::Sender<SeekAnswer>,
    until: Instant,
    /// It failed in passing, and is tried again then.
    again: Option<Instant>,
}

/// A partition on its way.
#[derive(Debug)]
struct Move {
    seek: u64,
    slot: usize,
    partition: TopicPartition,
    to: NextOffset,
    drain: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Its handler finishes what it holds.
    Draining { until: Instant },
    /// It had no more time: the tracker is closing the ledger.
    CutShort,
    /// librdkafka is waited for, where it does not seek at once: a rebalance is under way.
    Drained,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<SeekAnswer>,
    left: usize,
    begun: Vec<(TopicPartition, NextOffset)>,
}

impl Seeks {
    /// Whether the slot's partition is on its way elsewhere.
    pub(super) fn holds(&self, slot: usize) -> bool {
        self.moves.iter().any(|each| each.slot == slot)
    }

    /// Where the slot's partition is going.
    pub(super) fn target(&self, slot: usize) -> Option<NextOffset> {
        self.moves.iter().find(|each| each.slot == slot).map(|each| each.to)
    }

    /// Whether the drain is that of a seek.
    pub(super) fn is_drain(&self, drain: u64) -> bool {
        self.moves.iter().any(|each| each.drain == drain)
    }

    fn drained(&mut self, drain: u64) -> Option<&mut Move> {
        self.moves.iter_mut().find(|each| each.drain == drain)
    }

    /// The slot's partition has begun anew; that is a person's doing if it was on its way.
    pub(super) fn begun(&mut self, slot: usize, position: NextOffset) {
        for done in self.moves.extract_if(.., |each| each.slot == slot) {
            let Some(waiting) = self.waiting.get_mut(&done.seek) else { continue };
            waiting.begun.push((done.partition, position));
            waiting.left -= 1;
            if waiting.left == 0
                && let Some(Waiting { answer, mut begun, .. }) = self.waiting.remove(&done.seek)
            {
                begun.sort_unstable();
                let _ = answer.send(Ok(begun));
            }
        }
    }

    /// The slot's partition does not get there.
    pub(super) fn give_up(&mut self, slot: usize, why: impl Fn(TopicPartition) -> PartitionError) {
        for given_up in self.moves.extract_if(.., |each| each.slot == slot) {
            if let Some(waiting) = self.waiting.remove(&given_up.seek) {
                let _ = waiting.answer.send(Err(why(given_up.partition)));
            }
        }
    }

    /// The engine stops.
    pub(super) fn end(&mut self) {
        self.moves.clear();
        let looking = self.looking.drain(..).map(|looking| looking.answer);
        for answer in looking.chain(self.waiting.drain().map(|(_, waiting)| waiting.answer)) {
            let _ = answer.send(Err(PartitionError::Ended));
        }
    }
}

impl Poller {
    pub(super) fn on_seek(&mut self, Seek { partitions, place, answer }: Seek, now: Instant) {
        let partitions = match partitions {
            Partitions::All => self.slots.iter().map(|(_, stay)| stay.cell.partition.clone()).collect(),
            Partitions::These(mut these) => {
                these.sort_unstable();
                these.dedup();
                these
            }
        };
        let refused = match self.rebalance.is_stopping() {
            true => Some(PartitionError::Ended),
            false => partitions.iter().find_map(|each| self.movable(each).err()),
        };
        if let Some(error) = refused {
            let _ = answer.send(Err(error));
            return;
        }
        self.seeks.last_id += 1;
        let id = self.seeks.last_id;
        let wanted: Vec<_> = partitions.into_iter().map(|each| (each, place)).collect();
        self.resolver.find(id, wanted.clone());
        self.seeks.looking.push(Looking { id, wanted, answer, until: now + LOOK_UP, again: None });
    }

    /// The slot of a partition that can be sought elsewhere.
    fn movable(&self, partition: &TopicPartition) -> Result<usize, PartitionError> {
        let named = || partition.clone();
        let slot = self.slots.assigned(partition).ok_or_else(|| PartitionError::NotAssigned { partition: named() })?;
        let asked = match &self.rebalance.asked {
            Some(Asked::Revoke { partitions, .. }) => partitions.contains(partition),
            _ => false,
        };
        if asked || self.rebalance.is_draining(slot) {
            return Err(PartitionError::Revoked { partition: named() });
        }
        Ok(slot)
    }

    /// Places were looked up, or could not be.
    pub(super) fn on_found(&mut self, Places { id, found }: Places, now: Instant) {
        let Some(at) = self.seeks.looking.iter().position(|looking| looking.id == id) else {
            return;
        };
        if let Err(Failure::Passing(detail)) = &found
            && now < self.seeks.looking[at].until
        {
            warn!(detail, "a seek's place is not known yet");
            self.seeks.looking[at].again = Some(now + LOOK_UP_AGAIN);
            return;
        }
        let Looking { wanted, answer, .. } = self.seeks.looking.swap_remove(at);
        let targets = match found {
            Ok(found) => self.targets(&wanted, &found),
            Err(Failure::Passing(detail)) => Err(PartitionError::LookUp { detail }),
            Err(Failure::Final(error)) => Err(PartitionError::LookUp { detail: error.to_string() }),
        };
        match targets {
            // There was nothing to move.
            Ok(targets) if targets.is_empty() => drop(answer.send(Ok(Vec::new()))),
            Ok(targets) => {
                self.seeks.waiting.insert(id, Waiting { answer, left: targets.len(), begun: Vec::new() });
                for (slot, partition, to) in targets {
                    self.begin_move(id, slot, partition, to, now);
                }
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Where each goes; all or none.
    fn targets(
        &self,
        wanted: &[(TopicPartition, Place)],
        found: &HashMap<TopicPartition, Found>,
    ) -> Result<Vec<(usize, TopicPartition, NextOffset)>, PartitionError> {
        let target = |(partition, _): &(TopicPartition, Place)| {
            // It may have gone, or be going, since it was asked for.
            let slot = self.movable(partition)?;
            let partition = partition.clone();
            match found.get(&partition) {
                Some(found) if found.is_in_range() => Ok((slot, partition, found.position)),
                Some(Found { position, low, high }) => {
                    Err(PartitionError::OutOfRange { partition, offset: *position, low: *low, high: *high })
                }
                None => Err(PartitionError::LookUp { detail: format!("{partition}: the broker told no offset") }),
            }
        };
        wanted.iter().map(target).collect()
    }

    fn begin_move(&mut self, seek: u64, slot: usize, partition: TopicPartition, to: NextOffset, now: Instant) {
        let Some(epoch) = self.slots.get_mut(slot).map(|stay| stay.cell.epoch) else { return };
        info!(topic = %partition.topic, partition = partition.partition.0, epoch = epoch.0, offset = to.0, "a partition is sought elsewhere");
        Counters::add(&self.board.counters.seeks, 1);
        let earlier = self.seeks.moves.iter().find(|each| each.slot == slot).map(|each| (each.drain, each.stage));
        self.seeks.give_up(slot, |partition| PartitionError::Replaced { partition });
        // An earlier seek's drain goes on as this one's.
        let (drain, stage) = earlier.unwrap_or_else(|| {
            (self.rebalance.next_id(), Stage::Draining { until: now + self.options.drain_deadline })
        });
        self.seeks.moves.push(Move { seek, slot, partition, to, drain, stage });
        match earlier {
            None => self.ask_to_finish(drain, &[(slot, epoch)]),
            Some((_, Stage::Drained)) => self.seek_to(slot, to),
            Some(_) => {}
        }
    }

    /// Says whether the drain was a seek's.
    pub(super) fn on_seek_drained(&mut self, drain: u64) -> bool {
        let Some(moved) = self.seeks.drained(drain) else {
            return false;
        };
        moved.stage = Stage::Drained;
        let (slot, to) = (moved.slot, moved.to);
        self.seek_to(slot, to);
        true
    }

    /// What was under way is over: a new epoch begins at `to`, at once or as soon as librdkafka allows. A replay is one of all records, so
    /// it remembers nothing.
    pub(super) fn seek_to(&mut self, slot: usize, to: NextOffset) {
        let Some(stay) = self.slots.get_mut(slot) else { return };
        stay.cell.fence();
        stay.worker = None;
        (stay.rewound, stay.lost, stay.astray) = (None, None, false);
        stay.reposition = Some(Anew { position: to, remembered: Remembered::default(), rewound: false });
        self.reposition(slot);
    }

    /// Where librdkafka commits by itself: it commits nothing that lies below its last commit, so a seek back is committed for it.
    pub(super) fn store_start(&mut self, cell: &ControlCell) {
        let entry = CommitEntry::plain(cell.slot, cell.epoch, cell.partition.clone(), cell.start);
        // First, lest it commits what was handed out before the seek once more.
        self.store(std::slice::from_ref(&entry));
        let id = POLLERS_OWN + self.rebalance.next_id();
        self.outbox.push(Commit::new(id, vec![entry]));
        self.submit_next(Instant::now());
    }

    /// Deadlines, and look-ups that are tried again.
    pub(super) fn check_seeks(&mut self, now: Instant) {
        for looking in &mut self.seeks.looking {
            if looking.again.is_some_and(|again| now >= again) {
                looking.again = None;
                self.resolver.find(looking.id, looking.wanted.clone());
            }
        }
        let mut late = Vec::new();
        for each in &mut self.seeks.moves {
            if let Stage::Draining { until } = each.stage
                && now >= until
            {
                each.stage = Stage::CutShort;
                late.push((each.slot, each.drain));
            }
        }
        for (slot, drain) in late {
            Counters::add(&self.board.counters.drains_cut_short, 1);
            self.cut_short(slot, now);
            self.tell_tracker(DrainDeadline { id: drain });
        }
    }

    /// Partitions that are given up do not get where they were going.
    pub(super) fn give_up_seeks(&mut self, stays: &[(usize, Epoch)]) {
        for (slot, _) in stays {
            self.seeks.give_up(*slot, |partition| PartitionError::Revoked { partition });
        }
    }
}
