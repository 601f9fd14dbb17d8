//! The consumer supervisor: the life of the workers, and the life of the engine.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::consume::command::{DrainPlan, PollerCommand, PollerPort};
use crate::consume::commit::CommitPolicy;
use crate::consume::control::ControlCell;
use crate::consume::dead_letters::limits::Breaker;
use crate::consume::error::{ConsumerError, Stopped};
use crate::consume::failing::FailurePolicy;
use crate::consume::inbox::Inbox;
use crate::consume::membership::StaticMember;
use crate::consume::naming::Namer;
use crate::consume::state::{Board, Counters};
use crate::consume::worker::PartitionWorker;
use crate::ids::Epoch;
use crate::offsets::tracker::OffsetTracker;
use crate::order::Order;
use crate::order::limiter::Limiter;
use crate::order::pump::{DeathWatch, PumpIo, Workload};
use crate::system::start_with_capacity;

/// How often ages are sampled and waits are looked at.
const SAMPLE: Duration = Duration::from_millis(500);
/// How long a partition may wait for the worker of its earlier epoch before it is named.
const NAME_WAIT: Duration = Duration::from_secs(5);

/// What workers are made with.
pub(crate) struct WorkerParts {
    pub(crate) workload: Arc<dyn Workload>,
    pub(crate) failures: FailurePolicy,
    pub(crate) commits: CommitPolicy,
    pub(crate) order: Order,
    pub(crate) per_partition: usize,
    pub(crate) limiter: Option<Arc<Limiter>>,
    pub(crate) listener_deadline: Duration,
    pub(crate) commit_deadline: Duration,
    pub(crate) stop_deadline: Duration,
    pub(crate) token: CancellationToken,
    pub(crate) static_member: Option<StaticMember>,
}

/// Spawns workers and watches them, on an arbiter of its own. It never waits: the poller never waits for it either.
pub(crate) struct ConsumerSupervisor {
    parts: WorkerParts,
    poller: PollerPort,
    board: Arc<Board>,
    tracker: Option<Addr<OffsetTracker>>,
    arbiters: Vec<WorkerArbiter>,
    workers: HashMap<usize, Employed>,
    waiting: HashMap<usize, Waiting>,
    failure: Option<ConsumerError>,
    poller_ended: Option<Stopped>,
    finish: Option<oneshot::Sender<Finished>>,
    namer: Namer,
}

struct WorkerArbiter {
    handle: ArbiterHandle,
    load: usize,
}

/// A worker that has not ended.
struct Employed {
    cell: Arc<ControlCell>,
    arbiter: usize,
    #[cfg(feature = "testing")]
    addr: Addr<PartitionWorker>,
}

/// A partition whose new epoch waits for the worker of the old one.
struct Waiting {
    cell: Arc<ControlCell>,
    since: Instant,
    named: bool,
}

/// How the engine ended, for the thread that cleans up.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) result: Result<Stopped, ConsumerError>,
    /// Whether the poller's thread has ended.
    pub(crate) poller_ended: bool,
    /// The arbiters on which a worker has not ended: they cannot be joined.
    pub(crate) stuck_arbiters: Vec<usize>,
}

/// Where workers and tracker are, once they are started.
pub(crate) struct Wire {
    pub(crate) tracker: Addr<OffsetTracker>,
    pub(crate) arbiters: Vec<ArbiterHandle>,
}
/// Employ a worker for this epoch, as soon as the partition's earlier one has ended.
pub(crate) struct StartWorker(pub(crate) Arc<ControlCell>);
/// A worker's pump is no more.
pub(crate) struct WorkerEnded {
    pub(crate) slot: usize,
    pub(crate) epoch: Epoch,
    /// It ended by itself; otherwise it died.
    pub(crate) clean: bool,
}
/// Stop the engine and say this was why.
pub(crate) struct EngineFailed(pub(crate) ConsumerError);
/// Stop the engine. `None`: by its own deadline.
pub(crate) struct Shutdown(pub(crate) Option<Duration>);
/// Ring after this time.
pub(crate) struct Alarm {
    pub(crate) after: Duration,
    pub(crate) ring: oneshot::Sender<()>,
}
/// The poller has left the group, if it was in one; its thread ends.
pub(crate) struct PollerEnded(pub(crate) Stopped);

macro_rules! plain_messages {
    ($($message:ty),*) => { $(impl Message for $message { type Result = (); })* };
}
plain_messages!(Wire, StartWorker, WorkerEnded, EngineFailed, Shutdown, Alarm, PollerEnded);

