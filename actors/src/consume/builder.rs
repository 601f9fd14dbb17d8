//! The consumer's builder.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::consume::callback::OnCommit;
use crate::consume::commit::{CommitPolicy, CommitReport, CommitWhen};
use crate::consume::control::Credits;
use crate::consume::engine;
use crate::consume::error::ConsumerError;
use crate::consume::handle::{ConsumerHandle, on_the_clock};
use crate::consume::handler::{Handler, IntoOutcome, PartitionContext};
use crate::consume::membership::{Keeper, Membership};
use crate::consume::poller::{OnLogRewind, PollerOptions};
use crate::consume::properties::{Properties, configuration};
use crate::consume::record::Record;
use crate::consume::resolver::{AutoOffsetReset, LoadOffsets, ResolverOptions};
use crate::consume::retry::RetrySchedule;
use crate::consume::workload::{AsyncWorkload, PartitionWorkload, SyncWorkload};
use crate::ids::{NextOffset, TopicPartition};
use crate::order::pump::Workload;

/// The most credits a partition may have: what a mailbox can be made for.
const MAX_CREDITS: u64 = 1 << 30;
/// Records of a chunk; larger ones are slower, for they fall out of the processor's cache.
pub(crate) const CHUNK_RECORDS: usize = 512;
/// Bytes that end a chunk.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// librdkafka assigns nothing to a client without a `group.id`. This one is never joined, nor committed to.
const STANDALONE: &str = "troupe-standalone";

/// A member of a consumer group, or a [standalone](ConsumerBuilder::standalone) consumer, that processes partitions in parallel and commits exactly what is processed.
///
/// ```no_run
/// use troupe_actors::consume::{Consumer, Outcome, Record};
///
/// # fn main() -> Result<(), troupe_actors::consume::ConsumerError> {
/// let consumer = Consumer::builder()
///     .bootstrap_servers("localhost:9092")
///     .group_id("billing")
///     .topics(["orders"])
///     .handler(|record: &Record| {
///         println!("{} {}", record.topic_partition(), record.offset());
///         Outcome::Done
///     })
///     .start()?;
/// consumer.wait_blocking()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer;

impl Consumer {
    /// A builder with the defaults that its methods name.
    pub fn builder() -> ConsumerBuilder {
        ConsumerBuilder::default()
    }
}

type MakeWorkload = Box<dyn FnOnce(Option<Handle>) -> Result<Arc<dyn Workload>, ConsumerError> + Send>;

/// Sets up a [`Consumer`]. Each method's text gives the default, its unit and what it trades.
#[must_use = "a builder does nothing until start()"]
pub struct ConsumerBuilder {
    properties: Properties,
    topics: Vec<String>,
    membership: Membership,
    reset: Option<AutoOffsetReset>,
    make: Option<MakeWorkload>,
    runtime: Option<Handle>,
    threads: Option<usize>,
    credits: Credits,
    memory_budget: u64,
    commits: CommitPolicy,
    commit_rate: u64,
    on_commit: Option<OnCommit>,
    load: Option<LoadOffsets>,
    drain_deadline: Duration,
    commit_deadline: Duration,
    stop_deadline: Duration,
    retry_pause: RetrySchedule,
    on_log_rewind: OnLogRewind,
    token: CancellationToken,
}

impl Default for ConsumerBuilder {
    fn default() -> Self {
        Self {
            properties: Properties::default(),
            topics: Vec::new(),
            membership: Membership::default(),
            reset: None,
            make: None,
            runtime: None,
            threads: None,
            credits: Credits { records: 8192, bytes: 4 << 20 },
            memory_budget: 1 << 30,
            commits: CommitPolicy::default(),
            commit_rate: 1 << 20,
            on_commit: None,
            load: None,
            drain_deadline: Duration::from_secs(3),
            commit_deadline: Duration::from_secs(2),
            stop_deadline: Duration::from_secs(25),
            retry_pause: RetrySchedule::default(),
            on_log_rewind: OnLogRewind::default(),
            token: CancellationToken::new(),
        }
    }
}

impl ConsumerBuilder {
    /// Brokers to begin with, `host:port`, comma-separated. Required.
    pub fn bootstrap_servers(self, servers: impl Into<String>) -> Self {
        self.property("bootstrap.servers", servers)
    }

    /// The consumer group. Required, unless the consumer is [`standalone`](Self::standalone).
    pub fn group_id(self, group: impl Into<String>) -> Self {
        self.property("group.id", group)
    }

