use std::time::{Duration, Instant};

/// The one clock of a run: nanoseconds since it was made. Intended times, sends and ends of handlers are all read from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        nanoseconds(self.0.elapsed())
    }

    /// What this clock showed then; 0 for before it was made.
    pub(crate) fn at(self, then: Instant) -> u64 {
        nanoseconds(then.saturating_duration_since(self.0))
    }
}

/// 584 years at most.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A duration for people, as options take it.
pub(crate) fn shown(duration: Duration) -> String {
    if duration.is_zero() { "0s".to_owned() } else { format!("{duration:?}") }
}
