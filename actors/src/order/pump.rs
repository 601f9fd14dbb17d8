//! What every pump has in common: its chunks, its control cell, its reports.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use actix::Addr;
use tokio::runtime::Handle;

use crate::consume::commit::CommitPolicy;
use crate::consume::control::ControlCell;
use crate::consume::dead_letters::limits::Breaker;
use crate::consume::error::ConsumerError;
use crate::consume::failing::FailurePolicy;
use crate::consume::handler::PartitionContext;
use crate::consume::inbox::Inbox;
use crate::consume::record::RecordChunk;
use crate::consume::state::Board;
use crate::consume::supervisor::{ConsumerSupervisor, EngineFailed, WorkerEnded};
use crate::ids::NextOffset;
use crate::offsets::TileProgress;
use crate::offsets::tracker::{ChunkProgress, EpochDrained, OffsetTracker};
use crate::order::Order;
use crate::order::limiter::Limiter;

/// Makes a partition's pump. The closure shapes and the handler factory all become one of these, so that the engine is not generic.
pub(crate) trait Workload: Send + Sync {
    fn pump(&self, io: PumpIo) -> Pump;

    /// The engine is about to stop.
    fn stopping(&self) {}
}

/// A pump, and where it runs.
pub(crate) enum Pump {
    /// On the worker's arbiter.
    Local(Pin<Box<dyn Future<Output = ()>>>),
    /// On the app's runtime.
    On(Handle, Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// A pump's connections.
pub(crate) struct PumpIo {
    pub(crate) cell: Arc<ControlCell>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) tracker: Addr<OffsetTracker>,
    pub(crate) supervisor: Addr<ConsumerSupervisor>,
    pub(crate) board: Arc<Board>,
    pub(crate) failures: FailurePolicy,
    /// Locked per dead letter.
    pub(crate) breaker: Mutex<Breaker>,
    pub(crate) commits: CommitPolicy,
    pub(crate) order: Order,
    /// For how long the partition's records wait before they are tried; `None`: it is of no retry topic.
    pub(crate) retry_delay: Option<Duration>,
    /// Calls at once, in this partition.
    pub(crate) per_partition: usize,
    /// And in all; `None`: as many as there are.
    pub(crate) limiter: Option<Arc<Limiter>>,
}

impl PumpIo {
    /// The context of a handler whose first record is at `position`.
    pub(crate) fn context(&self, position: NextOffset) -> PartitionContext {
        PartitionContext {
            partition: self.cell.partition.clone(),
            epoch: self.cell.epoch,
            position,
            revoking: self.cell.revoking.clone(),
        }
    }

    /// The next chunk that is there.
    pub(crate) fn take_chunk(&self) -> Option<Arc<RecordChunk>> {
        let chunk = self.inbox.pop()?;
        if self.retry_delay.is_some() {
            self.cell.take_up(chunk.credit_records());
        }
        Some(chunk)
    }

    /// The next chunk; `None` when no further record may be started.
    pub(crate) async fn next_chunk(&self) -> Option<Arc<RecordChunk>> {
        poll_fn(|cx| {
            let look = || {
                if self.cell.is_ending() {
                    return Poll::Ready(None);
                }
                self.take_chunk().map_or(Poll::Pending, |chunk| Poll::Ready(Some(chunk)))
            };
            if let Poll::Ready(found) = look() {
                return Poll::Ready(found);
            }
            self.cell.register_pump(cx.waker());
            look()
        })
        .await
    }

    /// Waits for `pause`, or until the partition is to be given up: a backoff is not waited for.
    pub(crate) async fn pause(&self, pause: Duration) {
        let mut sleep = pin!(tokio::time::sleep(pause));
        poll_fn(|cx| {
            self.cell.register_pump(cx.waker());
            if self.cell.is_ending() { Poll::Ready(()) } else { sleep.as_mut().poll(cx) }
        })
        .await;
    }

    /// Waits until the partition, which a record has stopped, is resumed, or to be given up.
    pub(crate) async fn until_resumed(&self) {
        poll_fn(|cx| {
            self.cell.register_pump(cx.waker());
            if self.cell.is_ending() || !self.cell.is_parked() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Waits until the partition is to be given up.
    pub(crate) async fn until_ending(&self) {
        poll_fn(|cx| {
            self.cell.register_pump(cx.waker());
            if self.cell.is_ending() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Waits until what the tracker awaits is committed, or the partition is to be given up.
    pub(crate) async fn until_committed(&self) {
        poll_fn(|cx| {
            self.cell.register_pump(cx.waker());
            if self.cell.is_ending() || !self.cell.awaits_commit() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Reports the chunk's first `finished` records done; `commit`: and that it is time for a commit.
    pub(crate) fn report(&self, chunk: &RecordChunk, finished: usize, commit: bool) {
        self.report_progress(chunk.progress(finished), commit);
    }

    /// The same of a chunk whose records are finished in any order.
    pub(crate) fn report_progress(&self, progress: TileProgress, commit: bool) {
        let (slot, epoch) = (self.cell.slot, self.cell.epoch);
        if let Err(error) = self.tracker.try_send(ChunkProgress { slot, epoch, progress, commit }) {
            self.fail(format!("the offset tracker takes no progress: {error}"));
        }
    }

    /// The pump's last word: everything it will ever report has been reported.
    pub(crate) fn drained(&self) {
        let token = EpochDrained { slot: self.cell.slot, epoch: self.cell.epoch };
        if let Err(error) = self.tracker.try_send(token) {
            self.fail(format!("the offset tracker takes no drain token: {error}"));
        }
    }

    fn fail(&self, detail: String) {
        self.stop(ConsumerError::Engine { detail });
    }

    /// Stops the engine with this error.
    pub(crate) fn stop(&self, error: ConsumerError) {
        self.supervisor.do_send(EngineFailed(error));
    }
}

/// Lets siblings and timers of the thread run.
pub(crate) async fn give_way() {
    let mut gave = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut gave, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Tells the supervisor that the pump is no more, also when it is dropped half way: by a panic, with its actor, with its runtime.
pub(crate) struct DeathWatch {
    pub(crate) supervisor: Addr<ConsumerSupervisor>,
    pub(crate) cell: Arc<ControlCell>,
    pub(crate) ended: bool,
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        // `do_send`, for this must arrive whatever the mailbox holds.
        self.supervisor.do_send(WorkerEnded {
            slot: self.cell.slot,
            epoch: self.cell.epoch,
            clean: self.ended && !self.cell.is_abandoned(),
        });
    }
}
