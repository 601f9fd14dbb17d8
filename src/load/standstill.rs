//! Partitions of which nothing is handled any more, beside others that go on.

use std::fmt;
use std::time::Duration;

/// A partition that has not rested longer is not called stuck.
const LEAST: u64 = 5_000_000_000;
/// Nor one that has not rested so many times as long as one that went on again,
const TIMES_A_REST: u64 = 2;
/// or as a handler takes.
const TIMES_A_HANDLER: u64 = 4;

/// Looks at all partitions again and again: two counts for each, however long that goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standstill {
    partitions: Vec<Rest>,
    /// The longest that one rested that had records and went on again.
    longest: u64,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    handled: u64,
    /// When that was new, or nothing was left to handle.
    since: u64,
}

/// One partition that stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) idle: Duration,
    /// Confirmed records that were not handled.
    pub(crate) waiting: u64,
}

impl Standstill {
    /// At `now`, by partition: how many records were confirmed, and how many were handled.
    pub(crate) fn looked(&mut self, now: u64, partitions: impl Iterator<Item = (u64, u64)>) {
        for (index, (confirmed, handled)) in partitions.enumerate() {
            if index == self.partitions.len() {
                self.partitions.push(Rest { handled, since: now });
            }
            let rest = &mut self.partitions[index];
            if handled > rest.handled {
                self.longest = self.longest.max(now.saturating_sub(rest.since));
            }
            if handled > rest.handled || confirmed <= handled {
                *rest = Rest { handled, since: now };
            }
        }
    }

    /// Those that stand still at `now`, and for how long they have in nanoseconds, where a handler is known to take as long as `handler` says of a
    /// partition.
    ///
    /// Who is at work on one record, or waits for its turn, has not rested for much longer than that takes, or than another did before it went on.
    pub(crate) fn stuck(&self, now: u64, handler: impl Fn(u32) -> u64) -> Vec<(u32, u64)> {
        let rests =
            (0_u32..).zip(&self.partitions).map(|(partition, rest)| (partition, now.saturating_sub(rest.since)));
        let least = LEAST.max(self.longest.saturating_mul(TIMES_A_REST));
        let long = rests.filter(|(_, idle)| *idle >= least);
        long.filter(|(partition, idle)| *idle >= handler(*partition).saturating_mul(TIMES_A_HANDLER)).collect()
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, idle, waiting } = self;
        write!(
            f,
            "of partition {partition} of {topic} nothing was handled for the last {:.1} s, and {waiting} records were waiting there",
            idle.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A partition by what it has handled each second, of 1,000 a second that come for 10 s and 30 s in which none does.
    fn stuck(handler: u64, handled: &[&dyn Fn(u64) -> u64]) -> Vec<(u32, u64)> {
        let mut standstill = Standstill::default();
        for second in 0..=40 {
            let confirmed = second.min(10) * 1_000;
            standstill.looked(second * SECOND, handled.iter().map(|of| (confirmed, of(second).min(confirmed))));
        }
        let stuck = standstill.stuck(40 * SECOND, |_| handler * SECOND);
        stuck.into_iter().map(|(partition, idle)| (partition, idle / SECOND)).collect()
    }

    #[test]
    fn a_partition_that_stands_still_for_good_is_found_beside_others_that_are_not_through_either() {
        assert_eq!(
            stuck(0, &[&|second| second * 100, &|second| second.min(7) * 100, &|second| second * 200]),
            [(1, 33)]
        );
        // From the first moment on.
        assert_eq!(stuck(0, &[&|_| 0, &|second| second * 100]), [(0, 40)]);
        // All is done, and nothing more comes.
        assert_eq!(stuck(0, &[&|second| second * 1_000, &|second| second * 500]), []);
    }

    #[test]
    fn a_handler_that_takes_long_is_no_standstill() {
        // Eight seconds for each record, one at a time: the last 8 s without a sign are as good as the others.
        assert_eq!(stuck(8, &[&|second| second / 8, &|second| second * 100]), []);
        assert_eq!(stuck(8, &[&|second| second.min(9) / 8, &|second| second * 100]), [(0, 32)]);
        assert_eq!(stuck(9, &[&|second| second.min(9) / 8, &|second| second * 100]), []);
    }

    #[test]
    fn who_waits_for_a_turn_that_others_had_to_wait_for_as_long_is_not_stuck() {
        // One after the other, 10 s each.
        let turn = |from: u64| move |second: u64| second.saturating_sub(from).min(10) * 100;
        assert_eq!(stuck(0, &[&turn(0), &turn(10), &turn(20), &turn(30), &|_| 0]), []);
        // A rest of 10 s says nothing for one of 30.
        assert_eq!(stuck(0, &[&turn(10), &|second| second * 10, &|second| second.min(8) * 100]), [(2, 32)]);
    }

    proptest! {
        #[test]
        fn who_goes_on_within_five_seconds_is_never_stuck(steps in proptest::collection::vec(1_u64..=4, 1..40)) {
            let (mut standstill, mut now) = (Standstill::default(), 0);
            for (handled, step) in (0..).zip(&steps) {
                for _ in 0..*step {
                    standstill.looked(now * SECOND, [(1_000, handled)].into_iter());
                    now += 1;
                    prop_assert_eq!(standstill.stuck(now * SECOND, |_| 0), []);
                }
            }
            // And then does not go on.
            let found = standstill.stuck((now + 40) * SECOND, |_| 0);
            prop_assert_eq!(found.len(), 1);
        }
    }
}
