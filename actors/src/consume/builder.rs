//! The consumer's builder. What is read, and from where, is set in [`reading`]; who handles it in [`handling`]; how it is worked on in
//! [`working`], where what failed waits in [`retrying`]; when it is committed in [`commits`]; how much memory it may take, and what is said of what takes long, in [`bounds`].
//! [`starting`] looks at all of it, and starts the engine.

mod bounds;
mod commits;
mod handling;
mod reading;
mod retrying;
mod starting;
mod working;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::consume::callback::OnCommit;
use crate::consume::commit::CommitPolicy;
use crate::consume::control::Credits;
use crate::consume::dead_letters::DeadLetters;
#[allow(unused_imports)]
use crate::consume::error::ConsumerError;
use crate::consume::failing::FailurePolicy;
use crate::consume::listener::RebalanceListener;
use crate::consume::loading::LoadOffsets;
use crate::consume::membership::Keeper;
use crate::consume::naming::NamingLimits;
use crate::consume::poller::{OnLogRewind, OnOffsetOutOfRange};
use crate::consume::properties::Properties;
use crate::consume::resolver::AutoOffsetReset;
use crate::consume::retry_topics::RetryTopics;
use crate::consume::route::Routes;
use crate::consume::start::StartAt;
use crate::ids::TopicPartition;
use crate::order::Order;

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

    /// [`property`](Self::property) for each of these, in turn: of a name that comes twice the last value counts, and so it does of two names of one property
    /// (`max.partition.fetch.bytes`, `fetch.message.max.bytes`).
    pub fn properties<N, V>(self, properties: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        properties.into_iter().fold(self, |builder, (name, value)| builder.property(name, value))
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
