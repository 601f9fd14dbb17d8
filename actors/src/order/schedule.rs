//! Which record of a partition may start next, and what becomes of one that has ended, where several are under way at once.
//!
//! Records are gone through in offset order. One whose key is in flight waits in that key's lane, and the schedule goes on behind it: there is no
//! barrier, neither per chunk nor per poll. What is finished is marked in its chunk, where the tracker finds it.

mod backoffs;
mod batch;
mod job;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Instant;

use crate::consume::control::crew::OpenChunk;
use crate::consume::record::Record;
use crate::ids::Offset;
use crate::offsets::remembered::Skip;
use crate::order::Order;
use crate::order::attempt::Attempt;
use crate::order::commits::Commits;
use crate::order::due::Due;
use crate::order::failure::Next;
use crate::order::lanes::Lanes;
use crate::order::letters::Letters;
use crate::order::pump::PumpIo;
use crate::order::schedule::backoffs::Backoffs;
pub(crate) use crate::order::schedule::job::Job;

/// How far to go ahead of the first unfinished record, in offsets. What is finished behind it is remembered at a bit per record, and in the
/// commit's metadata as far as that goes.
const AHEAD: i64 = 1 << 20;

/// See the module.
pub(crate) struct Schedule {
    pub(crate) io: PumpIo,
    /// `None`: in no order.
    lanes: Option<Lanes<Job>>,
    /// The chunk that is gone through, and the next record of it.
    scan: Option<(Arc<OpenChunk>, u32)>,
    /// That record is not due yet. Those behind it wait too: all wait for equally long, so that they come due in their order.
    early: Option<Due>,
    /// Next to start: those whose key has become free.
    runnable: VecDeque<Job>,
    backoffs: Backoffs<Job>,
    /// The record that was given last was one whose pause was over, or there was none such.
    turn_of_others: bool,
    /// Those that stopped the partition: they are tried again when it is resumed.
    parked: Vec<Job>,
    letters: Letters<Job>,
    /// A handler has stopped the engine: nothing more is started.
    stopped: bool,
    /// What an earlier owner has finished.
    skip: Skip,
    commits: Commits,
    /// Records that have ended, but for dead letters.
    others: u64,
    /// Finished since credits were given back.
    freed: u64,
}

impl Schedule {
    pub(crate) fn new(io: PumpIo) -> Self {
        let lanes = match io.order {
            Order::Partition => Some(Lanes::new(Job::only_lane)),
            Order::Key => Some(Lanes::new(Job::key)),
            Order::Unordered => None,
        };
        Self {
            lanes,
            scan: None,
            early: None,
            runnable: VecDeque::new(),
            backoffs: Backoffs::new(),
            turn_of_others: false,
            parked: Vec::new(),
            letters: Letters::new(),
            stopped: false,
            skip: io.cell.remembered.skip(),
            commits: Commits::new(io.commits),
            others: 0,
            freed: 0,
            io,
        }
    }

    /// Whether nothing may be started for now, whatever there is.
    pub(crate) fn is_held(&self) -> bool {
        let cell = &self.io.cell;
        self.stopped || cell.is_ending() || cell.is_parked() || self.commits.is_held(cell)
    }

    /// The next record that may start. Who starts it and does not end it at once says so by [`hold`](Self::hold).
    pub(crate) fn next(&mut self) -> Option<Job> {
        if !self.parked.is_empty() {
            // Who asks has seen that the partition is not stopped, or no longer.
            self.runnable.extend(self.parked.drain(..));
        }
        // In turn with the others: those that are due again as soon as they have failed would keep all of them from their first attempt.
        self.turn_of_others = !self.turn_of_others;
        match self.turn_of_others {
            true => self.next_other().or_else(|| self.backoffs.next_due()),
            false => self.backoffs.next_due().or_else(|| self.next_other()),
        }
    }

    fn next_other(&mut self) -> Option<Job> {
        self.runnable.pop_front().or_else(|| self.scan())
    }

    /// It does not start now after all, and is the next to.
    pub(crate) fn put_back(&mut self, job: Job) {
        self.runnable.push_front(job);
    }