impl ConsumerSupervisor {
    pub(crate) fn new(
        parts: WorkerParts,
        poller: PollerPort,
        board: Arc<Board>,
        finish: oneshot::Sender<Finished>,
    ) -> Self {
        Self {
            namer: Namer::new(board.naming),
            parts,
            poller,
            board,
            tracker: None,
            arbiters: Vec::new(),
            workers: HashMap::new(),
            waiting: HashMap::new(),
            failure: None,
            poller_ended: None,
            finish: Some(finish),
        }
    }

    fn employ(&mut self, cell: Arc<ControlCell>, ctx: &Context<Self>) {
        let lightest = self.arbiters.iter().enumerate().min_by_key(|(_, arbiter)| arbiter.load);
        let (Some(tracker), Some((arbiter, _))) = (self.tracker.clone(), lightest) else {
            return;
        };
        self.arbiters[arbiter].load += 1;
        cell.runs_on(Some(arbiter));
        let slot = cell.slot;
        let io = PumpIo {
            cell: Arc::clone(&cell),
            inbox: Arc::new(Inbox::default()),
            tracker,
            supervisor: ctx.address(),
            board: Arc::clone(&self.board),
            failures: self.parts.failures.clone(),
            breaker: Mutex::new(Breaker::new(self.board.letterbox.as_ref().map(|it| it.limits()).unwrap_or_default())),
            commits: self.parts.commits,
            order: self.parts.order,
            retry_delay: self.board.retry_delay(&cell.partition.topic),
            per_partition: self.parts.per_partition,
            limiter: self.parts.limiter.clone(),
        };
        let watch = DeathWatch { supervisor: ctx.address(), cell: Arc::clone(&cell), ended: false };
        let (workload, poller) = (Arc::clone(&self.parts.workload), self.poller.clone());
        let addr = start_with_capacity(&self.arbiters[arbiter].handle, PartitionWorker::mailbox(&cell), move |_| {
            PartitionWorker::new(workload, io, poller, watch)
        });
        #[cfg(not(feature = "testing"))]
        drop(addr);
        self.workers.insert(
            slot,
            Employed {
                cell,
                arbiter,
                #[cfg(feature = "testing")]
                addr,
            },
        );
    }

    /// Begins the stop, once; a second call only shortens the wait.
    fn stop(&mut self, deadline: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(deadline, |supervisor, _| supervisor.finish());
        if !self.board.stopping.swap(true, Ordering::AcqRel) {
            self.parts.token.cancel();
            self.parts.workload.stopping();
        }
        let plan = DrainPlan::within(deadline, self.parts.listener_deadline, self.parts.commit_deadline);
        self.poller.send(PollerCommand::Stop(plan));
    }

    /// A stop without a deadline of its own does not shorten one that is under way.
    fn stop_by_itself(&mut self, ctx: &mut Context<Self>) {
        if !self.board.stopping.load(Ordering::Acquire) {
            self.stop(self.parts.stop_deadline, ctx);
        }
    }

    fn finish_when_over(&mut self) {
        if self.poller_ended.is_some() && self.workers.is_empty() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let Some(finish) = self.finish.take() else { return };
        let poller_ended = self.poller_ended.is_some();
        let mut stuck_arbiters: Vec<_> = self.workers.values().map(|worker| worker.arbiter).collect();
        stuck_arbiters.sort_unstable();
        stuck_arbiters.dedup();
        let result = match (self.failure.take(), self.poller_ended.take()) {
            (Some(failure), _) => Err(failure),
            (None, Some(stopped)) => {
                for worker in self.workers.values() {
                    let (partition, epoch) = (&worker.cell.partition, worker.cell.epoch.0);
                    warn!(topic = %partition.topic, partition = partition.partition.0, epoch, "a handler has not returned; its thread is left behind");
                }
                Ok(stopped)
            }
            (None, None) => Err(ConsumerError::StopDeadline { detail: "leaving the group had not ended".to_owned() }),
        };
        let _ = finish.send(Finished { result, poller_ended, stuck_arbiters });
    }

    fn name_waiting(&mut self, now: Instant) {
        self.waiting.retain(|_, waiting| !waiting.cell.is_ending());
        for waiting in self.waiting.values_mut() {
            let old = self.workers.get(&waiting.cell.slot);
            if let Some(old) = old
                && !waiting.named
                && now.saturating_duration_since(waiting.since) >= NAME_WAIT
            {
                waiting.named = true;
                let held = old.cell.sample_handlers(now);
                let text = format!("waits for the handler of epoch {}, which has not returned", old.cell.epoch);
                warn!(
                    topic = %old.cell.partition.topic, partition = old.cell.partition.partition.0, epoch = waiting.cell.epoch.0,
                    offset = held.first().map(|held| held.offset), "the partition {text}"
                );
                waiting.cell.set_last_error(text);
            }
        }
    }
}

