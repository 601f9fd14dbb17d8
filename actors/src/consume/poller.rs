//! The poller: one plain thread that owns librdkafka's consumer and never waits without a bound.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use actix::dev::ToEnvelope;
use actix::{Handler, Message};
use crossbeam_channel::Receiver;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use tracing::{error, info, warn};

use crate::consume::assignment::{Slots, Stay};
use crate::consume::command::{Commit, Deliver, PollerCommand};
use crate::consume::context::PollerContext;
use crate::consume::control::{ControlCell, Credits};
use crate::consume::error::{ConsumerError, Stopped, UnfinishedRecord};
use crate::consume::guard::PositionGuard;
use crate::consume::native::{CommitQueue, Drained, PartitionQueue, cached_watermarks};
use crate::consume::rebalance::Rebalance;
use crate::consume::record::ChunkBuilder;
use crate::consume::resolver::Resolver;
use crate::consume::state::{Board, Counters};
use crate::consume::supervisor::{ConsumerSupervisor, EngineFailed, PollerEnded, StartWorker};
use crate::consume::wake::{Source, Wake};
use crate::ids::{Epoch, NextOffset, Offset, TopicPartition};
use crate::invariants::At;
use crate::offsets::Tile;
use crate::offsets::tracker::{CloseLedger, CommitAnswered, EpochDrained, EpochStarted, EpochsEnded, OffsetTracker};

/// The longest sleep: nothing that should have woken the poller goes unseen for longer.
const MAX_SLEEP: Duration = Duration::from_millis(100);
/// How often the ends of the logs are read from librdkafka's cache.
const END_OFFSETS: Duration = Duration::from_secs(1);
/// The bound on a seek: it is local to librdkafka and takes microseconds.
const SEEK: Duration = Duration::from_secs(1);

/// What to do when a log goes back: its topic was created again, or it was truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLogRewind {
    /// Stop with [`ConsumerError::LogRewound`]: nothing is processed twice unnoticed.
    #[default]
    Stop,
    /// Begin a new epoch where the log goes on, and say so.
    Continue,
}

/// The poller's settings.
#[derive(Debug, Clone)]
pub(crate) struct PollerOptions {
    pub(crate) topics: Vec<String>,
    pub(crate) credits: Credits,
    pub(crate) chunk_records: usize,
    pub(crate) chunk_bytes: usize,
    pub(crate) drain_deadline: Duration,
    pub(crate) commit_deadline: Duration,
    pub(crate) on_log_rewind: OnLogRewind,
    /// What librdkafka may hold per partition: its queue's limit and one fetch.
    pub(crate) queue_bytes: u64,
    pub(crate) memory_budget: u64,
}

/// See the module. Its fields drop in order: queues before the consumer they are of.
pub(crate) struct Poller {
    pub(crate) slots: Slots,
    pub(crate) commit_queue: CommitQueue,
    pub(crate) consumer: Arc<BaseConsumer<PollerContext>>,
    pub(crate) resolver: Resolver,
    pub(crate) options: PollerOptions,
    pub(crate) wake: Arc<Wake>,
    pub(crate) commands: Receiver<PollerCommand>,
    pub(crate) tracker: Addr<OffsetTracker>,
    pub(crate) supervisor: Addr<ConsumerSupervisor>,
    pub(crate) board: Arc<Board>,
    pub(crate) rebalance: Rebalance,
    pub(crate) last_epoch: u64,
    pub(crate) commit_in_flight: Option<Commit>,
    pub(crate) commits_waiting: VecDeque<Commit>,
    /// Slots whose last drain left something behind: librdkafka's wake-up is edge-triggered and will not tell again.
    pub(crate) more: Vec<u64>,
    pub(crate) main_served: Instant,
    pub(crate) ends_read: Instant,
    pub(crate) unfinished: Vec<UnfinishedRecord>,
}

