//! The consumer's builder. What is read, and from where, is set in [`reading`]; how it is worked on in [`working`], where what failed
//! waits in [`retrying`]; when it is committed in [`commits`]; how much memory it may take, and what is said of what takes long, in [`bounds`].

mod bounds;
mod commits;
mod reading;
mod retrying;
mod working;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::consume::batch::{BatchBounds, IntoOutcomes};
use crate::consume::callback::OnCommit;
use crate::consume::commit::CommitPolicy;
use crate::consume::control::Credits;
use crate::consume::dead_letters::{DeadLetters, Letterbox};
use crate::consume::engine;
use crate::consume::error::ConsumerError;
use crate::consume::failing::FailurePolicy;
use crate::consume::handle::{ConsumerHandle, on_the_clock};
use crate::consume::handler::{AsyncHandler, Handler, IntoOutcome, PartitionContext};
use crate::consume::listener::RebalanceListener;
use crate::consume::loading::LoadOffsets;
use crate::consume::membership::{Keeper, Membership};
use crate::consume::memory::MemoryBounds;
use crate::consume::naming::NamingLimits;
use crate::consume::poller::{OnLogRewind, OnOffsetOutOfRange, PollerOptions};
use crate::consume::properties::{Properties, configuration};
use crate::consume::record::Record;
use crate::consume::resolver::{AutoOffsetReset, ResolverOptions};
use crate::consume::retry_topics::RetryTopics;
use crate::consume::route::{Route, Routes};
use crate::consume::start::StartAt;
use crate::ids::TopicPartition;
use crate::order::Order;
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

/// Sets up a [`Consumer`]. Each method's text gives the default, its unit and what it trades.
#[must_use = "a builder does nothing until start()"]
pub struct ConsumerBuilder {
    properties: Properties,
    topics: Vec<String>,
    partitions: Vec<TopicPartition>,
    standalone: bool,
    keeper: Keeper,
    start_at: StartAt,
    reset: Option<AutoOffsetReset>,
    routes: Routes,
    runtime: Option<Handle>,
    threads: Option<usize>,
    credits: Credits,
    total_credits: Credits,
    memory_budget: u64,
    commits: CommitPolicy,
    commit_rate: u64,
    order: Option<Order>,
    concurrency: Option<usize>,
    partition_concurrency: Option<usize>,
    max_poll_records: usize,
    on_commit: Option<OnCommit>,
    listener: Option<Arc<dyn RebalanceListener>>,
    listener_deadline: Duration,
    load: Option<LoadOffsets>,
    drain_deadline: Duration,
    commit_deadline: Duration,
    stop_deadline: Duration,
    naming: NamingLimits,
    failures: FailurePolicy,
    dead_letters: DeadLetters,
    retry_topics: RetryTopics,
    allow_reordering: bool,
    on_log_rewind: OnLogRewind,
    on_offset_out_of_range: OnOffsetOutOfRange,
    token: CancellationToken,
}

impl Default for ConsumerBuilder {
    fn default() -> Self {
        Self {
            properties: Properties::default(),
            topics: Vec::new(),
            partitions: Vec::new(),
            standalone: false,
            keeper: Keeper::default(),
            start_at: StartAt::default(),
            reset: None,
            routes: Routes::default(),
            runtime: None,
            threads: None,
            credits: Credits { records: 8192, bytes: 4 << 20 },
            total_credits: Credits { records: 1_000_000, bytes: 256 << 20 },
            memory_budget: 1 << 30,
            commits: CommitPolicy::default(),
            commit_rate: 1 << 20,
            order: None,
            concurrency: None,
            partition_concurrency: None,
            max_poll_records: 500,
            on_commit: None,
            listener: None,
            listener_deadline: Duration::from_secs(2),
            load: None,
            drain_deadline: Duration::from_secs(3),
            commit_deadline: Duration::from_secs(2),
            stop_deadline: Duration::from_secs(25),
            naming: NamingLimits::default(),
            failures: FailurePolicy::default(),
            dead_letters: DeadLetters::perhaps_to(None),
            retry_topics: RetryTopics::default(),
            allow_reordering: false,
            on_log_rewind: OnLogRewind::default(),
            on_offset_out_of_range: OnOffsetOutOfRange::default(),
            token: CancellationToken::new(),
        }
    }
}

