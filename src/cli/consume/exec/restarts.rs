//! When a worker that has ended is started again, and when there is no point in it any more.

use std::time::Duration;

/// The pause before the first restart; it doubles while a worker ends without having answered.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// So many ends in a row without an answer, of each worker, but in all no fewer than the second: twice what a record is tried by default, so
/// that one record which brings its worker down uses up its attempts first.
const EACH: usize = 3;
const AT_LEAST: usize = 20;

/// What the workers' ends so far say of the command.
#[derive(Debug)]
pub(super) struct Restarts {
    /// Ends in a row, of any worker, without an answer of any between them.
    in_a_row: usize,
    most: usize,
    /// A worker has answered at some time: the command can be run.
    proven: bool,
    /// The same as `in_a_row`, of each worker by itself.
    of_each: Vec<u32>,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The worker's place, from 0.
    pub(super) worker: usize,
    /// It had answered for a record in its life.
    pub(super) answered: bool,
    /// And any worker had since the last end.
    pub(super) any_answered: bool,
    pub(super) kind: EndKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndKind {
    /// By itself, with status 0 and no record that it had begun to answer for.
    InGoodOrder,
    /// The shell could not run the command: status 126 or 127.
    NotRun,
    /// It died, or had to be killed.
    Died,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    StartAfter(Duration),
    /// So many in a row have ended without an answer.
    GiveUp(usize),
}

impl Restarts {
    pub(super) fn new(workers: usize) -> Self {
        Self { in_a_row: 0, most: (EACH * workers).max(AT_LEAST), proven: false, of_each: vec![0; workers] }
    }

    pub(super) fn ended(&mut self, end: End) -> Next {
        self.proven |= end.answered || end.any_answered;
        if end.any_answered {
            self.in_a_row = 0;
        }
        let of_it = &mut self.of_each[end.worker];
        if end.answered {
            *of_it = 0;
            if end.kind == EndKind::InGoodOrder {
                return Next::StartAfter(Duration::ZERO);
            }
        }
        self.in_a_row += 1;
        let doublings = *of_it;
        *of_it = of_it.saturating_add(1);
        if self.in_a_row >= self.most || (end.kind == EndKind::NotRun && !self.proven) {
            return Next::GiveUp(self.in_a_row);
        }
        Next::StartAfter(FIRST.saturating_mul(2_u32.checked_pow(doublings).unwrap_or(u32::MAX)).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn died(worker: usize) -> End {
        End { worker, answered: false, any_answered: false, kind: EndKind::Died }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_with_an_answer() {
        let mut restarts = Restarts::new(2);
        let pauses = [100, 200, 400, 800, 1_000, 1_000].map(|ms| Next::StartAfter(Duration::from_millis(ms)));
        assert_eq!(pauses.map(|_| restarts.ended(died(0))), pauses);
        assert_eq!(restarts.ended(died(1)), pauses[0], "another worker's pauses are its own");
        let answered = End { answered: true, any_answered: true, ..died(0) };
        assert_eq!([answered, died(0)].map(|end| restarts.ended(end)), [pauses[0], pauses[1]]);
    }

    #[test]
    fn so_many_in_a_row_are_the_end_and_an_answer_begins_a_new_row() {
        let mut restarts = Restarts::new(1);
        let answered = End { any_answered: true, ..died(0) };
        for first in [died(0), answered, answered] {
            let row = std::iter::once(first).chain((2..AT_LEAST).map(|_| died(0)));
            row.for_each(|end| assert!(matches!(restarts.ended(end), Next::StartAfter(_))));
        }
        assert_eq!(restarts.ended(died(0)), Next::GiveUp(20));
    }

    #[test]
    fn a_command_that_cannot_be_run_is_the_end_at_once_unless_it_could_before() {
        let not_run = End { kind: EndKind::NotRun, ..died(0) };
        assert_eq!(Restarts::new(8).ended(not_run), Next::GiveUp(1));
        let mut restarts = Restarts::new(8);
        restarts.ended(End { answered: true, any_answered: true, ..died(1) });
        assert!(matches!(restarts.ended(not_run), Next::StartAfter(_)), "it may be replaced at this moment");
    }

    #[test]
    fn one_that_ends_in_good_order_after_an_answer_is_followed_at_once() {
        let mut restarts = Restarts::new(1);
        for _ in 0..100 {
            let end = End { answered: true, any_answered: true, kind: EndKind::InGoodOrder, worker: 0 };
            assert_eq!(restarts.ended(end), Next::StartAfter(Duration::ZERO));
        }
        let unanswered = End { kind: EndKind::InGoodOrder, ..died(0) };
        assert_eq!(restarts.ended(unanswered), Next::StartAfter(FIRST), "without an answer it counts as a death");
    }

    proptest! {
        #[test]
        fn without_an_answer_it_ends_within_the_bound_and_not_before(
            workers in 1..40_usize,
            ends in proptest::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut restarts = Restarts::new(workers);
            let most = (3 * workers).max(20);
            for (count, which) in ends.iter().enumerate().take(most) {
                let next = restarts.ended(died(which.index(workers)));
                if count + 1 < most {
                    prop_assert!(matches!(next, Next::StartAfter(pause) if pause >= FIRST && pause <= LONGEST));
                } else {
                    prop_assert_eq!(next, Next::GiveUp(most));
                }
            }
        }
    }
}
