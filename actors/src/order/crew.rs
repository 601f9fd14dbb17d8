//! Key order, and no order: calls of one handler beside each other. The [schedule](super::schedule) says which record is next; each call has a
//! [slot](super::slots), and a [permit](super::limiter); a turn's frame is [another's](super::turn).

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::consume::handler::{AsyncHandler, IntoOutcome};
use crate::consume::record::Record;
use crate::order::attempt::Attempt;
use crate::order::pump::PumpIo;
use crate::order::schedule::Job;
use crate::order::turn::Calls;

/// A handler that may be called again before its last call has ended.
pub(crate) trait Call: 'static {
    type Future: Future<Output: IntoOutcome>;

    fn call(&self, record: Record) -> Self::Future;
}

/// What may run on other threads too.
pub(crate) struct AsyncCall<H>(pub(crate) Arc<H>);

impl<H: AsyncHandler> Call for AsyncCall<H> {
    type Future = H::Future;

    fn call(&self, record: Record) -> H::Future {
        self.0.call(record)
    }
}

/// A plain closure: it has ended when it returns.
pub(crate) struct SyncCall<F>(pub(crate) Arc<F>);

impl<F, R> Call for SyncCall<F>
where
    F: Fn(&Record) -> R + 'static,
    R: IntoOutcome,
{
    type Future = std::future::Ready<R>;

    fn call(&self, record: Record) -> Self::Future {
        std::future::ready((self.0)(&record))
    }
}

/// Feeds the partition's records to `call` until the partition is to be given up.
pub(crate) async fn pump<C: Call>(call: C, io: PumpIo) {
    let mut crew = Crew { call, calls: Calls::new(io) };
    poll_fn(|cx| crew.turn(cx)).await;
    crew.calls.schedule.end();
}

struct Crew<C: Call> {
    call: C,
    calls: Calls<C::Future, Job>,
}

impl<C: Call> Crew<C> {
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.calls.turn_begins(cx) {
            return Poll::Ready(());
        }
        // Both in each turn: calls that wake themselves without end keep no record from starting.
        let is_cut_short = self.take_up_ended() | self.start();
        self.calls.turn_ends(is_cut_short, true, cx)
    }

    /// Polls what was woken; whether the turn is over before all of it was.
    fn take_up_ended(&mut self) -> bool {
        while let Some(polled) = self.calls.slots.poll_woken() {
            if let Some((job, attempt)) = polled {
                self.ended(job, attempt);
            }
            if self.calls.is_turn_over() {
                return true;
            }
        }
        false
    }

    /// Starts records until nothing more may start; whether the turn is over before.
    fn start(&mut self) -> bool {
        while self.calls.may_start() {
            let Some(job) = self.calls.schedule.next() else {
                self.calls.permits.give_back_idle();
                return false;
            };
            if !self.calls.permits.take() {
                self.calls.schedule.put_back(job);
                return false;
            }
            self.run(job);
            if self.calls.is_turn_over() {
                return true;
            }
        }
        false
    }

    fn run(&mut self, job: Job) {
        let Calls { slots, schedule, .. } = &mut self.calls;
        let (record, what, call) = (job.record(), (job.offset(), job.attempt()), &self.call);
        let ended = slots.start(what, || call.call(record), job, schedule.holder());
        if let Some((job, attempt)) = ended {
            self.ended(job, attempt);
        }
    }

    fn ended(&mut self, job: Job, attempt: Attempt) {
        self.calls.permits.finish();
        self.calls.schedule.ended(job, attempt);
    }
}
