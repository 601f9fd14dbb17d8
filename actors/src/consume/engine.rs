//! Puts the parts of a consumer together, and takes them apart again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, System};
use crossbeam_channel::Receiver;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::consume::assignment::Slots;
use crate::consume::callback::{Callback, OnCommit};
use crate::consume::command::{PollerCommand, PollerPort};
use crate::consume::commit::CommitPolicy;
use crate::consume::context::PollerContext;
use crate::consume::control::Budget;
use crate::consume::dead_letters::Letterbox;
use crate::consume::error::{ConsumerError, Stopped};
use crate::consume::failing::FailurePolicy;
use crate::consume::handle::ConsumerHandle;
use crate::consume::listener::RebalanceListener;
use crate::consume::membership::Membership;
use crate::consume::naming::NamingLimits;
use crate::consume::native::CommitQueue;
use crate::consume::poller::{Identities, Outbox, Poller, PollerOptions, Rebalance, Seeks};
use crate::consume::properties::configuration;
use crate::consume::resolver::{Resolver, ResolverOptions};
use crate::consume::state::Board;
use crate::consume::supervisor::{
    ConsumerSupervisor, EngineFailed, Finished, PollerEnded, Shutdown, Wire, WorkerParts,
};
use crate::consume::teller::Teller;
use crate::consume::wake::{Source, Wake};
use crate::offsets::tracker::{OffsetTracker, TrackerOptions};
use crate::order::Order;
use crate::order::limiter::Limiter;
use crate::order::pump::Workload;
use crate::secret;
use crate::system::start_with_capacity;

/// Everything a consumer is started with.
pub(crate) struct Settings {
    pub(crate) config: ClientConfig,
    pub(crate) membership: Membership,
    pub(crate) starts: ResolverOptions,
    pub(crate) workload: Arc<dyn Workload>,
    pub(crate) threads: usize,
    pub(crate) commits: CommitPolicy,
    pub(crate) order: Order,
    /// Handler calls at once, in all partitions together.
    pub(crate) concurrency: Option<usize>,
    pub(crate) partition_concurrency: usize,
    pub(crate) commit_rate: u64,
    pub(crate) on_commit: Option<OnCommit>,
    pub(crate) listener: Option<Arc<dyn RebalanceListener>>,
    pub(crate) stop_deadline: Duration,
    pub(crate) naming: NamingLimits,
    pub(crate) failures: FailurePolicy,
    pub(crate) letterbox: Option<Letterbox>,
    pub(crate) token: CancellationToken,
    pub(crate) poller: PollerOptions,
}

/// How a consumer ended, once it has.
pub(crate) type Ending = Option<Result<Stopped, ConsumerError>>;

/// Starts the threads: the actor system's own, where the supervisor lives; the tracker's arbiter; the workers' arbiters; poller, resolver, and
/// the callbacks' own.
pub(crate) fn start(mut settings: Settings) -> Result<ConsumerHandle, ConsumerError> {
    let wake = Arc::new(Wake::new());
    let created = settings.config.create_with_context(PollerContext::default());
    // Not rdkafka's words: they repeat the value, which may be a secret.
    let mut consumer: BaseConsumer<PollerContext> = created.map_err(|error| configuration(secret::refusal(&error)))?;
    consumer.set_nonempty_callback({
        let wake = Arc::clone(&wake);
        move || wake.source(Source::Main)
    });
    let memory = &settings.poller.memory;
    info!(
        worst_case_per_partition_mib = memory.worst_case(1) >> 20,
        handed_out_mib = memory.in_all.bytes >> 20,
        budget_mib = memory.budget >> 20,
        partitions_within_budget = memory.partitions_within_budget(),
        "a consumer starts: what it buffers is bounded"
    );
    let budget = Arc::new(Budget::new(memory.in_all, Arc::clone(&wake)));
    let mut board = Board::new(settings.membership, budget);
    board.naming = settings.naming;
    board.letterbox = settings.letterbox.take().map(Arc::new);
    let board = Arc::new(board);
    let (ending, ended) = watch::channel(None);
    let (started, starting) = std::sync::mpsc::sync_channel(1);
    let (commands, inbox) = crossbeam_channel::unbounded();
    let port = PollerPort::new(commands, Arc::clone(&wake));
    let token = settings.token.clone();
    let parts =
        Parts { settings, wake, consumer: Arc::new(consumer), board: Arc::clone(&board), port: port.clone(), inbox };
    let system = std::thread::Builder::new().name("troupe-system".to_owned()).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| parts.run(|actors| drop(started.send(actors)))));
        let result =
            result.unwrap_or_else(|_| Err(ConsumerError::Engine { detail: "the actor system panicked".to_owned() }));
        let _ = ending.send(Some(result));
    });
    let system = system.map_err(|error| ConsumerError::Start { reason: error.to_string() })?;
    match starting.recv() {
        Ok((supervisor, tracker)) => Ok(ConsumerHandle::new(supervisor, tracker, port, board, ended, token)),
        // The sender was dropped: the system ends without ever having run, and says why last.
        Err(_) => {
            let _ = system.join();
            Err(match ended.borrow().clone() {
                Some(Err(error)) => error,
                _ => ConsumerError::Start { reason: "the actor system did not start".to_owned() },
            })
        }
    }
}

struct Parts {
    settings: Settings,
    wake: Arc<Wake>,
    consumer: Arc<BaseConsumer<PollerContext>>,
    board: Arc<Board>,
    port: PollerPort,
    inbox: Receiver<PollerCommand>,
}

