//! Records that wait for their next attempt, and the timer that wakes the pump for the first of them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// A pause that is on no clock is as long as this.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Backoffs<T> {
    waiting: BinaryHeap<Backoff<T>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Backoffs<T> {
    pub(super) fn new() -> Self {
        Self { waiting: BinaryHeap::new(), timer: None }
    }

    pub(super) fn push(&mut self, record: T, pause: Duration) {
        let due = Reverse(Instant::now() + pause.min(LONGEST));
        self.waiting.push(Backoff { due, record });
    }

    /// The first, if its pause is over. Without any there is no look at the clock.
    #[inline]
    pub(super) fn next_due(&mut self) -> Option<T> {
        let is_due = self.waiting.peek()?.due.0 <= Instant::now();
        is_due.then(|| self.waiting.pop().map(|backoff| backoff.record)).flatten()
    }

    /// Has the pump woken when the first pause ends, or at this time, if that is sooner: at once where it is over.
    pub(super) fn wake_when_due(&mut self, other: Option<Instant>, cx: &mut Context<'_>) {
        let pause = self.waiting.peek().map(|backoff| backoff.due.0);
        let Some(due) = pause.into_iter().chain(other).min() else { return };
        let due = tokio::time::Instant::from_std(due);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        if let Poll::Ready(()) = timer.as_mut().poll(cx) {
            cx.waker().wake_by_ref();
        }
    }
}

/// The first due is the greatest.
struct Backoff<T> {
    due: Reverse<Instant>,
    record: T,
}

impl<T> PartialEq for Backoff<T> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl<T> Eq for Backoff<T> {}

impl<T> PartialOrd for Backoff<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Backoff<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due)
    }
}
