//! Partition order: one record at a time, in offset order.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use tracing::warn;

use crate::consume::handler::{Handler, PartitionContext};
use crate::consume::record::{Record, RecordChunk};
use crate::ids::NextOffset;
use crate::offsets::remembered::Skip;
use crate::order::attempt::{Attempt, attempt, guarded};
use crate::order::commits::Commits;
use crate::order::due::Due;
use crate::order::failure::Next;
use crate::order::limiter::Permits;
use crate::order::pace::Pace;
use crate::order::pump::{PumpIo, give_way};

/// Feeds the partition's records to a handler until the partition is to be given up.
pub(crate) async fn pump<H: Handler>(factory: impl Fn(&PartitionContext) -> H, io: PumpIo) {
    let (skip, commits) = (io.cell.remembered.skip(), Commits::new(io.commits));
    let permits = Permits::new(io.limiter.clone(), {
        let cell = Arc::clone(&io.cell);
        move || cell.wake_pump()
    });
    let mut lane =
        Lane { factory, handler: None, pace: Pace::new(Instant::now()), skip, commits, permits, others: 0, io };
    while let Some(chunk) = lane.io.next_chunk().await {
        lane.run(chunk).await;
        lane.permits.give_back_idle();
    }
    let handler = lane.handler.take();
    if let Err(cause) = guarded(|| drop(handler)) {
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
    permits: Permits,
    /// Records that have ended, but for dead letters.
    others: u64,
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
        let mut record = Record { chunk: Arc::clone(&chunk), position: 0, attempt: 1, failed: 0 };
        while finished < chunk.len() {
            record.position = finished as u32;
            if !self.skip.is_over() && self.skip.holds(record.offset()) {
                finished += 1;
                self.io.board.counters.remembered.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if let Some(due) = self.io.early(&record) {
                self.io.cell.comes_next(record.offset().0);
                self.io.report(&chunk, finished, false);
                self.until(due).await;
            }
            // Also before a chunk's first record: the commit may have begun while there was none.
            if self.commits.is_held(&self.io.cell) {
                self.io.cell.comes_next(record.offset().0);
                self.io.report(&chunk, finished, false);
                self.until_committed().await;
            }
            if !self.permits.take() {
                self.io.cell.comes_next(record.offset().0);
                self.io.report(&chunk, finished, false);
                self.until_permitted().await;
            }
            let ran = self.run_record(&mut record).await;
            self.permits.finish();
            if let Ran::Ending = ran {
                break;
            }
            finished += 1;
            if record.attempt > 1 {
                self.io.cell.failed_no_more(record.offset().0);
            }
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
        self.io.cell.free(chunk.credit_records(), chunk.credit_bytes());
        self.io.board.counters.finished.fetch_add(finished as u64, Ordering::Relaxed);
    }

    /// It is time for a commit of what is finished, which may have to be waited for.
    async fn commit(&mut self, chunk: &RecordChunk, finished: usize) {
        if self.commits.awaited() {
            self.io.cell.await_commit(chunk.position_after(finished));
        }
        self.io.report(chunk, finished, true);
        if self.commits.awaited() {
            self.until_committed().await;
        }
    }

    /// Waits for its turn among the partitions, or until the partition is to be given up.
    async fn until_permitted(&mut self) {
        self.io.cell.handler_rests();
        let (io, permits) = (&self.io, &mut self.permits);
        poll_fn(|cx| {
            io.cell.register_pump(cx.waker());
            if io.cell.is_ending() || permits.take() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.io.cell.rest_ends();
    }

    /// Waits until the record is due, or the partition is to be given up. Nothing is under way here meanwhile.
    async fn until(&mut self, due: Due) {
        self.permits.give_back_idle();
        self.io.cell.waits(due.offset, due.at_ms);
        self.io.cell.handler_rests();
        self.io.pause(due.at.saturating_duration_since(Instant::now())).await;
        self.io.cell.rest_ends();
        self.io.cell.waits_no_more();
    }

    /// What is finished has been reported: nothing is under way here meanwhile.
    async fn until_committed(&mut self) {
        self.permits.give_back_idle();
        self.io.cell.handler_rests();
        self.io.until_committed().await;
        self.io.cell.rest_ends();
    }

    /// Tries one record until it is done or the partition is to be given up.
    async fn run_record(&mut self, record: &mut Record) -> Ran {
        (record.attempt, record.failed) = (self.io.first_attempt(record), 0);
        loop {
            if self.io.cell.is_ending() {
                return Ran::Ending;
            }
            let not_done = match self.try_once(record).await {
                Attempt::Done => {
                    self.others += 1;
                    return Ran::Finished;
                }
                Attempt::Fenced => return Ran::Ending,
                Attempt::NotDone(not_done) => *not_done,
            };
            match self.io.judge(record, Some(record.failed), not_done, self.others) {
                Next::Again { pause, counts } => {
                    // A pause is no call.
                    self.permits.finish();
                    self.permits.give_back_idle();
                    self.io.cell.handler_rests();
                    self.io.pause(pause).await;
                    self.io.cell.rest_ends();
                    if !self.permits.take() {
                        self.until_permitted().await;
                    }
                    record.attempt = record.attempt.saturating_add(1);
                    record.failed = record.failed.saturating_add(u32::from(counts));
                }
                Next::PassedOver => {
                    self.others += 1;
                    return Ran::Finished;
                }
                Next::Sent(letter) => {
                    // Nor is a letter.
                    self.permits.finish();
                    self.permits.give_back_idle();
                    let written = self.io.write(record, letter).await;
                    return if written { Ran::Finished } else { Ran::Ending };
                }
                Next::Parked => {
                    self.permits.finish();
                    self.permits.give_back_idle();
                    self.io.cell.handler_rests();
                    self.io.until_resumed().await;
                    self.io.cell.rest_ends();
                    if !self.permits.take() {
                        self.until_permitted().await;
                    }
                    (record.attempt, record.failed) = (self.io.first_attempt(record), 0);
                }
                Next::Left => return Ran::Ending,
                Next::Stopped => {
                    self.io.cell.handler_rests();
                    self.io.until_ending().await;
                    return Ran::Ending;
                }
            }
        }
    }

    async fn try_once(&mut self, record: &Record) -> Attempt {
        let cell = &self.io.cell;
        cell.handler_holds(record.offset().0, record.attempt);
        let handler = match &mut self.handler {
            Some(handler) => handler,
            empty => match guarded(|| (self.factory)(&self.io.context(NextOffset(record.offset().0)))) {
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
            && not_done.is_panic()
        {
            self.io.board.counters.panics.fetch_add(1, Ordering::Relaxed);
            // Built anew for the next attempt. What its drop says was said by the panic already.
            let handler = self.handler.take();
            let _ = guarded(|| drop(handler));
        }
        tried
    }
}
