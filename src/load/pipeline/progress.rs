use crate::load::backlog::Backlog;
use crate::load::leftover::Leftover;

/// How many records were confirmed in IN, and how many different ones had come out, second by second.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Nanoseconds of the run's clock, and the two counts.
    samples: Vec<(u64, Counts)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) acked: u64,
    pub(super) came: u64,
}

impl Counts {
    /// Confirmed and still to come, of an application that lets this `share` of the records through.
    pub(super) fn behind(self, share: f64) -> u64 {
        ((self.acked as f64 * share).round() as u64).saturating_sub(self.came)
    }

    /// The share that was let through, when all has come that ever will.
    ///
    /// By that, what is behind when the load ends is what came after it, whichever records they were.
    pub(super) fn share(self) -> f64 {
        if self.acked == 0 { 1.0 } else { (self.came as f64 / self.acked as f64).min(1.0) }
    }
}

impl Progress {
    pub(super) fn sampled(&mut self, at: u64, counts: Counts) {
        // A border may be looked at behind the second that came after it.
        let next = self.samples.partition_point(|(sampled, _)| *sampled <= at);
        self.samples.insert(next, (at, counts));
    }

    /// How far behind an application was that lets this `share` of the records through.
    pub(super) fn backlog(&self, share: f64) -> Backlog {
        let mut backlog = Backlog::default();
        self.samples.iter().for_each(|(at, counts)| backlog.sampled(*at, counts.behind(share)));
        backlog
    }

    /// Until when an application that lets all through was at work on what had piled up in the warm-up. It may take its time for each record, as much as
    /// it is behind in the load's second half.
    pub(super) fn left_until(&self, load_start: u64, load_end: u64, rate: f64) -> Option<u64> {
        let (backlog, mut leftover) = (self.backlog(1.0), Leftover::default());
        let begin = self.samples.iter().rfind(|(at, _)| *at <= load_start).map(|(_, counts)| counts.acked);
        leftover.load_begins(load_start, begin.unwrap_or_default());
        self.samples.iter().for_each(|(at, counts)| leftover.looked(*at, counts.came));
        let takes = backlog.typical(load_start.midpoint(load_end), load_end) as f64 / rate.max(1.0);
        leftover.worked_off(&backlog, load_end, rate, (takes * 1e9) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: fn(u64, u64) -> Counts = |acked, came| Counts { acked, came };

    #[test]
    fn what_is_left_out_on_purpose_is_not_behind_and_what_comes_late_is() {
        let mut progress = Progress::default();
        // One in four is let through, and it takes twice as long as the load.
        (0..10).for_each(|at| progress.sampled(at, COUNTS(at * 400, at * 50)));
        let share = COUNTS(4_000, 1_000).share();
        let backlog = progress.backlog(share);
        assert_eq!([0, 4, 9].map(|at| backlog.at(at)), [0, 200, 450]);
        assert_eq!(COUNTS(4_000, 500).behind(share), 500);
        // In the end all has come that will.
        assert_eq!(COUNTS(4_000, 1_000).behind(share), 0);
        // The first half is let through and the second is not: no more is to come, and nobody is behind.
        assert_eq!([COUNTS(2_000, 2_000), COUNTS(4_000, 2_000)].map(|it| it.behind(0.5)), [0, 0]);
        assert_eq!((COUNTS(0, 0).share(), COUNTS(10, 11).share()), (1.0, 1.0));
    }

    #[test]
    fn what_an_application_had_to_make_good_of_the_warm_up_is_told_from_one_that_takes_its_time() {
        const SECOND: u64 = 1_000_000_000;
        // 2,000 a second in a warm-up of 5 s, and then 1,000.
        let acked = |second: u64| second.min(5) * 2_000 + second.saturating_sub(5) * 1_000;
        let left = |came: &dyn Fn(u64) -> u64| {
            let mut progress = Progress::default();
            (0..=25).for_each(|second| progress.sampled(second * SECOND, COUNTS(acked(second), came(second))));
            progress.left_until(5 * SECOND, 25 * SECOND, 1_000.0).map(|at| at / SECOND)
        };
        assert_eq!(left(&|second| acked(second).min(second * 800 + second.saturating_sub(5) * 700)), Some(8));
        assert_eq!(left(&|second| acked(second.saturating_sub(4))), None);
        assert_eq!(left(&acked), None);
    }
}
