//! So many records a second, and no more: when each is due. Pure.

use std::time::Duration;

/// Records at a rate, evenly from the start on. One that comes late makes those behind it no faster than the rate lets it catch up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    per_second: f64,
}

impl Pace {
    /// `per_second` is above 0.
    pub(crate) fn new(per_second: f64) -> Self {
        Self { per_second }
    }

    /// When record `number`, counted from 0, is due, from the start.
    pub(crate) fn due(self, number: u64) -> Duration {
        Duration::try_from_secs_f64(number as f64 / self.per_second).unwrap_or(Duration::MAX)
    }

    /// How long to wait with it, at this time from the start. Waits that a timer cannot keep are saved up.
    pub(crate) fn wait(self, number: u64, elapsed: Duration) -> Option<Duration> {
        const GRAIN: Duration = Duration::from_millis(2);
        self.due(number).checked_sub(elapsed).filter(|wait| *wait >= GRAIN)
    }
}

/// A rate, for the command line.
pub(crate) fn parse(text: &str) -> Result<Pace, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(Pace::new(rate)),
        _ => Err("a number of records a second, above 0".to_owned()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_numbers_above_zero() {
        assert_eq!(parse("0.5").unwrap().due(1), Duration::from_secs(2));
        for text in ["0", "-1", "fast", "inf", "NaN"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn who_waits_as_told_sends_no_faster_than_the_rate_but_for_a_timers_grain(
            rate in 1.0..100_000.0_f64,
            took in prop::collection::vec(0..3_000_u64, 1..200),
        ) {
            let pace = Pace::new(rate);
            let mut now = Duration::ZERO;
            for (number, took) in (0..).zip(took) {
                now += pace.wait(number, now).unwrap_or_default();
                let early = pace.due(number).saturating_sub(now);
                prop_assert!(early < Duration::from_millis(2));
                now += Duration::from_micros(took);
            }
        }
    }
}
