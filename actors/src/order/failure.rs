//! What follows when a call of a handler did not finish its record.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::consume::dead_letters::envelope::Letter;
use crate::consume::error::{ConsumerError, times};
use crate::consume::failing::{OnExhausted, Verdict};
use crate::consume::handler::Cause;
use crate::consume::record::Record;
use crate::consume::state::StoppedRecord;
use crate::order::attempt::NotDone;
use crate::order::pump::PumpIo;

/// What the pump does with the record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another attempt after this pause. Whether this one counts towards those that exhaust it.
    Again { pause: Duration, counts: bool },
    /// It counts as finished.
    PassedOver,
    /// It goes to the dead letters, or to a retry topic, and counts as finished once it is there.
    Sent(Letter),
    /// Its partition stops. When it is resumed, the record is tried as if for the first time.
    Parked,
    /// Nothing: the partition is given up, and the handler leaves the record to its next owner.
    Left,
    /// Nothing, and no other record either: the engine stops.
    Stopped,
}

impl PumpIo {
    /// Names what happened, and says what follows. `failed`: how often the record has failed before; `None`: this was a failure of others too.
    /// `others`: how many records of this epoch have ended that are no dead letters.
    pub(crate) fn judge(&self, record: &Record, failed: Option<u32>, not_done: NotDone, others: u64) -> Next {
        match self.failures.judge(record, failed, not_done, random) {
            Verdict::Again { pause, cause } => {
                self.again(record, pause, &cause);
                Next::Again { pause, counts: failed.is_some() }
            }
            Verdict::Asked { after, cause } => self.asked_for(record, after, cause),
            Verdict::Exhausted { cause, later } => self.exhausted(record, cause, later, others),
            Verdict::DeadLetter { cause } => self.given_up(record, cause, others),
            Verdict::Stop { cause } => self.stopped_by(record, &cause),
            Verdict::PassedOver { cause } => {
                self.board.counters.passed_over.fetch_add(1, Ordering::Relaxed);
                warn!(
                    topic = record.topic(), partition = record.partition().0, offset = record.offset().0, epoch = self.cell.epoch.0,
                    attempt = record.attempt, %cause, "a record that failed is passed over, as the app's policy says"
                );
                Next::PassedOver
            }
        }
    }

    fn asked_for(&self, record: &Record, after: Duration, cause: Cause) -> Next {
        if self.cell.is_ending() {
            // No failure: the handler does not want it now, and here there is no later.
            info!(
                topic = record.topic(), partition = record.partition().0, offset = record.offset().0, epoch = self.cell.epoch.0,
                %cause, "a record is left to the partition's next owner"
            );
            return Next::Left;
        }
        self.again(record, after, &cause);
        Next::Again { pause: after, counts: false }
    }

    fn again(&self, record: &Record, pause: Duration, cause: &Cause) {
        let (cell, attempt) = (&self.cell, record.attempt);
        self.board.counters.retries.fetch_add(1, Ordering::Relaxed);
        cell.set_last_error(format!("offset {} attempt {attempt}: {cause}", record.offset()));
        cell.has_failed(record.offset().0, attempt);
        warn!(
            topic = record.topic(), partition = record.partition().0, offset = record.offset().0, epoch = cell.epoch.0, attempt,
            %cause, pause_ms = pause.as_millis() as u64, "a record failed and is tried again after a pause"
        );
    }

    fn exhausted(&self, record: &Record, cause: Cause, later: bool, others: u64) -> Next {
        let (cell, attempts, offset) = (&self.cell, record.attempt, record.offset());
        self.board.counters.exhausted.fetch_add(1, Ordering::Relaxed);
        if let Some(letterbox) = &self.board.letterbox {
            let retry = letterbox.retries().after(record.topic()).filter(|_| later);
            match retry {
                Some(step) => return self.put_off(record, step, cause, others),
                None if letterbox.topic().is_some() => return self.given_up(record, cause, others),
                None => {}
            }
        }
        let cause = cause.to_string();
        cell.set_last_error(format!("offset {offset} failed {}: {cause}", times(attempts)));
        match self.failures.on_exhausted {
            OnExhausted::Stop => {
                let partition = record.topic_partition().clone();
                self.stop(ConsumerError::Exhausted { partition, offset, attempts, cause });
                Next::Stopped
            }
            OnExhausted::StopPartition => {
                error!(
                    topic = record.topic(), partition = record.partition().0, offset = offset.0, epoch = cell.epoch.0, attempts,
                    %cause, "a record failed as often as it may: its partition stops until it is resumed"
                );
                // It begins anew when it is resumed; until then the stop tells of it.
                cell.failed_no_more(offset.0);
                cell.park(StoppedRecord { offset: offset.0, attempts, cause });
                Next::Parked
            }
        }
    }

    fn stopped_by(&self, record: &Record, cause: &Cause) -> Next {
        self.cell.set_last_error(format!("offset {}: stopped by the handler: {cause}", record.offset()));
        self.stop(ConsumerError::StoppedByHandler {
            partition: record.topic_partition().clone(),
            offset: record.offset(),
            cause: cause.to_string(),
        });
        Next::Stopped
    }
}

/// Randomness for jitter: the standard library's own keys.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
