use std::future::pending;
use std::time::Duration;

use tokio::time::sleep;

use super::clock::Clock;
use super::phases::Timeline;

/// Further ahead no border is waited for: it is looked at again by then.
const FAR: Duration = Duration::from_secs(86_400);

/// The borders between the phases of a schedule, as they are passed.
pub(crate) struct Borders {
    clock: Clock,
    /// On the run's clock; the next one is the last.
    left: Vec<u64>,
}

impl Borders {
    /// Of a schedule that begins at `start` on the run's clock.
    pub(crate) fn new(timeline: &Timeline, clock: Clock, start: u64) -> Self {
        Self { clock, left: timeline.ends().iter().rev().map(|end| start.saturating_add(*end)).collect() }
    }

    /// And another one.
    pub(crate) fn and(mut self, border: u64) -> Self {
        if let Err(place) = self.left.binary_search_by(|next| border.cmp(next)) {
            self.left.insert(place, border);
        }
        self
    }

    /// Waits for the next one, and says when it was. There is none behind the last. Nothing is lost where it is not waited for to the end.
    pub(crate) async fn passed(&mut self) -> u64 {
        while let Some(next) = self.left.last().copied() {
            let left = next.saturating_sub(self.clock.now());
            if left == 0 {
                self.left.pop();
                return next;
            }
            sleep(Duration::from_nanos(left).min(FAR)).await;
        }
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::super::phases::Phase;
    use super::super::schedule::Arrivals;
    use super::*;

    #[tokio::test]
    async fn each_border_is_told_once_when_it_is_passed() {
        let phase = |millis| Phase {
            number: 1,
            step: None,
            from: 1,
            to: 1,
            arrivals: Arrivals::Constant,
            duration: Duration::from_millis(millis),
            warmup: false,
        };
        let (clock, millis) = (Clock::start(), 1_000_000);
        let start = clock.now();
        let mut borders = Borders::new(&Timeline::of(&[phase(1), phase(2), phase(3_600_000)]), clock, start);
        // One of these is there already.
        borders = borders.and(start + 2 * millis).and(start + 3 * millis);
        for wanted in [1, 2, 3] {
            assert_eq!(borders.passed().await, start + wanted * millis);
            assert!(clock.now() >= start + wanted * millis);
        }
        // Who gives up waiting misses nothing.
        assert!(timeout(Duration::ZERO, borders.passed()).await.is_err());
        assert_eq!(borders.left, [start + 3_600_003 * millis]);
        let mut none = Borders::new(&Timeline::default(), clock, start);
        assert!(timeout(Duration::ZERO, none.passed()).await.is_err());
    }
}
