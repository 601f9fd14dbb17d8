//! The poller: one plain thread that owns librdkafka's consumer and never waits without a bound.
//!
//! This file is its loop. What it does in it is told by concept: [`drain`] takes chunks out of partition queues, [`commits`] sends commits
//! out of its [`outbox`], [`epochs`] begins epochs, [`identity`] sees to it that a log stays the same, [`rebalance`] answers the group,
//! [`revocation`] gives partitions up, [`telling`] gives the app's listener its turn in both, [`leaving`] says farewell, [`seek`] and [`pause`]
//! do what a person asks.

mod commits;
mod drain;
mod epochs;
mod identity;
mod leaving;
mod outbox;
mod pause;
mod rebalance;
mod revocation;
mod seek;
mod telling;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use actix::dev::ToEnvelope;
use actix::{Handler, Message};
use crossbeam_channel::Receiver;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, info, warn};

pub(crate) use identity::Identities;
pub use identity::{OnLogRewind, OnOffsetOutOfRange};
pub(crate) use outbox::Outbox;
pub(crate) use rebalance::Rebalance;
pub(crate) use seek::Seeks;

use crate::consume::assignment::Slots;
use crate::consume::command::PollerCommand;
use crate::consume::context::{CloseOnDrop, PollerContext};
use crate::consume::error::{ConsumerError, Stopped, UnfinishedRecord};
use crate::consume::membership::StaticMember;
use crate::consume::memory::MemoryBounds;
use crate::consume::native::CommitQueue;
use crate::consume::resolver::Resolver;
use crate::consume::state::{Board, Counters};
use crate::consume::subscription::Subscription;
use crate::consume::supervisor::{ConsumerSupervisor, EngineFailed, PollerEnded};
use crate::consume::teller::Teller;
use crate::consume::wake::{Source, Wake};
use crate::offsets::tracker::OffsetTracker;
use crate::order::Order;
use crate::refused::refused;

/// The longest sleep: nothing that should have woken the poller goes unseen for longer.
const MAX_SLEEP: Duration = Duration::from_millis(100);
/// Events of the main queue at one look, so that records, commands and commits get their turn.
const MAIN_EVENTS: usize = 1000;
/// How often the ends of the logs are read from librdkafka's cache.
const END_OFFSETS: Duration = Duration::from_secs(1);

/// The poller's settings.
#[derive(Debug, Clone)]
pub(crate) struct PollerOptions {
    pub(crate) subscription: Subscription,
    pub(crate) static_member: Option<StaticMember>,
    /// The group's protocol is the consumer protocol (KIP-848).
    pub(crate) new_protocol: bool,
    /// The group's name, for what is said.
    pub(crate) group: String,
    pub(crate) drain_deadline: Duration,
    /// Nothing where there is no listener.
    pub(crate) listener_deadline: Duration,
    pub(crate) commit_deadline: Duration,
    pub(crate) on_log_rewind: OnLogRewind,
    pub(crate) on_offset_out_of_range: OnOffsetOutOfRange,
    pub(crate) memory: MemoryBounds,
    /// For those who look at a record and its chunk alone.
    pub(crate) order: Order,
}

/// See the module. Its fields drop in order: queues before the consumer they are of.
pub(crate) struct Poller {
    pub(crate) _close_on_drop: CloseOnDrop,
    pub(crate) slots: Slots,
    pub(crate) commit_queue: CommitQueue,
    pub(crate) consumer: Arc<BaseConsumer<PollerContext>>,
    pub(crate) resolver: Resolver,
    pub(crate) teller: Option<Teller>,
    pub(crate) options: PollerOptions,
    pub(crate) wake: Arc<Wake>,
    pub(crate) commands: Receiver<PollerCommand>,
    pub(crate) tracker: Addr<OffsetTracker>,
    pub(crate) supervisor: Addr<ConsumerSupervisor>,
    pub(crate) board: Arc<Board>,
    pub(crate) rebalance: Rebalance,
    pub(crate) identities: Identities,
    pub(crate) seeks: Seeks,
    pub(crate) last_epoch: u64,
    pub(crate) outbox: Outbox,
    /// Slots whose last drain left something behind: librdkafka's wake-up is edge-triggered and will not tell again.
    pub(crate) more: Vec<u64>,
    pub(crate) main_served: Instant,
    pub(crate) ends_read: Instant,
    pub(crate) unfinished: Vec<UnfinishedRecord>,
    /// The last commit of a stop went through, as far as it has been tried.
    pub(crate) committed_at_end: bool,
}

impl Poller {
    /// Polls until the engine has stopped and the group is left.
    pub(crate) fn run(mut self) {
        self.wake.attach();
        match &self.options.subscription {
            Subscription::Topics(topics) if self.board.membership.is_member() => self.subscribe(topics),
            _ => self.begin_by_hand(),
        }
        let mut woke = true;
        while !self.rebalance.is_stopped() || !self.may_leave(Instant::now()) {
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
            if ready.has(Source::Budget) {
                self.retry_all();
            }
            self.check_rebalance(now);
            self.check_seeks(now);
            self.check_identities(now);
            if now.duration_since(self.ends_read) >= END_OFFSETS {
                self.ends_read = now;
                self.read_end_offsets();
                self.check_credits();
                self.retry_repositions();
                self.pass_lost();
            }
            woke = !self.drain_ready();
            if woke {
                std::thread::park_timeout(
                    self.rebalance.next_deadline(now).map_or(MAX_SLEEP, |wait| wait.min(MAX_SLEEP)),
                );
                Counters::add(&self.board.counters.wakes, 1);
            }
        }
        self.close();
    }

