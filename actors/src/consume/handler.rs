//! What user code looks like to the engine: a handler, and what it says of a record.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::consume::record::Record;
use crate::ids::{Epoch, NextOffset, TopicPartition};

/// What became of one record. The engine acts on it; the handler only says it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The record is processed: its offset may be committed once every offset below is processed too.
    Done,
    /// Try the record again after a pause. In partition order the partition waits for it; other partitions run on.
    Retry {
        /// How long to wait at least.
        after: Duration,
        /// Why, for log and state.
        cause: Cause,
    },
    /// Stop the whole engine: it drains, commits and ends with an error that names this record, which stays unprocessed.
    Stop {
        /// Why.
        cause: Cause,
    },
}

/// Why a record was not processed, as text for log, state and errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause(Cow<'static, str>);

impl Cause {
    /// A cause with this text.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Into<Cow<'static, str>>> From<T> for Cause {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// A call that did not process its record, without saying what is to become of it: the consumer's policy decides that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// Why, for log, state and errors.
    pub cause: Cause,
}

/// How a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The handler returned an `Err`, or dropped a pulled record without an answer.
    Error,
    /// The handler panicked.
    Panic,
    /// The handler took too long.
    Timeout,
    /// The record could not be decoded, and the handler was not called.
    Undecodable,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, cause: impl Into<Cause>) -> Self {
        Self { kind, cause: cause.into() }
    }
}

/// What a handler's answer means for the record.
///
/// `()` is [`Outcome::Done`]. An `Err` is a failure, as a panic is: by default the record is tried again after the consumer's retry pause, a
/// bounded number of times.
pub trait IntoOutcome {
    /// What became of the record, or why nothing did.
    fn into_outcome(self) -> Result<Outcome, Failure>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        Ok(Outcome::Done)
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        Ok(self)
    }
}

impl<T: IntoOutcome, E: fmt::Display> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        self.map_err(|error| Failure::new(FailureKind::Error, error.to_string()))?.into_outcome()
    }
}

/// Processes the records of one partition, one at a time, in offset order.
///
/// One handler is built per partition and epoch by the factory given to [`partition_handler`], on the thread where it runs; neither it nor
/// its futures need be `Send`. It is dropped when the partition goes, and built anew after a panic, for its state cannot be trusted then.
///
/// An `async fn` that waits lets other partitions of its thread run. One that computes or blocks holds up its thread's other partitions.
/// When the partition is revoked, the engine waits for a running `handle` up to the drain deadline and then drops its future.
///
/// [`partition_handler`]: crate::consume::ConsumerBuilder::partition_handler
pub trait Handler: 'static {
    /// What a handled record turns into: `()`, [`Outcome`], or a `Result` of these.
    type Answer: IntoOutcome;

    /// Processes one record.
    fn handle(&mut self, record: &Record) -> impl Future<Output = Self::Answer>;
}

/// What a partition's handler may know of the place where it works.
#[derive(Debug, Clone)]
pub struct PartitionContext {
    pub(crate) partition: TopicPartition,
    pub(crate) epoch: Epoch,
    pub(crate) position: NextOffset,
    pub(crate) revoking: CancellationToken,
}

impl PartitionContext {
    /// Topic and partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The epoch: one stay of the partition at this engine.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The position of the first record that this handler gets, or a later one's where the log has a gap there.
    pub fn position(&self) -> NextOffset {
        self.position
    }

    /// Cancelled when the partition is to be given up, or sought elsewhere: what is not finished by the drain deadline is started anew by the
    /// next owner, or left behind by the seek.
    pub fn revoking(&self) -> &CancellationToken {
        &self.revoking
    }
}

/// A handler of its own type for each shape of closure; the engine is generic over [`Handler`] alone.
pub(crate) struct SyncClosure<F>(pub(crate) Arc<F>);

impl<F, R> Handler for SyncClosure<F>
where
    F: Fn(&Record) -> R + 'static,
    R: IntoOutcome + 'static,
{
    type Answer = R;

    async fn handle(&mut self, record: &Record) -> R {
        (self.0)(record)
    }
}

pub(crate) struct AsyncClosure<F>(pub(crate) Arc<F>);

impl<F, Fut> Handler for AsyncClosure<F>
where
    F: Fn(Record) -> Fut + 'static,
    Fut: Future + 'static,
    Fut::Output: IntoOutcome,
{
    type Answer = Fut::Output;

    async fn handle(&mut self, record: &Record) -> Fut::Output {
        (self.0)(record.clone()).await
    }
}