/// The arbiters and threads that a running consumer has.
struct Running {
    finished: oneshot::Receiver<Finished>,
    tracker: Arbiter,
    tracks: Addr<OffsetTracker>,
    workers: Vec<Arbiter>,
    poller: JoinHandle<()>,
}

impl Parts {
    /// Runs the actor system on this thread until the consumer has ended.
    fn run(
        self,
        started: impl FnOnce((Addr<ConsumerSupervisor>, Addr<OffsetTracker>)),
    ) -> Result<Stopped, ConsumerError> {
        let (token, board) = (self.settings.token.clone(), Arc::clone(&self.board));
        let system = System::new();
        let ran = system.block_on(async {
            let (supervisor, mut running) =
                self.begin().map_err(|error| ConsumerError::Start { reason: error.to_string() })?;
            started((supervisor.clone(), running.tracks.clone()));
            let watch = token.clone();
            actix_rt::spawn(async move {
                watch.cancelled().await;
                supervisor.do_send(Shutdown(None));
            });
            let finished = (&mut running.finished).await;
            Ok::<_, ConsumerError>((finished, running))
        });
        let (finished, running) = match ran {
            Ok(ran) => ran,
            Err(error) => {
                // Ends the arbiters that had been started.
                System::current().stop();
                let _ = system.run();
                return Err(error);
            }
        };
        token.cancel();
        board.letterbox.iter().for_each(|letterbox| letterbox.close());
        let finished = finished.map_err(|_| ConsumerError::Engine { detail: "the supervisor died".to_owned() })?;
        // A thread on which a handler has not returned cannot be joined; it ends when the handler does.
        for (number, arbiter) in running.workers.into_iter().enumerate() {
            arbiter.stop();
            if !finished.stuck_arbiters.contains(&number) {
                let _ = arbiter.join();
            }
        }
        running.tracker.stop();
        let _ = running.tracker.join();
        if finished.poller_ended {
            let _ = running.poller.join();
        }
        finished.result
    }

    fn begin(self) -> std::io::Result<(Addr<ConsumerSupervisor>, Running)> {
        let Self { settings, wake, consumer, board, port, inbox } = self;
        let (finish, finished) = oneshot::channel();
        let parts = WorkerParts {
            workload: settings.workload,
            failures: settings.failures,
            commits: settings.commits,
            order: settings.order,
            per_partition: settings.partition_concurrency,
            limiter: settings.concurrency.map(|most| Arc::new(Limiter::new(most))),
            listener_deadline: settings.poller.listener_deadline,
            commit_deadline: settings.poller.commit_deadline,
            stop_deadline: settings.stop_deadline,
            token: settings.token,
            static_member: settings.poller.static_member.clone(),
        };
        // Not `new`, which panics where a thread cannot be had.
        let tracker_arbiter = Arbiter::try_new()?;
        let workers = (0..settings.threads).map(|_| Arbiter::try_new()).collect::<std::io::Result<Vec<_>>>()?;
        let supervisor = ConsumerSupervisor::new(parts, port.clone(), Arc::clone(&board), finish).start();
        let callback = settings.on_commit.map(|call| Callback::start(call, Arc::clone(&board))).transpose()?;
        let options = TrackerOptions {
            policy: settings.commits,
            commit_rate: settings.commit_rate,
            group: settings.poller.group.clone(),
            callback,
            listened: settings.listener.is_some(),
        };
        let tracker = start_with_capacity(&tracker_arbiter.handle(), OffsetTracker::MAILBOX, {
            let (port, supervisor, board) = (port.clone(), supervisor.clone(), Arc::clone(&board));
            move |_| OffsetTracker::new(port, supervisor, board, options)
        });
        let arbiters = workers.iter().map(Arbiter::handle).collect();
        supervisor.do_send(Wire { tracker: tracker.clone(), arbiters });
        let resolver = Resolver::start(Arc::clone(&consumer), settings.starts, Arc::clone(&board), port.clone())?;
        let teller = settings.listener.map(|listener| Teller::start(listener, port, Arc::clone(&board))).transpose()?;
        let poller_tracker = tracker.clone();
        let poller = std::thread::Builder::new().name("troupe-poll".to_owned()).spawn({
            let supervisor = supervisor.clone();
            let options = settings.poller;
            move || {
                let (ends, tracker) = (supervisor.clone(), poller_tracker);
                let ran = catch_unwind(AssertUnwindSafe(move || {
                    let now = Instant::now();
                    Poller {
                        _close_on_drop: consumer.context().close_on_drop(),
                        slots: Slots::default(),
                        commit_queue: CommitQueue::new(&consumer, &wake),
                        consumer,
                        resolver,
                        teller,
                        options,
                        wake,
                        commands: inbox,
                        tracker,
                        supervisor,
                        board,
                        rebalance: Rebalance::default(),
                        identities: Identities::new(now),
                        seeks: Seeks::default(),
                        last_epoch: 0,
                        outbox: Outbox::default(),
                        more: Vec::new(),
                        main_served: now,
                        ends_read: now,
                        unfinished: Vec::new(),
                        committed_at_end: true,
                    }
                    .run();
                }));
                if ran.is_err() {
                    ends.do_send(EngineFailed(ConsumerError::Engine { detail: "the poller panicked".to_owned() }));
                    ends.do_send(PollerEnded(Stopped { drained: false, unfinished: Vec::new() }));
                }
            }
        })?;
        Ok((supervisor, Running { finished, tracker: tracker_arbiter, tracks: tracker, workers, poller }))
    }
}
