//! Records for an app that asks for them: what may start is laid out, the app takes it when it likes, and answers when and where it likes.
//!
//! The same [schedule](super::schedule) as for handlers: order, retries, bounds and commits are one. A record that is laid out and not taken has
//! not started, so nobody waits for it when the partition is given up.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use crate::consume::control::ControlCell;
use crate::consume::pull::Table;
use crate::consume::record::Record;
use crate::order::attempt::Attempt;
use crate::order::pump::PumpIo;
use crate::order::schedule::{Job, Schedule};

/// Records laid out in one partition at most, for as long as nobody takes them.
const LAID_OUT: usize = 512;

/// One partition's epoch, between its pump and the app.
#[derive(Debug)]
pub(crate) struct Tray {
    pub(crate) cell: Arc<ControlCell>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    laid_out: VecDeque<Job>,
    /// The table knows of them.
    offered: bool,
    /// Taken and not answered.
    taken: usize,
    answers: Vec<(Job, Attempt)>,
    /// The partition is given up: nothing more is laid out or taken.
    over: bool,
}

impl Tray {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the app up to `most` records; whether there are more. To be called by whom the [table](Table) has named this tray to.
    pub(crate) fn take(self: &Arc<Self>, most: usize, mut to: impl FnMut(Record, Taken)) -> bool {
        let mut state = self.lock();
        self.cell.crew_begins();
        if state.over || self.cell.is_ending() {
            state.offered = false;
            return false;
        }
        let count = most.min(state.laid_out.len());
        state.taken += count;
        let taken: Vec<_> = state.laid_out.drain(..count).collect();
        self.cell.crew_takes(taken.iter().map(|job| (job.offset(), job.attempt())), Instant::now());
        for job in taken {
            to(job.record(), Taken { tray: Arc::clone(self), job });
        }
        state.offered = !state.laid_out.is_empty();
        let more = state.offered;
        drop(state);
        // For the next ones; and to say that it rests, where none were left.
        self.cell.wake_pump();
        more
    }
}

/// A record that the app has.
#[derive(Debug)]
pub(crate) struct Taken {
    tray: Arc<Tray>,
    job: Job,
}

impl Taken {
    /// From any thread. Where the epoch is over by now, it changes nothing.
    pub(crate) fn answer(self, attempt: Attempt) {
        let Self { tray, mut job } = self;
        if matches!(attempt, Attempt::Done) {
            // At once, and not when the pump gets to it: the app's next call may be a commit.
            job.finish();
        }
        let mut state = tray.lock();
        state.answers.push((job, attempt));
        let first = state.answers.len() == 1;
        drop(state);
        // The pump takes all answers at one look, so only the first since then need wake it.
        if first {
            tray.cell.wake_pump();
        }
    }
}

/// Lays the partition's records out until it is to be given up.
pub(crate) async fn pump(table: Arc<Table>, io: PumpIo) {
    let tray = Arc::new(Tray { cell: Arc::clone(&io.cell), state: Mutex::default() });
    // Also when this future is dropped half way.
    let _closes = Closes(Arc::clone(&tray));
    let mut puller = Puller { schedule: Schedule::new(io), tray, table };
    poll_fn(|cx| puller.turn(cx)).await;
    puller.schedule.end();
}

/// Nothing is taken of a tray whose pump is no more.
struct Closes(Arc<Tray>);

impl Drop for Closes {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.over = true;
        state.laid_out.clear();
    }
}

struct Puller {
    schedule: Schedule,
    tray: Arc<Tray>,
    table: Arc<Table>,
}

impl Puller {
    /// Ready when the partition is to be given up and the app has none of its records.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let cell = Arc::clone(&self.schedule.io.cell);
        cell.register_pump(cx.waker());
        if cell.is_fenced() {
            return Poll::Ready(());
        }
        let answers = {
            let mut state = self.tray.lock();
            let answers = std::mem::take(&mut state.answers);
            state.taken -= answers.len();
            if cell.is_ending() {
                // Not started: the next owner's.
                state.laid_out.clear();
            }
            answers
        };
        cell.crew_lets_go(answers.iter().map(|(job, _)| job.offset()));
        for (job, attempt) in answers {
            self.schedule.ended(job, attempt);
        }
        self.schedule.take_up_letters(cx);
        self.schedule.give_back_credits();
        let room = self.lay_out();
        if self.rests(&cell) && cell.is_ending() {
            return Poll::Ready(());
        }
        self.schedule.wait_for_backoffs(room, cx);
        Poll::Pending
    }

    /// Lays out what may be; whether there is room for more.
    fn lay_out(&mut self) -> bool {
        if self.schedule.is_held() {
            return true;
        }
        let mut next = Vec::new();
        let room = LAID_OUT.saturating_sub(self.tray.lock().laid_out.len());
        while next.len() < room
            && let Some(mut job) = self.schedule.next()
        {
            self.schedule.hold(&mut job);
            next.push(job);
        }
        let left = next.len() < room;
        if next.is_empty() {
            return left;
        }
        let mut state = self.tray.lock();
        state.laid_out.extend(next);
        let offered = std::mem::replace(&mut state.offered, true);
        drop(state);
        if !offered {
            self.table.offer(Arc::clone(&self.tray));
        }
        left
    }

    /// Whether the app has nothing of this partition, so that nobody need wait for it.
    ///
    /// The app that takes a record and who asks whether the partition is at rest, at the same moment:
    /// 1. app: says that the crew is busy; 2. app: looks whether the partition is ending, and takes nothing if it is; all under the tray's lock.
    ///
    /// Who asks has marked the partition ending first, then looks whether the crew is busy. What was taken is looked at under the same lock,
    /// and as late as here: the app takes while this pump lays out.
    fn rests(&self, cell: &ControlCell) -> bool {
        let state = self.tray.lock();
        let rests = state.taken == 0 && state.answers.is_empty() && !self.schedule.is_sending_letters();
        if rests {
            cell.crew_rests();
        }
        rests
    }
}
