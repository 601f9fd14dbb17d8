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

impl Summary {
    /// Of each figure the worse remains, which is what can be said of two together.
    pub(crate) fn worsen(&mut self, other: &Self) {
        let figures = [
            (&mut self.p50, other.p50),
            (&mut self.p90, other.p90),
            (&mut self.p99, other.p99),
            (&mut self.p99_9, other.p99_9),
            (&mut self.p99_99, other.p99_99),
            (&mut self.max, other.max),
        ];
        figures.into_iter().for_each(|(one, other)| *one = other.max(*one));
        self.min = self.min.min(other.min);
        self.count += other.count;
    }
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

    pub(crate) fn record_many(&mut self, micros: u64, times: u64) {
        let _ = self.0.record_n(micros, times);
    }

    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// The curve of percentiles: shares of records, and the microseconds within which they were, ever closer to all. Empty where there are none.
    pub(crate) fn curve(&self) -> Vec<(f64, u64)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (count, mut curve) = (self.0.len() as f64, vec![(0.0, self.0.min())]);
        // The part that is left shrinks tenfold in eight steps, until it is less than a record.
        for step in 1..=64 {
            let left = 10_f64.powf(-f64::from(step) / 8.0);
            if left * count < 1.0 {
                break;
            }
            curve.push((1.0 - left, self.0.value_at_quantile(1.0 - left)));
        }
        curve.push((1.0, self.0.max()));
        curve
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

    /// In nanoseconds; 0 where there are none.
    pub(crate) fn mean(&self) -> u64 {
        (self.0.mean() * 1_000.0) as u64
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
    fn a_curve_rises_from_the_least_to_the_most_and_ends_with_the_last_record() {
        let mut latencies = Latencies::new().unwrap();
        assert!(latencies.curve().is_empty());
        latencies.record(500_000);
        assert_eq!(latencies.curve(), [(0.0, 500), (1.0, 500)]);
        (1..=999).for_each(|micros| latencies.record(micros * 1_000));
        let curve = latencies.curve();
        assert!(curve.is_sorted(), "{curve:?}");
        assert_eq!((curve[0], curve.last()), ((0.0, 1), Some(&(1.0, 999))));
        // 1,000 records: up to 99.9 %.
        assert_eq!(curve.len(), 2 + 24);
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
