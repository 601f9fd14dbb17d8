//! The engine without Kafka, for benchmarks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Recipient};
use crossbeam_channel::Receiver;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::consume::builder::{CHUNK_BYTES, CHUNK_RECORDS};
use crate::consume::command::{Commit, Deliver, PollerCommand, PollerPort};
use crate::consume::commit::{CommitPolicy, CommitWhen};
use crate::consume::control::{Budget, ControlCell, Credits};
use crate::consume::failing::FailurePolicy;
use crate::consume::membership::Membership;
use crate::consume::record::{ChunkBuilder, Record, RecordChunk};
use crate::consume::start::StartPosition;
use crate::consume::state::{Board, CounterState, Counters};
use crate::consume::supervisor::{ConsumerSupervisor, StartWorker, Wire, WorkerParts};
use crate::consume::wake::{Source, Wake};
use crate::consume::workload::{AsyncWorkload, SyncWorkload};
use crate::ids::{Epoch, NextOffset, TopicPartition};
use crate::invariants::InvariantSnapshot;
use crate::offsets::Tile;
use crate::offsets::tracker::{BeginDrain, CommitAnswered, EpochStarted, OffsetTracker, TrackerOptions};
use crate::order::Order;
use crate::order::limiter::Limiter;
use crate::order::pump::Workload;
use crate::system::{SystemThread, start_with_capacity};

/// How long the actors may take to end.
const STOP: Duration = Duration::from_secs(10);

/// The engine without Kafka: supervisor, workers, tracker and control cells are the real ones. Only the poller is played, by the thread that
/// calls [`run`](Self::run): it makes the records up, and answers each commit at once.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct EngineAlone {
    /// Partitions, each with a worker of its own.
    pub partitions: usize,
    /// Threads over which the workers are spread.
    pub worker_threads: usize,
    /// Records of each partition.
    pub records: u64,
    /// Bytes of each record's value.
    pub value_bytes: usize,
    /// Distinct keys, in turn; 0: records have none.
    pub keys: u64,
    /// As in a consumer.
    pub order: Order,
    /// As in a consumer; `None`: as many as there are.
    pub concurrency: Option<usize>,
    /// Records handed out and not finished, per partition.
    pub max_buffered_records: u64,
    /// Bytes of them.
    pub max_buffered_bytes: u64,
    /// As in [`CommitWhen::Interval`].
    pub commit_interval: Duration,
}

/// What a run took and counted.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Measured {
    /// From the first hand-over to the answer of the last commit, which waits for the commit interval to end.
    pub took: Duration,
    /// Of that, what the poller's thread spent on copying records into chunks.
    pub copying: Duration,
    /// The engine's counters.
    pub counters: CounterState,
    /// Breaches of its invariants: all 0, or there is a bug.
    pub invariants: InvariantSnapshot,
}

impl EngineAlone {
    /// Takes all records of all partitions through `handler`, until the last is committed, and stops the actors. A handler that panics
    /// keeps it from ending.
    ///
    /// # Errors
    /// The operating system's, where it refuses a thread.
    ///
    /// # Panics
    /// When the engine fails.
    pub fn run<F>(&self, handler: F) -> std::io::Result<Measured>
    where
        F: Fn(&Record) + Send + Sync + 'static,
    {
        self.run_workload(Arc::new(SyncWorkload(Arc::new(handler))))
    }