    /// The next record that may start, in offset order.
    fn scan(&mut self) -> Option<Job> {
        loop {
            let (open, position) = match self.scan.take() {
                Some((open, position)) if (position as usize) < open.chunk.len() => (open, position),
                last => {
                    let next = self.next_chunk(last.as_ref().map(|(open, _)| &**open));
                    if next.is_none() {
                        self.scan = last;
                    }
                    (next?, 0)
                }
            };
            self.scan = Some((Arc::clone(&open), position + 1));
            let mut job = Job::first(open, position);
            if !self.skip.is_over() && self.skip.holds(Offset(job.offset())) {
                self.io.board.counters.remembered.fetch_add(1, Ordering::Relaxed);
                self.mark(&job);
                continue;
            }
            if self.io.retry_delay.is_some() {
                let record = job.record();
                if self.is_early(&record) {
                    self.scan = Some((job.open, position));
                    return None;
                }
                job.attempt = self.io.first_attempt(&record);
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

    /// Whether this record, which is next, is not due yet. When it is is asked once.
    fn is_early(&mut self, record: &Record) -> bool {
        let offset = record.offset().0;
        if self.early.as_ref().is_none_or(|due| due.offset != offset) {
            self.early = self.io.early(record);
            if let Some(due) = &self.early {
                self.io.cell.waits(due.offset, due.at_ms);
            }
        }
        let is_early = self.early.as_ref().is_some_and(|due| due.at > Instant::now());
        if !is_early && self.early.take().is_some() {
            self.io.cell.waits_no_more();
        }
        is_early
    }

    /// The next chunk with records, unless it lies too far ahead.
    fn next_chunk(&self, last: Option<&OpenChunk>) -> Option<Arc<OpenChunk>> {
        let cell = &self.io.cell;
        if let Some(last) = last {
            let scanned = last.chunk.tile.to;
            if scanned.0 - cell.first_open().unwrap_or(scanned).0 >= AHEAD {
                return None;
            }
        }
        loop {
            let Some(chunk) = self.io.take_chunk() else {
                // With a commit for each chunk those are to be as large as they can be.
                if !self.commits.is_due_after_chunk() {
                    cell.run_dry();
                }
                return None;
            };
            if chunk.len() > 0 {
                let open = Arc::new(OpenChunk::new(chunk));
                cell.open_chunk(&open);
                return Some(open);
            }
            // An end-of-partition mark.
            self.io.report(&chunk, 0, false);
            cell.free(chunk.credit_records(), chunk.credit_bytes());
        }
    }

    /// The record is in flight from here on: what comes of its key waits.
    pub(crate) fn hold(&mut self, job: &mut Job) {
        hold(self.lanes.as_mut(), job);
    }

    /// The lanes alone, for who holds the rest.
    pub(crate) fn holder(&mut self) -> impl FnOnce(&mut Job) {
        let lanes = self.lanes.as_mut();
        move |job| hold(lanes, job)
    }

    /// An attempt at the record has ended so.
    pub(crate) fn ended(&mut self, mut job: Job, attempt: Attempt) {
        let not_done = match attempt {
            Attempt::Done => return self.finish(job),
            Attempt::NotDone(not_done) => not_done,
            // Nothing came of it, and nothing will in this epoch.
            Attempt::Fenced => return self.hold(&mut job),
        };
        if not_done.is_panic() {
            self.io.board.counters.panics.fetch_add(1, Ordering::Relaxed);
        }
        let next = self.io.judge(&job.record(), Some(job.failed), *not_done, self.others);
        if next != Next::PassedOver {
            self.hold(&mut job);
        }
        self.follow_up(job, next);
    }

    /// What follows for a record that was judged.
    fn follow_up(&mut self, mut job: Job, next: Next) {
        match next {
            Next::Again { pause, counts } => {
                job.attempt = job.attempt.saturating_add(1);
                job.failed = job.failed.saturating_add(u32::from(counts));
                self.backoffs.push(job, pause);
            }
            Next::PassedOver => self.finish(job),
            Next::Sent(letter) => {
                let record = job.record();
                self.letters.write(&self.io, job, record, letter);
            }
            Next::Parked => {
                (job.attempt, job.failed) = (self.io.first_attempt(&job.record()), 0);
                self.parked.push(job);
            }
            Next::Left => {}
            Next::Stopped => self.stopped = true,
        }
    }

    /// Whether a dead letter is being written: who waits for calls waits for it too.
    pub(crate) fn is_sending_letters(&self) -> bool {
        self.letters.is_sending()
    }

    /// Takes up the dead letters that are written; whether there were some. The pump is woken when others are.
    pub(crate) fn take_up_letters(&mut self, cx: &mut Context<'_>) -> bool {
        let mut some = false;
        while let Some(job) = self.letters.poll_written(&self.io, &mut self.stopped, cx) {
            some = true;
            self.settle(job);
        }
        some
    }

    fn finish(&mut self, job: Job) {
        self.others += 1;
        self.settle(job);
    }

    fn settle(&mut self, job: Job) {
        self.count_finished(&job);
        if let Some(lane) = job.lane
            && let Some(lanes) = &mut self.lanes
            && let Some(mut next) = lanes.release(lane)
        {
            next.lane = Some(lane);
            self.runnable.push_back(next);
        }
    }

    fn count_finished(&mut self, job: &Job) {
        if job.attempt > 1 {
            self.io.cell.failed_no_more(job.offset());
        }
        self.mark(job);
        if self.commits.is_due_after_record() {
            self.commit(&job.open);
        }
    }

    /// The record is finished. With the last of a chunk its memory is free.
    fn mark(&mut self, job: &Job) {
        self.freed += 1;
        let last = job.finished.unwrap_or_else(|| job.open.finish(job.position));
        if last {
            let chunk = &job.open.chunk;
            let commit = self.commits.is_due_after_chunk();
            self.io.report(chunk, chunk.len(), commit && !self.commits.awaited());
            self.io.cell.close_chunk(&job.open);
            self.io.cell.free(0, chunk.credit_bytes());
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

    /// Gives back the credits of what was finished since the last call.
    pub(crate) fn give_back_credits(&mut self) {
        let freed = std::mem::take(&mut self.freed);
        if freed > 0 {
            self.io.board.counters.finished.fetch_add(freed, Ordering::Relaxed);
            self.io.cell.free(freed, 0);
        }
    }

    /// Has the pump woken when the first pause ends, or the next record is due. `may_start`: whether there is room for another call.
    pub(crate) fn wait_for_backoffs(&mut self, may_start: bool, cx: &mut Context<'_>) {
        // Whatever else holds the records back wakes the pump when it ends: that of a pause would have it turn without end until then.
        if may_start && !self.is_held() {
            // What can be started comes before the scan, and is waited for by itself: a time that is over would wake the pump without end.
            let early = self.early.as_ref().filter(|_| self.runnable.is_empty());
            self.backoffs.wake_when_due(early.map(|due| due.at), cx);
        }
    }

    /// Reports what is in hand, and that this is all.
    pub(crate) fn end(mut self) {
        self.give_back_credits();
        for progress in self.io.cell.in_hand() {
            self.io.report_progress(progress, false);
        }
        self.io.drained();
    }
}

fn hold(lanes: Option<&mut Lanes<Job>>, job: &mut Job) {
    if job.lane.is_none()
        && let Some(lanes) = lanes
    {
        job.lane = lanes.hold(job);
    }
}
