//! What the poller holds: a slot per partition it has ever been given, and in it the partition's current stay.

use std::collections::HashMap;
use std::sync::Arc;

use actix::Recipient;

use crate::consume::command::Deliver;
use crate::consume::control::ControlCell;
use crate::consume::guard::PositionGuard;
use crate::consume::native::PartitionQueue;
use crate::consume::retry_topics::arrivals::Arrivals;
use crate::consume::topic_id::TopicId;
use crate::consume::wake::MAX_SLOTS;
use crate::ids::{Epoch, NextOffset, TopicPartition};
use crate::invariants::{At, InvariantCounts};
use crate::offsets::remembered::Remembered;

/// A partition that is assigned in librdkafka.
pub(crate) struct Stay {
    pub(crate) cell: Arc<ControlCell>,
    pub(crate) queue: PartitionQueue,
    pub(crate) guard: PositionGuard,
    /// Of a retry topic.
    pub(crate) arrivals: Arrivals,
    /// Records and marks handed out in this epoch.
    pub(crate) handed_out: u64,
    /// Takes the chunks, once it is ready.
    pub(crate) worker: Option<Recipient<Deliver>>,
    /// Where the log goes on that went back: the next epoch begins there, or at the ledger's watermark.
    pub(crate) rewound: Option<NextOffset>,
    /// What comes next is lost to retention: the next epoch begins behind it, once all that was handed out is finished.
    pub(crate) lost: Option<Lost>,
    /// To be sought to, and a new epoch begun there.
    pub(crate) reposition: Option<Anew>,
    /// The topic's id, once it is known: another one is another log.
    pub(crate) topic_id: Option<TopicId>,
    /// The broker said that the position is out of its log's range; it is being found out why.
    pub(crate) astray: bool,
    /// A person wants nothing taken out of its queue. It holds for as long as the partition stays.
    pub(crate) paused: bool,
    /// Bytes of an average record, so that arenas are made the right size.
    pub(crate) average: usize,
}

/// Where an assigned partition begins a new epoch.
#[derive(Debug, Clone)]
pub(crate) struct Anew {
    pub(crate) position: NextOffset,
    /// What was finished above.
    pub(crate) remembered: Remembered,
    /// The log went back: what was committed of the old one above the position is nothing of this one's.
    pub(crate) rewound: bool,
}

impl Stay {
    /// I7: no credits are in use but of what was handed out, and no more of them than there are. Credits given back twice show as a vast number.
    pub(crate) fn check_credits(cell: &ControlCell, handed_out: u64, invariants: &InvariantCounts) {
        let (in_use, _) = cell.in_use();
        let at = At { partition: &cell.partition, epoch: cell.epoch };
        invariants.credits_exact(at, in_use, in_use.min(handed_out), cell.credits.records);
    }

    /// The epoch's ledger was closed at `watermark`: where the next one begins. Gives the records that the log no longer has of what should
    /// have come next: from the first, up to the second.
    ///
    /// After a rewind that is not always where the log goes on: what was handed out below, and is not finished, is still in the log and would
    /// be lost.
    pub(crate) fn begin_anew(
        &mut self,
        watermark: NextOffset,
        remembered: Remembered,
    ) -> Option<(NextOffset, NextOffset)> {
        let (anew, passed) = Anew::behind(watermark, remembered, self.rewound.take(), self.lost.take());
        self.reposition = Some(anew);
        passed
    }
}

impl Anew {
    /// Where the epoch begins that follows one closed at `watermark`, with `remembered` finished above; and the records that are lost before it.
    fn behind(
        watermark: NextOffset,
        remembered: Remembered,
        rewound: Option<NextOffset>,
        lost: Option<Lost>,
    ) -> (Self, Option<(NextOffset, NextOffset)>) {
        if let Some(found) = rewound {
            // What was finished in another log says nothing of this one.
            let anew = Self { position: found.min(watermark), remembered: Remembered::default(), rewound: true };
            return (anew, None);
        }
        match lost.filter(|lost| lost.low > watermark) {
            Some(lost) => {
                let remembered = Remembered::new(remembered.from(lost.go_on));
                (Self { position: lost.go_on, remembered, rewound: false }, Some((watermark, lost.low)))
            }
            None => (Self { position: watermark, remembered, rewound: false }, None),
        }
    }
}

/// Whether the offsets of an epoch are those of a log that went back: from the sign of it until the next epoch.
fn is_log_gone(rewound: Option<NextOffset>, next: Option<&Anew>) -> bool {
    rewound.is_some() || next.is_some_and(|anew| anew.rewound)
}

/// The log has lost what the partition was to go on with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost {
    /// The log's first offset now.
    pub(crate) low: NextOffset,
    /// Where the next epoch begins: there, or at the log's end.
    pub(crate) go_on: NextOffset,
}

/// Slots never move and are never given to another partition: a slot's number names its partition for the engine's life.
#[derive(Default)]
pub(crate) struct Slots {
    numbers: HashMap<TopicPartition, usize>,
    stays: Vec<Option<Stay>>,
    /// What this engine last committed of each, over all of its stays.
    committed: Vec<Option<NextOffset>>,
}

impl Slots {
    /// The partition's slot; `None` when there are as many as an engine can have.
    pub(crate) fn number(&mut self, partition: &TopicPartition) -> Option<usize> {
        if let Some(slot) = self.numbers.get(partition) {
            return Some(*slot);
        }
        let slot = self.stays.len();
        (slot < MAX_SLOTS).then(|| {
            self.numbers.insert(partition.clone(), slot);
            self.stays.push(None);
            self.committed.push(None);
            slot
        })
    }

