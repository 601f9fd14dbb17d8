//! A handler and its layers without a broker.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::consume::batch::{AsyncBatchCall, IntoOutcomes, SyncBatchCall};
use crate::consume::control::{Budget, ControlCell, Credits};
use crate::consume::failing::{FailedRecord, FailurePolicy};
use crate::consume::handler::{AsyncHandler, Handler, IntoOutcome, OneByOne, Outcome, PartitionContext, SyncClosure};
use crate::consume::record::Record;
use crate::consume::retry::RetrySchedule;
use crate::consume::start::StartPosition;
use crate::consume::wake::Wake;
use crate::ids::{Epoch, NextOffset, Offset, TopicPartition};
use crate::testing::fed::{Fed, Next};
use crate::testing::subject::{Built, OfBatches, Subject};
use crate::testing::{TestRecord, Tested, TestedAttempt, TestedEnd};

/// Feeds records to a handler, one after the other as in one partition, and tells what became of each: see the [module](crate::testing).
///
/// The clock is the test's own: it stands still while the handler works and leaps while it waits. Pauses before another attempt have no jitter.
/// What other threads do takes no time on it, so a [`Timeout`](crate::consume::Timeout) around a computation that runs on another thread passes
/// at once.
pub struct HandlerTest {
    subject: Box<dyn Subject>,
    policy: FailurePolicy,
    drain_deadline: Duration,
    partition: TopicPartition,
    position: NextOffset,
    cell: Option<Arc<ControlCell>>,
    tasks: LocalSet,
    runtime: Runtime,
}

impl HandlerTest {
    /// Of a plain closure: see [`handler`](crate::consume::ConsumerBuilder::handler).
    ///
    /// # Panics
    /// Where no runtime can be had.
    pub fn handler<F, R>(handler: F) -> Self
    where
        F: Fn(&Record) -> R + 'static,
        R: IntoOutcome + 'static,
    {
        let handler = Arc::new(handler);
        Self::new(move |_: &PartitionContext| SyncClosure(Arc::clone(&handler)))
    }

    /// Of an asynchronous closure, or another [`AsyncHandler`]: see [`async_handler`](crate::consume::ConsumerBuilder::async_handler).
    ///
    /// # Panics
    /// Where no runtime can be had.
    pub fn async_handler(handler: impl AsyncHandler) -> Self {
        let handler = Arc::new(handler);
        Self::new(move |_: &PartitionContext| OneByOne(Arc::clone(&handler)))
    }

    /// Of a handler with state: see [`partition_handler`](crate::consume::ConsumerBuilder::partition_handler).
    ///
    /// # Panics
    /// Where no runtime can be had.
    pub fn partition_handler<F, H>(factory: F) -> Self
    where
        F: Fn(&PartitionContext) -> H + 'static,
        H: Handler,
    {
        Self::new(factory)
    }

    /// Of a handler that takes several records at a time: see [`batch_handler`](crate::consume::ConsumerBuilder::batch_handler). Its batches
    /// are those of [`feed_batch`](Self::feed_batch).
    ///
    /// # Panics
    /// Where no runtime can be had.
    pub fn batch_handler<F, R>(handler: F) -> Self
    where
        F: Fn(&[Record]) -> R + 'static,
        R: IntoOutcomes + 'static,
    {
        Self::of(OfBatches::by(SyncBatchCall(Arc::new(handler))))
    }

    /// The same, asynchronous: see [`async_batch_handler`](crate::consume::ConsumerBuilder::async_batch_handler).
    ///
    /// # Panics
    /// Where no runtime can be had.
    pub fn async_batch_handler<F, Fut>(handler: F) -> Self
    where
        F: Fn(Arc<[Record]>) -> Fut + 'static,
        Fut: Future<Output: IntoOutcomes> + 'static,
    {
        Self::of(OfBatches::by(AsyncBatchCall(Arc::new(handler))))
    }

    fn new<H: Handler>(factory: impl Fn(&PartitionContext) -> H + 'static) -> Self {
        Self::of(Built::by(factory))
    }

