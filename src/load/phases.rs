//! Stretches of a schedule, each with its rate and its arrivals.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::clock::nanoseconds;
use super::schedule::Arrivals;

/// A stretch of time in which the rate is the same, or goes evenly from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Phase {
    /// Of the table in the file that it comes from, from 1.
    pub(crate) number: u32,
    /// Which one of how many it is, where that table has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<(u32, u32)>,
    /// Records a second at its start, of all producers together.
    pub(crate) from: u64,
    /// And at its end.
    pub(crate) to: u64,
    #[serde(serialize_with = "as_name")]
    pub(crate) arrivals: Arrivals,
    #[serde(serialize_with = "as_seconds", rename = "seconds")]
    pub(crate) duration: Duration,
    /// It is verified, and left out of the figures.
    pub(crate) warmup: bool,
}

impl Phase {
    pub(crate) fn kind(&self) -> &'static str {
        match self.step {
            Some(_) => "step",
            None if self.from != self.to => "ramp",
            None => self.arrivals.name(),
        }
    }

    /// What it is told from the others by: `3 step 2 of 5`.
    pub(crate) fn name(&self) -> String {
        let (number, kind) = (self.number, self.kind());
        self.step.map_or_else(|| format!("{number} {kind}"), |(step, of)| format!("{number} {kind} {step} of {of}"))
    }

    /// Nanoseconds.
    pub(crate) fn length(&self) -> u64 {
        nanoseconds(self.duration)
    }

    /// Records a second so many nanoseconds after its start.
    fn rate_at(&self, at: u64) -> u64 {
        let share = at as f64 / self.length().max(1) as f64;
        (self.from as f64 + (self.to as f64 - self.from as f64) * share).round() as u64
    }

    /// So many nanoseconds after its start the record with this number is due, counted from 0 and of all producers. `None`: in this phase it is not.
    pub(crate) fn due(&self, number: u128) -> Option<u64> {
        let at = if self.from == self.to {
            // Counted from the start: nothing adds up.
            u64::try_from(number * 1_000_000_000 / u128::from(self.from.max(1))).ok()?
        } else if number == 0 {
            0
        } else {
            // The rate's integral, from * t + slope / 2 * t^2, solved for t.
            let (number, from) = (number as f64, self.from as f64);
            let slope = (self.to as f64 - from) / self.duration.as_secs_f64();
            let root = from * from + 2.0 * slope * number;
            if root < 0.0 {
                return None;
            }
            (2.0 * number / (from + root.sqrt()) * 1e9) as u64
        };
        Some(at).filter(|at| *at < self.length())
    }
}

/// When each of a run's phases ends, in nanoseconds from the start of the first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline(Vec<u64>);

impl Timeline {
    pub(crate) fn of(phases: &[Phase]) -> Self {
        let ends = phases.iter().scan(0_u64, |end, phase| {
            *end = end.saturating_add(phase.length());
            Some(*end)
        });
        Self(ends.collect())
    }

    pub(crate) fn ends(&self) -> &[u64] {
        &self.0
    }

    /// The phase that is on at that time, counted from 0; after the last, that one.
    pub(crate) fn phase_at(&self, at: u64) -> usize {
        self.0.partition_point(|end| *end <= at).min(self.0.len().saturating_sub(1))
    }
}

/// Records a second that are wanted so many nanoseconds after the first phase's start; `None` after the last.
pub(crate) fn rate_at(phases: &[Phase], mut at: u64) -> Option<u64> {
    for phase in phases {
        if at < phase.length() {
            return Some(phase.rate_at(at));
        }
        at -= phase.length();
    }
    None
}

/// Records that are due between two times, in nanoseconds after the first phase's start.
pub(crate) fn due_between(phases: &[Phase], from: u64, to: u64) -> f64 {
    let (mut began, mut due) = (0_u64, 0.0);
    for phase in phases {
        let ends = began.saturating_add(phase.length());
        let (first, last) = (from.clamp(began, ends), to.clamp(began, ends));
        let rates = phase.rate_at(first - began) + phase.rate_at(last - began);
        due += rates as f64 / 2.0 * last.saturating_sub(first) as f64 / 1e9;
        began = ends;
    }
    due
}

