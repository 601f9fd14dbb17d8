//! When a pump looks at the clock, reports progress and yields. Pure.

use std::time::{Duration, Instant};

/// Records after which a pump yields, however fast they are.
const TURN_RECORDS: u32 = 512;
/// Time after which a pump yields, if a look at the clock shows it.
const TURN: Duration = Duration::from_millis(2);
/// The most records between two looks at the clock.
const MAX_STRIDE: u32 = 64;

/// Decides, between records, whether to report and whether to let siblings and timers run.
///
/// A look at the clock costs as much as a fast record, so there is one only every few records: the stride doubles while records are fast
/// and falls back to 1 when they are slow. A handler that begins to block after a fast stretch is thus noticed at most 64 records late; one
/// that waits asynchronously is noticed at once ([`waited`](Self::waited)).
#[derive(Debug)]
pub(crate) struct Pace {
    report_every: Duration,
    stride: u32,
    until_look: u32,
    in_turn: u32,
    looked: Instant,
    turn_began: Instant,
    reported: Instant,
}

/// What is due between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) report: bool,
    pub(crate) give_way: bool,
}

impl Pace {
    pub(crate) fn new(report_every: Duration, now: Instant) -> Self {
        Self {
            report_every,
            stride: 1,
            until_look: 1,
            in_turn: 0,
            looked: now,
            turn_began: now,
            reported: now,
        }
    }

    /// The handler's future was pending: the next record looks at the clock.
    pub(crate) fn waited(&mut self) {
        self.until_look = 1;
        self.in_turn = 0;
    }

    /// One record is finished.
    pub(crate) fn after_record(&mut self, clock: impl FnOnce() -> Instant) -> Due {
        self.in_turn += 1;
        self.until_look -= 1;
        if self.until_look > 0 {
            return self.due(false, false);
        }
        let now = clock();
        let took = now.saturating_duration_since(self.looked);
        self.stride = if took < TURN / 8 {
            (self.stride * 2).min(MAX_STRIDE)
        } else {
            1
        };
        self.until_look = self.stride;
        self.looked = now;
        let report = now.saturating_duration_since(self.reported) >= self.report_every;
        if report {
            self.reported = now;
        }
        let turn_over = now.saturating_duration_since(self.turn_began) >= TURN;
        let due = self.due(report, turn_over);
        if due.give_way {
            self.turn_began = now;
        }
        due
    }

    fn due(&mut self, report: bool, turn_over: bool) -> Due {
        let give_way = turn_over || self.in_turn >= TURN_RECORDS;
        if give_way {
            self.in_turn = 0;
        }
        Due { report, give_way }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_records_cost_a_look_at_the_clock_every_64() {
        let now = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(25), now);
        let mut looks = 0;
        for _ in 0..6400 {
            pace.after_record(|| {
                looks += 1;
                now
            });
        }
        assert!((100..120).contains(&looks), "{looks} looks");
    }

    #[test]
    fn slow_records_are_reported_every_quarter_of_the_commit_interval() {
        let mut now = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(25), now);
        let reports = (0..100)
            .filter(|_| {
                now += Duration::from_millis(10);
                pace.after_record(|| now).report
            })
            .count();
        assert!((30..=34).contains(&reports), "{reports} reports in 1 s");
    }

    #[test]
    fn a_pump_gives_way_after_512_records_and_after_2_ms() {
        let now = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(1), now);
        let turns = (0..5120).filter(|_| pace.after_record(|| now).give_way).count();
        assert_eq!(turns, 10);
        let mut later = now;
        let mut pace = Pace::new(Duration::from_secs(1), now);
        let turns = (0..10)
            .filter(|_| {
                later += Duration::from_millis(3);
                pace.after_record(|| later).give_way
            })
            .count();
        assert_eq!(turns, 10);
    }

    #[test]
    fn a_handler_that_waited_makes_the_next_record_look() {
        let now = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(25), now);
        for _ in 0..200 {
            pace.after_record(|| now);
        }
        pace.waited();
        assert!(pace.after_record(|| now + Duration::from_millis(30)).report);
    }
}
