//! Key order, and no order: calls of one handler beside each other. The [schedule](super::schedule) says which record is next; each call has a
//! [slot](super::slots), and a [permit](super::limiter).

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::consume::handler::{AsyncHandler, IntoOutcome};
use crate::consume::record::Record;
use crate::order::limiter::Permits;
use crate::order::pace::Pace;
use crate::order::pump::PumpIo;
use crate::order::schedule::{Job, Schedule};
use crate::order::slots::Slots;

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
    let mut crew = Crew::new(call, io);
    poll_fn(|cx| crew.turn(cx)).await;
    crew.schedule.end();
}

struct Crew<C: Call> {
    call: C,
    schedule: Schedule,
    slots: Slots<C::Future, Job>,
    permits: Permits,
    pace: Pace,
}

impl<C: Call> Crew<C> {
    fn new(call: C, io: PumpIo) -> Self {
        let wakes = Arc::clone(&io.cell);
        Self {
            call,
            slots: Slots::new(Arc::clone(&io.cell)),
            permits: Permits::new(io.limiter.clone(), move || wakes.wake_pump()),
            pace: Pace::new(Instant::now()),
            schedule: Schedule::new(io),
        }
    }

    /// One turn of the pump: takes up what has ended, starts what may start. Ready when the partition is to be given up and nothing runs.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let cell = Arc::clone(&self.schedule.io.cell);
        // Before the looks at what it is for.
        cell.register_pump(cx.waker());
        if cell.is_fenced() {
            let panics = self.slots.drop_all();
            self.schedule.io.board.counters.panics.fetch_add(panics as u64, Ordering::Relaxed);
            return Poll::Ready(());
        }
        cell.crew_begins();
        // Both in each turn: calls that wake themselves without end keep no record from starting.
        let over = self.take_up_ended() | self.start();
        // Last of all: what ends before may have to be written too.
        let over = self.schedule.take_up_letters(cx) || over;
        self.schedule.give_back_credits();
        if over {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.pace.waited();
        if self.slots.running() == 0 && !self.schedule.is_sending_letters() {
            cell.crew_rests();
            if cell.is_ending() {
                return Poll::Ready(());
            }
        }
        self.schedule.wait_for_backoffs(self.slots.running() < self.schedule.io.per_partition, cx);
        Poll::Pending
    }

    /// Polls what was woken; whether the turn is over before all of it was.
    fn take_up_ended(&mut self) -> bool {
        while let Some(polled) = self.slots.poll_woken() {
            if let Some((job, attempt)) = polled {
                self.permits.finish();
                self.schedule.ended(job, attempt);
            }
            if self.pace.is_turn_over(Instant::now) {
                return true;
            }
        }
        false
    }

    /// Starts records until nothing more may start; whether the turn is over before.
    fn start(&mut self) -> bool {
        loop {
            if self.schedule.is_held() {
                self.permits.give_back_idle();
                return false;
            }
            if self.slots.running() >= self.schedule.io.per_partition {
                return false;
            }
            let Some(job) = self.schedule.next() else {
                self.permits.give_back_idle();
                return false;
            };
            if !self.permits.take() {
                self.schedule.put_back(job);
                return false;
            }
            self.run(job);
            if self.pace.is_turn_over(Instant::now) {
                return true;
            }
        }
    }

    fn run(&mut self, job: Job) {
        let (record, what, call) = (job.record(), (job.offset(), job.attempt()), &self.call);
        let ended = self.slots.start(what, || call.call(record), job, self.schedule.holder());
        if let Some((job, attempt)) = ended {
            self.permits.finish();
            self.schedule.ended(job, attempt);
        }
    }
}
