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

    /// Whether it was still growing when the load, which lasted from `start` to `end`, ended with so many records behind at that `rate`.
    ///
    /// A handler that takes its time is behind as well, by as much as it takes, and no more in the end than half way: that is none.
    pub(crate) fn grew(&self, start: u64, end: u64, behind: u64, rate: f64) -> bool {
        let half = start + end.saturating_sub(start) / 2;
        let half_way =
            self.samples.iter().rfind(|(at, _)| (start..=half).contains(at)).map_or(0, |(_, records)| *records);
        behind > FEW && behind as f64 > rate && behind as f64 > 1.5 * half_way as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A load of 20 s at 1,000/s, after a warm-up of 5 s.
    fn grew(behind: impl Fn(u64) -> u64) -> bool {
        let mut backlog = Backlog::default();
        (0..25).for_each(|second| backlog.sampled(second * SECOND, behind(second)));
        backlog.grew(5 * SECOND, 25 * SECOND, behind(25), 1_000.0)
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
}
