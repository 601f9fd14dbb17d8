//! What the broker answered.

use crate::load::latencies::Latencies;

/// The broker's answers.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Of the load since it was last taken.
    pub(crate) produce_ack: Latencies,
    /// Confirmed records of the load.
    pub(crate) acked: u64,
    /// When the last of them was, on the run's clock.
    pub(crate) last_acked: u64,
    /// The first record that was not confirmed, and why.
    pub(crate) first_error: Option<String>,
    /// The producer takes nothing more.
    pub(crate) fatal: bool,
}

impl Answers {
    /// Confirmed records of the load a second: from its start to its end, or to the last confirmation, where that came later. What the producer had
    /// only taken over by the end is no faster for it.
    pub(crate) fn rate(&self, start: u64, end: u64) -> f64 {
        let seconds = end.max(self.last_acked).saturating_sub(start) as f64 / 1e9;
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
        let answers = |acked, last_acked| {
            let produce_ack = Latencies::new().unwrap();
            Answers { produce_ack, acked, last_acked, first_error: None, fatal: false }
        };
        // All were taken over within a second, and confirmed in ten.
        assert_eq!(answers(1_000, 12 * SECOND).rate(2 * SECOND, 3 * SECOND), 100.0);
        assert_eq!(answers(1_000, 11 * SECOND).rate(2 * SECOND, 12 * SECOND), 100.0);
        assert_eq!(answers(0, 0).rate(2 * SECOND, 2 * SECOND), 0.0);
    }
}
