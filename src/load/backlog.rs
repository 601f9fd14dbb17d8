use super::growth::{FEW, rises, rises_late, rises_without_break};

/// How far handlers were behind, second by second, and whether that was for good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog {
    /// Nanoseconds of the run's clock, and confirmed records that were not handled.
    samples: Vec<(u64, u64)>,
}

/// Nothing is said of a shorter stretch, in seconds: it has no samples to speak of.
const SHORTEST: f64 = 2.0;
/// From so many seconds on a slow growth is told from noise.
const ENOUGH: f64 = 5.0;
/// An excess above this share of the rate is not kept up with.
const EXCESS: f64 = 0.02;

/// What a stretch of the load says of who has to keep up with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trend {
    /// They fell behind for good.
    Grew,
    Held,
    /// It was too short to say.
    TooShort,
}

/// Confirmed records a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// What was to be sent came at the same rate throughout.
    Steady(f64),
    /// On average: with the rate, also what handlers have at hand that keep up goes up and down.
    Varying(f64),
}

impl Backlog {
    pub(crate) fn sampled(&mut self, at: u64, records: u64) {
        self.samples.push((at, records));
    }

    /// The same, of a moment that need not be behind the last.
    pub(crate) fn seen(&mut self, at: u64, records: u64) {
        let next = self.samples.partition_point(|(sampled, _)| *sampled <= at);
        self.samples.insert(next, (at, records));
    }

    /// Without those that handlers have at hand, by when.
    pub(crate) fn beyond(&self, at_hand: impl Fn(u64) -> f64) -> Self {
        let waiting = |(at, records): &(u64, u64)| (*at, records.saturating_sub(at_hand(*at) as u64));
        Self { samples: self.samples.iter().map(waiting).collect() }
    }

    /// As it was by then.
    pub(crate) fn at(&self, then: u64) -> u64 {
        self.samples.iter().rfind(|(at, _)| *at <= then).map_or(0, |(_, records)| *records)
    }

    /// Whether it was still growing when the load, which lasted from `start` to `end`, ended with so many records behind at that `rate`.
    pub(crate) fn grew(&self, start: u64, end: u64, behind: u64, rate: Rate) -> bool {
        self.trend(start, end, behind, rate) == Trend::Grew
    }

    /// The same, for a stretch that may be too short to say.
    ///
    /// A handler that takes its time is behind as well, by as much as it takes, and no more in the end than half way: that is none. What had piled up
    /// before the load says nothing, nor does what piled up at once and stayed. An excess of a fiftieth of a steady rate counts, once there are samples
    /// enough to tell it from noise; in any case a second's worth of records does, also where they came late. What began in the last seconds counts
    /// where they came without a break.
    pub(crate) fn trend(&self, start: u64, end: u64, behind: u64, rate: Rate) -> Trend {
        let span = end.saturating_sub(start) as f64 / 1e9;
        if span < SHORTEST {
            return Trend::TooShort;
        }
        let points: Vec<(f64, f64)> = self.points(start, end, behind).collect();
        let (rate, least, of_late) = match rate {
            Rate::Steady(rate) if span >= ENOUGH => (rate, rate.min(rate * EXCESS * span), 0.0),
            Rate::Steady(rate) | Rate::Varying(rate) => (rate, rate, rate),
        };
        let without_break = span >= ENOUGH && rises_without_break(&points, rate, of_late);
        if rises(&points, least, rate) || rises_late(&points, rate) || without_break {
            Trend::Grew
        } else {
            Trend::Held
        }
    }

    /// Seconds since `start`, and records.
    fn points(&self, start: u64, end: u64, behind: u64) -> impl Iterator<Item = (f64, f64)> {
        let within = self.samples.iter().copied().filter(move |(at, _)| *at > start && *at < end);
        let all = std::iter::once((start, self.at(start))).chain(within).chain([(end, behind)]);
        all.map(move |(at, records)| ((at - start) as f64 / 1e9, records as f64))
    }

