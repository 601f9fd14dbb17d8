//! Partition order: one record at a time, in offset order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::consume::error::ConsumerError;
use crate::consume::handler::{Cause, Handler, Outcome, PartitionContext};
use crate::consume::record::{Record, RecordChunk};
use crate::order::attempt::{Attempt, attempt, build, dismiss};
use crate::order::pace::Pace;
use crate::order::pump::{PumpIo, give_way};

/// Feeds the partition's records to a handler until the partition is to be given up.
pub(crate) async fn pump<H: Handler>(factory: impl Fn(&PartitionContext) -> H, io: PumpIo) {
    let mut lane = Lane {
        factory,
        handler: None,
        pace: io.pace(),
        io,
    };
    while let Some(chunk) = lane.io.next_chunk().await {
        lane.run(chunk).await;
    }
    if let Err(cause) = dismiss(lane.handler.take()) {
        warn!(partition = %lane.io.cell.partition, epoch = lane.io.cell.epoch.0, %cause, "a handler panicked when it was dropped");
    }
    lane.io.drained();
}

/// The partition's only lane.
struct Lane<H, F> {
    factory: F,
    handler: Option<H>,
    pace: Pace,
    io: PumpIo,
}

/// Whether a record is finished, or the partition is to be given up first.
enum Ran {
    Finished,
    Ending,
}

impl<H: Handler, F: Fn(&PartitionContext) -> H> Lane<H, F> {
    /// Runs a chunk's records, and reports them: at the end, at least every `report_every`, and when the partition is to be given up.
    async fn run(&mut self, chunk: Arc<RecordChunk>) {
        let mut reported = 0;
        let mut record = Record {
            chunk: Arc::clone(&chunk),
            position: 0,
            attempt: 1,
        };
        for position in 0..chunk.len() {
            record.position = position as u32;
            if let Ran::Ending = self.run_record(&mut record).await {
                self.io.cell.handler_is_free();
                self.report(&chunk, reported, position);
                return;
            }
            let due = self.pace.after_record(Instant::now);
            if due.report && position + 1 < chunk.len() {
                reported = self.report(&chunk, reported, position + 1);
            }
            if due.give_way {
                give_way().await;
            }
        }
        self.io.cell.handler_is_free();
        self.report(&chunk, reported, chunk.len());
    }

    /// Reports the first `finished` records and gives their credits back; the bytes come back with the last record, as the arena does.
    fn report(&self, chunk: &RecordChunk, reported: usize, finished: usize) -> usize {
        let whole = finished == chunk.len();
        let credits = if whole {
            chunk.credit_records() - reported as u64
        } else {
            (finished - reported) as u64
        };
        if finished > reported || whole {
            self.io.report(chunk, finished);
            self.io
                .cell
                .free(credits, if whole { chunk.arena.len() as u64 } else { 0 });
            self.io
                .counters
                .finished
                .fetch_add((finished - reported) as u64, Ordering::Relaxed);
        }
        finished
    }

    /// Tries one record until it is done or the partition is to be given up.
    async fn run_record(&mut self, record: &mut Record) -> Ran {
        record.attempt = 1;
        loop {
            if self.io.cell.is_ending() {
                return Ran::Ending;
            }
            let (after, cause) = match self.try_once(record).await {
                Attempt::Answered(Outcome::Done) => return Ran::Finished,
                Attempt::Fenced => return Ran::Ending,
                Attempt::Answered(Outcome::Retry { after, cause }) => (Some(after), cause),
                Attempt::Answered(Outcome::Stop { cause }) => {
                    self.stop(record, cause);
                    self.io.until_ending().await;
                    return Ran::Ending;
                }
                Attempt::Failed(cause) | Attempt::Panicked(cause) => (None, cause),
            };
            self.pause(record, after, cause).await;
            record.attempt = record.attempt.saturating_add(1);
        }
    }

    async fn try_once(&mut self, record: &Record) -> Attempt {
        let cell = &self.io.cell;
        cell.handler_holds(record.offset().0, record.attempt);
        let handler = match &mut self.handler {
            Some(handler) => handler,
            empty => match build(|| (self.factory)(&self.io.context())) {
                Ok(handler) => empty.insert(handler),
                Err(cause) => return Attempt::Panicked(cause),
            },
        };
        let pace = &mut self.pace;
        let tried = attempt(handler, record, cell, || pace.waited()).await;
        if let Attempt::Panicked(_) = tried {
            self.io.counters.panics.fetch_add(1, Ordering::Relaxed);
            // Built anew for the next attempt. What its drop says was said by the panic already.
            let _ = dismiss(self.handler.take());
        }
        tried
    }

    /// Names the failure, then waits before the next attempt.
    async fn pause(&self, record: &Record, after: Option<Duration>, cause: Cause) {
        let pause = after.unwrap_or_else(|| self.io.retry_pause.before_attempt(record.attempt + 1));
        let (cell, attempt) = (&self.io.cell, record.attempt);
        self.io.counters.retries.fetch_add(1, Ordering::Relaxed);
        cell.set_last_error(format!("offset {} attempt {attempt}: {cause}", record.offset()));
        warn!(
            topic = record.topic(), partition = record.partition().0, offset = record.offset().0, epoch = cell.epoch.0, attempt,
            %cause, pause_ms = pause.as_millis() as u64, "a record failed and is tried again after a pause"
        );
        cell.handler_is_free();
        self.io.pause(pause).await;
    }

    fn stop(&self, record: &Record, cause: Cause) {
        let cell = &self.io.cell;
        cell.set_last_error(format!("offset {}: stopped by the handler: {cause}", record.offset()));
        cell.handler_is_free();
        self.io.stop(ConsumerError::StoppedByHandler {
            partition: record.topic_partition().clone(),
            offset: record.offset(),
            cause: cause.to_string(),
        });
    }
}
