//! What the tests share: a topic with a group of its name, and the tool, run about them.

use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_troupe::broker::LocalKafka;
use kafka_troupe::ids::{NextOffset, Offset};
use kafka_troupe::offsets::memory::{LogIdentity, Packing, encode};
use kafka_troupe::offsets::{CommittedOffset, FinishedRange, committed_offsets};
use kafka_troupe::{Consumer, ConsumerHandle, Record};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use rdkafka_sys as sys;
use serde_json::Value;

use crate::spawning::{output, starting};

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const STOP: Duration = Duration::from_secs(20);

/// The Kafka of all tests here. It ends with this process.
pub fn kafka() -> &'static LocalKafka {
    static KAFKA: LazyLock<LocalKafka> =
        LazyLock::new(|| starting(LocalKafka::start).unwrap_or_else(|error| panic!("{error}")));
    &KAFKA
}

pub fn skipped() -> bool {
    let skipped = std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip");
    if skipped {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
    }
    skipped
}

/// A topic, and a group of the same name.
pub struct Stage {
    pub servers: String,
    pub topic: String,
    pub partitions: i32,
}

impl Stage {
    /// One on Kafka, whose partitions hold `count` records each.
    pub fn with(partitions: i32, count: i64) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let topic = format!("topic-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        kafka().create_topic(&topic, partitions).unwrap();
        let stage = Self { servers: kafka().bootstrap_servers().to_owned(), topic, partitions };
        stage.produce(count, None);
        stage
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    pub fn member(&self) -> BaseConsumer {
        self.client().set("group.id", &self.topic).create().unwrap()
    }

    /// Appends records to each partition, of this time.
    pub fn produce(&self, count: i64, timestamp: Option<i64>) {
        let producer: BaseProducer = self.client().create().unwrap();
        for number in 0..count {
            for partition in 0..self.partitions {
                let (key, value) = (number.to_string(), "v");
                let mut record = BaseRecord::to(&self.topic).partition(partition).key(&key).payload(value);
                record.timestamp = timestamp;
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Commits for the group, as a client that is no member.
    pub fn plant(&self, commits: &[(i32, i64, &[u8])]) {
        let mut list = TopicPartitionList::new();
        for (partition, offset, _) in commits {
            list.add_partition_offset(&self.topic, *partition, ListOffset::Offset(*offset)).unwrap();
        }
        for (at, (.., metadata)) in commits.iter().enumerate() {
            // SAFETY: librdkafka frees the copy with the list. rdkafka's own setter takes text only.
            unsafe {
                let element = &mut *(*list.ptr()).elems.add(at);
                let copy = sys::rd_kafka_mem_malloc(std::ptr::null_mut(), metadata.len().max(1));
                std::ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
                (element.metadata, element.metadata_size) = (copy, metadata.len());
            }
        }
        let member = self.member();
        eventually("the commits are taken", || coordinated(member.commit(&list, CommitMode::Sync)).is_some());
    }

    /// A memory that fits the topic: without its id, as an owner writes that does not know it.
    pub fn memory(&self, partition: i32, base: i64, finished: &[(i64, i64)]) -> String {
        let cluster = self.member().client().fetch_cluster_id(PATIENCE).unwrap();
        memory(LogIdentity::of(&cluster, &self.topic, None, partition), base, finished)
    }

    pub fn commits(&self) -> Vec<CommittedOffset> {
        let member = self.member();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, self.partitions - 1);
        let mut commits = None;
        eventually("the commits are told", || {
            commits = coordinated(member.committed_offsets(list.clone(), PATIENCE));
            commits.is_some()
        });
        committed_offsets(&commits.unwrap())
    }

    pub fn committed(&self) -> Vec<Option<i64>> {
        self.commits().iter().map(|commit| commit.next.map(|next| next.0)).collect()
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// Deletes the records of each partition below an offset.
    pub fn delete_records(&self, below: i64) {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&self.topic, partition, ListOffset::Offset(below)).unwrap();
        }
        block_on(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
    }

    /// A running member of the group, of either protocol.
    pub fn consumer(&self, protocol: &str) -> ConsumerHandle {
        let builder = Consumer::builder().bootstrap_servers(&self.servers).group_id(&self.topic).topics([&self.topic]);
        let builder = builder.property("group.protocol", protocol).property("client.id", "till");
        builder.handler(|_: &Record| ()).start().unwrap()
    }

    /// `troupe` of these words, and the group and the brokers.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = troupe(words);
        command.args(["--bootstrap-server", &self.servers, "--group", &self.topic]);
        command
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        Ran::of(output(&mut self.command(words)))
    }

    /// The same, which ends well and prints an object.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        let ran = self.run(&[words, &["--json"]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Resets the topic, in earnest, and says what the group has committed then.
    #[track_caller]
    pub fn reset(&self, to: &[&str]) -> Vec<Option<i64>> {
        let ran = self.run(&[&["offsets", "reset", "--topic", &self.topic, "--execute"], to].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        self.committed()
    }
}

pub fn memory(log: LogIdentity, base: i64, finished: &[(i64, i64)]) -> String {
    let runs = finished.iter().map(|(first, last)| FinishedRange { first: Offset(*first), last: Offset(*last) });
    encode(NextOffset(base), runs, log, Packing::Dense, 4095).unwrap()
}

#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The table on stdout, without its header.
    pub fn rows(&self) -> Vec<Vec<&str>> {
        self.stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
    }

    /// It failed like this, without a word on stdout.
    #[track_caller]
    pub fn fails(&self, code: i32, why: &str) {
        assert!(self.code == Some(code) && self.stderr.contains(why) && self.stdout.is_empty(), "{why}: {self:?}");
    }
}

pub fn troupe(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.args(words).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// What became of a call, unless the group's coordinator is only just coming up: that of a Kafka's first groups is.
#[track_caller]
pub fn coordinated<T>(called: KafkaResult<T>) -> Option<T> {
    use RDKafkaErrorCode as E;
    match called {
        Err(error) => match error.rdkafka_error_code() {
            Some(E::NotCoordinator | E::CoordinatorNotAvailable | E::CoordinatorLoadInProgress) => None,
            _ => panic!("{error}"),
        },
        Ok(value) => Some(value),
    }
}

pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
