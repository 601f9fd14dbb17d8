//! The handler calls of one partition that are under way: each in a slot that is made once and used again, so that a call costs no task and,
//! where its future is ready at its first poll, no wake-up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::consume::control::ControlCell;
use crate::consume::control::crew::Post;
use crate::consume::handler::{Cause, IntoOutcome};
use crate::order::attempt::{Attempt, guarded, panic_text};

/// What a call answers, and what it ended as.
pub(crate) trait Answered {
    type Ended;

    fn ended(self) -> Self::Ended;

    fn panicked(cause: Cause) -> Self::Ended;
}

impl<A: IntoOutcome> Answered for A {
    type Ended = Attempt;

    #[inline]
    fn ended(self) -> Attempt {
        Attempt::from(self.into_outcome())
    }

    fn panicked(cause: Cause) -> Attempt {
        Attempt::panicked(cause)
    }
}

type EndedOf<F> = <<F as Future>::Output as Answered>::Ended;

/// The slots, with what the caller wants back with a call's end.
pub(crate) struct Slots<F, J> {
    slots: Vec<Slot<F, J>>,
    free: Vec<u32>,
    woken: Arc<Woken>,
    /// Taken out of `woken`, and not polled yet; the first last.
    ready: Vec<u32>,
}

struct Slot<F, J> {
    /// In a box, for a future must not move once it was polled.
    future: Pin<Box<Option<F>>>,
    job: Option<J>,
    post: Arc<Post>,
    waker: Arc<SlotWaker>,
    handle: Waker,
}

/// The slots whose futures were woken.
struct Woken {
    slots: Mutex<Vec<u32>>,
    cell: Arc<ControlCell>,
}

struct SlotWaker {
    index: u32,
    /// It is in `woken` already.
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut slots = self.woken.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.push(self.index);
        let first = slots.len() == 1;
        drop(slots);
        // The pump takes all that is there at one look, so only the first since then need wake it.
        if first {
            self.woken.cell.wake_pump();
        }
    }
}

