//! A record's way through the workers, as the engine sees it: a call that ends with an outcome.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_troupe::consume::{Failure, FailureKind};
use kafka_troupe::ids::{Offset, TopicPartition};
use kafka_troupe::{Outcome, Record};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::pool::Pool;
use super::protocol::Answer;
use super::worker::Fault;

/// What the engine calls.
#[derive(Debug)]
pub(super) struct Handler {
    pool: Arc<Pool>,
    /// How many records may be done.
    most: Option<u64>,
    /// A permit for each of them that is not done yet.
    left: Semaphore,
    /// The failure that sends a record to the dead letters, if there are any.
    gives_up: Option<u32>,
    /// How often records have failed that are to be tried again. Kept where both bounds are: attempts that a worker asked for do not count.
    failures: Mutex<HashMap<(TopicPartition, Offset), u32>>,
    /// How many workers are done with.
    done: AtomicU64,
    /// The same, and those that go to the dead letters.
    ended: AtomicU64,
    /// So many have ended as were asked for.
    enough: CancellationToken,
}

impl Handler {
    pub(super) fn new(pool: Arc<Pool>, most: Option<u64>, gives_up: Option<u32>) -> Self {
        // More than a semaphore can count is no bound that anybody lives to see.
        let permits = most.map_or(Semaphore::MAX_PERMITS, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let left = Semaphore::new(permits.min(Semaphore::MAX_PERMITS));
        let (done, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        let (failures, enough) = (Mutex::default(), CancellationToken::new());
        Self { pool, most, left, gives_up, failures, done, ended, enough }
    }

    /// Records that workers are through with.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until as many are done as were asked for.
    pub(super) async fn enough(&self) {
        self.enough.cancelled().await;
    }

    pub(super) async fn handle(&self, record: Record) -> Result<Outcome, Failure> {
        // Given back by an attempt that fails, for another record perhaps.
        let permit = match self.most {
            None => None,
            Some(_) => tokio::select! {
                biased;
                permit = self.left.acquire() => permit.ok(),
                () = record.revoking().cancelled() => return Ok(left_to_others()),
            },
        };
        let outcome = self.work(&record).await;
        if matches!(outcome, Ok(Outcome::Done)) {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(permit) = permit
            && self.is_the_end(&record, &outcome)
        {
            permit.forget();
            if Some(self.ended.fetch_add(1, Ordering::Relaxed) + 1) == self.most {
                self.enough.cancel();
            }
        }
        outcome
    }

    async fn work(&self, record: &Record) -> Result<Outcome, Failure> {
        loop {
            let Some(lease) = self.pool.lease(record).await else { return Ok(left_to_others()) };
            match lease.answer().await {
                Ok(answer) => return outcome(answer),
                Err(ended) if ended.before => {}
                Err(ended) => {
                    let kind = match ended.fault {
                        Fault::Timeout(_) => FailureKind::Timeout,
                        _ => FailureKind::Error,
                    };
                    return Err(Failure::new(kind, ended.to_string()));
                }
            }
        }
    }

    /// No worker gets the record again.
    fn is_the_end(&self, record: &Record, outcome: &Result<Outcome, Failure>) -> bool {
        let Some(gives_up) = self.gives_up else { return matches!(outcome, Ok(Outcome::Done)) };
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (record.topic_partition().clone(), record.offset());
        // The first attempt begins a new count: that before was of an earlier epoch.
        let failed = if record.attempt() == 1 { 0 } else { failures.remove(&place).unwrap_or(0) };
        let failed = match outcome {
            Ok(Outcome::Done | Outcome::DeadLetter { .. }) => return true,
            Ok(_) => failed,
            Err(_) => failed + 1,
        };
        if failed >= gives_up {
            return true;
        }
        failures.insert(place, failed);
        false
    }
}

fn outcome(answer: Answer) -> Result<Outcome, Failure> {
    Ok(match answer {
        Answer::Done => Outcome::Done,
        Answer::Failed { cause } => return Err(Failure::new(FailureKind::Error, cause)),
        Answer::Retry { after, cause } => Outcome::Retry { after, cause: cause.into() },
        Answer::Stop { cause } => Outcome::Stop { cause: cause.into() },
        Answer::DeadLetter { cause } => Outcome::DeadLetter { cause: cause.into() },
    })
}

/// Not begun, so it is whoever's has the partition next.
fn left_to_others() -> Outcome {
    Outcome::Retry { after: Duration::ZERO, cause: "no worker has begun with it".into() }
}
