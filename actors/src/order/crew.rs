//! Key order, and no order: several records of a partition at once.
//!
//! The pump goes through the records in offset order and starts each as soon as a permit is there, unless its key is in flight: then the record
//! waits in that key's lane, and the pump goes on behind it. There is no barrier, neither per chunk nor per poll. What is finished is marked in
//! the chunk, where the tracker finds it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::consume::control::crew::OpenChunk;
use crate::consume::handler::IntoOutcome;
use crate::consume::record::Record;
use crate::ids::Offset;
use crate::offsets::remembered::Skip;
use crate::order::Order;
use crate::order::attempt::{Attempt, NotDone};
use crate::order::commits::Commits;
use crate::order::failure::Next;
use crate::order::lanes::{Keyed, LaneHash, Lanes};
use crate::order::limiter::Permits;
use crate::order::pace::Pace;
use crate::order::pump::PumpIo;
use crate::order::slots::Slots;

/// How far the pump goes ahead of the first unfinished record, in offsets. What is finished behind it is remembered at a bit per record, and
/// in the commit's metadata as far as that goes.
const AHEAD: i64 = 1 << 20;

/// A handler that may be called again before its last call has ended.
pub(crate) trait Call: 'static {
    type Future: Future<Output: IntoOutcome>;

    fn call(&self, record: Record) -> Self::Future;
}

/// An asynchronous closure.
pub(crate) struct AsyncCall<F>(pub(crate) Arc<F>);

