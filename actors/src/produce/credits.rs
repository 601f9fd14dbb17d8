//! What one intake has accepted and not yet answered: the bound in records and bytes, and what a flush waits for. Pure.

use std::collections::VecDeque;

/// Counts records by generation. A flush closes the generation that is open: once all closed ones are answered, so is every record accepted
/// before it.
#[derive(Debug)]
pub(super) struct Credits {
    max_records: usize,
    max_bytes: usize,
    records: usize,
    bytes: usize,
    /// A place is kept for one record of so many bytes until it comes, and is nobody else's.
    kept: Option<usize>,
    /// The bounds are raised by one record of so many bytes.
    raised: Option<usize>,
    /// Unanswered records per generation, oldest first; the last one is open. Never empty.
    generations: VecDeque<usize>,
    /// The number of the oldest generation kept.
    oldest: u64,
}

/// A point in the stream of accepted records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u64);

impl Credits {
    pub(super) fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            max_records,
            max_bytes,
            records: 0,
            bytes: 0,
            kept: None,
            raised: None,
            generations: VecDeque::from([0]),
            oldest: 0,
        }
    }

    /// Whether a record of `bytes` can ever be taken.
    pub(super) fn can_ever_take(&self, bytes: usize) -> bool {
        bytes <= self.max_bytes
    }

    /// Whether a record of `bytes` can be taken now.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.has_room_for(1, bytes)
    }

    /// Whether there is room for so many records, of `bytes` together, beside the one that a place is kept for.
    pub(super) fn has_room_for(&self, records: usize, bytes: usize) -> bool {
        let (kept_records, kept_bytes) = one_or_none(self.kept);
        self.records + kept_records + records <= self.max_records && self.bytes + kept_bytes + bytes <= self.max_bytes
    }

    /// Whether these are half of the bounds, by records or by bytes.
    pub(super) fn is_half(&self, records: usize, bytes: usize) -> bool {
        2 * records >= self.max_records || 2 * bytes >= self.max_bytes
    }

    /// Whether there would be room if the bounds, raised as they may be, were twice as high. The place that is kept is taken.
    pub(super) fn has_room_twice(&self, bytes: usize) -> bool {
        let (more_records, more_bytes) = one_or_none(self.raised);
        let (kept_records, kept_bytes) = one_or_none(self.kept);
        self.records + kept_records < 2 * (self.max_records + more_records)
            && bytes <= (2 * (self.max_bytes + more_bytes)).saturating_sub(self.bytes + kept_bytes)
    }

    /// Raises the bounds by one record of `bytes` and keeps the place for it. They are lowered when nothing is kept and what is held is within them again.
    /// False where they are raised already, or exceeded.
    pub(super) fn keep_above(&mut self, bytes: usize) -> bool {
        let may = self.raised.is_none() && self.kept.is_none() && self.is_within();
        if may {
            (self.raised, self.kept) = (Some(bytes), Some(bytes));
        }
        may
    }

    /// Keeps a place for a record of `bytes` [within twice the bounds](Self::has_room_twice). False where there is none, or one is kept already.
    pub(super) fn keep_within_twice(&mut self, bytes: usize) -> bool {
        let may = self.kept.is_none() && self.has_room_twice(bytes);
        if may {
            self.kept = Some(bytes);
        }
        may
    }

    /// Takes the credit for the record that a place is kept for.
    pub(super) fn take_kept(&mut self, bytes: usize) {
        self.kept = None;
        self.take(bytes);
    }

    /// That record does not come.
    pub(super) fn give_up_kept(&mut self) {
        self.kept = None;
        self.lower();
    }

    fn lower(&mut self) {
        if self.kept.is_none() && self.is_within() {
            self.raised = None;
        }
    }

    fn is_within(&self) -> bool {
        self.records <= self.max_records && self.bytes <= self.max_bytes
    }

    /// Takes the credit for one record that there [is room](Self::has_room) for, or [would be](Self::has_room_twice).
    pub(super) fn take(&mut self, bytes: usize) {
        debug_assert!(self.has_room_twice(bytes));
        self.records += 1;
        self.bytes += bytes;
        if let Some(open) = self.generations.back_mut() {
            *open += 1;
        }
    }

    /// Gives back what `records` records of one generation held. True where this answered the last record of a closed generation.
    pub(super) fn give_back(&mut self, of: Generation, records: usize, bytes: usize) -> bool {
        debug_assert!(records <= self.records && bytes <= self.bytes);
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.lower();
        if let Some(unanswered) =
            of.0.checked_sub(self.oldest).and_then(|place| self.generations.get_mut(place as usize))
        {
            debug_assert!(records <= *unanswered);
            *unanswered = unanswered.saturating_sub(records);
        }
        self.forget_answered()
    }

    /// The generation that records taken now belong to.
    pub(super) fn open_generation(&self) -> Generation {
        Generation(self.oldest + self.generations.len() as u64 - 1)
    }

    /// Closes the open generation and begins the next.
    pub(super) fn close_generation(&mut self) -> Generation {
        let closed = self.open_generation();
        self.generations.push_back(0);
        self.forget_answered();
        closed
    }

    /// Whether every record up to and with the closed generation `closed` is answered.
    pub(super) fn is_answered(&self, closed: Generation) -> bool {
        closed.0 < self.oldest
    }

    /// Records up to and with `closed` that are not answered.
    pub(super) fn unanswered(&self, closed: Generation) -> usize {
        (self.oldest..=closed.0).zip(&self.generations).map(|(_, records)| records).sum()
    }

    pub(super) fn max_records(&self) -> usize {
        self.max_records
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn forget_answered(&mut self) -> bool {
        let before = self.oldest;
        while self.generations.len() > 1 && self.generations.front() == Some(&0) {
            self.generations.pop_front();
            self.oldest += 1;
        }
        self.oldest > before
    }
}

