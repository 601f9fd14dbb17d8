//! What follows when a call of a handler did not finish its record.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use crate::consume::error::ConsumerError;
use crate::consume::handler::Cause;
use crate::consume::record::Record;
use crate::order::attempt::NotDone;
use crate::order::pump::PumpIo;

/// What the pump does with the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another attempt after this pause.
    Again(Duration),
    /// Nothing: the partition is given up, and the handler leaves the record to its next owner.
    Left,
    /// Nothing, and no other record either: the engine stops.
    Stopped,
}

impl PumpIo {
    /// Names the failure, and says what follows.
    pub(crate) fn judge(&self, record: &Record, not_done: NotDone) -> Next {
        let (after, cause) = match not_done {
            NotDone::Retry { after, cause } => (Some(after), cause),
            NotDone::Failed(cause) | NotDone::Panicked(cause) => (None, cause),
            NotDone::Stop { cause } => {
                self.stopped_by(record, &cause);
                return Next::Stopped;
            }
        };
        if after.is_some() && self.cell.is_ending() {
            self.left(record, &cause);
            return Next::Left;
        }
        let pause = after.unwrap_or_else(|| self.retry_pause.pause(record.attempt, random()));
        let (cell, attempt) = (&self.cell, record.attempt);
        self.board.counters.retries.fetch_add(1, Ordering::Relaxed);
        cell.set_last_error(format!("offset {} attempt {attempt}: {cause}", record.offset()));
        warn!(
            topic = record.topic(), partition = record.partition().0, offset = record.offset().0, epoch = cell.epoch.0, attempt,
            %cause, pause_ms = pause.as_millis() as u64, "a record failed and is tried again after a pause"
        );
        Next::Again(pause)
    }

    /// The handler does not want the record now, and here there is no later: no failure, and no attempt follows.
    fn left(&self, record: &Record, cause: &Cause) {
        info!(
            topic = record.topic(), partition = record.partition().0, offset = record.offset().0, epoch = self.cell.epoch.0,
            %cause, "a record is left to the partition's next owner"
        );
    }

    fn stopped_by(&self, record: &Record, cause: &Cause) {
        self.cell.set_last_error(format!("offset {}: stopped by the handler: {cause}", record.offset()));
        self.stop(ConsumerError::StoppedByHandler {
            partition: record.topic_partition().clone(),
            offset: record.offset(),
            cause: cause.to_string(),
        });
    }
}

/// Randomness for jitter: the standard library's own keys.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