    /// Belongs to no group, instead of [`group_id`](Self::group_id): the consumer takes every partition of its topics, starts each by
    /// [`auto_offset_reset`](Self::auto_offset_reset), and commits nothing. For a reader that wants everything and leaves no trace.
    ///
    /// Order, bounds, retries and [`state`](ConsumerHandle::state) are as in a group; the watermarks there are how far it came. It has the
    /// partitions that the topics have when it starts: ones added later are not noticed. A topic that does not exist ends it with
    /// [`ConsumerError::UnknownTopic`].
    ///
    /// It has to be said, for a group that was merely forgotten must not end in work that nobody remembers.
    pub fn standalone(mut self) -> Self {
        self.membership = Membership::Standalone;
        self
    }

    /// The topics to subscribe to. Required: at least one. A name that begins with `^` is a regular expression, for members of a group.
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Any property of librdkafka's, by its name there. `auto.offset.reset` is [`auto_offset_reset`](Self::auto_offset_reset); those that
    /// the engine must decide itself are refused by [`start`](Self::start), with the reason.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.set(name, value);
        self
    }

    /// Where partitions start for which the group has committed nothing, and those of a standalone consumer. Default: [`AutoOffsetReset::Earliest`].
    pub fn auto_offset_reset(mut self, reset: AutoOffsetReset) -> Self {
        self.reset = Some(reset);
        self
    }

    /// A closure per record, called on the engine's worker threads: one record at a time per partition, in offset order, partitions in
    /// parallel. It should compute, not wait: it holds up the other partitions of its thread.
    pub fn handler<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(&Record) -> R + Send + Sync + 'static,
        R: IntoOutcome + 'static,
    {
        let handler = Arc::new(handler);
        self.make = Some(Box::new(|runtime| match runtime {
            Some(_) => Err(configuration(
                "runtime() runs asynchronous handlers only: use async_handler(), or leave it out".to_owned(),
            )),
            None => Ok(Arc::new(SyncWorkload(handler))),
        }));
        self
    }

    /// An asynchronous closure per record: one record at a time per partition, in offset order, partitions in parallel.
    ///
    /// It runs on the engine's worker threads, or on the app's runtime with [`runtime`](Self::runtime). The record may be kept; see
    /// [`Record`] for what that costs.
    pub fn async_handler<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Record) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoOutcome + Send,
    {
        let handler = Arc::new(handler);
        self.make = Some(Box::new(|runtime| Ok(Arc::new(AsyncWorkload { handler, runtime }))));
        self
    }

    /// A handler with state, built for each partition and epoch, on the thread where it then runs; neither it nor its futures need be
    /// `Send`.
    pub fn partition_handler<F, H>(mut self, factory: F) -> Self
    where
        F: Fn(&PartitionContext) -> H + Send + Sync + 'static,
        H: Handler,
    {
        let factory = Arc::new(factory);
        self.make = Some(Box::new(|runtime| match runtime {
            Some(_) => Err(configuration(
                "runtime() takes async_handler() only: a partition's own handler runs where it was built".to_owned(),
            )),
            None => Ok(Arc::new(PartitionWorkload(factory))),
        }));
        self
    }

    /// Runs the asynchronous handler on this runtime, with the same order and bounds. The runtime needs its timer (`enable_time`), and must
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

    /// Records handed out and not finished, per partition, at most. Default: 8,192. A partition at its bound is not fetched; others are.
    pub fn max_buffered_records(mut self, records: u64) -> Self {
        self.credits.records = records;
        self
    }

    /// Bytes of records handed out and not finished, per partition; passed by at most one record. Default: 4 MiB.
    pub fn max_buffered_bytes(mut self, bytes: u64) -> Self {
        self.credits.bytes = bytes;
        self
    }

    /// A warning is logged when an assignment could buffer more than this many bytes in all. Default: 1 GiB. It limits nothing.
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = bytes;
        self
    }

    /// When finished work is committed. Default: every 100 ms. [`CommitWhen`] tells what a crash costs with each.
    pub fn commit_when(mut self, when: CommitWhen) -> Self {
        self.commits.when = when;
        self
    }

    /// Whether a partition waits for the answer to a commit before its next record is begun. Default: no. It has no bearing on
    /// [`CommitWhen::Manual`], where the app awaits what it asks for, or does not.
    pub fn await_commits(mut self, awaited: bool) -> Self {
        self.commits.awaited = awaited;
        self
    }

    /// Called with the answer to each commit request, on a thread of its own, one at a time; it may block, and a panic is logged. Reports of
    /// a callback that falls behind by more than 1,024 are dropped and counted. The last ones may come shortly after
    /// [`wait`](ConsumerHandle::wait) has returned.
    pub fn on_commit(mut self, callback: impl Fn(&CommitReport) + Send + Sync + 'static) -> Self {
        self.on_commit = Some(Arc::new(callback));
        self
    }

    /// How many bytes of commits the whole group writes per second, at most. Default: 1 MiB. Each member has the share of its partitions.
    /// Only metadata can weigh that much: what is finished above unfinished records. Beyond, the time between commits is stretched, as
    /// [`ConsumerState::commits`](crate::consume::ConsumerState::commits) shows.
    pub fn commit_rate(mut self, bytes_per_second: u64) -> Self {
        self.commit_rate = bytes_per_second;
        self
    }

    /// Leaves commits to librdkafka: every `auto.commit.interval.ms` (default 5 s) it commits what was *handed out* to workers.
    ///
    /// A crash then loses what was handed out and not finished, up to [`max_buffered_records`](Self::max_buffered_records) of each partition,
    /// and repeats what was finished since the last commit; so does a session that runs out, whose partitions are others' before the member
    /// hears of it. A stop or a rebalance loses nothing, unless the broker does not answer by the [commit deadline](Self::commit_deadline): the
    /// positions are taken back to what is finished before the last commit. Nothing finished above an unfinished record is remembered. For what
    /// may be lost, and for comparison.
    pub fn client_auto_commit(mut self) -> Self {
        self.membership = Membership::Group(Keeper::Client);
        self
    }

    /// The app keeps the offsets itself, with its results and in one transaction with them; the engine commits nothing. At each assignment
    /// `load` gives the offset of the next record to process of those partitions that the app knows; the others start by
    /// [`auto_offset_reset`](Self::auto_offset_reset).
    ///
    /// `load` is called on a thread that may block, after the partition's earlier owner has given it up (unless that one was cut off: an app
    /// that cannot bear two writers must fence them itself, for instance by a condition on the offset that it replaces). An `Err` or a panic
    /// is logged, and the call repeated, for as long as the partitions are assigned. What it costs in a crash is the app's: nothing, if
    /// results and offset are written together.
    pub fn external_offsets<F, I, E>(mut self, load: F) -> Self
    where
        F: Fn(&[TopicPartition]) -> Result<I, E> + Send + Sync + 'static,
        I: IntoIterator<Item = (TopicPartition, NextOffset)>,
        E: std::fmt::Display,
    {
        self.membership = Membership::Group(Keeper::App);
        self.load = Some(Arc::new(move |partitions: &[TopicPartition]| {
            load(partitions).map(|offsets| offsets.into_iter().collect()).map_err(|error| error.to_string())
        }));
        self
    }

    /// How long a partition that is to be given up may take to finish what its handler holds. Default: 3 s. The member fetches nothing
    /// meanwhile; what is unfinished then is repeated by the next owner.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// How long the last commit of a partition may take. Default: 2 s. Without its answer the next owner repeats what it held.
    pub fn commit_deadline(mut self, deadline: Duration) -> Self {
        self.commit_deadline = deadline;
        self
    }

    /// How long a stop may take that nobody gave a deadline: by token, by a handler, by an error. Default: 25 s, within Kubernetes' 30.
    pub fn stop_deadline(mut self, deadline: Duration) -> Self {
        self.stop_deadline = deadline;
        self
    }

    /// The pauses before a failed record is tried again: the first, doubling up to the second. Default: 100 ms up to 10 s.
    pub fn retry_pause(mut self, first: Duration, most: Duration) -> Self {
        self.retry_pause = RetrySchedule::new(first, most);
        self
    }

    /// What to do when a log goes back. Default: [`OnLogRewind::Stop`].
    pub fn on_log_rewind(mut self, policy: OnLogRewind) -> Self {
        self.on_log_rewind = policy;
        self
    }

    /// A token to share: cancelling it stops the consumer, and the consumer cancels it when it stops, whatever the reason. Pass a child
    /// token to keep the consumer's end from being everyone's. Default: one of its own.
    pub fn cancellation_token(mut self, token: CancellationToken) -> Self {
        self.token = token;
        self
    }

    /// Starts the consumer's threads. It joins its group, or looks up its partitions, in the background; call it from any runtime or none.
    ///
    /// # Errors
    /// [`ConsumerError::Configuration`] when something required is missing or a value is refused, [`ConsumerError::Start`] when a thread
    /// cannot be had. A cluster that cannot be reached is no error: the consumer waits for it, and logs.
    pub fn start(mut self) -> Result<ConsumerHandle, ConsumerError> {
        let missing = |what: &str| configuration(format!("{what} is missing"));
        if self.membership == Membership::Standalone {
            self.be_standalone()?;
        }
        for required in ["bootstrap.servers", "group.id"] {
            if self.properties.get(required).is_none_or(str::is_empty) {
                return Err(missing(required));
            }
        }
        if self.topics.is_empty() {
            return Err(missing("a topic"));
        }
        if self.topics.iter().any(|topic| topic.is_empty() || topic.contains('\0')) {
            return Err(configuration("a topic's name is empty or holds a NUL".to_owned()));
        }
        if self.credits.records > MAX_CREDITS {
            return Err(configuration(format!("max_buffered_records must not be above {MAX_CREDITS}")));
        }
        if self.credits.records == 0 || self.credits.bytes == 0 {
            return Err(configuration("max_buffered_records and max_buffered_bytes must be above 0".to_owned()));
        }
        if self.threads == Some(0) {
            return Err(configuration("worker_threads must be above 0".to_owned()));
        }
        self.check_commits()?;
        let from_property = self.properties.take_offset_reset()?;
        let reset = self.reset.or(from_property).unwrap_or_default();
        if self.membership == Membership::Standalone && reset == AutoOffsetReset::None {
            return Err(configuration(
                "auto_offset_reset is none, and without a group there is no offset to go on from: use earliest or latest".to_owned(),
            ));
        }
        let make = self.make.take().ok_or_else(|| missing("a handler"))?;
        let workload = make(self.runtime.take())?;
        engine::start(engine::Settings {
            config: self.properties.client_config(self.membership.stores())?,
            membership: self.membership,
            starts: ResolverOptions { reset, load: self.load },
            workload,
            threads: self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            commits: self.commits,
            commit_rate: self.commit_rate,
            on_commit: self.on_commit,
            stop_deadline: on_the_clock(self.stop_deadline),
            retry_pause: self.retry_pause,
            token: self.token,
            poller: PollerOptions {
                group: self.properties.get("group.id").unwrap_or_default().to_owned(),
                topics: self.topics,
                credits: self.credits,
                chunk_records: CHUNK_RECORDS,
                chunk_bytes: CHUNK_BYTES,
                drain_deadline: on_the_clock(self.drain_deadline),
                commit_deadline: on_the_clock(self.commit_deadline),
                on_log_rewind: self.on_log_rewind,
                queue_bytes: self.properties.queue_bytes(),
                memory_budget: self.memory_budget,
            },
        })
    }
}