    /// The median of what was seen in a stretch; 0 where nothing was.
    pub(crate) fn typical(&self, from: u64, until: u64) -> u64 {
        let within = self.samples.iter().filter(|(at, _)| (from..=until).contains(at));
        let mut records: Vec<u64> = within.map(|(_, records)| *records).collect();
        records.sort_unstable();
        records.get(records.len() / 2).copied().unwrap_or_default()
    }

    /// Whether there was more than a second's worth at that `rate`.
    pub(crate) fn is_deep(&self, at: u64, rate: f64) -> bool {
        self.at(at) as f64 > rate.max(FEW)
    }

    /// Whether it was still going down when a stretch ended: of less than a second that is taken for granted.
    ///
    /// Who is late with all of it is still at work then, and who waits for one that never comes back is not.
    pub(crate) fn went_down(&self, from: u64, until: u64) -> bool {
        let span = until.saturating_sub(from);
        span < 1_000_000_000 || self.at(until) < self.at(from + span / 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::random::Random;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A load at 1,000/s of so many seconds, after a warm-up of so many.
    fn grew_in(warm_up: u64, load: u64, behind: impl Fn(u64) -> u64) -> bool {
        let (mut backlog, end) = (Backlog::default(), warm_up + load);
        (0..end).for_each(|second| backlog.sampled(second * SECOND, behind(second)));
        backlog.grew(warm_up * SECOND, end * SECOND, behind(end), Rate::Steady(1_000.0))
    }

    fn grew(behind: impl Fn(u64) -> u64) -> bool {
        grew_in(5, 20, behind)
    }

    #[test]
    fn handlers_that_fall_behind_are_told_from_those_that_take_their_time() {
        assert!(!grew(|_| 0));
        assert!(!grew(|_| 900));
        // Two seconds for each record, but many at once.
        assert!(!grew(|second| 2_000.min(second * 1_000)));
        // A tenth is not handled.
        assert!(grew(|second| second * 100));
        assert!(!grew(|second| second * 10));
    }

    #[test]
    fn what_had_piled_up_in_a_long_warm_up_hides_no_backlog_that_still_grows() {
        assert!(grew_in(10, 20, |second| second * 100));
        assert!(grew_in(20, 20, |second| second * 100));
        assert!(grew_in(60, 30, |second| second * 300));
        // It piled up in the warm-up only, or goes up and down.
        assert!(!grew_in(20, 20, |second| second.min(20) * 200));
        assert!(!grew_in(20, 20, |second| 2_000 + second % 3 * 90));
    }

    #[test]
    fn a_backlog_that_began_late_counts_and_a_hiccup_at_the_end_does_not() {
        // The load went up by and by, or stood still for a second.
        assert!(grew_in(0, 30, |second| second.saturating_sub(20) * 500));
        assert!(grew_in(0, 120, |second| second.saturating_sub(100) * 500));
        assert!(!grew_in(0, 8, |second| second.saturating_sub(7) * 900));
        // It was made good again.
        assert!(!grew_in(0, 30, |second| second.min(10) * 500 - second.saturating_sub(10) * 200));
    }

    #[test]
    fn handlers_that_take_long_are_still_on_their_way_there_in_half_of_a_short_load() {
        for takes in [1, 2, 3, 4] {
            assert!(!grew_in(0, 8, |second| 1_000 * second.min(takes)), "{takes}");
        }
    }

    /// In phases of so few seconds, each at twice the rate of the one before.
    #[test]
    fn handlers_that_take_long_are_there_a_second_before_the_end_of_a_short_phase() {
        for seconds in 4..=8 {
            for takes in 1..seconds {
                let behind = |second: u64| 1_000 * takes + 1_000 * takes.min(second.saturating_sub(10));
                assert!(!grew_in(10, seconds, behind), "{takes} s in {seconds}");
            }
            assert!(grew_in(10, seconds, |second| 1_000 + 1_000 * second.saturating_sub(10)), "{seconds}");
        }
    }

    #[test]
    fn handlers_that_still_work_off_a_backlog_are_told_from_those_that_stand_still() {
        let mut backlog = Backlog::default();
        (0..=10).for_each(|second| backlog.sampled(second * SECOND, 1_000 - second.min(5) * 100));
        assert!(backlog.went_down(0, 5 * SECOND));
        assert!(!backlog.went_down(0, 10 * SECOND));
        assert!(backlog.went_down(10 * SECOND, 10 * SECOND + 1));
    }

    #[test]
    fn of_two_seconds_nothing_is_said_and_of_a_few_only_what_is_plain() {
        let mut backlog = Backlog::default();
        (0..10).for_each(|half| backlog.sampled(half * SECOND / 2, half * 400));
        let trend = |end: u64| backlog.trend(0, end, backlog.at(end), Rate::Steady(1_000.0));
        assert_eq!(
            (trend(SECOND), trend(2 * SECOND - 1), trend(3 * SECOND)),
            (Trend::TooShort, Trend::TooShort, Trend::Grew)
        );
        assert!(!grew_in(0, 3, |second| second * 100));
        assert!(grew_in(0, 3, |second| second * 500));
    }

    #[test]
    fn with_the_rate_goes_what_handlers_have_at_hand_and_that_is_no_backlog() {
        // Half a second each, from 500/s to 2,500/s.
        let mut backlog = Backlog::default();
        (0..=20).for_each(|second| backlog.sampled(second * SECOND, 250 + second * 50));
        let grew = |rate| backlog.grew(0, 20 * SECOND, 1_250, rate);
        assert!(grew(Rate::Steady(1_500.0)) && !grew(Rate::Varying(1_500.0)));
    }

    /// Samples that come about each second, of a load that lasts from the 2nd one on.
    fn sampled(seed: u64, seconds: u64, behind: impl Fn(f64, &mut Random) -> f64) -> (Backlog, u64, u64, u64) {
        let (mut backlog, mut random) = (Backlog::default(), Random::new(seed, 0));
        let start = 2 * SECOND;
        let end = start + seconds * SECOND;
        for second in 0..=seconds + 2 {
            let at = second * SECOND + (random.unit() * 0.1 * SECOND as f64) as u64;
            let since = (at as f64 - start as f64) / 1e9;
            let records = behind(since, &mut random).max(0.0) as u64;
            if at < end {
                backlog.sampled(at, records);
            }
        }
        let last = behind(seconds as f64, &mut random).max(0.0) as u64;
        (backlog, start, end, last)
    }

    proptest! {
        #[test]
        fn a_steady_excess_of_three_percent_is_found_whatever_had_piled_up(
            seed: u64,
            seconds in 8_u64..60,
            rate in 1_000_f64..20_000.0,
            excess in 0.03..3.0,
            before in 0.0..50_000.0,
        ) {
            // And what is sent unevenly makes noise.
            let behind = |at: f64, random: &mut Random| before + (at + 2.0) * rate * excess + (random.unit() - 0.5) * rate * 0.02;
            let (backlog, start, end, last) = sampled(seed, seconds, behind);
            prop_assert!(backlog.grew(start, end, last, Rate::Steady(rate)));
        }
    }

    /// From fixed seeds: of a million, one would have noise that looks like growth.
    #[test]
    fn handlers_that_take_the_same_time_never_count_for_some_noise() {
        for seed in 0..4_000 {
            let mut random = Random::new(seed, 1);
            let (seconds, rate, takes) = (2 + seed % 58, 100.0 + 19_900.0 * random.unit(), 2.0 * random.unit());
            let behind =
                |at: f64, random: &mut Random| rate * (at + 2.0).min(takes) + (random.unit() - 0.5) * rate * 0.1;
            let (backlog, start, end, last) = sampled(seed, seconds, behind);
            assert!(!backlog.grew(start, end, last, Rate::Steady(rate)), "{seed}");
        }
    }

    #[test]
    fn much_noise_is_hardly_ever_taken_for_growth() {
        let (rate, mut mistaken) = (1_000.0, Vec::new());
        for seed in 0..4_000 {
            let seconds = 3 + seed % 40;
            let (backlog, start, end, last) =
                sampled(seed, seconds, |_, random| 3_000.0 + (random.unit() - 0.5) * rate);
            if backlog.grew(start, end, last, Rate::Steady(rate)) {
                mistaken.push(seconds);
            }
        }
        assert!(mistaken.len() < 8, "{mistaken:?}");
    }
}
