//! Layers: what is done around each call of a handler, whichever handler it is.
//!
//! A [`Layer`] takes a handler and gives one, as in `tower`. [`Timeout`] and [`Tracing`] are built in. Both wrap what
//! [`async_handler`](crate::consume::ConsumerBuilder::async_handler) takes, and what a factory for
//! [`partition_handler`](crate::consume::ConsumerBuilder::partition_handler) builds:
//!
//! ```no_run
//! use std::time::Duration;
//! use troupe_actors::consume::{Consumer, Handler, Layer, PartitionContext, Record, Timeout, Tracing};
//!
//! let timeout = Timeout::new(Duration::from_secs(5));
//! Consumer::builder().async_handler(Tracing.layer(timeout.layer(|record: Record| async move { /* ... */ })));
//!
//! # struct Totals;
//! # impl Handler for Totals {
//! #     type Answer = ();
//! #     async fn handle(&mut self, _: &Record) {}
//! # }
//! Consumer::builder().partition_handler(move |_: &PartitionContext| Tracing.layer(timeout.layer(Totals)))
//! # ;
//! ```
//!
//! # Order of wrapping
//! The outermost is named first, sees each call first and its answer last. Above, the span is open while the time runs, so that what the
//! handler logs until it is cut off has the span's fields. The other way round the time runs before the span opens, and all else is the same.
//! A layer that tells of failures belongs outside of those that make some.
//!
//! Layers are inside an attempt: each attempt passes all of them anew, and what they answer goes through `on_failure` and `max_attempts` like
//! the handler's own answer. What is not wrapped costs nothing, and a call that is ready at its first poll costs no timer.
//!
//! # A layer of one's own
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use troupe_actors::consume::{AsyncHandler, Layer, Record};
//!
//! /// Counts the calls that have begun.
//! struct CountCalls(Arc<AtomicU64>);
//!
//! struct Counted<H>(Arc<AtomicU64>, H);
//!
//! impl<H> Layer<H> for CountCalls {
//!     type Handler = Counted<H>;
//!
//!     fn layer(&self, inner: H) -> Counted<H> {
//!         Counted(Arc::clone(&self.0), inner)
//!     }
//! }
//!
//! impl<H: AsyncHandler> AsyncHandler for Counted<H> {
//!     type Future = H::Future;
//!
//!     fn call(&self, record: Record) -> H::Future {
//!         self.0.fetch_add(1, Ordering::Relaxed);
//!         self.1.call(record)
//!     }
//! }
//! ```

mod timeout;
mod tracing;

pub use timeout::{Timed, TimedFuture, Timeout};
pub use tracing::{Traced, TracedFuture, Tracing};

/// Wraps a handler.
pub trait Layer<H> {
    /// What comes of it: an [`AsyncHandler`](crate::consume::AsyncHandler), or a [`Handler`](crate::consume::Handler), as `H` is.
    type Handler;

    /// Wraps `inner`.
    fn layer(&self, inner: H) -> Self::Handler;
}
