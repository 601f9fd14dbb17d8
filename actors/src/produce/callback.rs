//! A sender's callback, kept without an allocation where it is small: most capture a reference, a counter of references, or nothing.
//!
//! # Safety argument
//! - **Contents.** `Callback::new` is the only maker. It writes a value of type `F` into `data`, or a pointer from `Box::into_raw`, and takes the functions
//!   that read just that. Nothing else writes `data` or `methods`.
//! - **Once.** `call` consumes the callback and forgets it, `drop` runs only where it was not called: the value is read out, or dropped, once.
//! - **Place.** A value lies in `data` only where size and alignment allow it; it is read by value, so it may move with the callback.
//! - **Threads.** `F` is `Send`, and nothing but a value of it is kept. A callback is not `Sync`.

use std::mem::{ManuallyDrop, MaybeUninit};

use super::completion::Answer;

type Data = MaybeUninit<*mut ()>;

/// As large as a `Box<dyn FnOnce(Answer)>`.
pub(super) struct Callback {
    data: Data,
    methods: &'static Methods,
}

struct Methods {
    /// # Safety
    /// With the data of the callback whose methods these are, once, and not after `drop`.
    call: unsafe fn(Data, Answer),
    /// # Safety
    /// As `call`.
    drop: unsafe fn(Data),
}

// SAFETY: only an `F: Send` is in it; see the module.
unsafe impl Send for Callback {}

struct Kept<F>(F);

impl<F: FnOnce(Answer) + Send + 'static> Kept<F> {
    const IS_SMALL: bool = size_of::<F>() <= size_of::<Data>() && align_of::<F>() <= align_of::<Data>();

    const METHODS: &'static Methods = &Methods { call: Self::call, drop: Self::drop };

    fn data(callback: F) -> Data {
        let mut data = Data::uninit();
        if Self::IS_SMALL {
            // SAFETY: `F` fits in by size and alignment.
            unsafe { data.as_mut_ptr().cast::<F>().write(callback) };
        } else {
            data.write(Box::into_raw(Box::new(callback)).cast());
        }
        data
    }

    /// # Safety
    /// `data` is what `Self::data` made, and is given away here.
    unsafe fn take(data: Data) -> F {
        // SAFETY: the caller's promise: `data` holds what was written above, and nobody takes it again.
        unsafe {
            if Self::IS_SMALL {
                data.as_ptr().cast::<F>().read()
            } else {
                *Box::from_raw(data.assume_init().cast::<F>())
            }
        }
    }

    /// # Safety
    /// As [`take`](Self::take).
    unsafe fn call(data: Data, answer: Answer) {
        // SAFETY: the caller's promise.
        let callback = unsafe { Self::take(data) };
        callback(answer);
    }

    /// # Safety
    /// As [`take`](Self::take).
    unsafe fn drop(data: Data) {
        // SAFETY: the caller's promise.
        drop(unsafe { Self::take(data) });
    }
}

impl Callback {
    pub(super) fn new<F: FnOnce(Answer) + Send + 'static>(callback: F) -> Self {
        Self { data: Kept::data(callback), methods: Kept::<F>::METHODS }
    }

    pub(super) fn call(self, answer: Answer) {
        let this = ManuallyDrop::new(self);
        // SAFETY: these are its methods, and `ManuallyDrop` keeps it from being dropped.
        unsafe { (this.methods.call)(this.data, answer) }
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        // SAFETY: it was not called, for `call` forgets it, and a value is dropped once.
        unsafe { (self.methods.drop)(self.data) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::produce::SendError;

    fn answer() -> Answer {
        Err(SendError::UnknownTopic { topic: "t".into() })
    }

    /// What it captures is counted, so that a value that is read twice, or never dropped, shows.
    fn is_called_once_and_gone<F: FnOnce(Answer) + Send + 'static>(make: impl Fn(Arc<AtomicUsize>) -> F, small: bool) {
        assert_eq!(Kept::<F>::IS_SMALL, small);
        let calls = Arc::new(AtomicUsize::new(0));
        Callback::new(make(calls.clone())).call(answer());
        assert_eq!((calls.load(Ordering::Relaxed), Arc::strong_count(&calls)), (1, 1));
        drop(Callback::new(make(calls.clone())));
        assert_eq!((calls.load(Ordering::Relaxed), Arc::strong_count(&calls)), (1, 1));
    }

    #[test]
    fn a_callback_is_called_once_or_dropped_whether_it_is_small_or_not() {
        let count = |calls: &AtomicUsize| _ = calls.fetch_add(1, Ordering::Relaxed);
        is_called_once_and_gone(move |calls| move |_| count(&calls), true);
        is_called_once_and_gone(
            move |calls| {
                let more = [7_u64; 9];
                move |_| {
                    assert_eq!(std::hint::black_box(more), [7; 9]);
                    count(&calls);
                }
            },
            false,
        );
        #[repr(align(64))]
        struct Apart(Arc<AtomicUsize>);
        is_called_once_and_gone(
            move |calls| {
                let apart = Apart(calls);
                move |_| {
                    let apart = &apart;
                    assert!(std::ptr::from_ref(apart).is_aligned());
                    count(&apart.0);
                }
            },
            false,
        );
    }

    #[test]
    fn one_that_captures_nothing_is_kept_too() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        Callback::new(|_| _ = CALLS.fetch_add(1, Ordering::Relaxed)).call(answer());
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_a_callback_that_panics_captured_is_dropped() {
        let held = Arc::new(());
        let captured = held.clone();
        let callback = Callback::new(move |_| {
            let _captured = &captured;
            panic!("on purpose");
        });
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| callback.call(answer()))).unwrap_err();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