/// How many records, and how many bytes.
fn one_or_none(record: Option<usize>) -> (usize, usize) {
    record.map_or((0, 0), |bytes| (1, bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flush_of_nothing_is_answered_at_once() {
        let mut credits = Credits::new(10, 100);
        let closed = credits.close_generation();
        assert!(credits.is_answered(closed));
    }

    #[test]
    fn a_record_taken_after_the_flush_does_not_hold_it_up() {
        let mut credits = Credits::new(10, 100);
        let first = credits.open_generation();
        credits.take(5);
        let closed = credits.close_generation();
        credits.take(5);
        assert!(!credits.is_answered(closed));
        assert_eq!(credits.unanswered(closed), 1);
        assert!(credits.give_back(first, 1, 5));
        assert!(credits.is_answered(closed));
        assert_eq!(credits.records(), 1);
    }

    #[test]
    fn the_bounds_are_raised_for_one_record_at_a_time() {
        let mut credits = Credits::new(2, 100);
        (0..2).for_each(|_| credits.take(1));
        assert!(credits.keep_above(100) && !credits.keep_above(1));
        credits.give_up_kept();
        assert!(credits.keep_above(100));
        credits.take_kept(100);
        // Each of the three may be followed by another of its size before its credit comes back.
        for bytes in [1, 1, 100] {
            assert!(credits.has_room_twice(bytes));
            credits.take(bytes);
        }
        assert!(!credits.has_room_twice(0));
        credits.give_back(Generation(0), 3, 102);
        assert!(!credits.keep_above(1));
        credits.give_back(Generation(0), 1, 100);
        assert!(credits.keep_above(1) && !credits.has_room(0));
    }

    #[test]
    fn a_place_that_is_kept_is_nobody_elses() {
        let mut credits = Credits::new(1, 10);
        credits.take(4);
        assert!(credits.keep_within_twice(10) && !credits.keep_within_twice(1) && !credits.has_room_twice(1));
        credits.take_kept(10);
        assert!(!credits.keep_within_twice(1));
        credits.give_back(Generation(0), 1, 10);
        assert!(!credits.keep_within_twice(17) && credits.keep_within_twice(16));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(usize),
        Answer(prop::sample::Index),
        Flush,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(
            prop_oneof![
                4 => (0..40_usize).prop_map(Step::Take),
                3 => any::<prop::sample::Index>().prop_map(Step::Answer),
                1 => Just(Step::Flush),
            ],
            0..200,
        )
    }

    proptest! {
        /// Against a plain list of what is held, answered in any order.
        #[test]
        fn credits_and_flushes_agree_with_a_list_of_the_records_held(steps in steps()) {
            let mut credits = Credits::new(8, 100);
            let mut held: Vec<(Generation, usize)> = Vec::new();
            let mut flushes: Vec<Generation> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(bytes) => {
                        let room = held.len() < 8 && held.iter().map(|(_, b)| b).sum::<usize>() + bytes <= 100;
                        prop_assert_eq!(credits.has_room(bytes), room);
                        if room {
                            held.push((credits.open_generation(), bytes));
                            credits.take(bytes);
                        }
                    }
                    Step::Answer(which) if !held.is_empty() => {
                        let (generation, bytes) = held.swap_remove(which.index(held.len()));
                        credits.give_back(generation, 1, bytes);
                    }
                    Step::Answer(_) => {}
                    Step::Flush => flushes.push(credits.close_generation()),
                }
                prop_assert_eq!(credits.records(), held.len());
                prop_assert_eq!(credits.bytes(), held.iter().map(|(_, b)| b).sum::<usize>());
                for flush in &flushes {
                    let left = held.iter().filter(|(generation, _)| generation <= flush).count();
                    prop_assert_eq!(credits.is_answered(*flush), left == 0);
                    prop_assert_eq!(credits.unanswered(*flush), left);
                }
            }
        }
    }
}
