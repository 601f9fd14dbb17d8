//! Which records of a partition come next, which come again, and which show that the log itself went back.

use std::iter;

use crate::ids::{NextOffset, Offset};

/// How many of the last records are remembered, with 16 bytes each, from the first record on. A power of two.
///
/// What librdkafka hands out twice was handed out a moment before: at most a drain's worth, that is, one chunk
/// (512 records). Four times that leaves room for several in a row.
const REMEMBERED: usize = 2048;

/// Watches the positions of one partition in one epoch.
///
/// Kafka's log is fixed below its end: an offset once handed out holds the same record for ever, so records rise, with
/// gaps where compaction or transaction markers lie. Two things break that. The client may fetch again what it has
/// handed out. And the log may go back: an unclean leader election cuts its end off, or the topic is deleted and created
/// again, which the client neither reports as an error nor answers with a rebalance.
///
/// The two call for opposite actions: to hand a refetched record out again breaks order, to drop a new one loses it.
/// So a record below the expected position is dropped only when the guard itself has let the same offset with the same
/// timestamp pass. Without that proof it is a [`Rewind`](Admission::Rewind), and the worst of it is a repeat:
/// - a record older than what is remembered, or from below the epoch's start;
/// - a record without a timestamp (old message formats): equality of nothing proves nothing.
///
/// What remains: a new record at a remembered offset with the very millisecond of the old one, in a log created again
/// within the epoch and filled with the timestamps of the old. Only a topic id could tell that one apart.
#[derive(Debug)]
pub(crate) struct PositionGuard {
    expected: NextOffset,
    /// Each record at its offset modulo the length; empty until the first record.
    seen: Box<[Seen]>,
}

/// What a position means to the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is the expected one.
    Next,
    /// So many offsets before it hold no record. As good as [`Next`](Self::Next): it is taken.
    Gap(u64),
    /// It has been handed out before: drop it and count it.
    Refetch,
    /// The log went back. The guard is unchanged; a new epoch begins at `got`, with a guard of its own.
    Rewind {
        /// What should have come, or something above.
        expected: NextOffset,
        /// What came.
        got: Offset,
    },
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    offset: i64,
    timestamp: i64,
}

impl PositionGuard {
    /// A guard for an epoch that starts at `start`.
    pub(crate) fn new(start: NextOffset) -> Self {
        Self { expected: start, seen: Box::default() }
    }

    /// The position behind all that was admitted. The tile of a chunk reaches from this, before its first record, to
    /// this, behind its last.
    pub(crate) fn expected(&self) -> NextOffset {
        self.expected
    }

    /// Judges a record by its offset and its timestamp (milliseconds, negative for none).
    #[inline]
    pub(crate) fn admit(&mut self, offset: Offset, timestamp: i64) -> Admission {
        if offset.0 == self.expected.0 {
            self.pass(offset, timestamp);
            return Admission::Next;
        }
        self.admit_unexpected(offset, timestamp)
    }

    /// Judges the position of an end-of-partition event. Nothing but [`Gap`](Admission::Gap) makes a tile.
    ///
    /// An end below the expected position is no proof of a rewind: a replica that has yet to learn the high watermark
    /// says the same after a refetch. If the log did go back, the next record shows it; until one comes, nothing is
    /// lost. So such an end is dropped like a refetch.
    pub(crate) fn admit_end(&mut self, end: NextOffset) -> Admission {
        let Some(skipped) = distance(self.expected, end) else {
            return Admission::Refetch;
        };
        self.expected = end;
        if skipped == 0 { Admission::Next } else { Admission::Gap(skipped) }
    }

    #[inline]
    fn pass(&mut self, offset: Offset, timestamp: i64) {
        match self.seen.get_mut(slot(offset)) {
            Some(seen) => *seen = Seen { offset: offset.0, timestamp },
            None => self.remember_first(offset, timestamp),
        }
        self.expected = offset.next();
    }

    /// A partition that stays idle never pays for the memory.
    #[cold]
    fn remember_first(&mut self, offset: Offset, timestamp: i64) {
        let nothing = Seen { offset: i64::MIN, timestamp: -1 };
        self.seen = iter::repeat_n(nothing, REMEMBERED).collect();
        self.seen[slot(offset)] = Seen { offset: offset.0, timestamp };
    }

