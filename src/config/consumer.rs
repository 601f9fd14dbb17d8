use std::time::Duration;

use serde::{Deserialize, Serialize};
use troupe_actors::consume::{
    AutoOffsetReset, CommitWhen, Consumer, ConsumerBuilder, DeadLetters, OnDeadLetterFailure, OnExhausted, OnLogRewind,
    OnOffsetOutOfRange, Order, RetryTopics, StartAt,
};
use troupe_actors::ids::TopicPartition;

use super::properties::Properties;
use super::settings::{SettingDoc, settings};
use super::value::{commit_when, duration, number, partitions, retry_topics, size, start_at};

settings! {
    /// What a consumer is told from outside its code: the table `[consumer]`. Each field is the [`ConsumerBuilder`]'s method of its name, but
    /// for `max_retry_pause`, the second argument of [`retry_pause`](ConsumerBuilder::retry_pause).
    ConsumerConfig;

    /// The topics to read. A name that begins with `^` is a regular expression, for members of a group. Needed, unless `partitions` says
    /// what is read.
    topics: Vec<String> = Vec::new(), none, "a list of names";

    /// The partitions to read, instead of topics: these and no others, whatever the group's other members do.
    #[serde(with = "partitions")]
    partitions: Vec<TopicPartition> = Vec::new(), none, "a list, as in `[\"orders:0\"]`";

    /// The group, which remembers how far it came and shares the topics' partitions out among its members. Needed, unless the consumer is
    /// `standalone`.
    group_id: Option<String> = None, none, "a name";

    /// No group: every partition, and nothing committed. Not the default, for a group that was forgotten must not end in work that nobody
    /// remembers.
    standalone: bool = false, "false", "`true`, `false`";

    /// Where a partition starts that this process has for the first time. What the group has committed, unless a replay or a leap is asked
    /// for: a file outlives its first start, and whatever else stands here is done again at each one.
    #[serde(with = "start_at")]
    start_at: StartAt = StartAt::Committed, "committed",
        "`committed`, `earliest`, `latest`, a time as in `2024-06-30T18:00:00+02:00`, or milliseconds since 1970";

    /// Where a partition starts of which the group has committed nothing. At the log's start nothing is missed; Kafka's own default, the end,
    /// passes over what came before the first start.
    auto_offset_reset: Option<AutoOffsetReset> = None, "earliest", "`earliest`, `latest`, `none`";

    /// In which order the records of a partition are handled. One at a time, by offset, is what a plain loop does and needs no thought; by key
    /// is faster where only the records of one key depend on each other.
    order: Option<Order> = None, "partition", "`partition`, `key`, `unordered`";

    /// Handler calls at once, in all partitions together, where the order allows more than one a partition. A hundred hide the latency of a
    /// service or a database that each record asks, and do not drown it.
    #[serde(deserialize_with = "number::above_zero")]
    concurrency: Option<usize> = None, "100", "a number of calls";

    /// Handler calls at once in one partition, where the order allows more than one. No bound of its own: partitions that have work share
    /// `concurrency` evenly.
    #[serde(deserialize_with = "number::above_zero")]
    partition_concurrency: Option<usize> = None, "as many as in all", "a number of calls";

    /// Threads over which the partitions are spread. One for each processor keeps all of them busy.
    #[serde(deserialize_with = "number::above_zero")]
    worker_threads: Option<usize> = None, "one per processor", "a number of threads";

    /// Records handed out and not finished, per partition; one at its bound is not fetched. About as many small records as one fetch brings,
    /// so that there is work while the next is under way.
    #[serde(deserialize_with = "number::within::<1, 1073741824, _, _>")]
    max_buffered_records: u64 = 8192, "8192", "a number of records";

    /// Bytes of records handed out and not finished, per partition. A few fetches of 1 MiB, small enough for a hundred partitions.
    #[serde(with = "size")]
    max_buffered_bytes: u64 = 4 << 20, "4MiB", "a size, as in `256KiB`";

    /// Records handed out and not finished, in all partitions together; where they are used up, a partition that has none gets a chunk of 512 at
    /// a time. More than a hundred partitions at their own bound.
    #[serde(deserialize_with = "number::above_zero")]
    max_total_buffered_records: u64 = 1_000_000, "1000000", "a number of records";

    /// Bytes of records handed out and not finished, in all partitions together, as their number is. What sixty-four partitions have at their own
    /// bound: with more of them, each gets less.
    #[serde(with = "size")]
    max_total_buffered_bytes: u64 = 256 << 20, "256MiB", "a size, as in `256KiB`";

    /// A warning is logged when an assignment could buffer more than this in all. It limits nothing; 1 GiB is what a small container has.
    #[serde(with = "size")]
    memory_budget: u64 = 1 << 30, "1GiB", "a size, as in `256KiB`";

    /// Records that one poll gives, of an app that pulls instead of having a handler. Java's number.
    #[serde(deserialize_with = "number::above_zero")]
    max_poll_records: usize = 500, "500", "a number of records";

    /// The pause before a failed record is tried again; it doubles with each attempt, and up to half of it is taken off at random. Long enough
    /// for a connection to come back.
    #[serde(with = "duration")]
    retry_pause: Duration = Duration::from_millis(100), "100ms", "a duration, as in `250ms`";

    /// The longest pause between attempts. A service that is back after an outage is noticed within it.
    #[serde(with = "duration")]
    max_retry_pause: Duration = Duration::from_secs(10), "10s", "a duration, as in `250ms`";

    /// How often a record fails before it counts as exhausted; 4294967295 is for ever. Ten take about half a minute: longer than a restart
    /// of what it depends on, short enough to be told of a record that never works.
    #[serde(deserialize_with = "number::above_zero")]
    max_attempts: u32 = 10, "10", "a number of attempts";

    /// What becomes of a record whose attempts are exhausted: the consumer ends, or its partition stops until it is resumed. To end is what
    /// nobody overlooks; the record is lost in neither case.
    on_exhausted: OnExhausted = OnExhausted::Stop, "stop", "`stop`, `stop_partition`";

    /// Topics in which records wait that have failed `max_attempts` times, one after the other, until they are tried again; after the last they go
    /// to `dead_letter_topic`. They have to exist, and each group needs its own. None, for what waits there is overtaken.
    #[serde(with = "retry_topics")]
    retry_topics: Vec<(String, Duration)> = Vec::new(), none, "a list, as in `[\"orders.retry-10s=10s\", \"orders.retry-5m=5m\"]`";

    /// Whether retry topics may be used in an order, which they give up for what waits there. To be said, for nobody should lose an order
    /// unawares.
    allow_reordering: bool = false, "false", "`true`, `false`";

    /// The topic that takes records which have failed as often as they may, cannot be decoded, or are given up by the handler; `on_exhausted`
    /// has no say then. It has to exist. None, for only a person knows which topic may hold such records, and for how long.
    dead_letter_topic: Option<String> = None, none, "a name";

    /// What becomes of a record that cannot be written there: it is tried again for as long as it takes, and holds the watermark; or the
    /// consumer ends. To wait costs nothing but time, and is told in log and state.
    on_dead_letter_failure: OnDeadLetterFailure = OnDeadLetterFailure::Block, "block", "`block`, `stop`";

    /// Dead letters that one partition may have in a row; the consumer ends at the record that would be one more. A hundred are no bad record
    /// but a bad deploy; 4294967295 is no limit.
    #[serde(deserialize_with = "number::above_zero")]
    max_dead_letters_in_a_row: u32 = 100, "100", "a number of records";

    /// The share of dead letters among the last `dead_letter_window` records of a partition that may not be exceeded; 1 is no limit. When half
    /// of them fail, the others are to be doubted too.
    #[serde(deserialize_with = "number::share")]
    max_dead_letter_ratio: f64 = 0.5, "0.5", "a number, 0 to 1";

    /// The records of which `max_dead_letter_ratio` is a share. As many as make a share mean something.
    #[serde(deserialize_with = "number::above_zero")]
    dead_letter_window: u32 = 1000, "1000", "a number of records";

    /// When finished work is committed: at an interval, whenever a partition has finished so many records, or a
    /// chunk; or only when the app says so. A tenth of a second of work is what a crash repeats; ten small requests a second cost a broker
    /// nothing.
    #[serde(with = "commit_when")]
    commit_when: CommitWhen = CommitWhen::Interval(Duration::from_millis(100)), "100ms",
        "a duration, as in `250ms`; a count, as in `500 records`; `chunk`; `manual`";

    /// Whether a partition waits for the answer to a commit before it begins its next record. It makes the repeats of a crash fewer by one
    /// round trip's, at the price of standing still meanwhile.
    await_commits: bool = false, "false", "`true`, `false`";

    /// Bytes of commits that the whole group writes per second; beyond, they become rarer. Only what is remembered above unfinished records
    /// weighs that much, and 1 MiB leaves a broker alone.
    #[serde(with = "size")]
    commit_rate: u64 = 1 << 20, "1MiB", "a size, as in `256KiB`";

    /// Leaves commits to librdkafka, which commits what was handed out, finished or not: a crash loses records. For comparisons.
    client_auto_commit: bool = false, "false", "`true`, `false`";

    /// How long a partition that is given up may take to finish what its handler holds; what is unfinished then is repeated elsewhere. Short,
    /// for this consumer fetches nothing meanwhile.
    #[serde(with = "duration")]
    drain_deadline: Duration = Duration::from_secs(3), "3s", "a duration, as in `250ms`";

    /// How long the last commit of a partition may take. Brokers answer within milliseconds; an ailing one must not hold up the group.
    #[serde(with = "duration")]
    commit_deadline: Duration = Duration::from_secs(2), "2s", "a duration, as in `250ms`";

    /// How long a call of the app's rebalance listener may hold up an assignment or a last commit. This consumer fetches nothing meanwhile.
    #[serde(with = "duration::above_zero")]
    listener_deadline: Duration = Duration::from_secs(2), "2s", "a duration, as in `250ms`";

    /// How long a stop may take. Within the 30 s that Kubernetes gives a process.
    #[serde(with = "duration")]
    stop_deadline: Duration = Duration::from_secs(25), "25s", "a duration, as in `250ms`";

    /// For how long a handler may hold a record, or a record the watermark, before it is named in log and state. Longer than what is only busy.
    #[serde(with = "duration")]
    slow_record_after: Duration = Duration::from_secs(60), "1m", "a duration, as in `250ms`";

    /// For how long a handler may keep its thread from other partitions before it is named with its record. Handlers should await, not block.
    #[serde(with = "duration")]
    blocked_thread_after: Duration = Duration::from_secs(5), "5s", "a duration, as in `250ms`";

    /// What to do when a log goes back, because its topic was created again or its end was cut off. To stop, for otherwise records are
    /// processed twice unnoticed.
    on_log_rewind: OnLogRewind = OnLogRewind::Stop, "stop", "`stop`, `continue`";

    /// What to do when the log no longer has what a partition was to go on with. To fail, for otherwise records are lost unnoticed.
    on_offset_out_of_range: OnOffsetOutOfRange = OnOffsetOutOfRange::Fail, "fail", "`fail`, `earliest`, `latest`";
}

