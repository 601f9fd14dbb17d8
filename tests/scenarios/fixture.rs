//! What scenarios share: a broker with a topic, a producer beneath the engine, a journal of what handlers did, and waits that end.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use kafka_troupe::broker::{BrokerError, EmbeddedBroker, LocalKafka};
use kafka_troupe::consume::{CommitWhen, Consumer, ConsumerBuilder, ConsumerHandle, PartitionPhase, Record};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

#[path = "../spawning/mod.rs"]
pub mod spawning;

use spawning::starting;

/// The longest that anything here may take before the test fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition; fails with `what` when it does not come true.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Now, in milliseconds, as records are stamped.
pub fn since_1970() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// The kind of broker that a scenario runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Embedded,
    Kafka,
}

/// Runs a scenario on Apache Kafka, unless `TROUPE_TEST_KAFKA=skip` says not to.
pub fn on_kafka(scenario: fn(On)) {
    if std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip") {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
    } else {
        scenario(On::Kafka);
    }
}

/// The Kafka of all scenarios that do it no harm. It ends with this process.
fn shared_kafka() -> &'static LocalKafka {
    static KAFKA: LazyLock<LocalKafka> =
        LazyLock::new(|| starting(LocalKafka::start).unwrap_or_else(|error| panic!("{error}")));
    &KAFKA
}

#[derive(Clone)]
pub enum Broker {
    Embedded(Arc<EmbeddedBroker>),
    Shared(&'static LocalKafka),
    Own(Arc<LocalKafka>),
}

impl Broker {
    pub fn bootstrap_servers(&self) -> &str {
        match self {
            Self::Embedded(broker) => broker.bootstrap_servers(),
            Self::Shared(kafka) => kafka.bootstrap_servers(),
            Self::Own(kafka) => kafka.bootstrap_servers(),
        }
    }

    /// What a member of a classic group sets so that the group changes fast.
    pub fn consumer_properties(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Embedded(_) => EmbeddedBroker::CONSUMER_PROPERTIES,
            _ => &[
                ("session.timeout.ms", "3000"),
                ("heartbeat.interval.ms", "100"),
                ("reconnect.backoff.ms", "20"),
                ("reconnect.backoff.max.ms", "200"),
            ],
        }
    }

    /// What a member of a group of the new protocol sets.
    pub fn consumer_protocol_properties(&self) -> &'static [(&'static str, &'static str)] {
        EmbeddedBroker::CONSUMER_PROTOCOL_PROPERTIES
    }

    /// For what only the embedded broker can do.
    pub fn embedded(&self) -> &EmbeddedBroker {
        match self {
            Self::Embedded(broker) => broker,
            _ => panic!("this scenario runs on the embedded broker"),
        }
    }

    /// For the harm that is done to a Kafka of the scenario's own.
    pub fn own_kafka(&self) -> &LocalKafka {
        match self {
            Self::Own(kafka) => kafka,
            _ => panic!("this scenario runs on a Kafka of its own"),
        }
    }

    /// Takes its only node down: connections close, and new ones are refused.
    pub fn take_down(&self) {
        match self {
            Self::Embedded(broker) => spawning::take_down(broker, 1),
            _ => self.own_kafka().kill(1),
        }
    }

    /// Brings it up again, with its records.
    pub fn bring_up(&self) {
        match self {
            Self::Embedded(broker) => broker.bring_up(1).unwrap(),
            _ => starting(|| self.own_kafka().restart(1)).unwrap(),
        }
    }
}

/// A broker with one topic.
pub struct Stage {
    pub broker: Broker,
    pub topic: String,
    pub partitions: i32,
}

impl Stage {
    pub fn new(on: On, partitions: i32) -> Self {
        Self::with_topic(on, partitions, &[])
    }

    /// On Kafka a topic with these properties. The embedded broker knows none.
    pub fn with_topic(on: On, partitions: i32, properties: &[(&str, &str)]) -> Self {
        let broker = match on {
            On::Embedded => Broker::Embedded(Arc::new(EmbeddedBroker::start().unwrap())),
            On::Kafka => Broker::Shared(shared_kafka()),
        };
        Self::on(broker, partitions, properties)
    }

