//! Which threads may wait, and which would keep others waiting: those that run async tasks, arbiters, and a thread in a delivery callback.

use std::cell::Cell;
use std::fmt;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::task::coop;

/// A place where nothing may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MustNotBlock {
    /// A thread of a tokio runtime, in a task or in the runtime's `block_on`. `spawn_blocking` and `block_in_place` lead out of it.
    Task,
    /// A thread of the engine's own actors: a handler runs there.
    Arbiter,
    /// A callback that hears of a delivery. Whoever waits there waits for itself.
    Callback,
}

impl fmt::Display for MustNotBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Task => "a thread that runs async tasks: await instead, or use spawn_blocking",
            Self::Arbiter => "an arbiter, which runs other handlers too: use an async handler, and await",
            Self::Callback => "a delivery callback, which all records' answers wait for: use try_send",
        })
    }
}

thread_local! {
    static HERE: Cell<Option<MustNotBlock>> = const { Cell::new(None) };
}

/// Says that this thread is an arbiter, for as long as it lives.
pub(crate) fn this_is_an_arbiter() {
    HERE.set(Some(MustNotBlock::Arbiter));
}

/// Runs a delivery callback.
pub(crate) fn in_callback<T>(callback: impl FnOnce() -> T) -> T {
    struct Before(Option<MustNotBlock>);
    impl Drop for Before {
        fn drop(&mut self) {
            HERE.set(self.0);
        }
    }
    let _before = Before(HERE.replace(Some(MustNotBlock::Callback)));
    callback()
}

/// Why this thread must not wait, if it must not.
pub(crate) fn must_not_block() -> Option<MustNotBlock> {
    // Most threads that may wait are no runtime's.
    HERE.get().or_else(|| (Handle::try_current().is_ok() && is_task(u8::MAX)).then_some(MustNotBlock::Task))
}

/// Whether tokio polls a task on this thread. It tells nobody so; but tasks have a budget, which nothing else has: `spawn_blocking` has a runtime and
/// a task's id too. A budget is a byte. What is taken from it is given back, last taken first.
fn is_task(tries: u8) -> bool {
    match coop::poll_proceed(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => true,
        Poll::Ready(_restores) => tries > 0 && is_task(tries - 1),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_thread_may_wait_and_so_may_one_that_has_only_entered_a_runtime() {
        assert_eq!(must_not_block(), None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        assert_eq!(must_not_block(), None);
    }

    #[test]
    fn a_task_must_not_wait_whichever_way_it_runs_and_keeps_its_budget() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert_eq!(must_not_block(), Some(MustNotBlock::Task));
            for _ in 0..3 {
                let within = tokio::spawn(async { (must_not_block(), coop::has_budget_remaining()) }).await.unwrap();
                assert_eq!(within, (Some(MustNotBlock::Task), true));
            }
            tokio::task::LocalSet::new()
                .run_until(async {
                    let within = tokio::task::spawn_local(async { must_not_block() }).await.unwrap();
                    assert_eq!(within, Some(MustNotBlock::Task));
                })
                .await;
            assert_eq!(tokio::task::spawn_blocking(must_not_block).await.unwrap(), None);
        });
    }

    #[test]
    fn an_arbiter_must_not_wait_and_nor_must_a_callback() {
        std::thread::spawn(|| {
            assert_eq!(in_callback(must_not_block), Some(MustNotBlock::Callback));
            assert_eq!(must_not_block(), None);
            this_is_an_arbiter();
            assert_eq!(must_not_block(), Some(MustNotBlock::Arbiter));
            assert_eq!(in_callback(must_not_block), Some(MustNotBlock::Callback));
            assert_eq!(must_not_block(), Some(MustNotBlock::Arbiter));
        })
        .join()
        .unwrap();
    }
}
