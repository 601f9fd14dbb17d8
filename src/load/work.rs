//! What a handler does for a record, drawn from the seed and the record's place: the same in every run and for every engine.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use kafka_troupe::config::tool::parse_duration;

use super::clock::shown;
use super::ledger::Place;
use super::random::Random;

/// The longest that a handler takes, whatever is drawn.
const LONGEST: Duration = Duration::from_secs(3600);
/// Of what is drawn for work and for failures.
const OF_TIMES: u64 = 0x5_0000_0000;
const OF_FAILURES: u64 = 0x6_0000_0000;

/// What the handler does for each record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Work {
    None,
    /// It waits and lets others run.
    Sleep(Time),
    /// It computes, and keeps its thread.
    Spin(Time),
}

/// How long it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Time {
    Fixed(Duration),
    /// Half of the records take less than the median; the logarithm is normal, with this standard deviation.
    Lognormal {
        median: Duration,
        sigma: f64,
    },
}

/// The engine's pauses between attempts, unless told otherwise: they double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So many attempts at one record are looked at.
const MOST_ATTEMPTS: u32 = 1_000;

/// One run's work, and which attempts fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tasks {
    pub(crate) work: Work,
    seed: u64,
    failure_rate: f64,
}

impl Tasks {
    /// `failure_rate` is the share of attempts that fail, below 1.
    pub(crate) fn new(work: Work, failure_rate: f64, seed: u64) -> Self {
        Self { work, seed, failure_rate }
    }

    /// How long the record at this place takes.
    pub(crate) fn time(&self, place: Place) -> Duration {
        match self.work {
            Work::None => Duration::ZERO,
            Work::Sleep(Time::Fixed(time)) | Work::Spin(Time::Fixed(time)) => time,
            Work::Sleep(Time::Lognormal { median, sigma }) | Work::Spin(Time::Lognormal { median, sigma }) => {
                let seconds = self.of(place, OF_TIMES).lognormal(median.as_secs_f64(), sigma);
                Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()))
            }
        }
    }

    /// Whether this attempt at the record, the first being 1, fails.
    pub(crate) fn fails(&self, place: Place, attempt: u32) -> bool {
        self.failure_rate > 0.0 && self.of(place, OF_FAILURES + u64::from(attempt)).unit() < self.failure_rate
    }

    /// How long the record at this place may take with its failed attempts, and with the pauses that the engine makes behind them.
    pub(crate) fn takes(&self, place: Place) -> Duration {
        let time = self.time(place);
        let failed = (1..MOST_ATTEMPTS).take_while(|attempt| self.fails(place, *attempt));
        failed.fold(time, |sum, attempt| sum + time + LONGEST_PAUSE.min(FIRST_PAUSE * (1 << (attempt - 1).min(20))))
    }

    fn of(&self, place: Place, use_: u64) -> Random {
        let mut of_partition = Random::new(self.seed, use_ ^ (u64::from(place.partition) << 36));
        Random::new(of_partition.next(), place.offset)
    }
}