impl ConsumerConfig {
    /// A builder with these settings, to which code adds the handler, and what only code can say. What it sets wins.
    pub fn builder(&self) -> ConsumerBuilder {
        self.apply(Consumer::builder())
    }

    /// Sets on `builder` all that is set here; where nothing is set and the default depends, it is left as it is.
    pub fn apply(&self, builder: ConsumerBuilder) -> ConsumerBuilder {
        let mut builder = builder
            .start_at(self.start_at.clone())
            .max_buffered_records(self.max_buffered_records)
            .max_buffered_bytes(self.max_buffered_bytes)
            .max_total_buffered_records(self.max_total_buffered_records)
            .max_total_buffered_bytes(self.max_total_buffered_bytes)
            .memory_budget(self.memory_budget)
            .max_poll_records(self.max_poll_records)
            .retry_pause(self.retry_pause, self.max_retry_pause)
            .max_attempts(self.max_attempts)
            .on_exhausted(self.on_exhausted)
            .dead_letters(
                DeadLetters::perhaps_to(self.dead_letter_topic.clone())
                    .on_failure(self.on_dead_letter_failure)
                    .max_in_a_row(self.max_dead_letters_in_a_row)
                    .max_ratio(self.max_dead_letter_ratio, self.dead_letter_window),
            )
            .retry_topics(RetryTopics::new(self.retry_topics.iter().cloned()))
            .commit_when(self.commit_when)
            .await_commits(self.await_commits)
            .commit_rate(self.commit_rate)
            .drain_deadline(self.drain_deadline)
            .commit_deadline(self.commit_deadline)
            .listener_deadline(self.listener_deadline)
            .stop_deadline(self.stop_deadline)
            .slow_record_after(self.slow_record_after)
            .blocked_thread_after(self.blocked_thread_after)
            .on_log_rewind(self.on_log_rewind)
            .on_offset_out_of_range(self.on_offset_out_of_range);
        if !self.topics.is_empty() {
            builder = builder.topics(&self.topics);
        }
        if !self.partitions.is_empty() {
            builder = builder.partitions(self.partitions.iter().cloned());
        }
        if let Some(group) = &self.group_id {
            builder = builder.group_id(group);
        }
        if self.standalone {
            builder = builder.standalone();
        }
        if let Some(reset) = self.auto_offset_reset {
            builder = builder.auto_offset_reset(reset);
        }
        if let Some(order) = self.order {
            builder = builder.order(order);
        }
        if let Some(calls) = self.concurrency {
            builder = builder.concurrency(calls);
        }
        if let Some(calls) = self.partition_concurrency {
            builder = builder.partition_concurrency(calls);
        }
        if let Some(threads) = self.worker_threads {
            builder = builder.worker_threads(threads);
        }
        if self.allow_reordering {
            builder = builder.allow_reordering();
        }
        if self.client_auto_commit {
            builder = builder.client_auto_commit();
        }
        self.kafka.iter().fold(builder, |builder, (name, value)| builder.property(name, value))
    }
}