impl<F, J> Slots<F, J>
where
    F: Future<Output: Answered>,
{
    pub(crate) fn new(cell: Arc<ControlCell>) -> Self {
        let woken = Arc::new(Woken { slots: Mutex::default(), cell });
        Self { slots: Vec::new(), free: Vec::new(), woken, ready: Vec::new() }
    }

    /// Calls under way.
    pub(crate) fn running(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Makes a call for the record at `offset`, and polls it once. `Ok`: it has ended; `Err`: it is under way, with `job`, as `pending` left it.
    pub(crate) fn start(
        &mut self,
        (offset, attempt): (i64, u32),
        call: impl FnOnce() -> F,
        job: J,
        pending: impl FnOnce(&mut J),
    ) -> Option<(J, EndedOf<F>)> {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let slot = &mut self.slots[index as usize];
        slot.post.takes(offset, attempt);
        self.woken.cell.polls(offset);
        let future = match guarded(call) {
            Ok(future) => future,
            Err(cause) => {
                slot.post.puts_down();
                self.free.push(index);
                return Some((job, <F::Output as Answered>::panicked(cause)));
            }
        };
        slot.future.set(Some(future));
        match slot.poll() {
            Some(ended) => {
                slot.post.puts_down();
                self.free.push(index);
                Some((job, ended))
            }
            None => {
                pending(slot.job.insert(job));
                None
            }
        }
    }

    /// The next call that was woken, polled; with what it ended as, if it has. `None`: none was woken.
    pub(crate) fn poll_woken(&mut self) -> Option<Option<(J, EndedOf<F>)>> {
        if self.ready.is_empty() {
            std::mem::swap(&mut self.ready, &mut *self.woken.slots.lock().unwrap_or_else(PoisonError::into_inner));
            self.ready.reverse();
        }
        let index = self.ready.pop()?;
        let slot = &mut self.slots[index as usize];
        // Before the poll: what wakes it from here on counts.
        slot.waker.queued.store(false, Ordering::Release);
        if slot.job.is_none() {
            // Woken after its end.
            return Some(None);
        }
        self.woken.cell.polls(slot.post.offset());
        let Some(ended) = slot.poll() else { return Some(None) };
        slot.post.puts_down();
        let job = slot.job.take();
        self.free.push(index);
        Some(job.map(|job| (job, ended)))
    }

    /// Drops the calls under way: their epoch is over. Says what their drops panicked with.
    pub(crate) fn drop_all(&mut self) -> usize {
        let mut panics = 0;
        self.ready.clear();
        for (slot, index) in self.slots.iter_mut().zip(0..) {
            if slot.job.take().is_some() {
                panics += usize::from(slot.clear().is_err());
                slot.post.puts_down();
                self.free.push(index);
            }
        }
        panics
    }

    #[cold]
    fn grow(&mut self) -> u32 {
        let index = self.slots.len() as u32;
        let waker = Arc::new(SlotWaker { index, queued: AtomicBool::new(false), woken: Arc::clone(&self.woken) });
        let handle = Waker::from(Arc::clone(&waker));
        let post = self.woken.cell.new_post();
        self.slots.push(Slot { future: Box::pin(None), job: None, post, waker, handle });
        index
    }
}

impl<F, J> Slot<F, J>
where
    F: Future<Output: Answered>,
{
    /// Polls the call; gives what it ended as, its future dropped.
    fn poll(&mut self) -> Option<EndedOf<F>> {
        let future = self.future.as_mut().as_pin_mut()?;
        let mut context = Context::from_waker(&self.handle);
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut context).map(Answered::ended)));
        let ended = match polled {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(ended)) => ended,
            Err(panic) => <F::Output as Answered>::panicked(panic_text(&*panic)),
        };
        // Dropping a future runs user code too.
        Some(match self.clear() {
            Ok(()) => ended,
            Err(cause) => <F::Output as Answered>::panicked(cause),
        })
    }

    fn clear(&mut self) -> Result<(), Cause> {
        guarded(|| self.future.set(None))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::consume::control::tests::cell;

    fn slots<F: Future<Output: IntoOutcome>>() -> Slots<F, u32> {
        Slots::new(Arc::new(cell()))
    }

    #[test]
    fn a_call_that_is_ready_at_once_ends_at_its_start_and_its_slot_is_used_again() {
        let mut slots = slots();
        for job in 0..100 {
            let ended = slots.start((7, 1), || std::future::ready(()), job, |_| ());
            assert!(matches!(ended, Some((of, Attempt::Done)) if of == job));
        }
        assert_eq!((slots.slots.len(), slots.running()), (1, 0));
    }

    #[test]
    fn calls_end_in_the_order_in_which_they_are_woken() {
        let mut slots = slots();
        let mut answers = Vec::new();
        for job in 0..3 {
            let (answer, asked) = oneshot::channel::<()>();
            let mut held = false;
            assert!(
                slots
                    .start((7, 1), || async { asked.await.map_err(|error| error.to_string()) }, job, |_| held = true)
                    .is_none()
            );
            assert!(held);
            answers.push(answer);
        }
        assert!(slots.poll_woken().is_none());
        let mut ended = Vec::new();
        for answer in [2, 0].map(|at| std::mem::replace(&mut answers[at], oneshot::channel().0)) {
            let _ = answer.send(());
        }
        while let Some(polled) = slots.poll_woken() {
            ended.extend(polled.map(|(job, _)| job));
        }
        assert_eq!((ended, slots.running()), (vec![2, 0], 1));
    }

    #[test]
    fn a_call_that_panics_at_any_point_is_a_panicked_attempt() {
        let mut slots = Slots::<std::future::Ready<()>, u32>::new(Arc::new(cell()));
        let ended = slots.start((7, 1), || panic!("in the call"), 1, |_| ());
        assert!(matches!(ended, Some((1, Attempt::NotDone(_)))));
        let mut slots = Slots::<Pin<Box<dyn Future<Output = ()>>>, u32>::new(Arc::new(cell()));
        let ended = slots.start((7, 1), || Box::pin(async { panic!("in the poll") }), 2, |_| ());
        assert!(matches!(ended, Some((2, Attempt::NotDone(_)))));
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the drop");
            }
        }
        let bomb = Bomb;
        let pending = async move {
            let _bomb = bomb;
            std::future::pending::<()>().await;
        };
        assert!(slots.start((7, 1), || Box::pin(pending), 3, |_| ()).is_none());
        assert_eq!((slots.drop_all(), slots.running()), (1, 0));
    }

    #[test]
    fn a_call_that_wakes_itself_is_polled_again_until_it_has_ended() {
        let mut slots = slots();
        let mut turns = 0;
        let call = || {
            std::future::poll_fn(move |cx| {
                turns += 1;
                cx.waker().wake_by_ref();
                if turns > 3 { Poll::Ready(()) } else { Poll::Pending }
            })
        };
        assert!(slots.start((7, 1), call, 1, |_| ()).is_none());
        let polls = std::iter::from_fn(|| slots.poll_woken());
        assert_eq!(polls.take_while(Option::is_none).count(), 2);
        assert_eq!(slots.running(), 0);
    }
}
