/// How far handlers were behind, second by second, and whether that was for good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog {
    /// Nanoseconds of the run's clock, and confirmed records that were not handled.
    samples: Vec<(u64, u64)>,
}

/// Fewer records than these are not called a backlog.
const FEW: u64 = 100;

impl Backlog {
    pub(crate) fn sampled(&mut self, at: u64, records: u64) {
        self.samples.push((at, records));
    }

    /// As it was by then.
    pub(crate) fn at(&self, then: u64) -> u64 {
        self.samples.iter().rfind(|(at, _)| *at <= then).map_or(0, |(_, records)| *records)
    }

    /// Whether it was still growing when the load, which lasted from `start` to `end`, ended with so many records behind at that `rate`.
    ///
    /// A handler that takes its time is behind as well, by as much as it takes, and no more in the end than half way: that is none. What had piled up
    /// before the load says nothing: the second half is held against the first.
    pub(crate) fn grew(&self, start: u64, end: u64, behind: u64, rate: f64) -> bool {
        let half = start + end.saturating_sub(start) / 2;
        let (at_first, half_way) = (self.at(start), self.at(half));
        let (first, second) = (half_way.saturating_sub(at_first), behind.saturating_sub(half_way));
        is_deep(behind, rate) && second > first / 2 && second > behind / 10
    }

    /// Whether there was more than a second's worth at that `rate`.
    pub(crate) fn is_deep(&self, at: u64, rate: f64) -> bool {
        is_deep(self.at(at), rate)
    }
}

fn is_deep(records: u64, rate: f64) -> bool {
    records > FEW && records as f64 > rate
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A load at 1,000/s of so many seconds, after a warm-up of so many.
    fn grew_in(warm_up: u64, load: u64, behind: impl Fn(u64) -> u64) -> bool {
        let (mut backlog, end) = (Backlog::default(), warm_up + load);
        (0..end).for_each(|second| backlog.sampled(second * SECOND, behind(second)));
        backlog.grew(warm_up * SECOND, end * SECOND, behind(end), 1_000.0)
    }

    fn grew(behind: impl Fn(u64) -> u64) -> bool {
        grew_in(5, 20, behind)
    }

    #[test]
    fn handlers_that_fall_behind_are_told_from_those_that_take_their_time() {
        assert!(!grew(|_| 0));
        assert!(!grew(|_| 900));
        // Two seconds for each record, but many at once.
        assert!(!grew(|second| 2_000.min(second * 1_000)));
        // A tenth is not handled.
        assert!(grew(|second| second * 100));
        assert!(!grew(|second| second * 10));
    }

    #[test]
    fn what_had_piled_up_in_a_long_warm_up_hides_no_backlog_that_still_grows() {
        assert!(grew_in(10, 20, |second| second * 100));
        assert!(grew_in(20, 20, |second| second * 100));
        assert!(grew_in(60, 30, |second| second * 300));
        // It piled up in the warm-up only, or goes up and down.
        assert!(!grew_in(20, 20, |second| second.min(20) * 200));
        assert!(!grew_in(20, 20, |second| 2_000 + second % 3 * 90));
    }
}
