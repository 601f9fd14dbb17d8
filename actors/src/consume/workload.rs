//! The shapes a handler may have: each becomes a partition's pump.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix::Addr;
use tokio::runtime::Handle;

use crate::consume::error::ConsumerError;
use crate::consume::handler::{AsyncHandler, Handler, IntoOutcome, OneByOne, PartitionContext, SyncClosure};
use crate::consume::pull::Table;
use crate::consume::record::Record;
use crate::consume::supervisor::{ConsumerSupervisor, EngineFailed};
use crate::order::Order;
use crate::order::crew::{self, AsyncCall, SyncCall};
use crate::order::partition::pump;
use crate::order::pull;
use crate::order::pump::{Pump, PumpIo, Workload};

pub(crate) struct SyncWorkload<F>(pub(crate) Arc<F>);

impl<F, R> Workload for SyncWorkload<F>
where
    F: Fn(&Record) -> R + Send + Sync + 'static,
    R: IntoOutcome + 'static,
{
    fn pump(&self, io: PumpIo) -> Pump {
        let handler = Arc::clone(&self.0);
        match io.order {
            Order::Partition => Pump::Local(Box::pin(pump(move |_| SyncClosure(Arc::clone(&handler)), io))),
            Order::Key | Order::Unordered => Pump::Local(Box::pin(crew::pump(SyncCall(handler), io))),
        }
    }
}

pub(crate) struct AsyncWorkload<H> {
    pub(crate) handler: Arc<H>,
    pub(crate) runtime: Option<Handle>,
}

impl<H: AsyncHandler> Workload for AsyncWorkload<H> {
    fn pump(&self, io: PumpIo) -> Pump {
        let handler = Arc::clone(&self.handler);
        let supervisor = io.supervisor.clone();
        let pump: Pin<Box<dyn Future<Output = ()> + Send>> = match io.order {
            Order::Partition => Box::pin(pump(move |_: &PartitionContext| OneByOne(Arc::clone(&handler)), io)),
            Order::Key | Order::Unordered => Box::pin(crew::pump(AsyncCall(handler), io)),
        };
        on_runtime(self.runtime.as_ref(), pump, supervisor)
    }
}

/// Where an asynchronous pump runs: on the app's runtime, if there is one.
pub(crate) fn on_runtime(
    runtime: Option<&Handle>,
    pump: Pin<Box<dyn Future<Output = ()> + Send>>,
    supervisor: Addr<ConsumerSupervisor>,
) -> Pump {
    match runtime {
        Some(runtime) => {
            let watch = RuntimeWatch { supervisor, outlived: false };
            Pump::On(runtime.clone(), Box::pin(outlived(pump, watch)))
        }
        None => Pump::Local(pump),
    }
}

/// The watch is the future's own: it tells when the future is dropped half way.
async fn outlived(pump: impl Future<Output = ()>, mut watch: RuntimeWatch) {
    pump.await;
    watch.outlived = true;
}

/// Stops the engine when the app's runtime ends first: each new worker's pump would be dropped as soon as it is spawned, and its successor's,
/// without end.
struct RuntimeWatch {
    supervisor: Addr<ConsumerSupervisor>,
    outlived: bool,
}

impl Drop for RuntimeWatch {
    fn drop(&mut self) {
        // A pump that panics is dropped too; that is its worker's death, and no more.
        if !self.outlived && !std::thread::panicking() {
            self.supervisor.do_send(EngineFailed(ConsumerError::Engine {
                detail: "the runtime that its handlers run on ended before it".to_owned(),
            }));
        }
    }
}

/// No handler: the app pulls.
pub(crate) struct PullWorkload(pub(crate) Arc<Table>);

impl Workload for PullWorkload {
    fn pump(&self, io: PumpIo) -> Pump {
        Pump::Local(Box::pin(pull::pump(Arc::clone(&self.0), io)))
    }

    fn stopping(&self) {
        self.0.close();
    }
}

pub(crate) struct PartitionWorkload<F>(pub(crate) Arc<F>);

impl<F, H> Workload for PartitionWorkload<F>
where
    F: Fn(&PartitionContext) -> H + Send + Sync + 'static,
    H: Handler,
{
    fn pump(&self, io: PumpIo) -> Pump {
        let factory = Arc::clone(&self.0);
        Pump::Local(Box::pin(pump(move |context: &PartitionContext| factory(context), io)))
    }
}