    /// On a broker that no other scenario uses, for those that do it harm.
    pub fn alone(on: On, partitions: i32) -> Self {
        match on {
            On::Embedded => Self::new(on, partitions),
            On::Kafka => Self::on(Broker::Own(Arc::new(starting(LocalKafka::start).unwrap())), partitions, &[]),
        }
    }

    pub fn on(broker: Broker, partitions: i32, properties: &[(&str, &str)]) -> Self {
        show_log();
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let topic = format!("topic-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let stage = Self { broker, topic, partitions };
        stage.create_topic_with(properties).unwrap();
        stage
    }

    /// Another topic on the same broker.
    pub fn another_topic(&self, partitions: i32) -> Self {
        Self::on(self.broker.clone(), partitions, &[])
    }

    pub fn create_topic(&self) -> Result<(), BrokerError> {
        self.create_topic_with(&[])
    }

    fn create_topic_with(&self, properties: &[(&str, &str)]) -> Result<(), BrokerError> {
        match &self.broker {
            Broker::Embedded(broker) => broker.create_topic(&self.topic, self.partitions),
            Broker::Shared(kafka) => kafka.create_topic_with(&self.topic, self.partitions, properties),
            Broker::Own(kafka) => kafka.create_topic_with(&self.topic, self.partitions, properties),
        }
    }

    /// The group's name on the broker, which scenarios share.
    pub fn group(&self, group: &str) -> String {
        format!("{}-{group}", self.topic)
    }

    /// A consumer of the topic in group `group`, without a handler yet.
    pub fn consumer(&self, group: &str) -> ConsumerBuilder {
        self.anyone(self.broker.consumer_properties()).group_id(self.group(group))
    }

    /// The same in a group of the new protocol (KIP-848).
    pub fn new_protocol_consumer(&self, group: &str) -> ConsumerBuilder {
        self.anyone(self.broker.consumer_protocol_properties()).group_id(self.group(group))
    }

    /// A consumer of the topic in no group, without a handler yet.
    pub fn standalone(&self) -> ConsumerBuilder {
        self.anyone(self.broker.consumer_properties()).standalone()
    }

    fn anyone(&self, properties: &[(&str, &str)]) -> ConsumerBuilder {
        let builder = Consumer::builder().bootstrap_servers(self.broker.bootstrap_servers()).topics([&self.topic]);
        properties.iter().fold(builder, |builder, (name, value)| builder.property(*name, *value))
    }

    /// A consumer whose session outlasts a busy machine's pauses: for scenarios in which a lost partition would be another story.
    pub fn steady_consumer(&self, group: &str) -> ConsumerBuilder {
        let session = match self.broker {
            Broker::Embedded(_) => "3000",
            _ => "10000",
        };
        self.consumer(group).property("session.timeout.ms", session)
    }

    /// A consumer that is its group's only member for as long as it runs: nobody waits for its session, so that it outlasts any pause.
    pub fn lone_consumer(&self, group: &str) -> ConsumerBuilder {
        self.consumer(group).property("session.timeout.ms", "30000")
    }

    /// A consumer that has handled all `count` records, and committed none: it would in a minute.
    pub fn finished_and_uncommitted(&self, group: &str, journal: &Journal, count: usize) -> ConsumerHandle {
        let notes = journal.clone();
        let builder = self.consumer(group).handler(move |record: &Record| notes.note("a", record));
        let consumer = builder.commit_when(CommitWhen::Interval(Duration::from_secs(60))).start().unwrap();
        eventually("all is handled", || journal.len() == count);
        consumer
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker.bootstrap_servers());
        config
    }

    /// Appends `count` records to each partition: key and value are the record's number in its partition, `value_bytes` long at least.
    pub fn produce(&self, from: usize, count: usize, value_bytes: usize) {
        let partitions: Vec<_> = (0..self.partitions).collect();
        self.produce_to(&partitions, from, count, value_bytes);
    }

