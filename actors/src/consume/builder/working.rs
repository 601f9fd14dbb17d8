//! How records are worked on: in which order, how many at once, and what becomes of those that fail.

use std::sync::Arc;
use std::time::Duration;

use super::ConsumerBuilder;
use crate::consume::dead_letters::DeadLetters;
use crate::consume::error::ConsumerError;
use crate::consume::failing::{FailedRecord, OnExhausted};
use crate::consume::handle::ConsumerHandle;
use crate::consume::handler::Outcome;
use crate::consume::properties::configuration;
use crate::consume::pull::{Records, Table};
use crate::consume::retry::RetrySchedule;
use crate::consume::subscription::Subscription;
use crate::consume::workload::PullWorkload;
use crate::order::Order;

/// Handler calls at once, unless another number is asked for.
const CONCURRENCY: usize = 100;

impl ConsumerBuilder {
    /// In which order the records of a partition are handled. Default: [`Order::Partition`], and for an app that [pulls](Self::pull),
    /// [`Order::Unordered`]. The others handle several at once, each within the bounds of [`concurrency`](Self::concurrency) and
    /// [`partition_concurrency`](Self::partition_concurrency).
    pub fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// Handler calls that run at once in all partitions together, at most; those that wait for their next attempt do not count. Partitions that
    /// have work get equal shares. Default: 100; in [`Order::Partition`] one for each partition, however many there are.
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = Some(calls);
        self
    }

    /// Handler calls that run at once in one partition, at most. Default: as many as in all. In [`Order::Partition`] it is one.
    pub fn partition_concurrency(mut self, calls: usize) -> Self {
        self.partition_concurrency = Some(calls);
        self
    }

    /// The pauses before a failed record is tried again: the first, doubling up to the second, each shortened at random by up to half.
    /// Default: 100 ms up to 10 s.
    pub fn retry_pause(mut self, first: Duration, most: Duration) -> Self {
        self.failures.pause = RetrySchedule::new(first, most);
        self
    }

    /// How often a record fails before it counts as exhausted, and again in each [retry topic](Self::retry_topics). What the handler itself asks for by [`Outcome::Retry`], or
    /// [`on_failure`](Self::on_failure), does not count, nor does the failure of a [call](crate::consume::Outcomes::Failed) with other
    /// records. Default: 10, which take about half a minute. `u32::MAX`: for ever. A record that
    /// [cannot be decoded](crate::consume::FailureKind::Undecodable) is exhausted by its first attempt.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.failures.attempts = attempts.max(1);
        self
    }

    /// What becomes of a record whose attempts are exhausted, where neither [retry topics](Self::retry_topics) nor
    /// [dead letters](Self::dead_letters) take it. Default:
    /// [`OnExhausted::Stop`]. It is never dropped.
    pub fn on_exhausted(mut self, policy: OnExhausted) -> Self {
        self.failures.on_exhausted = policy;
        self
    }

    /// Where records go that have failed as often as they may, that cannot be decoded, or that the handler gives up by
    /// [`Outcome::DeadLetter`]; [`on_exhausted`](Self::on_exhausted) has no say then. Default: nowhere.
    ///
    /// The record is written with its key, value and headers, and with [headers](crate::consume::DEAD_LETTER_HEADERS) that say where it comes
    /// from and why. It is finished once it is stored; until then only its key (or its partition, in that order) waits. It is never dropped:
    /// [`OnDeadLetterFailure`](crate::consume::OnDeadLetterFailure) says what follows where it cannot be written, and
    /// [limits](DeadLetters::max_in_a_row) stop the engine after a bad deploy.
    ///
    /// The topic has to exist: before its first record the consumer looks, and otherwise ends with
    /// [`ConsumerError::NoSuchDeadLetterTopic`], which prints the command that creates it.
    ///
    /// A crash between the dead letter and the commit of its offset repeats it: the record is handled again, and may be written again. So does
    /// one that is being written at the drain deadline. Each such record is repeated once per crash or cut, and told by its headers.
    pub fn dead_letters(mut self, letters: DeadLetters) -> Self {
        self.dead_letters = letters;
        self
    }

    /// Decides what a failure means, case by case: an [`Outcome`], or `None` for the usual (another attempt after the retry pause, up to
    /// [`max_attempts`](Self::max_attempts)). `Outcome::Done` passes the record over, and it is never handled again.
    ///
    /// Called on the engine's threads after each failed attempt: it should decide, not wait. If it panics the usual follows.
    pub fn on_failure<F>(mut self, policy: F) -> Self
    where
        F: Fn(&FailedRecord<'_>) -> Option<Outcome> + Send + Sync + 'static,
    {
        self.failures.decide = Some(Arc::new(policy));
        self
    }

    /// Records that one [`poll`](Records::poll) gives at most. Default: 500.
    pub fn max_poll_records(mut self, records: usize) -> Self {
        self.max_poll_records = records;
        self
    }

    /// Starts the consumer without a handler: the app asks for records by [`Records::poll`], and answers each by its
    /// [`Completion`](crate::consume::Completion).
    ///
    /// Ledger, bounds, retries and commits are the same. By default a partition's records are handed out in offset order as they come, and may
    /// be answered in any order; with [`order`](Self::order) a record is handed out only when the one before it, of its key or partition, is
    /// answered as done.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn pull(mut self) -> Result<(ConsumerHandle, Records), ConsumerError> {
        if !self.routes.is_empty() || self.runtime.take().is_some() {
            return Err(configuration(
                "who pulls has no handler, and needs no runtime: leave them out, or start()".to_owned(),
            ));
        }
        if self.concurrency.is_some() || self.partition_concurrency.is_some() {
            return Err(configuration(
                "concurrency bounds handlers: who pulls is bounded by max_buffered_records and max_buffered_bytes"
                    .to_owned(),
            ));
        }
        if self.max_poll_records == 0 {
            return Err(configuration("max_poll_records must be above 0".to_owned()));
        }
        self.order = self.order.or(Some(Order::Unordered));
        let (table, most) = (Arc::new(Table::default()), self.max_poll_records);
        let handle = self.run(Some(Arc::new(PullWorkload(Arc::clone(&table)))))?;
        let records = Records::new(table, handle.supervisor(), most);
        Ok((handle, records))
    }

    pub(super) fn check_dead_letters(&self, read: &Subscription) -> Result<(), ConsumerError> {
        self.dead_letters.check(!self.retry_topics.is_empty())?;
        match read.topics().into_iter().find(|topic| Some(*topic) == self.dead_letters.topic.as_deref()) {
            Some(topic) => {
                Err(configuration(format!("the topic {topic} is read, and cannot be that of its own dead letters")))
            }
            None => Ok(()),
        }
    }

    /// Handler calls at once: in all partitions, and in one.
    pub(super) fn bounds(&self, order: Order) -> Result<(Option<usize>, usize), ConsumerError> {
        if self.concurrency == Some(0) || self.partition_concurrency == Some(0) {
            return Err(configuration("concurrency and partition_concurrency must be above 0".to_owned()));
        }
        let in_all = self.concurrency.or((order != Order::Partition).then_some(CONCURRENCY));
        Ok((in_all, self.partition_concurrency.unwrap_or(usize::MAX)))
    }
}
