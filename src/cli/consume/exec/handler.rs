//! A record's way through the workers, as the engine sees it: a call that ends with an outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_troupe::consume::{Failure, FailureKind};
use kafka_troupe::{Outcome, Record};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::pool::Pool;
use super::protocol::Answer;
use super::worker::Fault;

/// So many workers that end in good order as they are given the same record are no chance any more: then the attempt has failed.
const MOST_UNBEGUN: u32 = 10;

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
        Self { pool, most, left, gives_up, done, ended, enough: CancellationToken::new() }
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
        let mut unbegun = 0;
        loop {
            let Some(lease) = self.pool.lease(record).await else { return Ok(left_to_others()) };
            match lease.answer().await {
                Ok(answer) => return outcome(answer),
                Err(ended) if ended.before && unbegun + 1 < MOST_UNBEGUN => unbegun += 1,
                Err(ended) if ended.before => {
                    let cause =
                        format!("{MOST_UNBEGUN} workers in a row ended when they were given it; the last time {ended}");
                    return Err(Failure::new(FailureKind::Error, cause));
                }
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
        match outcome {
            Ok(Outcome::Done) => true,
            Ok(Outcome::DeadLetter { .. }) => self.gives_up.is_some(),
            Ok(_) => false,
            Err(_) => self.gives_up.is_some_and(|attempts| record.failures() + 1 >= attempts),
        }
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
