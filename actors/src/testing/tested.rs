//! What became of the records that a [`HandlerTest`](super::HandlerTest) fed.

use std::time::Duration;

use crate::consume::handler::{Cause, Failure, Outcome};

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tested {
    /// Each attempt at it. A call with a batch that this record was held back in, behind one that is not done, was none.
    pub attempts: Vec<TestedAttempt>,
    /// What all of it came to.
    pub end: TestedEnd,
    /// From the first call with it to the end, pauses included, by the test's clock.
    pub took: Duration,
}

/// One call of the handler with its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestedAttempt {
    /// Its outcome, or how it failed.
    pub outcome: Result<Outcome, Failure>,
    /// How long it took, by the test's clock.
    pub took: Duration,
}

/// What a record came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TestedEnd {
    /// It is processed.
    Done,
    /// It failed, and `on_failure` passes it over.
    PassedOver,
    /// It failed as often as it may.
    Exhausted {
        /// The last time for this reason.
        cause: Cause,
    },
    /// The handler, or `on_failure`, gave it up: it goes to the dead letters, or stops an engine that has no topic for them.
    DeadLettered {
        /// Why.
        cause: Cause,
    },
    /// The engine is to stop.
    Stopped {
        /// Why.
        cause: Cause,
    },
    /// The partition was given up first, or a record before it in its batch stopped the engine: it is for the next owner.
    Left,
}