    /// Whether the partition has been assigned here before, or is now.
    pub(crate) fn had(&self, partition: &TopicPartition) -> bool {
        self.numbers.contains_key(partition)
    }

    /// The partition's slot, if it is assigned.
    pub(crate) fn assigned(&self, partition: &TopicPartition) -> Option<usize> {
        self.numbers.get(partition).copied().filter(|slot| self.stays[*slot].is_some())
    }

    /// The slot's stay.
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Stay> {
        self.stays.get_mut(slot)?.as_mut()
    }

    /// The slot's stay if it is in this epoch.
    pub(crate) fn in_epoch(&mut self, slot: usize, epoch: Epoch) -> Option<&mut Stay> {
        self.get_mut(slot).filter(|stay| stay.cell.epoch == epoch)
    }

    /// Whether what was built for this epoch may still be committed: the epoch goes on, and its log is not gone.
    pub(crate) fn may_commit(&mut self, slot: usize, epoch: Epoch) -> bool {
        self.in_epoch(slot, epoch).is_some_and(|stay| !is_log_gone(stay.rewound, stay.reposition.as_ref()))
    }

    pub(crate) fn put(&mut self, slot: usize, stay: Stay) {
        self.stays[slot] = Some(stay);
    }

    pub(crate) fn take(&mut self, slot: usize) -> Option<Stay> {
        self.stays.get_mut(slot)?.take()
    }

    pub(crate) fn note_committed(&mut self, slot: usize, next: NextOffset) {
        if let Some(noted) = self.committed.get_mut(slot) {
            *noted = Some(next);
        }
    }

    /// Where the log went back from, told once, if the group has no commit of a partition though this engine made one: a broker drops
    /// commits with their topic, so it is another topic of that name. (A lower commit is no sign: another member may have sought.)
    pub(crate) fn gone_back(&mut self, slot: usize, group_has: Option<NextOffset>) -> Option<NextOffset> {
        if group_has.is_some() { None } else { self.committed.get_mut(slot)?.take() }
    }

    /// The assigned slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Stay)> {
        self.stays.iter().enumerate().filter_map(|(slot, stay)| Some((slot, stay.as_ref()?)))
    }

    /// How many 64-slot words are in use.
    pub(crate) fn words(&self) -> usize {
        self.stays.len().div_ceil(64)
    }

    pub(crate) fn clear(&mut self) {
        self.stays.iter_mut().for_each(|stay| *stay = None);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::consume::control::tests::cell;
    use crate::ids::Offset;
    use crate::offsets::FinishedRange;

    #[test]
    fn a_commit_that_the_group_no_longer_has_tells_once_that_the_topic_is_another() {
        let mut slots = Slots::default();
        let slot = slots.number(&TopicPartition::new("t", 0)).unwrap();
        assert_eq!(slots.gone_back(slot, None), None, "nothing was committed");
        slots.note_committed(slot, NextOffset(100));
        assert_eq!(slots.gone_back(slot, Some(NextOffset(50))), None, "somebody sought");
        assert_eq!(slots.gone_back(slot, None), Some(NextOffset(100)));
        assert_eq!(slots.gone_back(slot, None), None);
    }

    #[test]
    fn of_a_log_that_went_back_nothing_is_committed_until_the_next_epoch_has_begun() {
        let anew = |rewound| Anew { position: NextOffset(0), remembered: Remembered::default(), rewound };
        assert!(!is_log_gone(None, None) && !is_log_gone(None, Some(&anew(false))));
        assert!(is_log_gone(Some(NextOffset(0)), None) && is_log_gone(None, Some(&anew(true))));
    }

    #[test]
    fn credits_that_nothing_was_handed_out_for_or_that_come_back_twice_are_a_breach() {
        let breaches = |take: u64, free: u64, handed_out: u64| {
            let (cell, counts) = (cell(), InvariantCounts::counting());
            cell.take(take, 100);
            cell.free(free, 0);
            Stay::check_credits(&cell, handed_out, &counts);
            counts.snapshot().credits_exact
        };
        assert_eq!([breaches(10, 0, 10), breaches(10, 10, 10), breaches(3, 0, 50)], [0; 3]);
        assert_eq!([breaches(3, 4, 10), breaches(3, 0, 2), breaches(11, 0, 11)], [1; 3]);
    }

    #[test]
    fn what_was_handed_out_and_not_finished_is_read_again_after_a_log_rewind() {
        let position = |rewound: Option<i64>| {
            let (anew, _) = Anew::behind(NextOffset(60), Remembered::default(), rewound.map(NextOffset), None);
            anew.position.0
        };
        // 50 to 100 handed out, 50 to 60 finished, then the log's end was cut off at 90; the topic was created again; a worker died.
        assert_eq!([position(Some(90)), position(Some(0)), position(None)], [60, 0, 60]);
    }

    #[test]
    fn what_is_remembered_goes_on_after_a_workers_death_behind_what_is_lost_and_not_into_another_log() {
        let run = |first| FinishedRange { first: Offset(first), last: Offset(first + 9) };
        let remembered = |rewound: Option<i64>, lost| {
            let remembered = Remembered::new([run(70), run(90)]);
            let (anew, passed) = Anew::behind(NextOffset(60), remembered, rewound.map(NextOffset), lost);
            (anew.remembered.runs().to_vec(), passed)
        };
        let lost = Some(Lost { low: NextOffset(85), go_on: NextOffset(85) });
        assert_eq!(remembered(None, None), (vec![run(70), run(90)], None));
        assert_eq!(remembered(None, lost), (vec![run(90)], Some((NextOffset(60), NextOffset(85)))));
        assert_eq!(remembered(Some(90), None), (vec![], None));
        assert_eq!(remembered(Some(0), lost), (vec![], None));
    }
}