fn as_name<S: Serializer>(value: &Arrivals, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.name())
}

fn as_seconds<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn phase(from: u64, to: u64, seconds: u64) -> Phase {
        let (number, step, arrivals) = (1, None, Arrivals::Constant);
        Phase { number, step, from, to, arrivals, duration: Duration::from_secs(seconds), warmup: false }
    }

    proptest! {
        #[test]
        fn a_ramp_has_its_mean_rate_and_comes_at_its_own_rate_everywhere(
            from in 0_u64..3_000,
            to in 0_u64..3_000,
            seconds in 1_u64..5,
        ) {
            prop_assume!(from + to > 0);
            let phase = phase(from, to, seconds);
            let times: Vec<u64> = (0..).map_while(|number| phase.due(number)).collect();
            prop_assert!(times.is_sorted());
            let wanted = (from + to) * seconds / 2;
            prop_assert!((times.len() as u64).abs_diff(wanted) <= 1, "{} {wanted}", times.len());
            for (number, at) in times.iter().enumerate() {
                // What has come by then is the area below the rate.
                let seconds = *at as f64 / 1e9;
                let area = (from as f64 + phase.rate_at(*at) as f64) / 2.0 * seconds;
                prop_assert!((number as f64 - area).abs() <= 1.0 + 0.5 * seconds, "{number} {area}");
            }
        }
    }

    #[test]
    fn the_rate_is_that_of_the_phase_that_is_on() {
        let phases = [phase(100, 100, 2), phase(100, 300, 4)];
        let at = |seconds: f64| rate_at(&phases, (seconds * 1e9) as u64);
        assert_eq!(
            (at(0.0), at(1.9), at(2.0), at(4.0), at(5.99)),
            (Some(100), Some(100), Some(100), Some(200), Some(300))
        );
        assert_eq!(at(6.0), None);
    }

    #[test]
    fn what_is_due_between_two_times_counts_at_the_rates_of_that_time() {
        let phases = [phase(100, 100, 2), phase(100, 300, 4), phase(50, 50, 10)];
        let due = |from: f64, to: f64| due_between(&phases, (from * 1e9) as u64, (to * 1e9) as u64);
        assert_eq!([due(0.0, 2.0), due(1.5, 2.0), due(2.0, 4.0), due(1.0, 7.0)], [200.0, 50.0, 300.0, 950.0]);
        // Nothing is due before the start, after the end, or backwards.
        assert_eq!([due(16.0, 99.0), due(3.0, 1.0), due_between(&[], 0, 9)], [0.0; 3]);
    }

    #[test]
    fn a_time_belongs_to_the_phase_that_is_on_and_a_border_to_the_one_that_begins() {
        let timeline = Timeline::of(&[phase(100, 100, 2), phase(100, 300, 4), phase(1, 1, 1)]);
        let at = |seconds: f64| timeline.phase_at((seconds * 1e9) as u64);
        assert_eq!([0.0, 1.999, 2.0, 5.999, 6.0, 7.0, 99.0].map(at), [0, 0, 1, 1, 2, 2, 2]);
        assert_eq!(Timeline::default().phase_at(7), 0);
    }

    #[test]
    fn a_phase_is_named_by_its_table_and_its_step() {
        let step = Phase { number: 3, step: Some((2, 5)), ..phase(1, 1, 1) };
        let poisson = Phase { number: 2, arrivals: Arrivals::Poisson, ..phase(1, 1, 1) };
        let names = [phase(1, 1, 1), phase(1, 2, 1), poisson, step].map(|it| it.name());
        assert_eq!(names, ["1 constant", "1 ramp", "2 poisson", "3 step 2 of 5"]);
    }
}
