//! Handlers that take several records at a time, and what they say of each.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::consume::handler::{Failure, FailureKind, IntoOutcome, Outcome};
use crate::consume::record::Record;
use crate::consume::workload::on_runtime;
use crate::order::batch::{self, CallBatch};
use crate::order::pump::{Pump, PumpIo, Workload};

/// How large a batch gets before its handler is called with it: whichever bound is reached first.
///
/// A batch is of one partition. It holds records that may run now: in partition order those that come next; by key several of one key, in
/// their order, and of many keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct BatchBounds {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) linger: Duration,
}

impl Default for BatchBounds {
    /// 500 records, 1 MiB, 5 ms.
    fn default() -> Self {
        Self { records: 500, bytes: 1 << 20, linger: Duration::from_millis(5) }
    }
}

impl BatchBounds {
    /// A batch of at most so many records; 0 counts as 1. Above the consumer's `max_buffered_records` it is never reached, and each batch
    /// waits for its linger time.
    pub fn records(mut self, records: usize) -> Self {
        self.records = records.max(1);
        self
    }

    /// A batch ends with the record that reaches so many bytes of keys and values.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// How long a batch waits for more after its first record, a day at most; zero: not at all.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger.min(Duration::from_secs(24 * 60 * 60));
        self
    }
}

/// What became of the records of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcomes {
    /// The same of all.
    All(Outcome),
    /// Of each, in the batch's order. Another number of them than of records is a failure of the call.
    Each(Vec<Result<Outcome, Failure>>),
    /// The call failed, and says nothing of single records: each has failed, and is tried again alone, so that the one that is to blame is
    /// found and named, and fails no others. That it failed with others does not count towards
    /// [`max_attempts`](crate::consume::ConsumerBuilder::max_attempts).
    Failed(Failure),
}

impl Outcomes {
    /// Of each of so many records; `Err`: the call failed as a whole.
    pub(crate) fn of_each(self, records: usize) -> Result<Vec<Result<Outcome, Failure>>, Failure> {
        match self {
            Self::All(outcome) => Ok(vec![Ok(outcome); records]),
            Self::Each(answers) if answers.len() == records => Ok(answers),
            Self::Each(answers) => {
                let cause = format!("{} outcomes for a batch of {records} records", answers.len());
                Err(Failure::new(FailureKind::Error, cause))
            }
            Self::Failed(failure) => Err(failure),
        }
    }
}

/// What a batch handler's answer means for its records.
///
/// `()` is [`Outcome::Done`] for each; an [`Outcome`] is that for each; a `Vec` has an answer for each record. An `Err` is a failure of the
/// call, as a panic is: see [`Outcomes::Failed`].
pub trait IntoOutcomes {
    /// What became of the records.
    fn into_outcomes(self) -> Outcomes;
}

impl IntoOutcomes for Outcomes {
    fn into_outcomes(self) -> Outcomes {
        self
    }
}

impl IntoOutcomes for () {
    fn into_outcomes(self) -> Outcomes {
        Outcomes::All(Outcome::Done)
    }
}

impl IntoOutcomes for Outcome {
    fn into_outcomes(self) -> Outcomes {
        Outcomes::All(self)
    }
}

impl<T: IntoOutcome> IntoOutcomes for Vec<T> {
    fn into_outcomes(self) -> Outcomes {
        Outcomes::Each(self.into_iter().map(IntoOutcome::into_outcome).collect())
    }
}

/// The error is anything that can be shown as text, or a [`Failure`].
impl<T: IntoOutcomes, E: Into<Failure>> IntoOutcomes for Result<T, E> {
    fn into_outcomes(self) -> Outcomes {
        self.map_or_else(|error| Outcomes::Failed(error.into()), T::into_outcomes)
    }
}

/// A plain closure over a batch.
pub(crate) struct SyncBatch<F> {
    pub(crate) handler: Arc<F>,
    pub(crate) bounds: BatchBounds,
}

pub(crate) struct SyncBatchCall<F>(pub(crate) Arc<F>);

impl<F, R> CallBatch for SyncBatchCall<F>
where
    F: Fn(&[Record]) -> R + 'static,
    R: IntoOutcomes,
{
    type Future = std::future::Ready<R>;

    fn call(&self, records: Arc<[Record]>) -> Self::Future {
        std::future::ready((self.0)(&records))
    }
}

impl<F, R> Workload for SyncBatch<F>
where
    F: Fn(&[Record]) -> R + Send + Sync + 'static,
    R: IntoOutcomes + 'static,
{
    fn pump(&self, io: PumpIo) -> Pump {
        let call = SyncBatchCall(Arc::clone(&self.handler));
        Pump::Local(Box::pin(batch::pump(call, self.bounds, io)))
    }
}

/// An asynchronous closure over a batch.
pub(crate) struct AsyncBatch<F> {
    pub(crate) handler: Arc<F>,
    pub(crate) bounds: BatchBounds,
    pub(crate) runtime: Option<Handle>,
}

pub(crate) struct AsyncBatchCall<F>(pub(crate) Arc<F>);

impl<F, Fut> CallBatch for AsyncBatchCall<F>
where
    F: Fn(Arc<[Record]>) -> Fut + 'static,
    Fut: Future<Output: IntoOutcomes>,
{
    type Future = Fut;

    fn call(&self, records: Arc<[Record]>) -> Fut {
        (self.0)(records)
    }
}

impl<F, Fut> Workload for AsyncBatch<F>
where
    F: Fn(Arc<[Record]>) -> Fut + Send + Sync + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: IntoOutcomes + Send,
{
    fn pump(&self, io: PumpIo) -> Pump {
        let (call, supervisor) = (AsyncBatchCall(Arc::clone(&self.handler)), io.supervisor.clone());
        on_runtime(self.runtime.as_ref(), Box::pin(batch::pump(call, self.bounds, io)), supervisor)
    }
}