impl ConsumerBuilder {
    /// Brokers to begin with, `host:port`, comma-separated. Required.
    pub fn bootstrap_servers(self, servers: impl Into<String>) -> Self {
        self.property("bootstrap.servers", servers)
    }

    /// The consumer group, which remembers how far it came and, with [`topics`](Self::topics), shares their partitions out among its members.
    /// Required, unless the consumer is [`standalone`](Self::standalone).
    ///
    /// How it shares them out is set by [`property`](Self::property), for all members alike:
    /// - `partition.assignment.strategy`: `cooperative-sticky` (here the default), `range` or `roundrobin`. With the last two every rebalance
    ///   takes all partitions away from everyone for a moment.
    /// - `group.protocol=consumer` (KIP-848, brokers from 4.0 on): the broker shares them out, by `group.remote.assignor` (`uniform` or `range`).
    ///   **Experimental**: with librdkafka 2.12, members in the field stood still for minutes in a rebalance, and commits failed with
    ///   STALE_MEMBER_EPOCH, which the engine repeats (fixed in 2.15; Blizzard/node-rdkafka#1146). A broker without it gives the consumer
    ///   nothing, and no error.
    /// - `group.instance.id` makes it a *static* member, which keeps its partitions over a short restart. So when it stops, nobody takes them
    ///   over: they wait for it until `session.timeout.ms` (45 s unless it is set; under KIP-848 the broker's
    ///   `group.consumer.session.timeout.ms`) has passed. The stop logs that. Another consumer that uses its name ends it with
    ///   [`ConsumerError::InstanceFenced`].
    pub fn group_id(self, group: impl Into<String>) -> Self {
        self.property("group.id", group)
    }

