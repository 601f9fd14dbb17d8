//! What the broker answered.

use hdrhistogram::CreationError;

use crate::load::by_phase::ByPhase;

/// The broker's answers.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Of the load since it was last taken.
    pub(crate) produce_ack: ByPhase,
    /// Of the load, phase by phase: without phases there is one.
    pub(crate) phases: Vec<Confirmed>,
    /// The first record that was not confirmed, and why.
    pub(crate) first_error: Option<String>,
    /// The producer takes nothing more.
    pub(crate) fatal: bool,
}

/// What was confirmed of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Confirmed {
    pub(crate) acked: u64,
    /// When the last of them was, on the run's clock.
    pub(crate) last: u64,
}

impl Answers {
    /// # Errors
    /// None that can be, see [`ByPhase::new`].
    pub(super) fn new(phases: usize) -> Result<Self, CreationError> {
        let phases = vec![Confirmed::default(); phases.max(1)];
        Ok(Self { produce_ack: ByPhase::new()?, phases, first_error: None, fatal: false })
    }

    /// A record of that phase was confirmed at `now`, so many nanoseconds after its time.
    pub(super) fn confirmed(&mut self, phase: usize, latency: u64, now: u64) {
        if let Some(of) = self.phases.get_mut(phase) {
            *of = Confirmed { acked: of.acked + 1, last: of.last.max(now) };
        }
        self.produce_ack.record(phase, latency);
    }

    /// Confirmed records of the load a second, see [`Confirmed::rate`].
    pub(crate) fn rate(&self, start: u64, end: u64) -> f64 {
        let whole = self.phases.iter().fold(Confirmed::default(), |whole, it| Confirmed {
            acked: whole.acked + it.acked,
            last: whole.last.max(it.last),
        });
        whole.rate(start, end)
    }
}

impl Confirmed {
    /// A second: from the start to the end, or to the last confirmation, where that came later. What the producer had only taken over by the end is no
    /// faster for it.
    pub(crate) fn rate(&self, start: u64, end: u64) -> f64 {
        let seconds = end.max(self.last).saturating_sub(start) as f64 / 1e9;
        if seconds > 0.0 { self.acked as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_the_time_until_the_last_confirmation() {
        const SECOND: u64 = 1_000_000_000;
        let answers = |acked: u64, last: u64| {
            let before = Confirmed { acked: acked / 2, last: last / 2 };
            let phases = vec![before, Confirmed { acked: acked - acked / 2, last }];
            Answers { phases, ..Answers::new(2).unwrap() }
        };
        // All were taken over within a second, and confirmed in ten.
        assert_eq!(answers(1_000, 12 * SECOND).rate(2 * SECOND, 3 * SECOND), 100.0);
        assert_eq!(answers(1_000, 11 * SECOND).rate(2 * SECOND, 12 * SECOND), 100.0);
        assert_eq!(answers(0, 0).rate(2 * SECOND, 2 * SECOND), 0.0);
    }
}
