//! Who handles the records, and on which threads.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::ConsumerBuilder;
use crate::consume::batch::{BatchBounds, IntoOutcomes};
#[allow(unused_imports)]
use crate::consume::error::ConsumerError;
use crate::consume::handler::{AsyncHandler, Handler, IntoOutcome, PartitionContext};
use crate::consume::record::Record;
use crate::consume::route::Route;
#[allow(unused_imports)]
use crate::order::Order;

impl ConsumerBuilder {
    /// A closure per record, called on the engine's worker threads: one record at a time per partition, in offset order, partitions in
    /// parallel. It should compute, not wait: it holds up the other partitions of its thread.
    ///
    /// This, [`async_handler`](Self::async_handler) or [`partition_handler`](Self::partition_handler), whichever is called last, gets the
    /// records of all topics that have no [`route`](Self::route) of their own.
    pub fn handler<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(&Record) -> R + Send + Sync + 'static,
        R: IntoOutcome + 'static,
    {
        self.routes.common = Some(Route::handler(handler));
        self
    }

    /// An asynchronous closure per record, or another [`AsyncHandler`]: one record at a time per partition, in offset order, partitions in
    /// parallel.
    ///
    /// The closure's parameter needs its type, `|record: Record|`. [`typed`](crate::consume::typed) closures get a decoded value;
    /// [layers](crate::consume::layer) add timeouts and spans; [`CpuBound`](crate::consume::CpuBound) closures compute on threads of their own.
    ///
    /// It runs on the engine's worker threads, or on the app's runtime with [`runtime`](Self::runtime). The record may be kept; see
    /// [`Record`] for what that costs.
    pub fn async_handler(mut self, handler: impl AsyncHandler) -> Self {
        self.routes.common = Some(Route::async_handler(handler));
        self
    }

    /// A handler with state, built for each partition and epoch, on the thread where it then runs; neither it nor its futures need be
    /// `Send`.
    pub fn partition_handler<F, H>(mut self, factory: F) -> Self
    where
        F: Fn(&PartitionContext) -> H + Send + Sync + 'static,
        H: Handler,
    {
        self.routes.common = Some(Route::partition_handler(factory));
        self
    }

    /// A closure per batch of a partition's records, as large as `bounds` say: for a sink that takes many at a time. It answers for all of
    /// them, or for each: see [`IntoOutcomes`].
    ///
    /// Calls of one partition follow each other in [`Order::Partition`]; in the others several run at once, and no two hold one key. In an
    /// order, the first record of a batch that is not done, of its partition or of its key, holds the later ones back: **they are given again,
    /// whatever was said of them**, behind it, and their attempt does not count. What is done is finished, one by one, and committed like any
    /// other record. [`concurrency`](Self::concurrency) counts calls.
    ///
    /// ```no_run
    /// # use troupe_actors::consume::{BatchBounds, Consumer, Record};
    /// # fn insert(_: &[Record]) -> Result<(), String> { Ok(()) }
    /// Consumer::builder()
    ///     .topics(["orders"])
    ///     .batch_handler(BatchBounds::default().records(1000), |orders: &[Record]| insert(orders))
    ///     # ;
    /// ```
    pub fn batch_handler<F, R>(mut self, bounds: BatchBounds, handler: F) -> Self
    where
        F: Fn(&[Record]) -> R + Send + Sync + 'static,
        R: IntoOutcomes + 'static,
    {
        self.routes.common = Some(Route::batch_handler(bounds, handler));
        self
    }

    /// An asynchronous closure per batch: as [`batch_handler`](Self::batch_handler), on the threads of [`async_handler`](Self::async_handler).
    pub fn async_batch_handler<F, Fut>(mut self, bounds: BatchBounds, handler: F) -> Self
    where
        F: Fn(Arc<[Record]>) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoOutcomes + Send,
    {
        self.routes.common = Some(Route::async_batch_handler(bounds, handler));
        self
    }

    /// A handler of this topic's own. Topics that have none share [`handler`](Self::handler) or one of its siblings.
    ///
    /// ```no_run
    /// # use troupe_actors::consume::{Consumer, Record, Route};
    /// Consumer::builder()
    ///     .topics(["orders", "payments", "returns"])
    ///     .route("orders", Route::async_handler(|order: Record| async move { /* ... */ }))
    ///     .handler(|other: &Record| println!("{}", other.topic()))
    ///     # ;
    /// ```
    /// [`start`](Self::start) refuses a topic that is read and has no handler at all, and a route for a topic that is not read.
    pub fn route(mut self, topic: impl Into<String>, route: Route) -> Self {
        self.routes.by_topic.insert(topic.into(), route);
        self
    }

    /// Runs asynchronous handlers on this runtime, with the same order and bounds. The runtime needs its timer (`enable_time`), and must
    /// outlive the consumer, which otherwise ends with [`ConsumerError::Engine`]. Default: the engine's own threads.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Worker threads, over which partitions are spread. Default: the processors available to the process.
    pub fn worker_threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }
}