impl<F, Fut> Call for AsyncCall<F>
where
    F: Fn(Record) -> Fut + 'static,
    Fut: Future<Output: IntoOutcome>,
{
    type Future = Fut;

    fn call(&self, record: Record) -> Fut {
        (self.0)(record)
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
    crew.end();
}

/// A record that is taken in and not finished.
#[derive(Debug)]
struct Job {
    open: Arc<OpenChunk>,
    position: u32,
    attempt: u32,
    /// Its key's lane, which it holds.
    lane: Option<LaneHash>,
}

impl Job {
    fn record(&self) -> Record {
        Record { chunk: Arc::clone(&self.open.chunk), position: self.position, attempt: self.attempt }
    }

    fn offset(&self) -> i64 {
        self.open.chunk.index[self.position as usize].offset
    }
}

impl Keyed for Job {
    fn key(&self) -> Option<&[u8]> {
        self.open.chunk.key(self.position)
    }
}

/// A record that waits for its next attempt; the first due is the greatest.
struct Backoff {
    due: Reverse<Instant>,
    job: Job,
}

impl PartialEq for Backoff {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Backoff {}

impl PartialOrd for Backoff {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Backoff {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

struct Crew<C: Call> {
    call: C,
    io: PumpIo,
    /// `None`: in no order.
    lanes: Option<Lanes<Job>>,
    slots: Slots<C::Future, Job>,
    permits: Permits,
    /// The chunk that is gone through, and the next record of it.
    scan: Option<(Arc<OpenChunk>, u32)>,
    /// Next to start: those whose key has become free, and those whose pause is over.
    runnable: VecDeque<Job>,
    backoffs: BinaryHeap<Backoff>,
    timer: Option<Pin<Box<Sleep>>>,
    /// A handler has stopped the engine: nothing more is started.
    stopped: bool,
    /// What an earlier owner has finished.
    skip: Skip,
    commits: Commits,
    pace: Pace,
    /// Finished since credits were given back.
    freed: u64,
}

impl<C: Call> Crew<C> {
    fn new(call: C, io: PumpIo) -> Self {
        let wakes = Arc::clone(&io.cell);
        Self {
            call,
            lanes: (io.order == Order::Key).then(Lanes::new),
            slots: Slots::new(Arc::clone(&io.cell)),
            permits: Permits::new(io.limiter.clone(), move || wakes.wake_pump()),
            scan: None,
            runnable: VecDeque::new(),
            backoffs: BinaryHeap::new(),
            timer: None,
            stopped: false,
            skip: io.cell.remembered.skip(),
            commits: Commits::new(io.commits),
            pace: Pace::new(Instant::now()),
            freed: 0,
            io,
        }
    }

    /// One turn of the pump: takes up what has ended, starts what may start. Ready when the partition is to be given up and nothing runs.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Before the looks at what it is for.
        self.io.cell.register_pump(cx.waker());
        if self.io.cell.is_fenced() {
            let panics = self.slots.drop_all();
            self.io.board.counters.panics.fetch_add(panics as u64, Ordering::Relaxed);
            return Poll::Ready(());
        }
        self.io.cell.crew_begins();
        let over = self.take_up_ended() || self.start();
        let freed = std::mem::take(&mut self.freed);
        if freed > 0 {
            self.io.cell.free(freed, 0);
        }
        if over {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.pace.waited();
        if self.slots.running() == 0 {
            self.io.cell.crew_rests();
            if self.io.cell.is_ending() {
                return Poll::Ready(());
            }
        }
        self.wait_for_backoffs(cx)
    }

    /// Polls what was woken; whether the turn is over before all of it was.
    fn take_up_ended(&mut self) -> bool {
        while let Some(polled) = self.slots.poll_woken() {
            if let Some((job, attempt)) = polled {
                self.permits.finish();
                self.on_attempt(job, attempt);
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
            let cell = &self.io.cell;
            if self.stopped || cell.is_ending() || self.commits.is_held(cell) {
                self.permits.give_back_idle();
                return false;
            }
            if self.slots.running() >= self.io.per_partition {
                return false;
            }
            let Some(job) = self.next_job() else {
                self.permits.give_back_idle();
                return false;
            };
            if !self.permits.take() {
                self.runnable.push_front(job);
                return false;
            }
            self.run(job);
            if self.pace.is_turn_over(Instant::now) {
                return true;
            }
        }
    }

    fn next_job(&mut self) -> Option<Job> {
        if let Some(backoff) = self.backoffs.peek()
            && backoff.due.0 <= Instant::now()
        {
            let job = self.backoffs.pop().map(|backoff| backoff.job);
            self.runnable.extend(job);
        }
        self.runnable.pop_front().or_else(|| self.scan())
    }

    /// The next record that may start, in offset order.
    fn scan(&mut self) -> Option<Job> {
        loop {
            let (open, position) = match self.scan.take() {
                Some((open, position)) if (position as usize) < open.chunk.len() => (open, position),
                _ => (self.next_chunk()?, 0),
            };
            self.scan = Some((Arc::clone(&open), position + 1));
            let job = Job { open, position, attempt: 1, lane: None };
            if !self.skip.is_over() && self.skip.holds(Offset(job.offset())) {
                self.io.board.counters.remembered.fetch_add(1, Ordering::Relaxed);
                self.mark(&job);
                continue;
            }
            let admitted = match &mut self.lanes {
                Some(lanes) => lanes.admit(job),
                None => Some(job),
            };
            if admitted.is_some() {
                return admitted;
            }
        }
    }

    /// The next chunk with records, unless it lies too far ahead.
    fn next_chunk(&mut self) -> Option<Arc<OpenChunk>> {
        loop {
            let cell = &self.io.cell;
            if let Some((last, _)) = &self.scan {
                let first = cell.first_open().unwrap_or(last.chunk.tile.to);
                if last.chunk.tile.to.0 - first.0 >= AHEAD {
                    return None;
                }
            }
            let chunk = self.io.inbox.pop()?;
            if chunk.len() > 0 {
                let open = Arc::new(OpenChunk::new(chunk));
                cell.open_chunk(&open);
                return Some(open);
            }
            // An end-of-partition mark.
            self.io.report(&chunk, 0, false);
            cell.free(chunk.credit_records(), 0);
        }
    }

    fn run(&mut self, job: Job) {
        let (record, what) = (job.record(), (job.offset(), job.attempt));
        let (call, lanes) = (&self.call, &mut self.lanes);
        let hold = |job: &mut Job| hold(lanes.as_mut(), job);
        if let Some((job, attempt)) = self.slots.start(what, || call.call(record), job, hold) {
            self.permits.finish();
            self.on_attempt(job, attempt);
        }
    }

    fn on_attempt(&mut self, mut job: Job, attempt: Attempt) {
        let not_done = match attempt {
            Attempt::Done => return self.finish(job),
            Attempt::NotDone(not_done) => not_done,
            // A call is dropped with all others, or has ended.
            Attempt::Fenced => return,
        };
        if let NotDone::Panicked(_) = *not_done {
            self.io.board.counters.panics.fetch_add(1, Ordering::Relaxed);
        }
        let next = self.io.judge(&job.record(), *not_done);
        hold(self.lanes.as_mut(), &mut job);
        match next {
            Next::Again(pause) => {
                job.attempt = job.attempt.saturating_add(1);
                // A pause that is on no clock is a long one.
                let now = Instant::now();
                let due = Reverse(now.checked_add(pause).unwrap_or(now + Duration::from_secs(86_400)));
                self.backoffs.push(Backoff { due, job });
            }
            Next::Left => {}
            Next::Stopped => self.stopped = true,
        }
    }

    fn finish(&mut self, job: Job) {
        self.mark(&job);
        if let Some(lane) = job.lane
            && let Some(lanes) = &mut self.lanes
            && let Some(mut next) = lanes.release(lane, &job)
        {
            next.lane = Some(lane);
            self.runnable.push_back(next);
        }
        if self.commits.is_due_after_record() {
            self.commit(&job.open);
        }
    }

    /// The record is finished. With the last of a chunk its memory is free.
    fn mark(&mut self, job: &Job) {
        self.freed += 1;
        self.io.board.counters.finished.fetch_add(1, Ordering::Relaxed);
        if job.open.finish(job.position) {
            let chunk = &job.open.chunk;
            let commit = self.commits.is_due_after_chunk();
            self.io.report(chunk, chunk.len(), commit && !self.commits.awaited());
            self.io.cell.close_chunk(&job.open);
            self.io.cell.free(0, chunk.arena.len() as u64);
            if commit && self.commits.awaited() {
                self.commit(&job.open);
            }
        }
    }

    /// It is time for a commit of what is finished, which may have to be waited for.
    fn commit(&self, open: &OpenChunk) {
        if self.commits.awaited() {
            let scanned = self.scan.as_ref().map_or(open.chunk.tile.to, |(scan, _)| scan.chunk.tile.to);
            self.io.cell.await_commit(self.io.cell.first_open().unwrap_or(scanned));
        }
        self.io.report_progress(open.progress(), true);
    }

    /// Waits for the first pause to end.
    fn wait_for_backoffs(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(backoff) = self.backoffs.peek() else { return Poll::Pending };
        let due = tokio::time::Instant::from_std(backoff.due.0);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reports what is in hand, and that this is all.
    fn end(self) {
        for progress in self.io.cell.in_hand() {
            self.io.report_progress(progress, false);
        }
        self.io.drained();
    }
}

/// The job is in flight from here on, and what comes of its key waits.
fn hold(lanes: Option<&mut Lanes<Job>>, job: &mut Job) {
    if job.lane.is_none()
        && let Some(lanes) = lanes
    {
        job.lane = lanes.hold(job);
    }
}
