//! When there are too many dead letters: after a bad deploy the flow is to stop, not to run dry into the dead letters. Pure.

use std::collections::VecDeque;
use std::fmt;

/// What one partition may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    /// Without another record between them.
    pub(crate) in_a_row: u32,
    /// Of the last `window` records, at most.
    pub(crate) ratio: f64,
    pub(crate) window: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_a_row: 100, ratio: 0.5, window: 1000 }
    }
}

impl Limits {
    const NONE: u32 = u32::MAX;

    /// Whether so many dead letters among the last `window` records are too many. By the quotient: it is the share as somebody writes it, where
    /// `window * ratio` is 28.999... for 0.29 of 100.
    fn exceeds_ratio(&self, letters: u64) -> bool {
        letters as f64 / f64::from(self.window) > self.ratio
    }
}

/// The limit that a record would exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Exceeded {
    InARow(u32),
    Ratio { letters: u64, window: u32 },
}

/// One partition's record of what ended how, as far as the limits need it. What went well costs nothing here: its count is enough.
#[derive(Debug)]
pub(crate) struct Breaker {
    limits: Limits,
    letters: u64,
    /// Since the last record that was none.
    row: u32,
    /// How many were none when the last one came.
    others: u64,
    /// The numbers, among all records, of the dead letters in the window.
    recent: VecDeque<u64>,
}

impl Breaker {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, letters: 0, row: 0, others: 0, recent: VecDeque::new() }
    }

    /// Another record is to be a dead letter, after `others` that were none. It is not counted where it would be one too many.
    pub(crate) fn admit(&mut self, others: u64) -> Result<(), Exceeded> {
        let Limits { in_a_row, ratio, window } = self.limits;
        if others != self.others {
            (self.others, self.row) = (others, 0);
        }
        if in_a_row != Limits::NONE && self.row >= in_a_row {
            return Err(Exceeded::InARow(in_a_row));
        }
        let number = self.letters + others;
        while self.recent.front().is_some_and(|first| first + u64::from(window) <= number) {
            self.recent.pop_front();
        }
        if ratio < 1.0 {
            let letters = self.recent.len() as u64;
            if self.limits.exceeds_ratio(letters + 1) {
                return Err(Exceeded::Ratio { letters, window });
            }
            self.recent.push_back(number);
        }
        self.row = self.row.saturating_add(1);
        self.letters += 1;
        Ok(())
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow(records) => write!(f, "its partition has had {records} in a row (max_in_a_row)"),
            Self::Ratio { letters, window } => {
                write!(f, "its partition has had {letters} among the last {window} records (max_ratio)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(in_a_row: u32, ratio: f64, window: u32) -> Limits {
        Limits { in_a_row, ratio, window }
    }

    #[test]
    fn a_record_in_between_ends_a_row() {
        let mut breaker = Breaker::new(limits(2, 1.0, 1));
        assert_eq!([breaker.admit(0), breaker.admit(0)], [Ok(()), Ok(())]);
        assert_eq!(breaker.admit(0), Err(Exceeded::InARow(2)));
        assert_eq!([breaker.admit(1), breaker.admit(1)], [Ok(()), Ok(())]);
        assert_eq!(breaker.admit(1), Err(Exceeded::InARow(2)));
    }

    #[test]
    fn by_default_a_deploy_that_fails_at_everything_writes_a_hundred_and_one_that_fails_at_half_goes_on() {
        let mut breaker = Breaker::new(Limits::default());
        assert_eq!((0..1000).take_while(|_| breaker.admit(7).is_ok()).count(), 100);
        let mut breaker = Breaker::new(Limits::default());
        assert!((0..10_000).all(|others| breaker.admit(others).is_ok()));
    }

    #[test]
    fn a_share_is_kept_to_the_record_also_where_no_float_is_that_share() {
        for percent in 1..100 {
            let mut breaker = Breaker::new(limits(u32::MAX, f64::from(percent) / 100.0, 100));
            assert_eq!((0..100).take_while(|_| breaker.admit(0).is_ok()).count(), percent as usize);
        }
    }

    proptest! {
        /// Against the outcomes themselves, remembered one by one.
        #[test]
        fn what_is_admitted_keeps_both_limits_and_what_is_not_would_break_one(
            outcomes in prop::collection::vec(any::<bool>(), 0..400),
            in_a_row in 1..12_u32,
            ratio in 0.0..=1.0_f64,
            window in 1..60_u32,
        ) {
            let mut breaker = Breaker::new(limits(in_a_row, ratio, window));
            let mut history: Vec<bool> = Vec::new();
            for is_letter in outcomes {
                if !is_letter {
                    history.push(false);
                    continue;
                }
                let others = history.iter().filter(|letter| !**letter).count() as u64;
                let row = history.iter().rev().take_while(|letter| **letter).count() as u32;
                let before = history.iter().rev().take(window as usize - 1).filter(|letter| **letter).count();
                let of_window = (before + 1) as f64 / f64::from(window);
                match breaker.admit(others) {
                    Ok(()) => {
                        prop_assert!(row < in_a_row);
                        prop_assert!(ratio == 1.0 || of_window <= ratio, "{of_window} of {ratio}");
                        history.push(true);
                    }
                    Err(Exceeded::InARow(_)) => prop_assert_eq!(row, in_a_row),
                    Err(Exceeded::Ratio { .. }) => prop_assert!(of_window > ratio, "{of_window} of {ratio}"),
                }
                prop_assert!(breaker.recent.len() <= window as usize);
            }
        }
    }
}
