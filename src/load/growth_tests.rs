use proptest::prelude::*;

use super::super::backlog::{Backlog, Rate, Trend};
use super::super::random::Random;

const SECOND: f64 = 1e9;
/// Before the load.
const WARM_UP: f64 = 2.0;
/// How often the queue is looked at by the simulation.
const TICK: f64 = 0.02;

/// A queue, and who serves it, second by second of a load: in shares of the rate.
struct Queue<'a> {
    seconds: f64,
    rate: f64,
    /// How much what comes and what can be done in a second stray, and what a look happens to find on the way.
    jitter: f64,
    /// What can be done.
    capacity: &'a dyn Fn(f64) -> f64,
}

impl Queue<'_> {
    fn trend(&self, seed: u64) -> Trend {
        let (mut random, mut backlog) = (Random::new(seed, 1), Backlog::default());
        let (mut at, mut look, mut waiting) = (-WARM_UP, 1.0 - WARM_UP, 0.0_f64);
        let start = (WARM_UP * SECOND) as u64;
        let on_clock = |at: f64| ((at + WARM_UP) * SECOND) as u64;
        backlog.sampled(start, 0);
        while at < self.seconds {
            let mut strays = || self.rate * TICK * (1.0 + 14.0 * self.jitter * (random.unit() - 0.5));
            waiting = (waiting + strays() - strays() * (self.capacity)(at)).max(0.0);
            at += TICK;
            if at >= look {
                let found = waiting + self.rate * self.jitter * random.unit();
                backlog.sampled(on_clock(at), found as u64);
                look = at + 1.0 + 0.01 * random.unit();
            }
        }
        let end = on_clock(self.seconds);
        backlog.trend(start, end, waiting as u64, Rate::Steady(self.rate))
    }

    fn grew(&self, seed: u64) -> bool {
        self.trend(seed) == Trend::Grew
    }
}

proptest! {
    #[test]
    fn an_overload_at_the_end_is_found_however_long_the_load_was(
        seed: u64,
        seconds in 10_u32..=120,
        rate in 1_000_f64..20_000.0,
        (lasts, excess) in (4.0..8.0, 0.25..1.0),
    ) {
        let (seconds, began) = (f64::from(seconds), f64::from(seconds) - lasts);
        let capacity = |at: f64| if at < began { 2.0 } else { 1.0 - excess };
        let queue = Queue { seconds, rate, jitter: 0.02, capacity: &capacity };
        prop_assert!(queue.grew(seed));
    }

    /// As an application does that commits what it has done every few seconds.
    #[test]
    fn what_piles_up_and_is_made_good_again_and_again_is_no_growth_wherever_the_load_ends(
        seconds in 20.0..120.0,
        rate in 1_000_f64..20_000.0,
        every in 1.0..10.0,
        jitter in 0.0..0.02,
        seed: u64,
    ) {
        let capacity = |at: f64| if at.rem_euclid(every) < TICK { 1e9 } else { 0.0 };
        let queue = Queue { seconds, rate, jitter, capacity: &capacity };
        prop_assert!(!queue.grew(seed));
    }

    #[test]
    fn a_step_after_which_handlers_just_keep_up_is_no_growth_where_the_last_third_is_flat(
        seed: u64,
        seconds in 10_u32..=120,
        rate in 1_000_f64..20_000.0,
        (stalls, until) in (0.2..5.0, 0.0..0.66),
    ) {
        let (seconds, until) = (f64::from(seconds), until * f64::from(seconds));
        let capacity = |at: f64| if at < until - stalls { 2.0 } else if at < until { 0.0 } else { 1.005 };
        let queue = Queue { seconds, rate, jitter: 0.005, capacity: &capacity };
        prop_assert!(!queue.grew(seed));
    }

    #[test]
    fn a_stall_of_a_second_in_the_last_two_is_no_growth(
        seed: u64,
        seconds in 10_u32..=120,
        rate in 1_000_f64..20_000.0,
        until in 0.0..1.0,
    ) {
        let until = f64::from(seconds) - until;
        let capacity = |at: f64| if at < until - 1.0 { 2.0 } else if at < until { 0.0 } else { 1.0 };
        let queue = Queue { seconds: f64::from(seconds), rate, jitter: 0.02, capacity: &capacity };
        prop_assert!(!queue.grew(seed));
    }
}

#[test]
fn noise_alone_and_stalls_that_are_made_good_are_hardly_ever_taken_for_growth() {
    let (mut of_noise, mut of_stalls) = (Vec::new(), Vec::new());
    for seed in 0..4_000_u32 {
        let (seconds, rate) = (f64::from(3 + seed % 60), 1_000.0 + f64::from(seed));
        let of = |capacity: &dyn Fn(f64) -> f64, jitter| Queue { seconds, rate, jitter, capacity }.grew(seed.into());
        if of(&|_| 1.1, 0.06) {
            of_noise.push(seconds);
        }
        // Half a second of each six, as a collector of garbage has it.
        if of(&|at| if (at + f64::from(seed)) % 6.0 < 0.5 { 0.0 } else { 1.3 }, 0.02) {
            of_stalls.push(seconds);
        }
    }
    assert!(of_noise.len() <= 8 && of_stalls.len() <= 8, "{of_noise:?} {of_stalls:?}");
}