    /// The same with an asynchronous handler.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_async<F, Fut>(&self, handler: F) -> std::io::Result<Measured>
    where
        F: Fn(Record) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.run_workload(Arc::new(AsyncWorkload { handler: Arc::new(handler), runtime: None }))
    }

    fn run_workload(&self, workload: Arc<dyn Workload>) -> std::io::Result<Measured> {
        let wake = Arc::new(Wake::new());
        wake.attach();
        let (commands, inbox) = crossbeam_channel::unbounded();
        let port = PollerPort::new(commands, Arc::clone(&wake));
        let board = Arc::new(Board::new(Membership::default(), Budget::unbounded(Arc::clone(&wake))));
        let system = SystemThread::start("troupe-system", 1 + self.worker_threads)?;
        let (tracker_arbiter, workers) = system.arbiters().split_at(1);
        let parts = WorkerParts {
            workload,
            failures: FailurePolicy::default(),
            listener_deadline: Duration::ZERO,
            commit_deadline: STOP,
            commits: CommitPolicy::default(),
            order: self.order,
            per_partition: usize::MAX,
            limiter: self.concurrency.map(|most| Arc::new(Limiter::new(most))),
            stop_deadline: STOP,
            token: CancellationToken::new(),
            static_member: None,
        };
        let (finish, _finished) = oneshot::channel();
        let supervisor = ConsumerSupervisor::start_in_arbiter(system.control(), {
            let (port, board) = (port.clone(), Arc::clone(&board));
            move |_| ConsumerSupervisor::new(parts, port, board, finish)
        });
        let tracker = start_with_capacity(&tracker_arbiter[0], OffsetTracker::MAILBOX, {
            let (supervisor, board) = (supervisor.clone(), Arc::clone(&board));
            let policy = CommitPolicy { when: CommitWhen::Interval(self.commit_interval), awaited: false };
            let options =
                TrackerOptions { policy, commit_rate: 1 << 20, group: String::new(), callback: None, listened: false };
            move |_| OffsetTracker::new(port, supervisor, board, options)
        });
        supervisor.do_send(Wire { tracker: tracker.clone(), arbiters: workers.to_vec() });
        let stays = (0..self.partitions).map(|slot| self.stay(slot, &wake)).collect();
        let mut poller = PlayedPoller {
            stays,
            value: vec![b'v'; self.value_bytes],
            keys: self.keys,
            end: NextOffset(self.records as i64),
            tracker,
            board: Arc::clone(&board),
            wake,
            commands: inbox,
            tracker_runs: false,
            copying: Duration::ZERO,
        };
        for stay in &poller.stays {
            poller.tracker.do_send(EpochStarted(Arc::clone(&stay.cell)));
            supervisor.do_send(StartWorker(Arc::clone(&stay.cell)));
        }
        poller.await_actors();
        let began = Instant::now();
        poller.run();
        let took = began.elapsed();
        for stay in &poller.stays {
            stay.cell.revoke();
        }
        system.stop_and_join(Instant::now() + STOP).map_err(std::io::Error::other)?;
        Ok(Measured {
            took,
            copying: poller.copying,
            counters: board.counters.snapshot(),
            invariants: board.invariants.snapshot(),
        })
    }

    fn stay(&self, slot: usize, wake: &Arc<Wake>) -> Stay {
        let start = NextOffset(0);
        let credits = Credits { records: self.max_buffered_records, bytes: self.max_buffered_bytes };
        let (partition, epoch) = (TopicPartition::new("engine-alone", slot as i32), Epoch(slot as u64 + 1));
        Stay {
            cell: Arc::new(ControlCell::new(
                StartPosition::at(partition, start),
                epoch,
                slot,
                credits,
                Budget::unbounded(Arc::clone(wake)),
            )),
            worker: None,
            position: start,
            committed: start,
        }
    }
}

/// One partition as the played poller sees it.
struct Stay {
    cell: Arc<ControlCell>,
    worker: Option<Recipient<Deliver>>,
    /// The next record to hand out.
    position: NextOffset,
    committed: NextOffset,
}

/// The poller's loop without librdkafka: the same ready bits, credits, messages and sleep.
struct PlayedPoller {
    stays: Vec<Stay>,
    value: Vec<u8>,
    keys: u64,
    /// Behind the last record of each partition.
    end: NextOffset,
    tracker: actix::Addr<OffsetTracker>,
    board: Arc<Board>,
    wake: Arc<Wake>,
    commands: Receiver<PollerCommand>,
    /// It has answered a first message.
    tracker_runs: bool,
    copying: Duration,
}