impl Poller {
    /// Polls until the engine has stopped and the group is left.
    pub(crate) fn run(mut self) {
        self.wake.attach();
        let topics: Vec<_> = self.options.topics.iter().map(String::as_str).collect();
        if let Err(error) = self.consumer.subscribe(&topics) {
            self.fail(kafka_error(&error, format!("subscribing to {topics:?}")));
        }
        let mut woke = true;
        while !self.rebalance.is_stopped() {
            let now = Instant::now();
            let ready = self.wake.take_sources();
            if woke || ready.has(Source::Main) || now.duration_since(self.main_served) >= MAX_SLEEP {
                self.main_served = now;
                self.serve_main(now);
            }
            if ready.has(Source::Commits) {
                self.serve_commits(now);
            }
            if ready.has(Source::Commands) {
                self.serve_commands(now);
            }
            self.check_rebalance(now);
            if now.duration_since(self.ends_read) >= END_OFFSETS {
                self.ends_read = now;
                self.read_end_offsets();
                self.retry_repositions();
            }
            woke = !self.drain_ready();
            if woke {
                std::thread::park_timeout(
                    self.rebalance
                        .next_deadline(now)
                        .map_or(MAX_SLEEP, |wait| wait.min(MAX_SLEEP)),
                );
                Counters::add(&self.board.counters.wakes, 1);
            }
        }
        self.close();
    }

    /// Leaves the group. The consumer's own drop closes it: it polls until closed, and the context unassigns what is still assigned.
    fn close(self) {
        let Self {
            mut slots,
            commit_queue,
            consumer,
            mut resolver,
            rebalance,
            supervisor,
            board,
            unfinished,
            ..
        } = self;
        // A live queue or list of librdkafka's would make its close wait for ever.
        slots.clear();
        drop(commit_queue);
        resolver.stop();
        rebalance.answer_before_close(&consumer);
        consumer.context().close();
        drop(consumer);
        board.partitions.clear();
        supervisor.do_send(PollerEnded(Stopped {
            drained: unfinished.is_empty(),
            unfinished,
        }));
    }

    /// Events only: every partition's records have a queue of their own.
    fn serve_main(&mut self, now: Instant) {
        // One event a poll; `None` also follows a rebalance, so look for its note, and again.
        loop {
            match self.consumer.poll(Duration::ZERO) {
                Some(Ok(leaked)) => {
                    use rdkafka::Message;
                    let detail = format!(
                        "{}-{} offset {} came on the main queue",
                        leaked.topic(),
                        leaked.partition(),
                        leaked.offset()
                    );
                    self.fail(ConsumerError::Engine { detail });
                    return;
                }
                Some(Err(error)) => self.on_client_error(&error),
                None => {
                    let events = self.consumer.context().take_events();
                    if events.is_empty() {
                        return;
                    }
                    for event in events {
                        self.on_rebalance(event, now);
                    }
                }
            }
        }
    }

    fn on_client_error(&mut self, error: &KafkaError) {
        use RDKafkaErrorCode as E;
        let code = error.rdkafka_error_code();
        match (error, code) {
            (KafkaError::MessageConsumptionFatal(_), _)
            | (
                _,
                Some(
                    E::GroupAuthorizationFailed
                    | E::TopicAuthorizationFailed
                    | E::ClusterAuthorizationFailed
                    | E::Authentication,
                ),
            )
            | (_, Some(E::FencedInstanceId | E::InconsistentGroupProtocol | E::InvalidTopic)) => {
                self.fail(kafka_error(error, "consuming".to_owned()));
            }
            _ => warn!(%error, "the client reports an error and goes on"),
        }
    }

