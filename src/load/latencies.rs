use hdrhistogram::{CreationError, Histogram};

/// A minute: up to here a histogram has no need to grow.
const FROM_THE_START: u64 = 60_000_000;

/// Latencies in whole microseconds, kept to three digits and never clamped: the histogram grows to whatever it is told.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// What is shown of latencies, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Summary {
    pub(crate) min: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    #[serde(rename = "p99.9")]
    pub(crate) p99_9: u64,
    #[serde(rename = "p99.99")]
    pub(crate) p99_99: u64,
    pub(crate) max: u64,
    pub(crate) count: u64,
}

impl Latencies {
    /// # Errors
    /// None that can be: these bounds are valid.
    pub(crate) fn new() -> Result<Self, CreationError> {
        let mut histogram = Histogram::new_with_bounds(1, FROM_THE_START, 3)?;
        histogram.auto(true);
        Ok(Self(histogram))
    }

    pub(crate) fn record(&mut self, nanoseconds: u64) {
        // What is 292,000 years long would not fit.
        let _ = self.0.record(nanoseconds / 1_000);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Both grow, so that each holds what the other does.
        let _ = self.0.add(&other.0);
    }

    /// Takes what there is, and begins anew.
    pub(crate) fn take(&mut self) -> Self {
        let taken = self.clone();
        self.0.reset();
        taken
    }

    /// `None` where there are none.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let at = |quantile| self.0.value_at_quantile(quantile);
        (!self.0.is_empty()).then(|| Summary {
            min: self.0.min(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: self.0.max(),
            count: self.0.len(),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_kept_to_three_digits_and_never_clamped() {
        let mut latencies = Latencies::new().unwrap();
        assert_eq!(latencies.summary(), None);
        // From a microsecond to a day, far above where the histogram begins.
        for micros in [1, 1_000, 123_456, 86_400_000_000_u64] {
            latencies.record(micros * 1_000 + 999);
        }
        let summary = latencies.summary().unwrap();
        assert_eq!((summary.min, summary.count), (1, 4));
        let near = |found: u64, wanted: u64| found.abs_diff(wanted) * 1_000 <= wanted;
        assert!(near(summary.p50, 1_000), "{summary:?}");
        assert!(near(summary.max, 86_400_000_000), "{summary:?}");
        assert_eq!(summary.p99_9, summary.max);
    }

    #[test]
    fn what_is_taken_by_the_second_adds_up_to_the_whole() {
        let (mut second, mut whole) = (Latencies::new().unwrap(), Latencies::new().unwrap());
        for micros in 1..=1_000_u64 {
            second.record(micros * 1_000);
            if micros % 100 == 0 {
                whole.add(&second.take());
            }
        }
        assert_eq!(second.summary(), None);
        let summary = whole.summary().unwrap();
        assert_eq!((summary.count, summary.p50, summary.p99), (1_000, 500, 990));
    }
}
