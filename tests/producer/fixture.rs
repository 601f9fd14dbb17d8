//! What these tests share: a mock cluster, a reader of what is in its log, and waits that end.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset as ReadFrom, TopicPartitionList};
use troupe_actors::produce::{Confirmation, Producer, ProducerBuilder, ProducerRecord, Sender};

use crate::log;

/// No wait of these tests is to come near it.
pub const LONG: Duration = Duration::from_secs(30);
/// A linger or timeout that no test outlives.
pub const AGES: Duration = Duration::from_secs(3600);

pub type Cluster = MockCluster<'static, DefaultProducerContext>;

pub fn cluster(topics: &[(&str, i32)]) -> Cluster {
    log::keep();
    let cluster = MockCluster::new(1).unwrap();
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 1).unwrap();
    }
    cluster
}

pub fn producer(cluster: &Cluster) -> ProducerBuilder {
    Producer::builder().bootstrap_servers(cluster.bootstrap_servers())
}

pub async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("ends in time")
}

/// Waits for a condition, polling it.
pub async fn until(mut condition: impl FnMut() -> bool) {
    in_time(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub fn is_pending(confirmation: &mut Confirmation) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(pin!(confirmation).poll(&mut context), Poll::Pending)
}

/// A record as a consumer finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Reads `count` records of a topic from the beginning, in the order of each partition.
pub fn read(cluster: &Cluster, topic: &str, partitions: i32, count: usize) -> Vec<Found> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .set("fetch.wait.max.ms", "5")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, ReadFrom::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let deadline = Instant::now() + LONG;
    let mut found = Vec::new();
    while found.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records read", found.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.unwrap();
        found.push(Found {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            timestamp: message.timestamp().to_millis(),
            headers: message.headers().map_or(Vec::new(), |headers| {
                headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
            }),
        });
    }
    found
}

pub fn number(found: &Found) -> u32 {
    u32::from_be_bytes(found.value.as_deref().unwrap().try_into().unwrap())
}

pub fn four() -> NonZeroU32 {
    NonZeroU32::new(4).unwrap()
}

/// Each key's numbers in the order of the log.
pub fn by_key(found: &[Found]) -> BTreeMap<Vec<u8>, Vec<u32>> {
    let mut keys = BTreeMap::<_, Vec<u32>>::new();
    for record in found {
        let key = record.key.clone().unwrap();
        keys.entry(key).or_default().push(number(record));
    }
    keys
}

/// A producer that knows its topic, and a sender of it, with the broker then gone.
pub async fn cut_off(cluster: &Cluster, builder: ProducerBuilder) -> (Producer, Sender) {
    let producer = builder.start().unwrap();
    let sender = producer.sender();
    in_time(sender.send(ProducerRecord::to("t").value("before"))).await.unwrap();
    // The credit comes back a moment after the confirmation.
    in_time(producer.flush(LONG)).await.unwrap();
    cluster.broker_down(-1).unwrap();
    (producer, sender)
}

pub async fn enqueue_many(sender: &Sender, count: usize) -> Vec<Confirmation> {
    let mut confirmations = Vec::new();
    for _ in 0..count {
        let record = ProducerRecord::to("t").key("k").value("v");
        confirmations.push(sender.enqueue(record).await.unwrap());
    }
    confirmations
}