    fn of(subject: impl Subject + 'static) -> Self {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        Self {
            subject: Box::new(subject),
            policy: FailurePolicy::default(),
            drain_deadline: Duration::from_secs(3),
            partition: TopicPartition::new("test", 0),
            position: NextOffset(0),
            cell: None,
            tasks: LocalSet::new(),
            runtime: runtime.unwrap_or_else(|error| panic!("the test has no runtime: {error}")),
        }
    }

    /// Where the records are from, and the offset of the next one. Default: partition 0 of `test`, from offset 0 on. A handler with state
    /// is built anew for it.
    pub fn at(mut self, partition: TopicPartition, offset: Offset) -> Self {
        self.subject.put_down();
        (self.partition, self.position, self.cell) = (partition, NextOffset(offset.0), None);
        self
    }

    /// See [`max_attempts`](crate::consume::ConsumerBuilder::max_attempts).
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.policy.attempts = attempts.max(1);
        self
    }

    /// See [`retry_pause`](crate::consume::ConsumerBuilder::retry_pause). Here they are not shortened at random.
    pub fn retry_pause(mut self, first: Duration, most: Duration) -> Self {
        self.policy.pause = RetrySchedule::new(first, most);
        self
    }

    /// See [`on_failure`](crate::consume::ConsumerBuilder::on_failure).
    pub fn on_failure<F>(mut self, policy: F) -> Self
    where
        F: Fn(&FailedRecord<'_>) -> Option<Outcome> + Send + Sync + 'static,
    {
        self.policy.decide = Some(Arc::new(policy));
        self
    }

    /// See [`drain_deadline`](crate::consume::ConsumerBuilder::drain_deadline).
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// Has the partition given up in this time of the test's clock, which passes while records are fed: `revoking` is cancelled, no attempt
    /// begins from then on, and what runs at the drain deadline is dropped.
    pub fn revoke_after(&mut self, after: Duration) {
        let (cell, deadline) = (self.cell(), self.drain_deadline);
        self.tasks.spawn_local(async move {
            sleep(after).await;
            cell.revoke();
            sleep(deadline).await;
            cell.fence();
        });
    }

    /// Feeds the next record, with as many attempts as it takes.
    ///
    /// # Panics
    /// Within a runtime: call it from a plain `#[test]`.
    pub fn feed(&mut self, record: TestRecord) -> Tested {
        let mut tested = self.feed_batch([record]);
        tested.swap_remove(0)
    }

    /// Feeds the next records: a batch handler gets them in one call, in partition order; any other one after the other. What became of each,
    /// in their order.
    ///
    /// The first of a batch that is not done holds back those behind it: they are given again, whatever was said of them, behind it or with it.
    /// When a call has failed as a whole, each record that is left is given alone.
    ///
    /// # Panics
    /// Within a runtime: call it from a plain `#[test]`.
    pub fn feed_batch(&mut self, records: impl IntoIterator<Item = TestRecord>) -> Vec<Tested> {
        let cell = self.cell();
        let mut batch = VecDeque::new();
        for record in records {
            batch.push_back(Fed::new(record.at(&cell, self.position)));
            self.position = NextOffset(self.position.0 + 1);
        }
        let (subject, policy) = (&mut *self.subject, &self.policy);
        self.tasks.block_on(&self.runtime, run(subject, policy, &cell, batch))
    }

    fn cell(&mut self) -> Arc<ControlCell> {
        let cell = self.cell.get_or_insert_with(|| {
            let start = StartPosition::at(self.partition.clone(), self.position);
            let credits = Credits { records: 1, bytes: 1 };
            Arc::new(ControlCell::new(start, Epoch(1), 0, credits, Budget::unbounded(Arc::new(Wake::new()))))
        });
        Arc::clone(cell)
    }
}

impl fmt::Debug for HandlerTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (partition, position) = (&self.partition, &self.position);
        f.debug_struct("HandlerTest").field("partition", partition).field("position", position).finish_non_exhaustive()
    }
}

async fn run(
    subject: &mut dyn Subject,
    policy: &FailurePolicy,
    cell: &ControlCell,
    mut batch: VecDeque<Fed>,
) -> Vec<Tested> {
    let mut tested = Vec::with_capacity(batch.len());
    let mut alone = !subject.takes_batches();
    'calls: while !batch.is_empty() && !cell.is_ending() {
        let (given, began) = (if alone { 1 } else { batch.len() }, Instant::now());
        let records = batch.iter_mut().take(given).map(|fed| fed.begin(began)).collect();
        let Some(outcomes) = subject.call(records, cell).await else { break };
        let took = began.elapsed();
        let (answers, counts) = match outcomes.of_each(given) {
            Ok(answers) => (answers, true),
            Err(failure) => (vec![Err(failure); given], given == 1),
        };
        alone |= !counts;
        for outcome in answers {
            let Some(mut fed) = batch.pop_front() else { break };
            match fed.answered(TestedAttempt { outcome, took }, counts, policy) {
                Next::Again(pause) => {
                    batch.push_front(fed);
                    pause_or_end(cell, pause).await;
                    break;
                }
                Next::End(end) => {
                    let holds_back = !matches!(end, TestedEnd::Done | TestedEnd::PassedOver);
                    let stops = matches!(end, TestedEnd::Stopped { .. });
                    tested.push(fed.ended(end));
                    if stops {
                        break 'calls;
                    }
                    if holds_back {
                        break;
                    }
                }
            }
        }
    }
    tested.extend(batch.into_iter().map(|fed| fed.ended(TestedEnd::Left)));
    tested
}

async fn pause_or_end(cell: &ControlCell, pause: Duration) {
    let mut pause = pin!(sleep(pause));
    poll_fn(|cx| {
        cell.register_pump(cx.waker());
        if cell.is_ending() { Poll::Ready(()) } else { pause.as_mut().poll(cx) }
    })
    .await;
}

#[cfg(test)]
#[path = "handler_test_tests.rs"]
mod tests;
