//! Records of retry topics, which are not tried before they are due.

use std::time::Instant;

use crate::consume::record::Record;
use crate::consume::retry_topics::origin::{self, now, wait};
use crate::order::pump::PumpIo;

/// When a record that is early is due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) offset: i64,
    pub(crate) at: Instant,
    /// The same in milliseconds since the Unix epoch, for those who look.
    pub(crate) at_ms: i64,
}

impl PumpIo {
    /// Whether the record has to wait, and until when. One that somebody else has written to a retry topic does not.
    #[inline]
    pub(crate) fn early(&self, record: &Record) -> Option<Due> {
        let (delay, past, since) = (self.retry_delay?, record.past()?, record.chunk.waits_since?);
        let now = now();
        // Those behind it wait as well: it is held for no longer than if it had been written there for this delay, nor than since it was there.
        let due = record.written().map_or(past.due, |written| past.due.min(origin::due(written, delay)));
        let left = (since + delay).saturating_duration_since(Instant::now());
        let wait = wait(due, now, delay).min(left);
        let due = Due {
            offset: record.offset().0,
            at: Instant::now().checked_add(wait)?,
            at_ms: now.saturating_add(wait.as_millis() as i64),
        };
        (!wait.is_zero()).then_some(due)
    }

    /// The number of the record's first attempt here: those that brought it to a retry topic count.
    #[inline]
    pub(crate) fn first_attempt(&self, record: &Record) -> u32 {
        match self.retry_delay {
            None => 1,
            Some(_) => record.past().map_or(0, |past| past.attempts).saturating_add(1),
        }
    }
}
