//! The frame of a pump's turn where calls run beside each other: the fence, what it takes a call to start, and the rest at the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::order::limiter::Permits;
use crate::order::pace::Pace;
use crate::order::pump::PumpIo;
use crate::order::schedule::Schedule;
use crate::order::slots::{Answered, Slots};

/// What every pump has whose calls run beside each other. `J` is what a call is for.
pub(crate) struct Calls<F, J> {
    pub(crate) schedule: Schedule,
    pub(crate) slots: Slots<F, J>,
    pub(crate) permits: Permits,
    pub(crate) pace: Pace,
}

impl<F: Future<Output: Answered>, J> Calls<F, J> {
    pub(crate) fn new(io: PumpIo) -> Self {
        let wakes = Arc::clone(&io.cell);
        Self {
            slots: Slots::new(Arc::clone(&io.cell)),
            permits: Permits::new(io.limiter.clone(), move || wakes.wake_pump()),
            pace: Pace::new(Instant::now()),
            schedule: Schedule::new(io),
        }
    }

    /// A turn begins; `false`: the epoch is over, and there is none.
    pub(crate) fn turn_begins(&mut self, cx: &Context<'_>) -> bool {
        let cell = &self.schedule.io.cell;
        // Before the looks at what it is for.
        cell.register_pump(cx.waker());
        if cell.is_fenced() {
            let panics = self.slots.drop_all();
            self.schedule.io.board.counters.panics.fetch_add(panics as u64, Ordering::Relaxed);
            return false;
        }
        cell.crew_begins();
        true
    }

    /// A turn ends, with or without something left to do at once. Ready when the partition is to be given up and nothing runs. `may_start`: nothing
    /// that is put back has to start before what waits for its next attempt.
    pub(crate) fn turn_ends(&mut self, is_cut_short: bool, may_start: bool, cx: &mut Context<'_>) -> Poll<()> {
        // Last of all: what ended before may have to be written too.
        let is_cut_short = self.schedule.take_up_letters(cx) || is_cut_short;
        self.schedule.give_back_credits();
        if is_cut_short {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.pace.waited();
        if self.slots.running() == 0 && !self.schedule.is_sending_letters() {
            let cell = &self.schedule.io.cell;
            cell.crew_rests();
            if cell.is_ending() {
                return Poll::Ready(());
            }
        }
        self.schedule.wait_for_backoffs(may_start && self.has_room(), cx);
        Poll::Pending
    }

    /// Whether the partition may have another call.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.running() < self.schedule.io.per_partition
    }

    /// Whether another call may start, if there is anything for it.
    pub(crate) fn may_start(&mut self) -> bool {
        if self.schedule.is_held() {
            self.permits.give_back_idle();
            return false;
        }
        self.has_room()
    }

    pub(crate) fn is_turn_over(&mut self) -> bool {
        self.pace.is_turn_over(Instant::now)
    }
}