impl ConsumerBuilder {
    fn check_commits(&mut self) -> Result<(), ConsumerError> {
        match &mut self.commits.when {
            CommitWhen::Interval(interval) if interval.is_zero() => {
                return Err(configuration("the commit interval must be above 0".to_owned()));
            }
            CommitWhen::Records(0) => {
                return Err(configuration("a commit every 0 records: use 1 or more".to_owned()));
            }
            CommitWhen::Interval(interval) => *interval = on_the_clock(*interval),
            _ => {}
        }
        if self.commit_rate == 0 {
            return Err(configuration("commit_rate must be above 0".to_owned()));
        }
        let others = self.membership != Membership::default();
        if others && (self.commits != CommitPolicy::default() || self.on_commit.is_some()) {
            return Err(configuration(
                "commit_when, await_commits and on_commit are for commits of the engine's own: leave them out, or standalone, \
                 client_auto_commit or external_offsets"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Refuses what only a group has.
    fn be_standalone(&mut self) -> Result<(), ConsumerError> {
        if let Some(group) = self.properties.get("group.id") {
            return Err(configuration(format!(
                "a standalone consumer has no group: leave out standalone(), or the group {group:?}"
            )));
        }
        if let Some(pattern) = self.topics.iter().find(|topic| topic.starts_with('^')) {
            return Err(configuration(format!(
                "{pattern:?} is a pattern, which only a group's members subscribe to: name the topics of a standalone consumer"
            )));
        }
        self.properties.set("group.id", STANDALONE);
        Ok(())
    }
}

impl std::fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("properties", &self.properties)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}