impl PlayedPoller {
    /// Waits until tracker and workers run: a mailbox holds 16 messages until its actor has started and set its capacity.
    fn await_actors(&mut self) {
        self.tracker.do_send(BeginDrain { id: 0, stays: Vec::new() });
        while !self.tracker_runs || self.stays.iter().any(|stay| stay.worker.is_none()) {
            std::thread::park_timeout(STOP);
            // The bit must be taken, or no later command would wake this thread.
            self.wake.take_sources();
            self.serve_commands();
        }
    }

    fn run(&mut self) {
        let mut more = vec![0; self.stays.len().div_ceil(64)];
        while self.stays.iter().any(|stay| stay.committed < self.end) {
            if self.wake.take_sources().has(Source::Commands) {
                self.serve_commands();
            }
            let mut busy = false;
            for (word, more) in more.iter_mut().enumerate() {
                let mut bits = std::mem::take(more) | self.wake.take_slots(word);
                while bits != 0 {
                    let bit = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    if self.hand_out(word * 64 + bit) {
                        *more |= 1 << bit;
                        busy = true;
                    }
                }
            }
            if !busy {
                std::thread::park_timeout(Duration::from_millis(100));
            }
        }
    }

    fn serve_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                PollerCommand::WorkerReady { slot, worker, .. } => {
                    self.stays[slot].cell.run();
                    self.stays[slot].worker = Some(worker);
                    self.wake.slot(slot);
                }
                PollerCommand::Commit(commit) => self.answer(commit),
                PollerCommand::DrainEnded { .. } => self.tracker_runs = true,
                PollerCommand::Stop(_) => panic!("the engine stopped by itself"),
                _ => {}
            }
        }
    }

    fn answer(&mut self, Commit { id, entries, .. }: Commit) {
        for entry in &entries {
            self.stays[entry.slot].committed = entry.next;
        }
        let results = entries.into_iter().map(|entry| (entry, None)).collect();
        self.tracker.do_send(CommitAnswered { id, results });
    }

    /// Hands one chunk to the partition's worker, if it has credits; says whether there may be more.
    fn hand_out(&mut self, slot: usize) -> bool {
        let stay = &mut self.stays[slot];
        let left = (self.end.0 - stay.position.0) as u64;
        let records = stay.cell.room().records.min(left).min(CHUNK_RECORDS as u64);
        let Some(worker) = stay.worker.as_ref().filter(|_| records > 0) else {
            return false;
        };
        let began = Instant::now();
        let chunk = make_up(&stay.cell, stay.position, records as usize, self.keys, &self.value);
        self.copying += began.elapsed();
        stay.position = chunk.tile.to;
        stay.cell.take(chunk.credit_records(), chunk.credit_bytes());
        Counters::add(&self.board.counters.delivered, records);
        Counters::add(&self.board.counters.chunks, 1);
        // Its partition would never be committed, and the run never end.
        assert!(worker.try_send(Deliver(Arc::new(chunk))).is_ok(), "a worker takes no chunks");
        true
    }
}

/// A chunk of `records` records from `from` on, copied one by one as the poller does.
fn make_up(cell: &ControlCell, from: NextOffset, records: usize, keys: u64, value: &[u8]) -> RecordChunk {
    let to = NextOffset(from.0 + records as i64);
    let mut chunk = ChunkBuilder::new(CHUNK_RECORDS, CHUNK_BYTES, records, value.len());
    for offset in from.0..to.0 {
        let key = (keys > 0).then(|| (offset as u64 % keys.max(1)).to_be_bytes());
        chunk.push(offset, 0, key.as_ref().map(|key| &key[..]), Some(value));
    }
    chunk.finish(cell.partition.clone(), cell.epoch, Tile::new(from, to), cell.revoking.clone())
}