    fn subscribe(&self, topics: &[String]) {
        let topics: Vec<_> = topics.iter().map(String::as_str).collect();
        if let Err(error) = self.consumer.subscribe(&topics) {
            self.fail(kafka_error(&error, format!("subscribing to {topics:?}")));
        }
        if self.options.new_protocol {
            info!(
                "group.protocol=consumer (KIP-848) is experimental with librdkafka 2.12: rebalances may stand still for minutes"
            );
        }
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
            committed_at_end,
            options,
            ..
        } = self;
        // A live queue or list of librdkafka's would make its close wait for ever.
        slots.clear();
        drop(commit_queue);
        resolver.stop();
        if let Some(member) = options.static_member.filter(|_| consumer.client().fatal_error().is_none()) {
            let (instance, group, session_timeout_ms) = (member.instance, member.group, member.session_timeout_ms);
            let until = if session_timeout_ms.is_some() {
                "session.timeout.ms"
            } else {
                "the broker's group.consumer.session.timeout.ms"
            };
            info!(
                instance,
                group,
                session_timeout_ms,
                until,
                "a static member stops: its partitions wait for it, and go to others after that"
            );
        }
        rebalance.answer_before_close(&consumer);
        consumer.context().close();
        drop(consumer);
        board.partitions.clear();
        let drained = unfinished.is_empty() && committed_at_end;
        supervisor.do_send(PollerEnded(Stopped { drained, unfinished }));
    }

    /// Events only: every partition's records have a queue of their own.
    fn serve_main(&mut self, now: Instant) {
        // One event a poll. `None` also follows a rebalance, a log line or statistics, so look for their notes, and again; but not for ever,
        // for a client that is set to log much logs as fast as it is read.
        for _ in 0..MAIN_EVENTS {
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
                    self.note_client_commits();
                    let events = self.consumer.context().take_events();
                    if events.is_empty() && !self.consumer.context().take_served() {
                        return;
                    }
                    for event in events {
                        self.on_rebalance(event, now);
                    }
                }
            }
        }
        // The queue's wake-up is edge-triggered and will not tell of the rest.
        self.wake.source(Source::Main);
    }

    fn on_client_error(&mut self, error: &KafkaError) {
        use RDKafkaErrorCode as E;
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::GroupAuthorizationFailed) && self.board.membership.needs_no_group() {
            // librdkafka looks for the coordinator of its group's name, whether it has a use for one or not.
            debug!(%error, "no group is needed");
            return;
        }
        let reason = self.consumer.context().take_reason();
        let doing = match code {
            Some(E::GroupAuthorizationFailed) => {
                format!("no permission for group {}: an ACL must allow Read ({reason})", self.options.group)
            }
            Some(E::TopicAuthorizationFailed) => format!(
                "no permission for one of the topics {}: an ACL must allow Read ({reason})",
                self.options.subscription.listed()
            ),
            // Also in the midst of work: the login that was good until now is good no more.
            Some(code) if refused(code, &reason) => format!("the brokers refused the connection: {reason}"),
            Some(E::InconsistentGroupProtocol) => format!(
                "group {} shares no partition.assignment.strategy with this member, or another kind of client uses its \
                 name: name one that all its members have ({reason})",
                self.options.group
            ),
            Some(E::ClusterAuthorizationFailed | E::FencedInstanceId | E::UnreleasedInstanceId | E::InvalidTopic) => {
                format!("consuming: {reason}")
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => format!("consuming: {reason}"),
            _ => {
                warn!(%error, "the client reports an error and goes on");
                return;
            }
        };
        self.fail(kafka_error(error, doing));
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
                PollerCommand::LedgerClosed { slot, epoch, watermark, remembered } => {
                    self.on_ledger_closed(slot, epoch, watermark, remembered);
                }
                PollerCommand::Resolved(resolution) => self.on_resolved(resolution, now),
                PollerCommand::Identified(identification) => self.on_identified(identification, now),
                PollerCommand::Seek(seek) => self.on_seek(seek, now),
                PollerCommand::Found(places) => self.on_found(places, now),
                PollerCommand::Pause { partitions, paused } => self.pause(&partitions, paused),
                PollerCommand::Commit(commit) => {
                    self.outbox.push(commit);
                    self.submit_next(now);
                }
                PollerCommand::Drained { id, finished } => self.on_drained(id, finished, now),
                PollerCommand::ListenerAnswered(answer) => self.on_listener_answered(answer, now),
                PollerCommand::DrainEnded { id, commits } => {
                    if !self.on_seek_drained(id) {
                        self.on_drain_ended(id, commits, now);
                    }
                }
                PollerCommand::Stop(plan) => self.on_stop(plan, now),
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
            self.fail(ConsumerError::Engine { detail: format!("the offset tracker takes no messages: {error}") });
        }
    }
}

pub(crate) fn kafka_error(error: &KafkaError, doing: String) -> ConsumerError {
    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
    ConsumerError::Kafka { code, detail: format!("{doing}: {error}") }
}
