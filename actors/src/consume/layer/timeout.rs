//! A bound on how long a call may take.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::Layer;
use crate::consume::handler::{AsyncHandler, Failure, FailureKind, Handler, IntoOutcome, Outcome};
use crate::consume::record::Record;

/// Gives each call this much time, counted from its first poll, and then drops its future: the record fails as
/// [`FailureKind::Timeout`] and is tried again as the consumer's policy says. What the call has set going elsewhere, a task or a
/// [computation](crate::consume::CpuBound), goes on.
///
/// A handler that keeps its thread, computing or blocking, cannot be stopped: its answer counts however late it is. A call that is ready at its
/// first poll costs neither a timer nor a look at the clock. A [`Handler`] keeps its state over a timeout, as its dropped future has left it.
#[derive(Debug, Clone, Copy)]
pub struct Timeout(Duration);

impl Timeout {
    /// A bound per attempt. It needs the runtime's timer, which the engine's own threads have.
    pub fn new(after: Duration) -> Self {
        Self(after)
    }
}

impl<H> Layer<H> for Timeout {
    type Handler = Timed<H>;

    fn layer(&self, inner: H) -> Timed<H> {
        Timed { after: self.0, inner }
    }
}

/// A handler within [`Timeout`].
#[derive(Debug, Clone)]
pub struct Timed<H> {
    after: Duration,
    inner: H,
}

impl<H: AsyncHandler> AsyncHandler for Timed<H> {
    type Future = TimedFuture<H::Future>;

    fn call(&self, record: Record) -> Self::Future {
        TimedFuture { call: self.inner.call(record), after: self.after, timer: None }
    }
}

impl<H: Handler> Handler for Timed<H> {
    type Answer = Result<Outcome, Failure>;

    async fn handle(&mut self, record: &Record) -> Self::Answer {
        TimedFuture { call: self.inner.handle(record), after: self.after, timer: None }.await
    }
}

pin_project! {
    /// A call within [`Timeout`].
    #[derive(Debug)]
    pub struct TimedFuture<F> {
        #[pin]
        call: F,
        after: Duration,
        // None until the call is seen to wait.
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F: Future<Output: IntoOutcome>> Future for TimedFuture<F> {
    type Output = Result<Outcome, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(answer) = this.call.poll(cx) {
            return Poll::Ready(answer.into_outcome());
        }
        if this.timer.is_none() {
            this.timer.set(Some(tokio::time::sleep(*this.after)));
        }
        match this.timer.as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(())) => {
                Poll::Ready(Err(Failure::new(FailureKind::Timeout, format!("took longer than {:?}", this.after))))
            }
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::time::{pause, sleep};

    use super::*;
    use crate::consume::record::tests::record;

    const SECOND: Duration = Duration::from_secs(1);

    fn timed_out() -> Result<Outcome, Failure> {
        Err(Failure::new(FailureKind::Timeout, "took longer than 1s"))
    }

    #[test]
    fn a_call_that_is_ready_at_its_first_poll_needs_no_timer() {
        // There is no runtime here, and so no timer to be had.
        let handler = Timeout::new(SECOND).layer(|_: Record| async { Outcome::Done });
        assert_eq!(handler.call(record(None, None)).now_or_never(), Some(Ok(Outcome::Done)));
    }

    #[tokio::test]
    async fn a_call_that_takes_too_long_is_a_failure_and_its_future_is_dropped() {
        pause();
        let held = Arc::new(());
        let handler = Timeout::new(SECOND).layer({
            let held = Arc::clone(&held);
            move |record: Record| {
                let held = Arc::clone(&held);
                async move {
                    sleep(SECOND * if record.attempt() == 1 { 2 } else { 0 }).await;
                    drop(held);
                }
            }
        });
        let first = record(None, None);
        assert_eq!(handler.call(first.clone()).await, timed_out());
        assert_eq!(Arc::strong_count(&held), 2, "the handler's own, and no call's");
        assert_eq!(handler.call(Record { attempt: 2, ..first }).await, Ok(Outcome::Done));
    }

    #[tokio::test]
    async fn a_partitions_handler_keeps_its_state_over_a_timeout() {
        struct Counts(u32);
        impl Handler for Counts {
            type Answer = Result<(), String>;

            async fn handle(&mut self, _: &Record) -> Self::Answer {
                self.0 += 1;
                sleep(if self.0 == 1 { SECOND * 2 } else { SECOND / 2 }).await;
                Err(format!("call {}", self.0))
            }
        }
        pause();
        let mut handler = Timeout::new(SECOND).layer(Counts(0));
        let record = record(None, None);
        assert_eq!(handler.handle(&record).await, timed_out());
        assert_eq!(handler.handle(&record).await, Err(Failure::new(FailureKind::Error, "call 2")));
    }
}