impl Actor for ConsumerSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1 << 16);
        ctx.run_interval(SAMPLE, |supervisor, _| {
            let now = Instant::now();
            supervisor.namer.look(&supervisor.board, now);
            supervisor.name_waiting(now);
        });
    }
}

impl Handler<Wire> for ConsumerSupervisor {
    type Result = ();

    fn handle(&mut self, Wire { tracker, arbiters }: Wire, _: &mut Context<Self>) {
        self.tracker = Some(tracker);
        self.arbiters = arbiters.into_iter().map(|handle| WorkerArbiter { handle, load: 0 }).collect();
    }
}

impl Handler<StartWorker> for ConsumerSupervisor {
    type Result = ();

    fn handle(&mut self, StartWorker(cell): StartWorker, ctx: &mut Context<Self>) {
        if cell.is_ending() {
            return;
        }
        if self.workers.contains_key(&cell.slot) {
            self.waiting.insert(cell.slot, Waiting { cell, since: Instant::now(), named: false });
        } else {
            self.employ(cell, ctx);
        }
    }
}

impl Handler<WorkerEnded> for ConsumerSupervisor {
    type Result = ();

    fn handle(&mut self, ended: WorkerEnded, ctx: &mut Context<Self>) {
        let known = self.workers.get(&ended.slot).is_some_and(|worker| worker.cell.epoch == ended.epoch);
        if !known {
            return;
        }
        let Some(worker) = self.workers.remove(&ended.slot) else {
            return;
        };
        self.arbiters[worker.arbiter].load -= 1;
        if !ended.clean {
            let cell = &worker.cell;
            error!(topic = %cell.partition.topic, partition = cell.partition.partition.0, epoch = cell.epoch.0, "a worker died");
            Counters::add(&self.board.counters.workers_replaced, 1);
            self.poller.send(PollerCommand::WorkerDied { slot: ended.slot, epoch: ended.epoch });
        }
        if let Some(next) = self.waiting.remove(&ended.slot)
            && !next.cell.is_ending()
        {
            self.employ(next.cell, ctx);
        }
        self.finish_when_over();
    }
}

impl Handler<EngineFailed> for ConsumerSupervisor {
    type Result = ();

    fn handle(&mut self, EngineFailed(failure): EngineFailed, ctx: &mut Context<Self>) {
        if self.failure.is_none() {
            let failure = failure.explained(self.parts.static_member.as_ref());
            let (at, offset) = failure.place();
            error!(topic = at.map(|at| &*at.topic), partition = at.map(|at| at.partition.0), offset, %failure, "the consumer stops");
            self.failure = Some(failure);
        }
        self.stop_by_itself(ctx);
    }
}

impl Handler<Shutdown> for ConsumerSupervisor {
    type Result = ();

    fn handle(&mut self, Shutdown(deadline): Shutdown, ctx: &mut Context<Self>) {
        match deadline {
            Some(deadline) => self.stop(deadline, ctx),
            None => self.stop_by_itself(ctx),
        }
    }
}

impl Handler<Alarm> for ConsumerSupervisor {
    type Result = ();

    fn handle(&mut self, Alarm { after, ring }: Alarm, ctx: &mut Context<Self>) {
        ctx.run_later(after, |_, _| {
            // Whoever it was for may not wait any more.
            let _ = ring.send(());
        });
    }
}

impl Handler<PollerEnded> for ConsumerSupervisor {
    type Result = ();

    fn handle(&mut self, PollerEnded(stopped): PollerEnded, _: &mut Context<Self>) {
        info!(drained = stopped.drained, unfinished = stopped.unfinished.len(), "the consumer has stopped");
        self.poller_ended = Some(stopped);
        self.finish_when_over();
    }
}

/// Kills the worker of a partition: for tests of what follows.
#[cfg(feature = "testing")]
pub(crate) struct KillWorker(pub(crate) crate::ids::TopicPartition);

#[cfg(feature = "testing")]
impl Message for KillWorker {
    type Result = ();
}

#[cfg(feature = "testing")]
impl Handler<KillWorker> for ConsumerSupervisor {
    type Result = ();

    fn handle(&mut self, KillWorker(partition): KillWorker, _: &mut Context<Self>) {
        if let Some(worker) = self.workers.values().find(|worker| worker.cell.partition == partition) {
            worker.addr.do_send(crate::consume::worker::Die);
        }
    }
}
