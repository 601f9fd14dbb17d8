//! What becomes of records whose handler failed.

use std::fmt;
use std::sync::Arc;

#[allow(unused_imports)]
use crate::consume::error::ConsumerError;
use crate::consume::handler::{Cause, FailureKind, Outcome};
use crate::consume::record::Record;
use crate::consume::retry::RetrySchedule;

/// What becomes of a record that has failed as often as it may. Whatever it is, the record is not committed and not lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnExhausted {
    /// The engine drains, commits, and ends with [`ConsumerError::Exhausted`], which names the record.
    #[default]
    Stop,
    /// Its partition stops: it stays assigned, starts no record, and is shown in the state with the record, until
    /// [`resume`](crate::consume::ConsumerHandle::resume) has it tried again, its attempts at 1. Other partitions go on. Another owner of the
    /// partition tries it too.
    StopPartition,
}

/// A record whose handler failed, for [`on_failure`](crate::consume::ConsumerBuilder::on_failure).
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedRecord<'a> {
    /// The record, with the number of the attempt that failed.
    pub record: &'a Record,
    /// How it failed.
    pub kind: FailureKind,
    /// Why.
    pub cause: &'a Cause,
}

type Decide = Arc<dyn Fn(&FailedRecord<'_>) -> Option<Outcome> + Send + Sync>;

/// A consumer's policy for failures.
#[derive(Clone)]
pub(crate) struct FailurePolicy {
    pub(crate) pause: RetrySchedule,
    pub(crate) attempts: u32,
    pub(crate) on_exhausted: OnExhausted,
    pub(crate) decide: Option<Decide>,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self { pause: RetrySchedule::default(), attempts: 10, on_exhausted: OnExhausted::default(), decide: None }
    }
}

impl fmt::Debug for FailurePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailurePolicy")
            .field("pause", &self.pause)
            .field("attempts", &self.attempts)
            .field("on_exhausted", &self.on_exhausted)
            .finish_non_exhaustive()
    }
}
