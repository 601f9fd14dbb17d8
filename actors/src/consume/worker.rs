//! The partition worker: one actor per partition and epoch. It takes chunks in; its pump runs the handler.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

#[cfg(feature = "testing")]
use actix::Message;
use actix::fut::WrapFuture;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler};

use crate::consume::command::{Deliver, PollerCommand, PollerPort};
use crate::consume::control::ControlCell;
use crate::consume::inbox::Inbox;
use crate::consume::state::PumpGuard;
use crate::order::pump::{DeathWatch, Pump, PumpIo, Workload};

/// Holds a partition's pump, and with it the handler. `handle` only stores, so that the mailbox never waits for user code.
pub(crate) struct PartitionWorker {
    cell: Arc<ControlCell>,
    inbox: Arc<Inbox>,
    poller: PollerPort,
    begin: Option<(Arc<dyn Workload>, PumpIo, DeathWatch)>,
    /// The pump has ended.
    ended: bool,
}

impl PartitionWorker {
    /// Room for chunks: each takes a credit, so that this many can never be exceeded.
    pub(crate) fn mailbox(cell: &ControlCell) -> usize {
        cell.credits.records as usize + 1
    }

    pub(crate) fn new(workload: Arc<dyn Workload>, io: PumpIo, poller: PollerPort, watch: DeathWatch) -> Self {
        Self {
            cell: Arc::clone(&io.cell),
            inbox: Arc::clone(&io.inbox),
            poller,
            begin: Some((workload, io, watch)),
            ended: false,
        }
    }
}

impl PartitionWorker {
    fn end(&mut self, ctx: &mut Context<Self>) {
        self.ended = true;
        ctx.stop();
    }
}

impl Actor for PartitionWorker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let Some((workload, io, watch)) = self.begin.take() else {
            return;
        };
        // Outside tokio's budget: it would make ready timers answer Pending; the pump has its own.
        let guard = io.board.pump_began(&io.cell);
        match workload.pump(io) {
            Pump::Local(pump) => {
                let pump = tokio::task::unconstrained(watched(pump, Arc::clone(&self.cell), guard, watch));
                ctx.spawn(pump.into_actor(self).map(|(), worker, ctx| worker.end(ctx)));
            }
            Pump::On(runtime, pump) => {
                self.cell.runs_on(None);
                let pump =
                    runtime.spawn(tokio::task::unconstrained(watched(pump, Arc::clone(&self.cell), guard, watch)));
                ctx.spawn(pump.into_actor(self).map(|_, worker, ctx| worker.end(ctx)));
            }
        }
        let worker = ctx.address().recipient();
        self.poller.send(PollerCommand::WorkerReady { slot: self.cell.slot, epoch: self.cell.epoch, worker });
    }
}

/// The watch is the future's own: it tells also when the future is dropped half way.
async fn watched(pump: impl Future<Output = ()>, cell: Arc<ControlCell>, guard: PumpGuard, mut watch: DeathWatch) {
    let mut pump = pin!(pump);
    // Who looks from outside sees a handler that does not let go of the thread.
    poll_fn(|cx| {
        cell.turn_begins();
        let polled = pump.as_mut().poll(cx);
        cell.turn_ends();
        polled
    })
    .await;
    drop(guard);
    watch.ended = true;
}

/// An actor that died by a panic leaves a pump on the app's runtime behind: this ends it.
impl Drop for PartitionWorker {
    fn drop(&mut self) {
        if !self.ended {
            self.cell.abandon();
        }
    }
}

impl Handler<Deliver> for PartitionWorker {
    type Result = ();

    fn handle(&mut self, Deliver(chunk): Deliver, _: &mut Context<Self>) {
        debug_assert_eq!(chunk.epoch, self.cell.epoch, "a worker's address is its epoch's own");
        self.inbox.push(chunk);
        self.cell.wake_pump();
    }
}

/// Makes the actor panic: for tests of what follows.
#[cfg(feature = "testing")]
pub(crate) struct Die;

#[cfg(feature = "testing")]
impl Message for Die {
    type Result = ();
}

#[cfg(feature = "testing")]
impl Handler<Die> for PartitionWorker {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Context<Self>) {
        panic!("a worker killed by a test");
    }
}