    /// Any property of librdkafka's, by its name there. `auto.offset.reset` is [`auto_offset_reset`](Self::auto_offset_reset); those that
    /// the engine must decide itself are refused by [`start`](Self::start), with the reason.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.set(name, value);
        self
    }

    /// [`property`](Self::property) for each of these, in turn: of a name that comes twice the last value counts.
    pub fn properties<N, V>(self, properties: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        properties.into_iter().fold(self, |builder, (name, value)| builder.property(name, value))
    }

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

    /// Tells `listener` of partitions that come and go; see [`RebalanceListener`] for what it may do with that. Default: none.
    pub fn rebalance_listener(mut self, listener: impl RebalanceListener) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// How long a call of the [listener](Self::rebalance_listener) may hold up an assignment or a last commit. Default: 2 s, and at a stop at
    /// most a fifth of its deadline. What comes later does not count. While it holds them up the member fetches nothing, as in a drain.
    pub fn listener_deadline(mut self, deadline: Duration) -> Self {
        self.listener_deadline = deadline;
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
    ///
    /// While no broker answers, a commit that was under way keeps librdkafka from closing until the session ends (`session.timeout.ms`, 45 s by
    /// default). Such a stop ends with [`ConsumerError::StopDeadline`]; what that commit held is repeated unless it was stored. A session
    /// below the deadline lets it end in time.
    pub fn stop_deadline(mut self, deadline: Duration) -> Self {
        self.stop_deadline = deadline;
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
    pub fn start(self) -> Result<ConsumerHandle, ConsumerError> {
        self.run(None)
    }

    /// With the handlers that were given, or with what an app pulls through.
    fn run(mut self, pulled: Option<Arc<dyn Workload>>) -> Result<ConsumerHandle, ConsumerError> {
        let missing = |what: &str| configuration(format!("{what} is missing"));
        let membership = self.membership()?;
        let mut subscription = self.subscription(membership)?;
        for required in ["bootstrap.servers", "group.id"] {
            if self.properties.get(required).is_none_or(str::is_empty) {
                return Err(missing(required));
            }
        }
        if self.credits.records > MAX_CREDITS {
            return Err(configuration(format!("max_buffered_records must not be above {MAX_CREDITS}")));
        }
        if self.credits.records == 0 || self.credits.bytes == 0 {
            return Err(configuration("max_buffered_records and max_buffered_bytes must be above 0".to_owned()));
        }
        if self.total_credits.records == 0 || self.total_credits.bytes == 0 {
            return Err(configuration(
                "max_total_buffered_records and max_total_buffered_bytes must be above 0".to_owned(),
            ));
        }
        if self.threads == Some(0) {
            return Err(configuration("worker_threads must be above 0".to_owned()));
        }
        if self.listener_deadline.is_zero() {
            return Err(configuration("listener_deadline must be above 0".to_owned()));
        }
        self.check_commits(membership)?;
        self.check_dead_letters(&subscription)?;
        let reset = self.reset(membership)?;
        let order = self.order.unwrap_or_default();
        self.add_retry_topics(&mut subscription, membership, order)?;
        let (concurrency, partition_concurrency) = self.bounds(order)?;
        let workload = match pulled {
            Some(pulled) => pulled,
            None => self.routes.workload(&subscription, membership, order, self.runtime.as_ref())?,
        };
        if self.listener.is_some() && self.properties.new_protocol() {
            // They tell of a member that joined and got nothing.
            self.properties.set_default("statistics.interval.ms", "1000");
        }
        let group = self.properties.get("group.id").filter(|_| membership != Membership::Standalone);
        let letterbox = Letterbox::new(self.dead_letters, self.retry_topics, &self.properties, group)?;
        let listener_deadline = self.listener.as_ref().map_or(Duration::ZERO, |_| on_the_clock(self.listener_deadline));
        engine::start(engine::Settings {
            config: self.properties.client_config(membership.stores())?,
            membership,
            starts: ResolverOptions { start_at: self.start_at, reset, load: self.load },
            workload,
            threads: self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            commits: self.commits,
            commit_rate: self.commit_rate,
            order,
            concurrency,
            partition_concurrency,
            on_commit: self.on_commit,
            listener: self.listener,
            stop_deadline: on_the_clock(self.stop_deadline),
            naming: self.naming,
            failures: self.failures,
            letterbox,
            token: self.token,
            poller: PollerOptions {
                group: self.properties.get("group.id").unwrap_or_default().to_owned(),
                subscription,
                static_member: self.properties.static_member().filter(|_| membership.is_member()),
                new_protocol: self.properties.new_protocol(),
                drain_deadline: on_the_clock(self.drain_deadline),
                listener_deadline,
                commit_deadline: on_the_clock(self.commit_deadline),
                on_log_rewind: self.on_log_rewind,
                on_offset_out_of_range: self.on_offset_out_of_range,
                order,
                memory: MemoryBounds {
                    queue_bytes: self.properties.queue_bytes(),
                    per_partition: self.credits,
                    in_all: self.total_credits,
                    chunk: Credits { records: CHUNK_RECORDS as u64, bytes: CHUNK_BYTES as u64 },
                    budget: self.memory_budget,
                },
            },
        })
    }
}

impl std::fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("properties", &self.properties)
            .field("topics", &self.topics)
            .field("partitions", &self.partitions)
            .field("standalone", &self.standalone)
            .field("keeper", &self.keeper)
            .field("start_at", &self.start_at)
            .field("reset", &self.reset)
            .field("threads", &self.threads)
            .field("credits", &self.credits)
            .field("total_credits", &self.total_credits)
            .field("memory_budget", &self.memory_budget)
            .field("commits", &self.commits)
            .field("commit_rate", &self.commit_rate)
            .field("order", &self.order)
            .field("concurrency", &self.concurrency)
            .field("partition_concurrency", &self.partition_concurrency)
            .field("max_poll_records", &self.max_poll_records)
            .field("listener_deadline", &self.listener_deadline)
            .field("drain_deadline", &self.drain_deadline)
            .field("commit_deadline", &self.commit_deadline)
            .field("stop_deadline", &self.stop_deadline)
            .field("naming", &self.naming)
            .field("failures", &self.failures)
            .field("dead_letters", &self.dead_letters)
            .field("retry_topics", &self.retry_topics)
            .field("allow_reordering", &self.allow_reordering)
            .field("on_log_rewind", &self.on_log_rewind)
            .field("on_offset_out_of_range", &self.on_offset_out_of_range)
            .finish_non_exhaustive()
    }
}
