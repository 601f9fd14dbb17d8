//! Pulling: the app asks for records when it likes, and answers each when and where it likes.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actix::Addr;
use futures_util::Stream;
use tokio::sync::oneshot;

use crate::block_on::block_on_until;
use crate::consume::handle::on_the_clock;
#[allow(unused_imports)]
use crate::consume::handler::Outcome;
use crate::consume::handler::{Failure, FailureKind, IntoOutcome};
use crate::consume::record::Record;
use crate::consume::supervisor::{Alarm, ConsumerSupervisor, Shutdown};
use crate::order::attempt::Attempt;
use crate::order::pull::{Taken, Tray};

/// Where the partitions lay their records out, and the app takes them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    state: Mutex<TableState>,
}

#[derive(Debug, Default)]
struct TableState {
    /// Those with something laid out, in turn.
    ready: VecDeque<Arc<Tray>>,
    waiting: Option<Waker>,
    /// The consumer stops, or has stopped: nothing more comes.
    over: bool,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, TableState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is laid out in a tray that is not among the ready ones.
    pub(crate) fn offer(&self, tray: Arc<Tray>) {
        let mut state = self.lock();
        state.ready.push_back(tray);
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whoever waits need not wait any longer.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.over = true;
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Up to `most` records, of the partitions in turn; `None` when none will come any more. If there are none, `waker` is woken when there are.
    fn take(&self, most: usize, waker: &Waker) -> Option<Vec<Pulled>> {
        let mut pulled = Vec::new();
        while pulled.len() < most {
            let mut state = self.lock();
            if state.over {
                break;
            }
            let Some(tray) = state.ready.pop_front() else {
                if pulled.is_empty() {
                    state.waiting = Some(waker.clone());
                    return Some(pulled);
                }
                break;
            };
            drop(state);
            let left = most - pulled.len();
            let more =
                tray.take(left, |record, taken| pulled.push(Pulled { record, completion: Completion(Some(taken)) }));
            if more {
                self.lock().ready.push_back(tray);
            }
        }
        (!pulled.is_empty()).then_some(pulled)
    }
}

/// The records of a consumer that was started with [`pull`](crate::consume::ConsumerBuilder::pull).
///
/// Each comes with a [`Completion`], and is committed like a handler's: once it and all below it are answered. What is taken and not
/// answered counts against the consumer's bounds, so an app that never answers gets no more records after a while. When this is dropped the
/// consumer stops, as it does when its last handle is.
pub struct Records {
    table: Arc<Table>,
    supervisor: Addr<ConsumerSupervisor>,
    most: usize,
    alarm: Option<(Instant, oneshot::Receiver<()>)>,
}

impl Records {
    pub(crate) fn new(table: Arc<Table>, supervisor: Addr<ConsumerSupervisor>, most: usize) -> Self {
        Self { table, supervisor, most, alarm: None }
    }

    /// The next records: those that are there, at most [`max_poll_records`](crate::consume::ConsumerBuilder::max_poll_records); or the first that
    /// come within `timeout`; or none. Of a partition they are in offset order. Partitions take turns to be first.
    ///
    /// It also ends, with none, when the consumer is to stop; then, and from then on, [`is_over`](Self::is_over). Dropping the future loses nothing.
    /// It needs no runtime of tokio's.
    pub async fn poll(&mut self, timeout: Duration) -> Batch {
        let until = Instant::now() + on_the_clock(timeout);
        let records = poll_fn(|cx| match self.take(self.most, cx) {
            Poll::Ready(records) => Poll::Ready(records),
            Poll::Pending => self.poll_alarm(until, cx).map(|()| Vec::new()),
        });
        Batch(records.await)
    }

    /// [`poll`](Self::poll) on a thread without a runtime.
    ///
    /// Within a runtime it blocks the thread: use [`poll`](Self::poll) there.
    pub fn poll_blocking(&self, timeout: Duration) -> Batch {
        let until = Instant::now() + on_the_clock(timeout);
        Batch(block_on_until(poll_fn(|cx| self.take(self.most, cx)), until).unwrap_or_default())
    }

    /// The consumer stops, or has stopped: there will be no more records. What was pulled may still be answered, until the stop's deadline.
    pub fn is_over(&self) -> bool {
        self.table.lock().over
    }

    /// Records, or none if none will come.
    fn take(&self, most: usize, cx: &Context<'_>) -> Poll<Vec<Pulled>> {
        match self.table.take(most, cx.waker()) {
            None => Poll::Ready(Vec::new()),
            Some(records) if records.is_empty() => Poll::Pending,
            Some(records) => Poll::Ready(records),
        }
    }

    /// Ready at `until`. The engine's own clock rings, so that this needs no runtime's.
    fn poll_alarm(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            if now >= until {
                return Poll::Ready(());
            }
            // One that rings too early is waited for as well: most polls end before theirs, and need none of their own then.
            let (_, ring) = match &mut self.alarm {
                Some(alarm) if alarm.0 <= until => alarm,
                alarm => {
                    let (ring, rings) = oneshot::channel();
                    self.supervisor.do_send(Alarm { after: until - now, ring });
                    alarm.insert((until, rings))
                }
            };
            match Pin::new(ring).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => self.alarm = None,
                // The engine is no more.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
            }
        }
    }
}

/// Nobody else can take records.
impl Drop for Records {
    fn drop(&mut self) {
        self.supervisor.do_send(Shutdown(None));
    }
}

/// One record after the other, until the consumer stops.
impl Stream for Records {
    type Item = Pulled;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Pulled>> {
        // None is held back here: what is taken and not with the app would be waited for when its partition is given up.
        self.take(1, cx).map(|records| records.into_iter().next())
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("over", &self.is_over()).finish_non_exhaustive()
    }
}

/// Records that were pulled together. Dropping it answers none of them: they fail, and come again.
#[derive(Debug, Default)]
pub struct Batch(Vec<Pulled>);

impl Batch {
    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its records, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Pulled> {
        self.0.iter()
    }

    /// All of them are processed.
    pub fn done(self) {
        self.0.into_iter().for_each(|pulled| pulled.completion.done());
    }
}

impl IntoIterator for Batch {
    type Item = Pulled;
    type IntoIter = std::vec::IntoIter<Pulled>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Pulled;
    type IntoIter = std::slice::Iter<'a, Pulled>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// A record and the way to answer for it. The parts may be taken apart.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// The record.
    pub record: Record,
    /// Its answer.
    pub completion: Completion,
}

/// The answer that a pulled record waits for, from any thread and at any time.
///
/// Dropped without one it counts as failed, never as done: the record comes again after the consumer's retry pause. An answer that comes
/// when the partition was given up, and its drain deadline is over, changes nothing.
#[must_use = "dropped without an answer, the record counts as failed"]
pub struct Completion(Option<Taken>);

impl Completion {
    /// The record is processed.
    pub fn done(mut self) {
        self.give(Attempt::Done);
    }

    /// What became of the record, as a handler would say it: an [`Outcome`], or a `Result`.
    pub fn answer(mut self, outcome: impl IntoOutcome) {
        self.give(Attempt::from(outcome.into_outcome()));
    }

    fn give(&mut self, attempt: Attempt) {
        if let Some(taken) = self.0.take() {
            taken.answer(attempt);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let failure = Failure::new(FailureKind::Error, "its completion was dropped without an answer");
        self.give(Attempt::from(Err(failure)));
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}
