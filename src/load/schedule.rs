use std::str::FromStr;

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

/// The intended send times of one producer among several that share a rate, in nanoseconds from the start of the load.
///
/// It never looks at a clock: who comes late to a time sends late, and the next times stay where they are.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    rate: u64,
    producer: u64,
    producers: u64,
    gaps: Gaps,
}

#[derive(Clone, Debug)]
enum Gaps {
    Equal { sent: u64 },
    Exponential { at: f64, random: Random },
}

impl Schedule {
    /// `rate` is in records a second, of all producers together, and above 0.
    pub(crate) fn new(arrivals: Arrivals, rate: u64, producer: u16, producers: u16, seed: u64) -> Self {
        let gaps = match arrivals {
            Arrivals::Constant => Gaps::Equal { sent: 0 },
            Arrivals::Poisson => Gaps::Exponential { at: 0.0, random: Random::new(seed, 0x100 + u64::from(producer)) },
        };
        Self { rate: rate.max(1), producer: u64::from(producer), producers: u64::from(producers), gaps }
    }

    /// When the next record is to be sent. Times never go back.
    pub(crate) fn next(&mut self) -> u64 {
        match &mut self.gaps {
            // Producers take turns, so that all of them together keep equal distances. Each time is counted from the start: nothing adds up.
            Gaps::Equal { sent } => {
                let turn = u128::from(*sent) * u128::from(self.producers) + u128::from(self.producer);
                *sent += 1;
                (turn * 1_000_000_000 / u128::from(self.rate)) as u64
            }
            Gaps::Exponential { at, random } => {
                let mean = SECOND * self.producers as f64 / self.rate as f64;
                *at -= (1.0 - random.unit()).ln() * mean;
                *at as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(arrivals: Arrivals, rate: u64, producers: u16, seed: u64, until: u64) -> Vec<u64> {
        let mut all = Vec::new();
        for producer in 0..producers {
            let mut schedule = Schedule::new(arrivals, rate, producer, producers, seed);
            let own: Vec<_> = std::iter::from_fn(|| Some(schedule.next()).filter(|at| *at < until)).collect();
            assert!(own.is_sorted());
            all.extend(own);
        }
        all.sort_unstable();
        all
    }

    proptest! {
        #[test]
        fn producers_that_share_a_rate_keep_equal_distances_together(rate in 1_u64..5_000, producers in 1_u16..7) {
            let all = times(Arrivals::Constant, rate, producers, 0, 3_000_000_000);
            prop_assert_eq!(all.len() as u64, rate * 3);
            for (index, at) in all.iter().enumerate() {
                prop_assert_eq!(*at, (index as u128 * 1_000_000_000 / u128::from(rate)) as u64);
            }
        }
    }

    #[test]
    fn a_constant_schedule_does_not_drift_in_a_day() {
        let mut schedule = Schedule::new(Arrivals::Constant, 3, 0, 1, 0);
        let day = 24 * 3600;
        for _ in 0..3 * day {
            schedule.next();
        }
        assert_eq!(schedule.next(), day * 1_000_000_000);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_and_follow_the_seed() {
        for producers in [1, 4] {
            let all = times(Arrivals::Poisson, 1_000, producers, 42, 100_000_000_000);
            assert!((99_000..101_000).contains(&all.len()), "{}", all.len());
            // Of an exponential distribution the standard deviation is the mean.
            let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let spread = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
            assert!((0.97..1.03).contains(&(spread / mean)), "{mean} {spread}");
        }
        let again = |seed| times(Arrivals::Poisson, 1_000, 2, seed, 1_000_000_000);
        assert_eq!(again(1), again(1));
        assert_ne!(again(1), again(2));
    }
}