    fn serve_commands(&mut self, now: Instant) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                PollerCommand::WorkerReady { slot, epoch, worker } => {
                    if let Some(stay) = self.slots.in_epoch(slot, epoch) {
                        stay.cell.run();
                        stay.worker = Some(worker);
                        // A new queue's bit is set once by hand: what came before it was watched woke nobody.
                        self.wake.slot(slot);
                    }
                }
                PollerCommand::WorkerDied { slot, epoch } => self.on_worker_died(slot, epoch),
                PollerCommand::LedgerClosed { slot, epoch, watermark } => {
                    if let Some(stay) = self.slots.in_epoch(slot, epoch) {
                        stay.reposition = Some(watermark);
                        self.reposition(slot);
                    }
                }
                PollerCommand::Resolved(resolution) => self.on_resolved(resolution, now),
                PollerCommand::Commit(commit) => {
                    self.commits_waiting.push_back(commit);
                    self.submit_next();
                }
                PollerCommand::DrainEnded { id, commit } => self.on_drain_ended(id, commit, now),
                PollerCommand::Stop(plan) => self.on_stop(plan, now),
            }
        }
    }

    /// Sends the next commit if none is in flight, without the partitions that are no longer in the epoch it was built for.
    pub(crate) fn submit_next(&mut self) {
        while self.commit_in_flight.is_none() {
            let Some(mut commit) = self.commits_waiting.pop_front() else {
                return;
            };
            commit
                .entries
                .retain(|entry| self.slots.in_epoch(entry.slot, entry.epoch).is_some());
            let mut list = TopicPartitionList::with_capacity(commit.entries.len());
            let mut listed = Ok(());
            for entry in &commit.entries {
                let owned = self.slots.in_epoch(entry.slot, entry.epoch).map(|stay| stay.cell.epoch);
                let at = At {
                    partition: &entry.partition,
                    epoch: entry.epoch,
                };
                self.board.invariants.commits_owned(at, entry.next, owned);
                listed = listed.and(list.add_partition_offset(
                    &entry.partition.topic,
                    entry.partition.partition.0,
                    ListOffset::Offset(entry.next.0),
                ));
            }
            let sent = match listed {
                _ if commit.entries.is_empty() => Ok(()),
                Err(_) => Err(RDKafkaErrorCode::InvalidArgument),
                Ok(()) => self.commit_queue.submit(&list),
            };
            match sent {
                Ok(()) if commit.entries.is_empty() => self.answer_commit(commit, |_| None),
                Ok(()) => self.commit_in_flight = Some(commit),
                Err(code) => self.answer_commit(commit, |_| Some(code)),
            }
        }
    }

    fn serve_commits(&mut self, now: Instant) {
        while let Some(answer) = self.commit_queue.poll() {
            let Some(commit) = self.commit_in_flight.take() else {
                continue;
            };
            let id = commit.id;
            self.answer_commit(commit, |partition| {
                let own = answer.partitions.iter().find(|(each, _)| each == partition);
                own.map_or(answer.error, |(_, code)| code.or(answer.error))
            });
            self.on_commit_answered(id, now);
            self.submit_next();
        }
    }

    fn answer_commit(&self, commit: Commit, result: impl Fn(&TopicPartition) -> Option<RDKafkaErrorCode>) {
        let results = commit.entries.into_iter().map(|entry| {
            let result = result(&entry.partition);
            (entry, result)
        });
        self.tell_tracker(CommitAnswered {
            id: commit.id,
            results: results.collect(),
        });
    }

    /// A worker that nobody told to end. In a drain it counts as drained: it will report nothing more.
    fn on_worker_died(&mut self, slot: usize, epoch: Epoch) {
        let Some(stay) = self.slots.in_epoch(slot, epoch) else {
            return;
        };
        stay.worker = None;
        stay.cell.fence();
        if self.rebalance.is_draining(slot) {
            self.tell_tracker(EpochDrained { slot, epoch });
        } else {
            self.tell_tracker(CloseLedger { slot, epoch });
        }
    }

    fn retry_repositions(&mut self) {
        let waiting: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, stay)| stay.reposition.is_some())
            .map(|(slot, _)| slot)
            .collect();
        for slot in waiting {
            self.reposition(slot);
        }
    }

    /// Seeks, and begins a new epoch there. What does not succeed is tried again; until then the partition is not drained.
    fn reposition(&mut self, slot: usize) {
        if self.rebalance.is_draining(slot) {
            return;
        }
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let Some(position) = stay.reposition else { return };
        let (partition, old) = (stay.cell.partition.clone(), Arc::clone(&stay.cell));
        let number = partition.partition.0;
        if let Err(error) = self
            .consumer
            .seek(&partition.topic, number, ListOffset::Offset(position.0), SEEK)
        {
            warn!(topic = %partition.topic, partition = number, offset = position.0, %error, "a seek failed and is tried again");
            stay.cell.set_last_error(format!("seek to {position}: {error}"));
            return;
        }
        self.tell_tracker(EpochsEnded(vec![(slot, old.epoch)]));
        let cell = self.new_epoch(
            partition,
            slot,
            position,
            old.committed().filter(|committed| *committed <= position),
        );
        if let Some(stay) = self.slots.get_mut(slot) {
            stay.reposition = None;
            stay.guard = PositionGuard::new(position);
            stay.cell = Arc::clone(&cell);
        }
        self.begin(cell);
    }

    fn new_epoch(
        &mut self,
        partition: TopicPartition,
        slot: usize,
        start: NextOffset,
        committed: Option<NextOffset>,
    ) -> Arc<ControlCell> {
        self.last_epoch += 1;
        let (epoch, wake) = (Epoch(self.last_epoch), Arc::clone(&self.wake));
        Arc::new(ControlCell::new(
            partition,
            epoch,
            slot,
            start,
            committed,
            self.options.credits,
            wake,
        ))
    }

    /// Puts a partition that has just been assigned into its slot, and has a worker started.
    pub(crate) fn admit(
        &mut self,
        partition: TopicPartition,
        slot: usize,
        queue: PartitionQueue,
        start: NextOffset,
        committed: Option<NextOffset>,
    ) {
        let cell = self.new_epoch(partition, slot, start, committed);
        self.slots.put(
            slot,
            Stay {
                cell: Arc::clone(&cell),
                queue,
                guard: PositionGuard::new(start),
                worker: None,
                reposition: None,
                average: 128,
            },
        );
        self.begin(cell);
    }

    fn begin(&self, cell: Arc<ControlCell>) {
        info!(topic = %cell.partition.topic, partition = cell.partition.partition.0, epoch = cell.epoch.0, offset = cell.start.0, "a partition starts");
        self.board.partitions.insert(cell.partition.clone(), Arc::clone(&cell));
        self.tell_tracker(EpochStarted(Arc::clone(&cell)));
        self.supervisor.do_send(StartWorker(cell));
    }

    /// Drains each ready partition once, one chunk each; says whether there is more to do.
    fn drain_ready(&mut self) -> bool {
        let mut busy = false;
        self.more.resize(self.slots.words(), 0);
        for word in 0..self.more.len() {
            let mut bits = std::mem::take(&mut self.more[word]) | self.wake.take_slots(word);
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if self.drain(word * 64 + bit) {
                    self.more[word] |= 1 << bit;
                    busy = true;
                }
            }
        }
        busy
    }

    /// Takes one chunk out of a partition's queue and hands it to the worker, if the partition has credits; says whether there may be more.
    fn drain(&mut self, slot: usize) -> bool {
        let Some(stay) = self.slots.get_mut(slot) else {
            return false;
        };
        if stay.worker.is_none() || stay.reposition.is_some() || stay.cell.is_ending() {
            return false;
        }
        let room = stay.cell.room();
        let waiting = stay.queue.len();
        if room == 0 || waiting == 0 {
            return false;
        }
        let records = self.options.chunk_records.min(room as usize);
        let bytes = self.options.chunk_bytes.min(stay.cell.room_bytes() as usize);
        let mut chunk = ChunkBuilder::new(records, bytes, waiting, stay.average);
        let from = stay.guard.expected();
        let drained = stay.queue.drain(&mut chunk, &mut stay.guard);
        if drained.refetched > 0 || drained.error.is_some() || drained.rewind.is_some() {
            self.on_anomaly(slot, &drained);
            if drained.rewind.is_some() {
                return false;
            }
        }
        self.hand_out(slot, chunk, from, drained.end);
        drained.more
    }

    /// Makes a chunk of what was drained and sends it to the partition's worker.
    fn hand_out(&mut self, slot: usize, chunk: ChunkBuilder, from: NextOffset, end: Option<NextOffset>) {
        let Some(stay) = self.slots.get_mut(slot) else { return };
        if let Some(end) = end {
            stay.cell.set_end_offset(end.0);
        }
        let tile = Tile::new(from, stay.guard.expected());
        if tile.is_empty() {
            return;
        }
        if !chunk.is_empty() {
            stay.average = (stay.average * 7 + chunk.arena.len() / chunk.index.len()) / 8 + 1;
        }
        let chunk = chunk.finish(stay.cell.partition.clone(), stay.cell.epoch, tile);
        let in_use = stay.cell.take(chunk.credit_records(), chunk.arena.len() as u64);
        let counters = &self.board.counters;
        Counters::add(&counters.delivered, chunk.len() as u64);
        Counters::add(&counters.chunks, 1);
        let at = At {
            partition: &stay.cell.partition,
            epoch: stay.cell.epoch,
        };
        self.board
            .invariants
            .credits_exact(at, in_use, in_use, stay.cell.credits.records);
        if stay.cell.end_offset().is_none()
            && let Some((_, high)) = cached_watermarks(&self.consumer, &stay.cell.partition)
        {
            stay.cell.set_end_offset(high);
        }
        let sent = stay
            .worker
            .as_ref()
            .map(|worker| worker.try_send(Deliver(Arc::new(chunk))));
        match sent {
            // Closed: the worker died; its death watch tells the supervisor, and the new epoch fetches these records again.
            Some(Ok(()) | Err(actix::prelude::SendError::Closed(_))) | None => {}
            Some(Err(actix::prelude::SendError::Full(_))) => {
                let detail = format!("the mailbox of the worker of {} is full", stay.cell.partition);
                self.fail(ConsumerError::Engine { detail });
            }
        }
    }

    #[cold]
    fn on_anomaly(&mut self, slot: usize, drained: &Drained) {
        Counters::add(&self.board.counters.refetched, drained.refetched);
        if let Some((code, text)) = &drained.error {
            self.on_partition_error(slot, *code, text);
        }
        if let Some((expected, found)) = drained.rewind {
            self.on_rewind(slot, expected, found);
        }
    }

    fn on_partition_error(&mut self, slot: usize, code: RDKafkaErrorCode, text: &str) {
        use RDKafkaErrorCode as E;
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let (partition, position) = (stay.cell.partition.clone(), stay.guard.expected());
        stay.cell.set_last_error(format!("{code}: {text}"));
        warn!(topic = %partition.topic, partition = partition.partition.0, offset = position.0, error = %code, text, "a partition reports an error");
        match code {
            E::AutoOffsetReset | E::OffsetOutOfRange => {
                self.fail(ConsumerError::OffsetOutOfRange {
                    partition,
                    position,
                    detail: text.to_owned(),
                });
            }
            E::TopicAuthorizationFailed | E::Fatal => {
                self.fail(ConsumerError::Kafka {
                    code,
                    detail: format!("{partition}: {text}"),
                });
            }
            _ => {}
        }
    }

    fn on_rewind(&mut self, slot: usize, expected: NextOffset, found: Offset) {
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let partition = stay.cell.partition.clone();
        Counters::add(&self.board.counters.rewinds, 1);
        stay.cell.fence();
        stay.worker = None;
        error!(topic = %partition.topic, partition = partition.partition.0, expected = expected.0, found = found.0, "the log went back");
        match self.options.on_log_rewind {
            OnLogRewind::Stop => self.fail(ConsumerError::LogRewound {
                partition,
                expected,
                found,
            }),
            OnLogRewind::Continue => {
                stay.reposition = Some(NextOffset(found.0));
                self.reposition(slot);
            }
        }
    }

    fn read_end_offsets(&self) {
        for (_, stay) in self.slots.iter() {
            if let Some((_, high)) = cached_watermarks(&self.consumer, &stay.cell.partition) {
                stay.cell.set_end_offset(high);
            }
        }
    }

    pub(crate) fn fail(&self, error: ConsumerError) {
        self.supervisor.do_send(EngineFailed(error));
    }

    /// A tracker that takes no messages any more is the end of exact commits: it stops the engine loudly.
    pub(crate) fn tell_tracker<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        OffsetTracker: Handler<M>,
        actix::Context<OffsetTracker>: ToEnvelope<OffsetTracker, M>,
    {
        if let Err(error) = self.tracker.try_send(message) {
            self.fail(ConsumerError::Engine {
                detail: format!("the offset tracker takes no messages: {error}"),
            });
        }
    }
}

pub(crate) fn kafka_error(error: &KafkaError, doing: String) -> ConsumerError {
    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
    ConsumerError::Kafka {
        code,
        detail: format!("{doing}: {error}"),
    }
}
