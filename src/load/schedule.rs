use std::str::FromStr;

use super::phases::Phase;
use super::random::Random;

const SECOND: f64 = 1e9;

/// How intended send times follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// At equal distances.
    Constant,
    /// Independent of each other, as requests of many users are: gaps are exponentially distributed.
    Poisson,
}

impl Arrivals {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

impl FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "constant" => Ok(Self::Constant),
            "poisson" => Ok(Self::Poisson),
            _ => Err("it is constant or poisson".to_owned()),
        }
    }
}

/// The intended send times of one producer among several that share the phases, in nanoseconds from the start of the first.
///
/// It never looks at a clock: who comes late to a time sends late, and the next times stay where they are.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    phases: Vec<Phase>,
    producer: u64,
    producers: u64,
    /// The phase that is on, and when it began.
    phase: usize,
    began: u64,
    /// In this phase, where times follow from the numbers of records.
    sent: u64,
    /// In this phase, where they do not.
    at: f64,
    random: Random,
}

impl Schedule {
    pub(crate) fn new(phases: Vec<Phase>, producer: u16, producers: u16, seed: u64) -> Self {
        Self {
            phases,
            producer: u64::from(producer),
            producers: u64::from(producers),
            phase: 0,
            began: 0,
            sent: 0,
            at: 0.0,
            random: Random::new(seed, 0x100 + u64::from(producer)),
        }
    }

    /// When the next record is to be sent; `None` after the last phase. Times never go back.
    pub(crate) fn next(&mut self) -> Option<u64> {
        loop {
            let phase = self.phases.get(self.phase)?;
            let at = match phase.arrivals {
                // Producers take turns, so that all of them together keep the distances.
                Arrivals::Constant => {
                    let turn = u128::from(self.sent) * u128::from(self.producers) + u128::from(self.producer);
                    self.sent += 1;
                    phase.due(turn)
                }
                Arrivals::Poisson => {
                    let mean = SECOND * self.producers as f64 / phase.from.max(1) as f64;
                    self.at -= (1.0 - self.random.unit()).ln() * mean;
                    Some(self.at as u64).filter(|at| *at < phase.length())
                }
            };
            match at {
                Some(at) => return Some(self.began + at),
                // The next one begins anew: for Poisson's arrivals it is all the same how long none came.
                None => {
                    self.began += phase.length();
                    (self.phase, self.sent, self.at) = (self.phase + 1, 0, 0.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn phase(arrivals: Arrivals, rate: u64, seconds: u64) -> Phase {
        Phase {
            number: 1,
            step: None,
            from: rate,
            to: rate,
            arrivals,
            duration: Duration::from_secs(seconds),
            warmup: false,
        }
    }

    fn times(phases: &[Phase], producers: u16, seed: u64) -> Vec<u64> {
        let mut all = Vec::new();
        for producer in 0..producers {
            let mut schedule = Schedule::new(phases.to_vec(), producer, producers, seed);
            let own: Vec<_> = std::iter::from_fn(|| schedule.next()).collect();
            assert!(own.is_sorted());
            all.extend(own);
        }
        all.sort_unstable();
        all
    }

    proptest! {
        #[test]
        fn producers_that_share_a_rate_keep_equal_distances_together(rate in 1_u64..5_000, producers in 1_u16..7) {
            let all = times(&[phase(Arrivals::Constant, rate, 3)], producers, 0);
            prop_assert_eq!(all.len() as u64, rate * 3);
            for (index, at) in all.iter().enumerate() {
                prop_assert_eq!(*at, (index as u128 * 1_000_000_000 / u128::from(rate)) as u64);
            }
        }
    }

    proptest! {
        #[test]
        fn each_phase_has_its_records_in_its_own_time_and_the_last_one_ends_it(
            rates in proptest::collection::vec((1_u64..500, 1_u64..500, 1_u64..3), 1..5),
            producers in 1_u16..4,
        ) {
            let phases = rates.iter().map(|(from, to, seconds)| Phase { to: *to, ..phase(Arrivals::Constant, *from, *seconds) });
            let phases: Vec<_> = phases.collect();
            let all = times(&phases, producers, 0);
            let mut began = 0;
            for phase in &phases {
                let end = began + phase.length();
                let came = all.iter().filter(|at| (began..end).contains(at)).count() as u64;
                let wanted = (phase.from + phase.to) * phase.duration.as_secs() / 2;
                prop_assert!(came.abs_diff(wanted) <= 1, "{came} {wanted}");
                began = end;
            }
            prop_assert!(all.last().is_none_or(|last| *last < began));
        }
    }

    #[test]
    fn poisson_arrivals_begin_anew_with_each_phase() {
        let phases =
            [phase(Arrivals::Poisson, 2_000, 10), phase(Arrivals::Constant, 10, 1), phase(Arrivals::Poisson, 500, 10)];
        let all = times(&phases, 3, 1);
        let within = |from: u64, to: u64| all.iter().filter(|at| (from..to).contains(&(**at / 1_000_000_000))).count();
        assert!((19_500..20_500).contains(&within(0, 10)), "{}", within(0, 10));
        assert_eq!(within(10, 11), 10);
        assert!((4_700..5_300).contains(&within(11, 21)), "{}", within(11, 21));
    }

    #[test]
    fn a_constant_schedule_does_not_drift_in_a_day() {
        let day = 24 * 3600;
        let mut schedule = Schedule::new(vec![phase(Arrivals::Constant, 3, day + 1)], 0, 1, 0);
        for _ in 0..3 * day {
            schedule.next();
        }
        assert_eq!(schedule.next(), Some(day * 1_000_000_000));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_and_follow_the_seed() {
        for producers in [1, 4] {
            let all = times(&[phase(Arrivals::Poisson, 1_000, 100)], producers, 42);
            assert!((99_000..101_000).contains(&all.len()), "{}", all.len());
            // Of an exponential distribution the standard deviation is the mean.
            let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let spread = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
            assert!((0.97..1.03).contains(&(spread / mean)), "{mean} {spread}");
        }
        let again = |seed| times(&[phase(Arrivals::Poisson, 1_000, 1)], 2, seed);
        assert_eq!(again(1), again(1));
        assert_ne!(again(1), again(2));
    }
}
