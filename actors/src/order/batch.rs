//! Batches: calls of one handler with several records each, in any order of the [schedule](super::schedule)'s.
//!
//! In an order, the first record of a key that is not done holds back those of its key that come behind it in the batch: what the handler said
//! of them does not count, and they are given again, behind it. [`Lanes::settle`](super::lanes::Lanes::settle) decides that.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::Map;
use tokio::time::Sleep;

use crate::consume::batch::{BatchBounds, IntoOutcomes, Outcomes};
use crate::consume::handler::{Cause, Failure, FailureKind};
use crate::consume::record::Record;
use crate::order::forming::Forming;
use crate::order::pump::PumpIo;
use crate::order::schedule::Job;
use crate::order::slots::Answered;
use crate::order::turn::Calls;

/// A batch handler. It may be called again before its last call has ended, unless the order is the partition's.
pub(crate) trait CallBatch: 'static {
    type Future: Future<Output: IntoOutcomes>;

    fn call(&self, records: Arc<[Record]>) -> Self::Future;
}

/// A batch handler's answer, as a slot takes it.
pub(crate) struct BatchAnswer(Outcomes);

impl Answered for BatchAnswer {
    type Ended = Outcomes;

    fn ended(self) -> Outcomes {
        self.0
    }

    fn panicked(cause: Cause) -> Outcomes {
        Outcomes::Failed(Failure::new(FailureKind::Panic, cause))
    }
}

type Answering<F> = Map<F, fn(<F as Future>::Output) -> BatchAnswer>;

fn answer<A: IntoOutcomes>(answer: A) -> BatchAnswer {
    BatchAnswer(answer.into_outcomes())
}

/// Feeds the partition's records to `call`, a batch at a time, until the partition is to be given up.
pub(crate) async fn pump<C: CallBatch>(call: C, bounds: BatchBounds, io: PumpIo) {
    let forming = Forming::new(bounds);
    let mut crew = BatchCrew { call, forming, put_back: None, linger: None, calls: Calls::new(io) };
    poll_fn(|cx| crew.turn(cx)).await;
    crew.calls.schedule.end();
}

struct BatchCrew<C: CallBatch> {
    call: C,
    forming: Forming<Job>,
    /// A batch that is complete and waits for its permit. Until it has it no record is gone through.
    put_back: Option<Vec<Job>>,
    linger: Option<Pin<Box<Sleep>>>,
    calls: Calls<Answering<C::Future>, Vec<Job>>,
}

impl<C: CallBatch> BatchCrew<C> {
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.calls.turn_begins(cx) {
            return Poll::Ready(());
        }
        // Both in each turn: calls that wake themselves without end keep no record from starting.
        let is_cut_short = self.take_up_ended() | self.start();
        // Whatever else holds a batch back wakes the pump when it ends.
        let may_start = self.put_back.is_none();
        let turned = self.calls.turn_ends(is_cut_short, may_start, cx);
        if turned.is_pending() {
            self.wait_for_linger(may_start && self.calls.has_room(), cx);
        }
        turned
    }

    fn take_up_ended(&mut self) -> bool {
        while let Some(polled) = self.calls.slots.poll_woken() {
            if let Some((batch, outcomes)) = polled {
                self.ended(batch, outcomes);
            }
            if self.calls.is_turn_over() {
                return true;
            }
        }
        false
    }

    /// Starts batches until nothing more may start; whether the turn is over before.
    fn start(&mut self) -> bool {
        while self.calls.may_start() {
            let Some(batch) = self.put_back.take().or_else(|| self.next()) else {
                self.calls.permits.give_back_idle();
                return false;
            };
            if !self.calls.permits.take() {
                self.put_back = Some(batch);
                return false;
            }
            self.run(batch);
            if self.calls.is_turn_over() {
                return true;
            }
        }
        false
    }

    /// The next batch that is full, or has waited for long enough.
    fn next(&mut self) -> Option<Vec<Job>> {
        while !self.forming.is_full()
            && let Some(job) = self.calls.schedule.next()
        {
            if job.is_alone() {
                if !self.is_due() {
                    return Some(vec![job]);
                }
                // One that fails at once and is due again at once keeps no batch waiting.
                self.calls.schedule.put_back(job);
                break;
            }
            self.add(job);
        }
        // Of keys that the batch holds, what has come behind them meanwhile.
        let mut at = 0;
        while let Some(holder) = self.forming.records().get(at).filter(|_| !self.forming.is_full()) {
            match self.calls.schedule.follow(holder) {
                Some(next) => self.add(next),
                None => at += 1,
            }
        }
        self.is_due().then(|| self.forming.take())
    }

    fn is_due(&self) -> bool {
        self.forming.is_full() || self.forming.due().is_some_and(|due| due <= Instant::now())
    }

    fn add(&mut self, job: Job) {
        let bytes = job.bytes();
        self.forming.add(job, bytes, Instant::now);
    }

    fn run(&mut self, batch: Vec<Job>) {
        let records: Arc<[Record]> = batch.iter().map(Job::record).collect();
        let (Calls { slots, schedule, .. }, call) = (&mut self.calls, &self.call);
        schedule.io.cell.crew_takes_batch(&records, Instant::now());
        // The records are named one by one, not by the slot.
        let first = batch.first().map_or(0, Job::offset);
        let start = || call.call(records).map(answer as fn(_) -> _);
        let ended = slots.start((first, 0), start, batch, schedule.batch_holder());
        if let Some((batch, outcomes)) = ended {
            self.ended(batch, outcomes);
        }
    }

    fn ended(&mut self, batch: Vec<Job>, outcomes: Outcomes) {
        self.calls.permits.finish();
        self.calls.schedule.io.cell.crew_lets_go_batch(batch.first().map_or(0, Job::offset));
        self.calls.schedule.batch_ended(batch, outcomes);
    }

    /// Has the pump woken when the batch has waited for as long as it may.
    fn wait_for_linger(&mut self, may_start: bool, cx: &mut Context<'_>) {
        let Some(due) = self.forming.due() else { return };
        let due = tokio::time::Instant::from_std(due);
        let timer = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        let is_due = timer.as_mut().poll(cx).is_ready();
        if is_due && may_start && !self.calls.schedule.is_held() {
            cx.waker().wake_by_ref();
        }
    }
}
