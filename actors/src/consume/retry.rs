//! stub
use std::time::Duration;
#[derive(Debug, Clone)]
pub(crate) struct RetryPause {
    first: Duration,
    most: Duration,
}
impl Default for RetryPause {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}
impl RetryPause {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most }
    }
    pub(crate) fn before_attempt(&self, attempt: u32) -> Duration {
        (self.first * 2u32.pow(attempt.saturating_sub(2).min(16))).min(self.most)
    }
}
