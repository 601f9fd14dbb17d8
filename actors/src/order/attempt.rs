//! One call of user code, fenced in: its panics are caught, and it is dropped when its epoch is over.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::consume::control::ControlCell;
use crate::consume::handler::{Cause, Failure, FailureKind, Handler, IntoOutcome, Outcome};
use crate::consume::record::Record;

/// How a call of a handler ended.
///
/// Two words, so that it travels in registers: copying an answer with its cause in it from frame to frame took half of the pump's own time.
#[derive(Debug)]
pub(crate) enum Attempt {
    Done,
    NotDone(Box<NotDone>),
    /// The epoch ended first: the future was dropped.
    Fenced,
}

/// Why a call of a handler did not finish its record.
#[derive(Debug)]
pub(crate) enum NotDone {
    /// The handler asked for another attempt.
    Retry { after: Duration, cause: Cause },
    /// The handler gave the record up.
    DeadLetter { cause: Cause },
    /// The handler asked for the engine's stop.
    Stop { cause: Cause },
    /// It does not say what is to become of the record. After a panic the handler's state cannot be trusted.
    Failed(Failure),
}

impl From<Result<Outcome, Failure>> for Attempt {
    #[inline]
    fn from(answer: Result<Outcome, Failure>) -> Self {
        let not_done = match answer {
            Ok(Outcome::Done) => return Self::Done,
            Ok(Outcome::Retry { after, cause }) => NotDone::Retry { after, cause },
            Ok(Outcome::DeadLetter { cause }) => NotDone::DeadLetter { cause },
            Ok(Outcome::Stop { cause }) => NotDone::Stop { cause },
            Err(failure) => NotDone::Failed(failure),
        };
        Self::NotDone(Box::new(not_done))
    }
}

impl NotDone {
    pub(crate) fn is_panic(&self) -> bool {
        matches!(self, Self::Failed(Failure { kind: FailureKind::Panic, .. }))
    }
}

impl Attempt {
    pub(crate) fn panicked(cause: Cause) -> Self {
        Self::NotDone(Box::new(NotDone::Failed(Failure::new(FailureKind::Panic, cause))))
    }
}

/// Calls `handler` with `record`; `waited` is called once if the future was not ready at its first poll.
///
/// A future that is ready at its first poll costs neither a wake-up nor a look at the fence.
pub(crate) async fn attempt<H: Handler>(
    handler: &mut H,
    record: &Record,
    cell: &ControlCell,
    waited: impl FnOnce(),
) -> Attempt {
    let call = AssertUnwindSafe((handler, record));
    let future = match catch_unwind(move || {
        let AssertUnwindSafe((handler, record)) = { call };
        handler.handle(record)
    }) {
        Ok(future) => future,
        Err(panic) => return Attempt::panicked(panic_text(&*panic)),
    };
    let mut slot = pin!(Some(future));
    let mut waited = Some(waited);
    let ended = poll_fn(|cx| {
        let Some(future) = slot.as_mut().as_pin_mut() else {
            return Poll::Ready(Attempt::Fenced);
        };
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx).map(|answer| Attempt::from(answer.into_outcome())))) {
            Ok(Poll::Ready(attempt)) => Poll::Ready(attempt),
            Err(panic) => Poll::Ready(Attempt::panicked(panic_text(&*panic))),
            Ok(Poll::Pending) => {
                if let Some(waited) = waited.take() {
                    waited();
                }
                cell.register_pump(cx.waker());
                if cell.is_fenced() { Poll::Ready(Attempt::Fenced) } else { Poll::Pending }
            }
        }
    })
    .await;
    // Dropping a future runs user code too.
    match catch_unwind(AssertUnwindSafe(|| slot.set(None))) {
        Ok(()) => ended,
        Err(panic) => Attempt::panicked(panic_text(&*panic)),
    }
}

/// Runs user code that is no attempt at a record: what builds a handler, or drops one.
pub(crate) fn guarded<T>(user_code: impl FnOnce() -> T) -> Result<T, Cause> {
    catch_unwind(AssertUnwindSafe(user_code)).map_err(|panic| panic_text(&*panic))
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> Cause {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Cause::new(format!("panicked: {}", text.unwrap_or("with a value that is no text")))
}
