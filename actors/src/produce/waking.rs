//! How those are woken who wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Wakes a task. A waker that panics is its executor's fault, and keeps nobody else from being woken or answered.
pub(super) fn wake_task(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // Its drop may panic as well.
        std::mem::forget(payload);
        tracing::error!("the waker of a task that waits for a producer panicked: the task may not hear of its record");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_nobody_from_going_on() {
        wake_task(Waker::from(Arc::new(Panics)));
    }
}
