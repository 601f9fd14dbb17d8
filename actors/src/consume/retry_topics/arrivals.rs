//! Since when the records of a retry topic's partition have been in its log, by the log's ends. Pure.
//!
//! The times in their headers are those of clocks that may be wrong, and when a chunk of them comes here depends on how long those before it
//! waited. Were that all that bounds a wait, each chunk would add its own to that of the chunks before it.

use std::collections::VecDeque;
use std::time::Instant;

/// Ends that are remembered, at most. Others are forgotten, and the records before them bounded by the next one.
const MOST: usize = 256;

/// See the module. One for each epoch.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Where the log ended, and when that was seen; both grow.
    ends: VecDeque<(i64, Instant)>,
}

impl Arrivals {
    /// The log ends at `end` `now`. Gives since when at the latest the record at `last` has been in it, which lies above those that were asked for before.
    pub(crate) fn since(&mut self, last: i64, end: i64, now: Instant) -> Instant {
        // A log that went back holds other records there, which are not to be tried early. A follower that answers after the leader may know of a lower end
        // too: what is forgotten then was seen within the time by which that one lags, which is all that it adds to a wait.
        while self.ends.back().is_some_and(|(known, _)| *known > end) {
            self.ends.pop_back();
        }
        while self.ends.front().is_some_and(|(known, _)| *known <= last) {
            self.ends.pop_front();
        }
        if end > last && self.ends.back().is_none_or(|(known, _)| *known < end) && self.ends.len() < MOST {
            self.ends.push_back((end, now));
        }
        self.ends.front().map_or(now, |(_, seen)| *seen)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(begun: Instant, ms: u64) -> Instant {
        begun + Duration::from_millis(ms)
    }

    #[test]
    fn a_record_is_there_since_an_end_behind_it_was_seen() {
        let begun = Instant::now();
        let mut arrivals = Arrivals::default();
        let mut since = |last, end, ms| arrivals.since(last, end, at(begun, ms)).duration_since(begun).as_millis();
        assert_eq!(since(9, 100, 5), 5);
        assert_eq!(since(19, 300, 1000), 5);
        assert_eq!(since(99, 300, 2000), 5, "the last before that end");
        assert_eq!(since(100, 300, 3000), 1000);
        assert_eq!(since(300, 300, 4000), 4000, "behind all ends: it came just now");
        assert_eq!(since(310, 500, 5000), 5000);
        assert_eq!(since(320, 400, 6000), 6000, "the log went back");
    }

    #[test]
    fn ends_that_are_too_many_are_not_remembered() {
        let begun = Instant::now();
        let mut arrivals = Arrivals::default();
        (0..10 * MOST as i64).for_each(|end| _ = arrivals.since(0, 1000 + end, begun));
        assert_eq!(arrivals.ends.len(), MOST);
    }

    proptest! {
        /// A partition whose reader's clock is so slow that nothing is due by it. Two chunks are handed out at most.
        #[test]
        fn waits_do_not_add_up_and_none_is_shorter_than_the_delay(
            gaps in prop::collection::vec(0..40_u64, 1..600),
            most in 1..20_usize,
            delay in 1..500_u64,
        ) {
            let begun = Instant::now();
            let written: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut arrivals = Arrivals::default();
            let (mut next, mut done, mut room) = (0, 0, 0);
            while next < written.len() {
                // As soon as the chunk before is taken up, and there is something.
                let now = room.max(written[next]);
                let end = written.partition_point(|at| *at <= now);
                let behind = end.min(next + most);
                let since = arrivals.since(behind as i64 - 1, end as i64, at(begun, now)).duration_since(begun).as_millis() as u64;
                for written in &written[next..behind] {
                    prop_assert!(*written <= since, "it would be tried {} ms early", written - since);
                    prop_assert!(since + delay <= written + 3 * delay, "{} ms in all", since + delay - written);
                }
                (next, room) = (behind, done);
                done = done.max(since + delay);
            }
        }
    }
}