#[test]
fn the_knee_of_a_ramp_and_stalls_that_are_not_made_good_are_growth() {
    let found = |capacity: fn(f64) -> f64| {
        (0..200)
            .filter(|seed| Queue { seconds: 60.0, rate: 5_000.0, jitter: 0.02, capacity: &capacity }.grew(*seed))
            .count()
    };
    // What cannot be done goes up by and by.
    assert_eq!(found(|at| if at < 45.0 { 2.0 } else { 1.0 - (at - 45.0) * 0.02 }), 200);
    assert_eq!(found(|at| if at % 6.0 < 0.5 { 0.0 } else { 1.02 }), 200);
}

/// What is left behind in each second, from the 10th on, of 1,000 that come.
fn left_of(seconds: u32, left: impl Fn(u32) -> f64) -> Trend {
    looked_at(f64::from(seconds), |at| (0..at as u32).map(&left).sum::<f64>().max(0.0))
}

#[test]
fn an_overload_is_found_though_what_is_done_comes_in_bursts_and_the_load_ends_behind_one() {
    for (seconds, every, done) in [(60, 3, 0.3), (60, 5, 0.5), (40, 4, 0.6), (25, 3, 0.6)] {
        for ended in 0..every {
            let left = |at: u32| {
                if (at + ended).is_multiple_of(every) { 1_000.0 - 1_000.0 * f64::from(every) * done } else { 1_000.0 }
            };
            assert_eq!(left_of(seconds, left), Trend::Grew, "{seconds} s, every {every} s, {done}, {ended}");
        }
    }
}

#[test]
fn an_overload_at_the_end_is_found_behind_a_step_that_stayed_and_behind_what_was_there_at_first() {
    for (stood_still, lasts, excess) in [(5, 10, 0.7), (5, 20, 0.3), (4, 8, 0.6), (10, 20, 0.7)] {
        let left = |at: u32| match at {
            10.. if at < 10 + stood_still => 1_000.0,
            _ if at >= 120 - lasts => 1_000.0 * excess,
            _ => 0.0,
        };
        assert_eq!(left_of(120, left), Trend::Grew, "{stood_still} s, {lasts} s, {excess}");
        let behind =
            |at: f64| (9_000.0 - 1_000.0 * at).max(0.0) + 1_000.0 * excess * (at - 120.0 + f64::from(lasts)).max(0.0);
        assert_eq!(looked_at(120.0, behind), Trend::Grew, "{lasts} s, {excess}, at first");
    }
}

/// A load at 1,000/s, looked at once a second.
fn looked_at(seconds: f64, behind: impl Fn(f64) -> f64) -> Trend {
    let mut backlog = Backlog::default();
    (0..seconds as u32).for_each(|at| backlog.sampled((f64::from(at) * SECOND) as u64, behind(at.into()) as u64));
    backlog.trend(0, (seconds * SECOND) as u64, behind(seconds) as u64, Rate::Steady(1_000.0))
}

#[test]
fn an_application_that_commits_many_at_once_does_not_fall_behind_wherever_the_load_ends() {
    let mut grew = Vec::new();
    for (period, seconds) in (40..=100).step_by(5).flat_map(|period| (10..=60).map(move |seconds| (period, seconds))) {
        // A whole rise, and the fall behind it, come before the last one.
        for ended in (0..period).filter(|ended| seconds * 10 >= period + ended) {
            let began = f64::from(ended - seconds * 10) / 10.0;
            let (period, seconds) = (f64::from(period) / 10.0, f64::from(seconds));
            if looked_at(seconds, |at| (at + began).rem_euclid(period) * 1_000.0) == Trend::Grew {
                grew.push((period, seconds, ended));
            }
        }
    }
    assert!(grew.is_empty(), "{} such as {:?}", grew.len(), grew.first());
}

#[test]
fn handlers_that_take_their_time_keep_up_with_a_step_shorter_than_two_of_their_records() {
    for (seconds, takes) in [(4.0, 3.0), (5.0, 3.0), (5.0, 4.0), (6.0, 3.0), (6.0, 4.0), (6.0, 5.0)] {
        for shifted in 0..10 {
            let (mut backlog, from) = (Backlog::default(), 10.0 - f64::from(shifted) / 10.0);
            let behind = |at: f64| (takes * 500.0 + 500.0 * (at - from).clamp(0.0, takes)) as u64;
            (0..=16).map(f64::from).for_each(|at| backlog.sampled((at * SECOND) as u64, behind(at)));
            let (start, end) = ((from * SECOND) as u64, ((from + seconds) * SECOND) as u64);
            let trend = backlog.trend(start, end, behind(from + seconds), Rate::Steady(1_000.0));
            assert_eq!(trend, Trend::Held, "{seconds} s, {takes} s, {shifted}");
        }
    }
}
