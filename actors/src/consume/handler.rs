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
    /// Give the record up: it goes to the [dead-letter topic](crate::consume::ConsumerBuilder::dead_letters), and is finished once it is stored
    /// there. A consumer that has none stops with [`ConsumerError::NoDeadLetterTopic`](crate::consume::ConsumerError::NoDeadLetterTopic), and
    /// the record stays unprocessed.
    DeadLetter {
        /// Why, for the dead letter's header and the log.
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
    /// The record could not be decoded. Another attempt cannot change that, so it counts as exhausted after the first, unless
    /// [`on_failure`](crate::consume::ConsumerBuilder::on_failure) says otherwise.
    Undecodable,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, cause: impl Into<Cause>) -> Self {
        Self { kind, cause: cause.into() }
    }
}

/// Any error is a failure of kind [`FailureKind::Error`], so that `?` makes one of it in a handler that answers `Result<_, Failure>`. Its text
/// goes to log, state and errors: it should not repeat what the record holds.
impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(FailureKind::Error, error.to_string())
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

/// The error is anything that can be shown as text, or a [`Failure`].
impl<T: IntoOutcome, E: Into<Failure>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        self.map_err(E::into)?.into_outcome()
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

/// Processes records, several at a time where the [order](crate::consume::Order) allows it: what
/// [`async_handler`](crate::consume::ConsumerBuilder::async_handler) takes.
///
/// Every `Fn(Record) -> impl Future` is one. So is what [`typed`] makes of a closure that takes a decoded value, what a [layer] makes
/// of another handler, and a [`CpuBound`] pool of threads.
///
/// # An actor
/// An actor of actix's is one by its `Recipient`, in a closure that sends it the record in a message of the actor's own:
/// `move |record: Record| recipient.send(Book(record))`. The message's result is the answer: `()`, an [`Outcome`], or a `Result`. Where the
/// mailbox is closed, or the actor ends with the message unanswered, the record fails and is tried again like any other. An actor that may
/// have to be restarted runs under actix's `Supervisor`: its address stays the same. A mailbox's capacity is no bound here, for actix lets each
/// call put one message on top; [`concurrency`](crate::consume::ConsumerBuilder::concurrency) bounds the calls.
///
/// A call that ends before its answer takes back a message that still waits in the mailbox. One that the actor is at goes on; an actor that
/// handles one message at a time keeps the order even so, one that answers by futures of its own may then be at two of one key.
///
/// [`typed`]: crate::consume::typed
/// [layer]: crate::consume::layer
/// [`CpuBound`]: crate::consume::CpuBound
pub trait AsyncHandler: Send + Sync + 'static {
    /// One call. One that is ready at its first poll costs neither a task nor a wake-up. It is dropped where its epoch ends first.
    type Future: Future<Output: IntoOutcome> + Send + 'static;

    /// Begins to process one record. What it does before it returns holds up the other partitions of the thread.
    fn call(&self, record: Record) -> Self::Future;
}

impl<F, Fut> AsyncHandler for F
where
    F: Fn(Record) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    type Future = Fut;

    fn call(&self, record: Record) -> Fut {
        self(record)
    }
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

/// A plain closure, as a handler.
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

/// One call after the other, of a handler that could take several at once.
pub(crate) struct OneByOne<H>(pub(crate) Arc<H>);

impl<H: AsyncHandler> Handler for OneByOne<H> {
    type Answer = <H::Future as Future>::Output;

    async fn handle(&mut self, record: &Record) -> Self::Answer {
        self.0.call(record.clone()).await
    }
}
