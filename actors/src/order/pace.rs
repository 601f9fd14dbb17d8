//! When a pump yields. Pure.

use std::time::{Duration, Instant};

/// Records after which a pump yields, however fast they are.
const TURN_RECORDS: u32 = 512;
/// Time after which a pump yields, if a look at the clock shows it.
const TURN: Duration = Duration::from_millis(2);
/// The most records between two looks at the clock.
const MAX_STRIDE: u32 = 64;

/// Decides, between records, whether to let siblings and timers of the thread run.
///
/// A look at the clock costs as much as a fast record, so there is one only every few records: the stride doubles while records are fast
/// and falls back to 1 when they are slow. A handler that begins to block after a fast stretch is thus noticed at most 64 records late.
#[derive(Debug)]
pub(crate) struct Pace {
    stride: u32,
    until_look: u32,
    in_turn: u32,
    looked: Instant,
    turn_began: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { stride: 1, until_look: 1, in_turn: 0, looked: now, turn_began: now }
    }

    /// The handler waited, and others ran meanwhile: a new turn.
    pub(crate) fn waited(&mut self) {
        self.until_look = 1;
        self.in_turn = 0;
    }

    /// One more record is finished.
    #[inline]
    pub(crate) fn is_turn_over(&mut self, clock: impl FnOnce() -> Instant) -> bool {
        self.in_turn += 1;
        self.until_look -= 1;
        let mut over = self.in_turn >= TURN_RECORDS;
        if self.until_look == 0 {
            let now = clock();
            let took = now.saturating_duration_since(self.looked);
            self.stride = if took < TURN / 8 { (self.stride * 2).min(MAX_STRIDE) } else { 1 };
            self.until_look = self.stride;
            self.looked = now;
            over |= now.saturating_duration_since(self.turn_began) >= TURN;
            if over {
                self.turn_began = now;
            }
        }
        if over {
            self.in_turn = 0;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_records_cost_a_look_at_the_clock_every_64() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let mut looks = 0;
        for _ in 0..6400 {
            pace.is_turn_over(|| {
                looks += 1;
                now
            });
        }
        assert!((100..120).contains(&looks), "{looks} looks");
    }

    #[test]
    fn a_pump_gives_way_after_512_records_and_after_2_ms() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!((0..5120).filter(|_| pace.is_turn_over(|| now)).count(), 10);
        let mut later = now;
        let mut pace = Pace::new(now);
        let turns = (0..10).filter(|_| {
            later += Duration::from_millis(3);
            pace.is_turn_over(|| later)
        });
        assert_eq!(turns.count(), 10);
    }

    #[test]
    fn a_handler_that_waited_makes_the_next_record_look() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        (0..200).for_each(|_| _ = pace.is_turn_over(|| now));
        pace.waited();
        assert!(pace.is_turn_over(|| now + Duration::from_millis(30)));
    }
}