    pub fn produce_to(&self, partitions: &[i32], from: usize, count: usize, value_bytes: usize) {
        let producer: BaseProducer =
            self.client().set("linger.ms", "2").set("batch.num.messages", "1000").create().unwrap();
        for number in from..from + count {
            let text = format!("{number:0width$}", width = value_bytes.max(1));
            for partition in partitions {
                let record = BaseRecord::to(&self.topic).partition(*partition).key(&text).payload(&text);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            if number % 500 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Appends records with these numbers to each of the partitions, with the timestamp that each number has, milliseconds since 1970.
    pub fn produce_at(&self, partitions: &[i32], numbers: std::ops::Range<i64>, timestamp: impl Fn(i64) -> i64) {
        let producer: BaseProducer = self.client().create().unwrap();
        for number in numbers {
            let text = number.to_string();
            for partition in partitions {
                let record = BaseRecord::to(&self.topic).partition(*partition).key(&text).payload(&text);
                producer.send(record.timestamp(timestamp(number))).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// The end of each partition's log, by partition: markers count.
    pub fn ends(&self) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let end = |partition| consumer.fetch_watermarks(&self.topic, partition, PATIENCE).unwrap().1;
        (0..self.partitions).map(|partition| (partition, end(partition))).collect()
    }

    /// What the group has committed, by partition.
    pub fn committed(&self, group: &str) -> BTreeMap<i32, i64> {
        self.committed_of(&self.group(group))
    }

    /// The same by the group's full name.
    pub fn committed_of(&self, group: &str) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition(&self.topic, partition);
        }
        let mut committed = None;
        // The first question of all has Kafka create the topic that it keeps them in.
        eventually("committed offsets can be read", || {
            committed = consumer.committed_offsets(list.clone(), PATIENCE).ok();
            committed.is_some()
        });
        let committed = committed.unwrap();
        let offset = |offset| match offset {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        committed.elements().iter().filter_map(|e| Some((e.partition(), offset(e.offset())?))).collect()
    }
}

/// What handlers did, in the order they did it.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Entry>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub member: &'static str,
    pub partition: i32,
    pub offset: i64,
}

impl Journal {
    pub fn note(&self, member: &'static str, record: &Record) {
        self.add(Entry { member, partition: record.partition().0, offset: record.offset().0 });
    }

    pub fn add(&self, entry: Entry) {
        self.0.lock().unwrap().push(entry);
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// The offsets noted of a partition, in order.
    pub fn of(&self, partition: i32) -> Vec<i64> {
        self.entries().iter().filter(|entry| entry.partition == partition).map(|entry| entry.offset).collect()
    }

    /// Distinct records noted.
    pub fn distinct(&self) -> usize {
        let mut all: Vec<_> = self.entries().iter().map(|entry| (entry.partition, entry.offset)).collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    }

    /// Each partition's records 0 to `per_partition` were handled once each, in offset order.
    #[track_caller]
    pub fn assert_exactly_once_in_order(&self, partitions: i32, per_partition: i64) {
        for partition in 0..partitions {
            let offsets = self.of(partition);
            let odd = offsets.iter().zip(0..).find(|(got, want)| **got != *want);
            assert!(
                odd.is_none() && offsets.len() as i64 == per_partition,
                "partition {partition}: {} of {per_partition} records handled; first odd one (got, wanted): {odd:?}",
                offsets.len()
            );
        }
    }
}

/// An asynchronous handler that notes each record after a millisecond of waiting.
pub fn noting_slowly(
    journal: &Journal,
    member: &'static str,
) -> impl Fn(Record) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + use<> {
    let journal = journal.clone();
    move |record| {
        let journal = journal.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            journal.note(member, &record);
        })
    }
}

/// A gate that handlers wait at until a test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, std::sync::Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn wait(&self) {
        let (open, opened) = &*self.0;
        let (guard, timeout) = opened.wait_timeout_while(open.lock().unwrap(), PATIENCE, |open| !*open).unwrap();
        drop(guard);
        assert!(!timeout.timed_out(), "the gate was never opened");
    }
}

/// All that it has is being given up: its handlers finish, and nothing more begins.
pub fn is_revoking(consumer: &ConsumerHandle) -> bool {
    consumer.state().partitions.iter().all(|it| it.phase == PartitionPhase::Revoking)
}

/// Shows what the engine logs where `RUST_LOG` is set: for a look at a scenario that fails.
pub fn show_log() {
    if std::env::var_os("RUST_LOG").is_some() {
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::stderr).try_init();
    }
}
