//! How long to wait before something is tried again.

use std::time::Duration;

/// Pauses that double from attempt to attempt up to a longest one, each shortened at random by up to half, so that
/// what failed together is not tried again together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetrySchedule {
    first: Duration,
    longest: Duration,
}

impl RetrySchedule {
    /// Begins with pauses of about `first`. None is ever longer than `longest`, which is raised to `first` if below it.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        let longest = longest.max(first);
        Self { first, longest }
    }

    /// The pause after attempt `attempt`, the first being 1, has failed.
    ///
    /// `random` is any 64 random bits. The pause is at least half of what the attempt's doubling gives.
    pub(crate) fn pause(&self, attempt: u32, random: u64) -> Duration {
        let doublings = attempt.saturating_sub(1);
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        let full = self.first.saturating_mul(factor).min(self.longest);
        // 53 bits are what a float holds exactly, so this lies in [0, 1).
        let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
        full - (full / 2).mul_f64(share)
    }
}

/// 100 milliseconds at first, 30 seconds at most: soon enough for a hiccup, rare enough for an outage.
impl Default for RetrySchedule {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_jitter_pauses_double_up_to_the_longest() {
        let schedule = RetrySchedule::new(Duration::from_millis(100), Duration::from_millis(500));
        let pauses: Vec<u128> = (1..=5).map(|attempt| schedule.pause(attempt, 0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 500, 500]);
    }

    #[test]
    fn jitter_takes_off_up_to_half() {
        let schedule = RetrySchedule::new(Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(schedule.pause(1, 1 << 63), Duration::from_millis(750));
        assert!(schedule.pause(1, u64::MAX) >= Duration::from_millis(500));
    }

    proptest! {
        #[test]
        fn a_pause_keeps_its_bounds_whatever_the_attempt(
            first in 0..100_000_u64,
            longest in 0..10_000_000_u64,
            attempt in any::<u32>(),
            random in any::<u64>(),
        ) {
            let (first, longest) = (Duration::from_millis(first), Duration::from_millis(longest));
            let schedule = RetrySchedule::new(first, longest);
            let pause = schedule.pause(attempt, random);
            prop_assert!(pause <= longest.max(first));
            prop_assert!(pause >= first / 2);
            prop_assert!(pause <= schedule.pause(attempt, 0));
        }
    }
}
