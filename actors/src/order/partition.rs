//! Partition order: one record at a time, in offset order.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::consume::error::ConsumerError;
use crate::consume::handler::{Cause, Handler, PartitionContext};
use crate::consume::record::{Record, RecordChunk};
use crate::ids::NextOffset;
use crate::offsets::remembered::Skip;
use crate::order::attempt::{Attempt, NotDone, attempt, build, dismiss};
use crate::order::commits::Commits;
use crate::order::pace::Pace;
use crate::order::pump::{PumpIo, give_way};

/// Feeds the partition's records to a handler until the partition is to be given up.
pub(crate) async fn pump<H: Handler>(factory: impl Fn(&PartitionContext) -> H, io: PumpIo) {
    let (skip, commits) = (io.cell.remembered.skip(), Commits::new(io.commits));
    let mut lane = Lane { factory, handler: None, pace: Pace::new(Instant::now()), skip, commits, io };
    while let Some(chunk) = lane.io.next_chunk().await {
        lane.run(chunk).await;
    }
    if let Err(cause) = dismiss(lane.handler.take()) {
        lane.io.board.counters.panics.fetch_add(1, Ordering::Relaxed);
        let cell = &lane.io.cell;
        let (partition, epoch) = (&cell.partition, cell.epoch.0);
        warn!(topic = %partition.topic, partition = partition.partition.0, epoch, %cause, "a handler panicked when it was dropped");
    }
    lane.io.drained();
}

/// The partition's only lane.
struct Lane<H, F> {
    factory: F,
    handler: Option<H>,
    pace: Pace,
    /// What an earlier owner has finished.
    skip: Skip,
    commits: Commits,
    io: PumpIo,
}

/// Whether a record is finished, or the partition is to be given up first.
enum Ran {
    Finished,
    Ending,
}

impl<H: Handler, F: Fn(&PartitionContext) -> H> Lane<H, F> {
    /// Runs a chunk's records, and reports them at its end, or when the partition is to be given up. In between the tracker sees in the
    /// control cell how far the chunk is.
    async fn run(&mut self, chunk: Arc<RecordChunk>) {
        if !self.io.cell.take_in_hand(&chunk) {
            return;
        }
        let mut finished = 0;
        let mut record = Record { chunk: Arc::clone(&chunk), position: 0, attempt: 1 };
        while finished < chunk.len() {
            record.position = finished as u32;
            if !self.skip.is_over() && self.skip.holds(record.offset()) {
                finished += 1;
                self.io.board.counters.remembered.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // Also before a chunk's first record: the commit may have begun while there was none.
            if self.commits.is_held(&self.io.cell) {
                self.io.report(&chunk, finished, false);
                self.until_committed().await;
            }
            if let Ran::Ending = self.run_record(&mut record).await {
                break;
            }
            finished += 1;
            if self.commits.is_due_after_record() {
                self.commit(&chunk, finished).await;
            }
            if self.pace.is_turn_over(Instant::now) {
                give_way().await;
            }
        }
        let commit = finished == chunk.len() && self.commits.is_due_after_chunk();
        if commit && self.commits.awaited() {
            self.commit(&chunk, finished).await;
        } else {
            self.io.report(&chunk, finished, commit);
        }
        self.io.cell.put_down();
        self.io.cell.free(chunk.credit_records(), chunk.arena.len() as u64);
        self.io.board.counters.finished.fetch_add(finished as u64, Ordering::Relaxed);
    }

    /// It is time for a commit of what is finished, which may have to be waited for.
    async fn commit(&self, chunk: &RecordChunk, finished: usize) {
        if self.commits.awaited() {
            self.io.cell.await_commit(chunk.position_after(finished));
        }
        self.io.report(chunk, finished, true);
        if self.commits.awaited() {
            self.until_committed().await;
        }
    }

    /// What is finished has been reported: nothing is under way here meanwhile.
    async fn until_committed(&self) {
        self.io.cell.handler_rests();
        self.io.until_committed().await;
        self.io.cell.rest_ends();
    }

    /// Tries one record until it is done or the partition is to be given up.
    async fn run_record(&mut self, record: &mut Record) -> Ran {
        record.attempt = 1;
        loop {
            if self.io.cell.is_ending() {
                return Ran::Ending;
            }
            let not_done = match self.try_once(record).await {
                Attempt::Done => return Ran::Finished,
                Attempt::Fenced => return Ran::Ending,
                Attempt::NotDone(not_done) => *not_done,
            };
            let (after, cause) = match not_done {
                NotDone::Retry { after, cause } => (Some(after), cause),
                NotDone::Failed(cause) | NotDone::Panicked(cause) => (None, cause),
                NotDone::Stop { cause } => {
                    self.stop(record, cause);
                    self.io.until_ending().await;
                    return Ran::Ending;
                }
            };
            self.pause(record, after, cause).await;
            self.io.cell.rest_ends();
            record.attempt = record.attempt.saturating_add(1);
        }
    }

    async fn try_once(&mut self, record: &Record) -> Attempt {
        let cell = &self.io.cell;
        cell.handler_holds(record.offset().0, record.attempt);
        let handler = match &mut self.handler {
            Some(handler) => handler,
            empty => match build(|| (self.factory)(&self.io.context(NextOffset(record.offset().0)))) {
                Ok(handler) => empty.insert(handler),
                Err(cause) => {
                    self.io.board.counters.panics.fetch_add(1, Ordering::Relaxed);
                    return Attempt::panicked(cause);
                }
            },
        };
        let pace = &mut self.pace;
        let tried = attempt(handler, record, cell, || pace.waited()).await;
        if let Attempt::NotDone(not_done) = &tried
            && let NotDone::Panicked(_) = **not_done
        {
            self.io.board.counters.panics.fetch_add(1, Ordering::Relaxed);
            // Built anew for the next attempt. What its drop says was said by the panic already.
            let _ = dismiss(self.handler.take());
        }
        tried
    }

    /// Names the failure, then waits before the next attempt.
    async fn pause(&self, record: &Record, after: Option<Duration>, cause: Cause) {
        if after.is_some() && self.io.cell.is_ending() {
            self.leave(record, &cause);
            return;
        }
        let pause = after.unwrap_or_else(|| self.io.retry_pause.pause(record.attempt, random()));
        let (cell, attempt) = (&self.io.cell, record.attempt);
        self.io.board.counters.retries.fetch_add(1, Ordering::Relaxed);
        cell.set_last_error(format!("offset {} attempt {attempt}: {cause}", record.offset()));
        warn!(
            topic = record.topic(), partition = record.partition().0, offset = record.offset().0, epoch = cell.epoch.0, attempt,
            %cause, pause_ms = pause.as_millis() as u64, "a record failed and is tried again after a pause"
        );
        cell.handler_rests();
        self.io.pause(pause).await;
    }

    /// The handler does not want the record now, and here there is no later: no failure, and no attempt follows.
    fn leave(&self, record: &Record, cause: &Cause) {
        info!(
            topic = record.topic(), partition = record.partition().0, offset = record.offset().0, epoch = self.io.cell.epoch.0,
            %cause, "a record is left to the partition's next owner"
        );
    }

    fn stop(&self, record: &Record, cause: Cause) {
        let cell = &self.io.cell;
        cell.set_last_error(format!("offset {}: stopped by the handler: {cause}", record.offset()));
        cell.handler_rests();
        self.io.stop(ConsumerError::StoppedByHandler {
            partition: record.topic_partition().clone(),
            offset: record.offset(),
            cause: cause.to_string(),
        });
    }
}

/// Randomness for jitter: the standard library's own keys.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
