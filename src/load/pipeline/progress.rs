use crate::load::backlog::Backlog;

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
        self.samples.push((at, counts));
    }

    /// How far behind an application was that lets this `share` of the records through.
    pub(super) fn backlog(&self, share: f64) -> Backlog {
        let mut backlog = Backlog::default();
        self.samples.iter().for_each(|(at, counts)| backlog.sampled(*at, counts.behind(share)));
        backlog
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
}
