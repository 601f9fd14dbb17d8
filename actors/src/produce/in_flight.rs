//! The batches that librdkafka holds records of, found again by the mark that each record carries to its delivery report.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::batch::Answers;
use super::completion::Verdict;
use super::intake::Settled;
use super::succession::Origin;

/// A record's mark: the slot of its batch (32 bits), how often that slot was used before (16), the record's place in the batch (16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u64);

/// A batch's part of the marks of its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchMark {
    slot: u32,
    uses: u16,
}

// A mark travels through librdkafka as a pointer that nobody follows.
const _: () = assert!(usize::BITS >= 64, "a mark needs 64 bits");

impl BatchMark {
    /// The mark of the record at `place`, below `MAX_BATCH_RECORDS`.
    pub(super) fn record(self, place: usize) -> Mark {
        Mark(u64::from(self.slot) << 32 | u64::from(self.uses) << 16 | place as u64 & 0xffff)
    }
}

impl Mark {
    fn batch(self) -> BatchMark {
        BatchMark { slot: (self.0 >> 32) as u32, uses: (self.0 >> 16) as u16 }
    }

    pub(super) fn place(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

#[derive(Default)]
struct Slot {
    uses: u16,
    answers: Option<Answers>,
}

/// The batches in librdkafka's hands. Locked once per batch going in and once per run of reports coming out, never per record.
#[derive(Default)]
pub(super) struct InFlight {
    batches: Mutex<Batches>,
    ended: AtomicBool,
}

/// The batches themselves, while locked.
#[derive(Default)]
pub(super) struct Batches {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl InFlight {
    pub(super) fn lock(&self) -> MutexGuard<'_, Batches> {
        // Nothing under this lock leaves the slots half changed.
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing is handed over any more: an actor that was left behind may come back.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Answers one record; `verdict` gets its batch, and its bytes. Not for the hot path.
    pub(super) fn settle(&self, mark: Mark, verdict: impl FnOnce(&Answers, usize) -> Verdict) {
        let mut settled = Settled::default();
        let answered = self.lock().with(mark, |answers, bytes| {
            let verdict = verdict(answers, bytes);
            let rest = answers.answer(mark.place(), verdict, &mut settled);
            (rest, answers.topic.clone(), answers.intake.clone(), answers.generation)
        });
        if let Some((rest, topic, intake, generation)) = answered {
            settled.called(rest.finish(&topic, Origin::of(&intake)));
            intake.settle(generation, settled);
        }
    }

    /// Gives up all that is left, and was in librdkafka's hands: each record is answered `Abandoned`, possibly persisted.
    pub(super) fn abandon_all(&self) {
        let batches = std::mem::take(&mut *self.lock());
        // Callbacks and wakers run here, after the lock is gone.
        for answers in batches.slots.into_iter().filter_map(|slot| slot.answers) {
            answers.abandon(true);
        }
    }
}

/// What an actor that was left behind has handed over since.
impl Drop for InFlight {
    fn drop(&mut self) {
        self.abandon_all();
    }
}

impl Batches {
    pub(super) fn insert(&mut self, answers: Answers) -> BatchMark {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        place.answers = Some(answers);
        BatchMark { slot, uses: place.uses }
    }

    /// The listeners that there is room for, also those of records that are answered, and the blocks and groups that they keep.
    #[cfg(test)]
    fn kept(&self) -> (usize, usize) {
        let kept = self.slots.iter().filter_map(|slot| slot.answers.as_ref()).map(|batch| batch.listeners.kept());
        kept.fold((0, 0), |(listeners, references), (more, and)| (listeners + more, references + and))
    }

    /// Hands the batch of the record with this mark to `with`, which answers the record, and its bytes. `None` where there is no such record, or it is
    /// answered. A batch that is answered whole is gone after this.
    pub(super) fn with<T>(&mut self, mark: Mark, with: impl FnOnce(&mut Answers, usize) -> T) -> Option<T> {
        let BatchMark { slot, uses } = mark.batch();
        let place = self.slots.get_mut(slot as usize)?;
        if place.uses != uses {
            return None;
        }
        let answers = place.answers.as_mut()?;
        let bytes = answers.listeners.bytes(mark.place())?;
        let answered = with(answers, bytes);
        if answers.left() == 0 {
            place.answers = None;
            place.uses = place.uses.wrapping_add(1);
            self.free.push(slot);
        } else {
            answers.compact();
        }
        Some(answered)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::super::batch::MAX_BATCH_RECORDS;
    use super::super::completion::Confirmation;
    use super::super::intake::tests::batch_of;
    use super::super::intake::{Intake, Listener, Offered};
    use super::super::limits::{BatchBounds, Limits};
    use super::*;
    use crate::produce::{ProducerRecord, SendError};

    fn answers(records: usize) -> (Answers, Vec<Confirmation>) {
        let (batch, confirmations) = batch_of(records);
        (batch.answers, confirmations)
    }

    fn answer(batches: &mut Batches, mark: Mark) -> bool {
        let answered = batches.with(mark, |answers, _| {
            let error = SendError::UnknownTopic { topic: answers.topic.clone() };
            answers.answer_now(mark.place(), Err(Box::new(error)), &mut Settled::default());
        });
        answered.is_some()
    }

    #[test]
    fn a_mark_keeps_slot_uses_and_place() {
        let batch = BatchMark { slot: u32::MAX - 1, uses: 0xabcd };
        let mark = batch.record(MAX_BATCH_RECORDS - 1);
        assert_eq!(mark.place(), MAX_BATCH_RECORDS - 1);
        assert_eq!(mark.batch().slot, u32::MAX - 1);
        assert_eq!(mark.batch().uses, 0xabcd);
    }

    #[test]
    fn a_record_is_answered_once() {
        let mut batches = Batches::default();
        let (two, _senders) = answers(2);
        let batch = batches.insert(two);
        assert!(answer(&mut batches, batch.record(1)));
        assert!(!answer(&mut batches, batch.record(1)));
        assert!(!answer(&mut batches, batch.record(2)));
        assert!(answer(&mut batches, batch.record(0)));
    }

    #[test]
    fn a_late_report_of_an_earlier_batch_in_the_slot_changes_nothing() {
        let mut batches = Batches::default();
        let (first, _first_senders) = answers(1);
        let first = batches.insert(first);
        assert!(answer(&mut batches, first.record(0)));
        let (second, _second_senders) = answers(1);
        let second = batches.insert(second);
        assert_eq!(first.slot, second.slot);
        assert!(!answer(&mut batches, first.record(0)));
        assert!(answer(&mut batches, second.record(0)));
    }

    /// One record in 64 is of a partition that is stuck.
    #[test]
    fn batches_with_few_records_left_keep_little_more_than_those_need() {
        let limits =
            Limits { buffer_records: 1 << 20, batch: BatchBounds { records: 512, bytes: 1 }, ..Limits::for_tests() };
        let intake = Arc::new(Intake::new(0, limits, Default::default()));
        let (mut batches, mut left) = (Batches::default(), Vec::new());
        for _ in 0..100 {
            let mut confirmations = Vec::new();
            for _ in 0..512 {
                match intake.offer(&ProducerRecord::to("t"), Listener::Confirmation, None) {
                    Offered::Accepted(confirmation) => confirmations.extend(confirmation),
                    _ => panic!("no room"),
                }
            }
            let batch = batches.insert(intake.take_ready(Instant::now()).batches.pop().unwrap().answers);
            for place in (0..512).filter(|place| place % 64 != 0) {
                assert!(answer(&mut batches, batch.record(place)));
            }
            left.extend(
                (0..512).step_by(64).map(|place| batch.record(place)).zip(confirmations.into_iter().step_by(64)),
            );
        }
        let (listeners, blocks) = batches.kept();
        assert!(left.len() == 800 && listeners <= 8 * 800 && blocks <= 800, "{listeners} {blocks}");
        for (mark, confirmation) in left {
            assert!(answer(&mut batches, mark));
            assert!(matches!(confirmation.wait_blocking(), Err(SendError::UnknownTopic { .. })));
        }
        assert_eq!(batches.kept(), (0, 0));
    }

    /// One record of each batch is of a partition that is stuck, and a batch is made to hold as many as the one before it.
    #[test]
    fn a_small_batch_behind_a_large_one_keeps_no_room_for_as_many() {
        let limits = Limits {
            buffer_records: 1 << 20,
            batch: BatchBounds { records: 512, bytes: 1 << 20 },
            ..Limits::for_tests()
        };
        let intake = Arc::new(Intake::new(0, limits, Default::default()));
        let (mut batches, mut confirmations) = (Batches::default(), Vec::new());
        for records in [512, 20].into_iter().cycle().take(100) {
            for _ in 0..records {
                match intake.offer(&ProducerRecord::to("t"), Listener::Confirmation, None) {
                    Offered::Accepted(confirmation) => confirmations.extend(confirmation),
                    _ => panic!("no room"),
                }
            }
            intake.flush();
            let mut answers = intake.take_ready(Instant::now()).batches.pop().unwrap().answers;
            assert_eq!(answers.take_records().len(), records);
            let batch = batches.insert(answers);
            // Of some small ones nothing is answered.
            let answered = if records == 20 && confirmations.len() % 3 == 0 { 0 } else { records - 1 };
            assert!((0..answered).all(|place| answer(&mut batches, batch.record(place))));
        }
        let (listeners, _) = batches.kept();
        assert!(listeners <= 50 * (32 + 20), "{listeners}");
    }

    #[test]
    fn what_is_left_at_the_end_is_answered_abandoned() {
        let in_flight = InFlight::default();
        let (batch, senders) = answers(3);
        in_flight.lock().insert(batch);
        in_flight.abandon_all();
        for sender in senders {
            assert!(matches!(sender.wait_blocking(), Err(SendError::Abandoned { possibly_persisted: true, .. })));
        }
    }
}
