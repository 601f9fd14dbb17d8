//! What the tests share: a broker with a topic, the tool with workers, and what the workers wrote down.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kafka_troupe::broker::{EmbeddedBroker, LocalKafka};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(60);

pub enum Broker {
    Embedded(EmbeddedBroker),
    Kafka(&'static LocalKafka),
}

/// A topic, and a folder that is the workers' too, as `$DIR`.
pub struct Stage {
    pub broker: Broker,
    pub topic: String,
    pub partitions: i32,
    dir: TempDir,
}

fn kafka() -> &'static LocalKafka {
    static KAFKA: LazyLock<LocalKafka> =
        LazyLock::new(|| LocalKafka::start().unwrap_or_else(|error| panic!("{error}")));
    &KAFKA
}

/// Runs a test on both kinds of broker.
pub fn on_both(test: impl Fn(Stage), partitions: i32, count: usize) {
    test(Stage::with(partitions, count));
    on_kafka(test, partitions, count);
}

/// Runs a test on Apache Kafka, unless `TROUPE_TEST_KAFKA=skip` says not to.
pub fn on_kafka(test: impl Fn(Stage), partitions: i32, count: usize) {
    if std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip") {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
        return;
    }
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let topic = format!("topic-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    kafka().create_topic(&topic, partitions).unwrap();
    let stage = Stage { broker: Broker::Kafka(kafka()), topic, partitions, dir: tempfile::tempdir().unwrap() };
    stage.produce(0..count);
    test(stage);
}

/// The tool: the one under test, or another build of it.
fn troupe() -> Command {
    Command::new(std::env::var_os("TROUPE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_troupe").into()))
}

impl Stage {
    pub fn new(partitions: i32) -> Self {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic("orders", partitions).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Self { broker: Broker::Embedded(broker), topic: "orders".to_owned(), partitions, dir }
    }

    /// One whose partitions hold `count` records each.
    pub fn with(partitions: i32, count: usize) -> Self {
        let stage = Self::new(partitions);
        stage.produce(0..count);
        stage
    }

    fn servers(&self) -> &str {
        match &self.broker {
            Broker::Embedded(broker) => broker.bootstrap_servers(),
            Broker::Kafka(kafka) => kafka.bootstrap_servers(),
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers());
        config
    }

    /// Another topic, of one partition, by its name.
    pub fn another_topic(&self) -> String {
        let topic = format!("{}-other", self.topic);
        match &self.broker {
            Broker::Embedded(broker) => broker.create_topic(&topic, 1).unwrap(),
            Broker::Kafka(kafka) => kafka.create_topic(&topic, 1).unwrap(),
        }
        topic
    }

