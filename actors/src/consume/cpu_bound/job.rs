//! One computation, seen from its call and from the thread that runs it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tracing::Span;

use crate::consume::handler::{Failure, Outcome};
use crate::consume::record::Record;

/// See the module.
pub(super) struct Job {
    /// What the call was within.
    pub(super) span: Span,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Who waits for its end.
    waiting: Vec<Waker>,
}

enum Phase {
    Queued(Record),
    Running,
    /// With its answer, until that is taken.
    Ended(Option<Result<Outcome, Failure>>),
    /// Its call ended before it began.
    GivenUp,
}

impl Job {
    pub(super) fn new(record: Record) -> Self {
        Self { span: Span::current(), state: Mutex::new(State { phase: Phase::Queued(record), waiting: Vec::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread takes it; the record, unless there is nothing to do any more.
    pub(super) fn begin(&self) -> Option<Record> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.phase, Phase::Running) {
            Phase::Queued(record) => Some(record),
            other => {
                state.phase = other;
                None
            }
        }
    }

    /// The thread has done it.
    pub(super) fn end(&self, answer: Result<Outcome, Failure>) {
        let mut state = self.lock();
        state.phase = Phase::Ended(Some(answer));
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Its call ends here; whether it goes on nevertheless.
    pub(super) fn give_up(&self) -> bool {
        let mut state = self.lock();
        if let Phase::Queued(_) = state.phase {
            state.phase = Phase::GivenUp;
        }
        matches!(state.phase, Phase::Running)
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.lock().phase, Phase::Running)
    }

    /// Ready once it does not run, or no longer.
    pub(super) fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Running) {
            return Poll::Ready(());
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Its answer, to whom it was called by; once.
    pub(super) fn poll_answer(&self, cx: &Context<'_>) -> Poll<Result<Outcome, Failure>> {
        let mut state = self.lock();
        if let Phase::Ended(answer) = &mut state.phase
            && let Some(answer) = answer.take()
        {
            return Poll::Ready(answer);
        }
        state.wait(cx);
        Poll::Pending
    }
}

impl State {
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }
}