    #[cold]
    fn admit_unexpected(&mut self, offset: Offset, timestamp: i64) -> Admission {
        if let Some(skipped) = distance(self.expected, NextOffset(offset.0)) {
            self.pass(offset, timestamp);
            return Admission::Gap(skipped);
        }
        let seen = self.seen.get(slot(offset));
        let again = seen.is_some_and(|seen| seen.offset == offset.0 && seen.timestamp == timestamp);
        if again && timestamp >= 0 {
            return Admission::Refetch;
        }
        Admission::Rewind { expected: self.expected, got: offset }
    }
}

/// How far `to` lies above `from`; `None` when below.
fn distance(from: NextOffset, to: NextOffset) -> Option<u64> {
    u64::try_from(to.0.checked_sub(from.0)?).ok()
}

fn slot(offset: Offset) -> usize {
    offset.0 as usize % REMEMBERED
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn guard_after(records: impl IntoIterator<Item = (i64, i64)>) -> PositionGuard {
        let mut guard = PositionGuard::new(NextOffset(0));
        for (offset, timestamp) in records {
            guard.admit(Offset(offset), timestamp);
        }
        guard
    }

    fn rewind(expected: i64, got: i64) -> Admission {
        Admission::Rewind { expected: NextOffset(expected), got: Offset(got) }
    }

    #[test]
    fn records_in_order_pass_and_gaps_are_counted() {
        let mut guard = PositionGuard::new(NextOffset(10));
        assert_eq!(guard.admit(Offset(10), 1), Admission::Next);
        assert_eq!(guard.admit(Offset(14), 1), Admission::Gap(3));
        assert_eq!(guard.admit(Offset(15), 1), Admission::Next);
        assert_eq!(guard.expected(), NextOffset(16));
    }

    #[test]
    fn a_record_handed_out_before_is_a_refetch_and_moves_nothing() {
        let mut guard = guard_after((0..600).map(|offset| (offset, 1000 + offset)));
        for offset in 88..600 {
            assert_eq!(guard.admit(Offset(offset), 1000 + offset), Admission::Refetch);
        }
        assert_eq!(guard.expected(), NextOffset(600));
        assert_eq!(guard.admit(Offset(600), 1600), Admission::Next);
    }

    #[test]
    fn a_topic_created_again_is_a_rewind() {
        let mut guard = guard_after((0..600).map(|offset| (offset, 1000 + offset)));
        assert_eq!(guard.admit(Offset(0), 9_000), rewind(600, 0));
        assert_eq!(guard.expected(), NextOffset(600));
    }

    #[test]
    fn a_truncated_end_written_anew_is_a_rewind() {
        let mut guard = guard_after((0..600).map(|offset| (offset, 1000 + offset)));
        assert_eq!(guard.admit(Offset(590), 1591), rewind(600, 590));
    }

    #[test]
    fn a_record_where_the_old_log_had_a_gap_is_a_rewind() {
        let mut guard = guard_after([(0, 5), (3, 5)]);
        assert_eq!(guard.admit(Offset(2), 5), rewind(4, 2));
    }

    #[test]
    fn a_record_older_than_what_is_remembered_is_a_rewind_lest_it_be_lost() {
        let records = REMEMBERED as i64 + 100;
        let mut guard = guard_after((0..records).map(|offset| (offset, 7)));
        assert_eq!(guard.admit(Offset(99), 7), rewind(records, 99));
        assert_eq!(guard.admit(Offset(100), 7), Admission::Refetch);
    }

    #[test]
    fn a_record_from_below_the_epochs_start_is_a_rewind() {
        let mut guard = PositionGuard::new(NextOffset(50));
        assert_eq!(guard.admit(Offset(49), 7), rewind(50, 49));
    }

    #[test]
    fn a_record_without_a_timestamp_is_never_taken_for_a_refetch() {
        let mut guard = guard_after([(0, -1), (1, -1)]);
        assert_eq!(guard.admit(Offset(1), -1), rewind(2, 1));
    }

    #[test]
    fn the_position_after_an_end_of_partition_is_that_end() {
        let mut guard = guard_after([(0, 1), (1, 1)]);
        assert_eq!(guard.admit_end(NextOffset(2)), Admission::Next);
        assert_eq!(guard.admit_end(NextOffset(5)), Admission::Gap(3));
        assert_eq!(guard.expected(), NextOffset(5));
        assert_eq!(guard.admit_end(NextOffset(5)), Admission::Next, "the same end, said again");
        assert_eq!(guard.admit(Offset(5), 1), Admission::Next);
    }

    #[test]
    fn an_end_below_the_position_is_dropped() {
        let mut guard = guard_after([(0, 1), (1, 1), (2, 1)]);
        assert_eq!(guard.admit_end(NextOffset(1)), Admission::Refetch);
        assert_eq!(guard.expected(), NextOffset(3));
    }

    /// A fetcher that reads a log, jumps back within it, and may find the log replaced.
    #[derive(Clone, Debug)]
    enum Move {
        Read(usize),
        Back(usize),
        End,
        /// The records from so many before the position on are other ones now.
        Replaced(usize),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            6 => (1..700_usize).prop_map(Move::Read),
            3 => (1..3000_usize).prop_map(Move::Back),
            1 => Just(Move::End),
            1 => (1..50_usize).prop_map(Move::Replaced),
        ];
        proptest::collection::vec(one, 1..30)
    }

    proptest! {
        #[test]
        fn no_record_is_dropped_unseen_and_none_passes_twice_in_an_epoch(
            gaps in proptest::collection::vec(prop_oneof![9 => Just(0), 1 => 1..5_i64], 4000),
            moves in moves(),
        ) {
            let mut next = 0;
            let mut log: Vec<(i64, i64)> = Vec::new();
            for (index, gap) in gaps.iter().enumerate() {
                next += gap;
                log.push((next, index as i64));
                next += 1;
            }
            let mut guard = PositionGuard::new(NextOffset(0));
            let mut passed = BTreeSet::new();
            let mut last = -1;
            let mut at = 0_usize;
            for one in moves {
                let reads = match one {
                    Move::Read(count) => count,
                    Move::Back(count) => {
                        at = at.saturating_sub(count);
                        continue;
                    }
                    Move::Replaced(count) => {
                        at = at.saturating_sub(count);
                        for record in &mut log[at..] {
                            record.1 += 1_000_000;
                        }
                        continue;
                    }
                    Move::End => {
                        let end = log.get(at).map_or(next, |record| record.0);
                        let before = guard.expected();
                        let admission = guard.admit_end(NextOffset(end));
                        prop_assert_eq!(admission == Admission::Refetch, end < before.0);
                        prop_assert_eq!(guard.expected(), before.max(NextOffset(end)));
                        continue;
                    }
                };
                for record in log.iter().skip(at).take(reads) {
                    let (offset, timestamp) = *record;
                    let expected = guard.expected();
                    match guard.admit(Offset(offset), timestamp) {
                        Admission::Next => prop_assert_eq!(offset, expected.0),
                        Admission::Gap(skipped) => prop_assert_eq!(offset - skipped as i64, expected.0),
                        Admission::Refetch => {
                            prop_assert!(passed.contains(record), "{record:?} was never handed out");
                            continue;
                        }
                        Admission::Rewind { expected: said, got } => {
                            prop_assert_eq!((said, got), (expected, Offset(offset)));
                            let remembered = last - offset < REMEMBERED as i64;
                            prop_assert!(!(passed.contains(record) && remembered), "{record:?} is a refetch");
                            // A new epoch, as the poller would begin it.
                            guard = PositionGuard::new(NextOffset(offset));
                            passed.clear();
                            prop_assert_eq!(guard.admit(Offset(offset), timestamp), Admission::Next);
                        }
                    }
                    prop_assert!(passed.insert(*record));
                    last = offset;
                    prop_assert_eq!(guard.expected(), Offset(offset).next());
                }
                at = (at + reads).min(log.len());
            }
        }
    }
}