    /// All records of a topic, as the tool prints them.
    pub fn read(&self, topic: &str) -> Vec<Value> {
        let mut command = troupe();
        command.args([
            "consume",
            "--bootstrap-server",
            self.servers(),
            "--topic",
            topic,
            "--until-end",
            "--json",
            "-q",
        ]);
        let output = output(command.env_remove("RUST_LOG"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A record of each number in each partition, with its number as value, of one of ten keys.
    pub fn produce(&self, numbers: Range<usize>) {
        self.produce_values(numbers.map(|number| (format!("k{}", number % 10), number.to_string().into_bytes())));
    }

    pub fn produce_values(&self, records: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let producer: BaseProducer = self.client().set("message.max.bytes", "4000000").create().unwrap();
        for (key, value) in records {
            for partition in 0..self.partitions {
                while let Err((error, _)) = producer.send(record_of(&self.topic, partition, &key, &value)) {
                    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
                    producer.poll(Duration::from_millis(10));
                }
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// A file's lines; none where there is no file.
    pub fn lines(&self, name: &str) -> Vec<String> {
        std::fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The records that workers wrote to this file.
    pub fn records(&self, name: &str) -> Vec<Value> {
        self.lines(name).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The offsets of each partition in there, in their order.
    pub fn offsets(&self, name: &str) -> BTreeMap<i64, Vec<i64>> {
        let mut offsets = BTreeMap::<_, Vec<_>>::new();
        for record in self.records(name) {
            let number = |name: &str| record[name].as_i64().unwrap();
            offsets.entry(number("partition")).or_default().push(number("offset"));
        }
        offsets
    }

    /// The tool with this command for its workers, in the stage's group unless the arguments name one.
    pub fn command(&self, exec: &str, arguments: &[&str]) -> Command {
        let mut command = self.without_group(exec, arguments);
        if !arguments.contains(&"--group") {
            command.args(["--group", &self.group()]);
        }
        command
    }

    pub fn without_group(&self, exec: &str, arguments: &[&str]) -> Command {
        let mut command = troupe();
        command.args(["consume", "--bootstrap-server", self.servers(), "--topic", &self.topic, "--exec", exec]);
        if let Broker::Embedded(_) = self.broker {
            for (name, value) in EmbeddedBroker::CONSUMER_PROTOCOL_PROPERTIES {
                command.arg("-X").arg(format!("{name}={value}"));
            }
        }
        command.args(arguments).env("DIR", self.dir.path()).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn group(&self) -> String {
        format!("{}-g", self.topic)
    }

    pub fn start(&self, exec: &str, arguments: &[&str]) -> Member {
        let mut child = self.command(exec, arguments).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        Member { child, log: Some(log) }
    }

    /// Runs it to its end.
    pub fn run(&self, exec: &str, arguments: &[&str]) -> (Option<i32>, String) {
        self.start(exec, arguments).ends()
    }

    /// The same, which has to be a good end; what it logged.
    #[track_caller]
    pub fn run_well(&self, exec: &str, arguments: &[&str]) -> String {
        let (code, log) = self.run(exec, arguments);
        assert_eq!(code, Some(0), "{log}");
        log
    }

    /// What the group has committed, by partition.
    pub fn committed(&self) -> BTreeMap<i64, i64> {
        let consumer: BaseConsumer = self.client().set("group.id", self.group()).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, self.partitions - 1);
        let mut committed = None;
        eventually("commits can be read", || {
            committed = consumer.committed_offsets(list.clone(), PATIENCE).ok();
            committed.is_some()
        });
        let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        let committed = committed.unwrap();
        committed.elements().iter().filter_map(|e| Some((e.partition().into(), offset(e.offset())?))).collect()
    }

    /// All of the partitions, committed up to here.
    pub fn all_at(&self, offset: i64) -> BTreeMap<i64, i64> {
        (0..self.partitions.into()).map(|partition| (partition, offset)).collect()
    }

    /// Each partition's offsets up to here, in order.
    pub fn all_below(&self, offset: i64) -> BTreeMap<i64, Vec<i64>> {
        (0..self.partitions.into()).map(|partition| (partition, (0..offset).collect())).collect()
    }
}

/// The tool, running. It dies with the test.
pub struct Member {
    child: Child,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Member {
    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is our child and not yet waited for, so the number is still its own.
        assert_eq!(unsafe { libc::kill(i32::try_from(self.child.id()).unwrap(), signal) }, 0);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its exit code and log.
    pub fn ends(mut self) -> (Option<i32>, String) {
        let mut status = None;
        let until = Instant::now() + PATIENCE;
        while status.is_none() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(10));
            status = self.child.try_wait().unwrap();
        }
        if status.is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        let log = self.log.take().unwrap().join().unwrap();
        let status = status.unwrap_or_else(|| panic!("it does not end:\n{log}"));
        (status.code(), log)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn record_of<'a>(topic: &'a str, partition: i32, key: &'a str, value: &'a [u8]) -> BaseRecord<'a, str, [u8]> {
    BaseRecord::to(topic).partition(partition).key(key).payload(value)
}

/// Whether a process is there and no zombie.
pub fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // Behind the name, which may hold anything.
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// A worker in shell that appends each line to `$DIR/done` before it says so; `before` is what it does first with `$line`.
pub fn journal(before: &str) -> String {
    format!(
        r#"echo $$ >> "$DIR/pids"
        while IFS= read -r line; do {before}
        printf '%s\n' "$line" >> "$DIR/done"; echo ok; done"#
    )
}