/// Keeps this thread for so long.
pub(crate) fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            Some(("sleep", time)) => Ok(Self::Sleep(time.parse()?)),
            Some(("spin", time)) => Ok(Self::Spin(time.parse()?)),
            _ => Err("it is none, or sleep or spin with a time, as in sleep:10ms or spin:lognormal:1ms:0.5".to_owned()),
        }
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = "a lognormal time has a median above 0 and a standard deviation of its logarithm, above 0 and at most 5, as in \
                     lognormal:1ms:0.5";
        match *text.split(':').collect::<Vec<_>>().as_slice() {
            ["lognormal", median, sigma] => {
                let median = parse_duration(median)?;
                let sigma = sigma.parse().ok().filter(|sigma| *sigma > 0.0 && *sigma <= 5.0).ok_or(wrong)?;
                if median.is_zero() { Err(wrong.to_owned()) } else { Ok(Self::Lognormal { median, sigma }) }
            }
            ["lognormal", ..] => Err(wrong.to_owned()),
            _ => Ok(Self::Fixed(parse_duration(text)?)),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Sleep(time) => write!(f, "sleep:{time}"),
            Self::Spin(time) => write!(f, "spin:{time}"),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(time) => f.write_str(&shown(*time)),
            Self::Lognormal { median, sigma } => write!(f, "lognormal:{}:{sigma}", shown(*median)),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tasks(work: &str, failure_rate: f64, seed: u64) -> Tasks {
        Tasks::new(work.parse().unwrap(), failure_rate, seed)
    }

    #[test]
    fn work_is_read_and_written_the_same() {
        for text in ["none", "sleep:10ms", "spin:20ms", "sleep:lognormal:1ms:0.5", "spin:lognormal:2s:5"] {
            assert_eq!(text.parse::<Work>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "sleep",
            "sleep:",
            "spin:fast",
            "nap:1s",
            "lognormal:1ms:0.5",
            "sleep:lognormal",
            "sleep:lognormal:1ms",
            "sleep:lognormal:1ms:0",
            "sleep:lognormal:1ms:6",
            "sleep:lognormal:0s:1",
            "sleep:lognormal:1ms:NaN",
            "sleep:lognormal:1ms:1:1",
        ] {
            assert!(text.parse::<Work>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_place_has_its_time_and_its_failures_whoever_asks(
            seed: u64,
            partition in 0_u32..10_000,
            offset in 0_u64..1 << 40,
            attempt in 1_u32..1_000,
        ) {
            let place = Place { partition, offset };
            let (one, same) = (tasks("sleep:lognormal:1ms:1", 0.5, seed), tasks("spin:lognormal:1ms:1", 0.5, seed));
            prop_assert_eq!(one.time(place), same.time(place));
            prop_assert_eq!(one.fails(place, attempt), same.fails(place, attempt));
            prop_assert_eq!(tasks("sleep:3ms", 0.0, seed).time(place), Duration::from_millis(3));
            prop_assert!(!tasks("none", 0.0, seed).fails(place, attempt));
            prop_assert!(tasks("sleep:lognormal:1h:5", 0.0, seed).time(place) <= LONGEST);
        }
    }

    #[test]
    fn times_have_their_median_and_attempts_fail_as_often_as_was_said_each_by_itself() {
        let tasks = tasks("sleep:lognormal:1ms:0.5", 0.2, 7);
        let places = || (0..8).flat_map(|partition| (0..5_000).map(move |offset| Place { partition, offset }));
        let mut times: Vec<f64> = places().map(|place| tasks.time(place).as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        assert!((0.98..1.02).contains(&at(0.5)), "{}", at(0.5));
        // One standard deviation above and below: e^0.5 and e^-0.5.
        assert!(
            (1.60..1.70).contains(&at(0.8413)) && (0.59..0.63).contains(&at(0.1587)),
            "{} {}",
            at(0.8413),
            at(0.1587)
        );

        let failed = |attempt| places().filter(|place| tasks.fails(*place, attempt)).count() as f64 / 40_000.0;
        assert!((0.19..0.21).contains(&failed(1)) && (0.19..0.21).contains(&failed(2)));
        let both = places().filter(|it| tasks.fails(*it, 1) && tasks.fails(*it, 2)).count() as f64 / 40_000.0;
        assert!((0.035..0.045).contains(&both), "{both}");
    }

    #[test]
    fn a_record_takes_as_long_as_its_attempts_and_the_pauses_between_them() {
        let tasks = tasks("sleep:1s", 0.5, 7);
        let at = |offset| Place { partition: 0, offset };
        let failures = |offset: u64| (1..).take_while(|attempt| tasks.fails(at(offset), *attempt)).count();
        let takes = |count| (0..).find(|offset| failures(*offset) == count).map(|it| tasks.takes(at(it)).as_millis());
        assert_eq!([0, 1, 2, 8, 9].map(takes), [1_000, 2_100, 3_300, 31_700, 42_700].map(Some));
    }
}
