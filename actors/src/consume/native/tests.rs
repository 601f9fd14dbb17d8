//! The edge to librdkafka, on an embedded cluster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};

use super::*;
use crate::consume::context::PollerContext;
use crate::consume::guard::PositionGuard;
use crate::consume::properties::Properties;
use crate::consume::record::ChunkBuilder;
use crate::ids::{Epoch, NextOffset, Offset};
use crate::offsets::Tile;

const LONG: Duration = Duration::from_secs(20);

fn produce(servers: &str, keys: std::ops::Range<i64>) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    for key in keys {
        let (key, headers) = (key.to_string(), rdkafka::message::OwnedHeaders::new());
        let header = rdkafka::message::Header { key: "h", value: Some("x") };
        let record = BaseRecord::to("t").partition(0).key(&key).payload("value");
        let record = if key.ends_with('7') { record.headers(headers.insert(header)) } else { record };
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LONG).unwrap();
}

struct Reader {
    queue: PartitionQueue,
    consumer: BaseConsumer<PollerContext>,
    guard: PositionGuard,
}

impl Reader {
    fn start(servers: &str) -> Self {
        let mut properties = Properties::default();
        properties.set("bootstrap.servers", servers);
        properties.set("group.id", "g");
        properties.set("fetch.wait.max.ms", "5");
        let config = properties.client_config(false).unwrap();
        let consumer: BaseConsumer<PollerContext> = config.create_with_context(PollerContext::default()).unwrap();
        let partition = TopicPartition::new("t", 0);
        let queue = PartitionQueue::split(&consumer, &partition, &Arc::new(Wake::new()), 0).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("t", 0, ListOffset::Offset(0)).unwrap();
        consumer.assign(&list).unwrap();
        Self { queue, consumer, guard: PositionGuard::new(NextOffset(0)) }
    }

    /// Drains until the partition's end is told; gives the chunk and the end.
    fn read_to_end(&mut self) -> (ChunkBuilder, NextOffset) {
        let mut chunk = ChunkBuilder::new(1000, 1 << 20, 100, 16);
        let until = Instant::now() + LONG;
        loop {
            assert!(Instant::now() < until, "no end of the partition");
            assert!(self.consumer.poll(Duration::ZERO).is_none(), "nothing reaches the main queue");
            if let Some(end) = self.queue.drain(&mut chunk, &mut self.guard).end {
                return (chunk, end);
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn position(&self) -> i64 {
        match self.consumer.position().unwrap().elements()[0].offset() {
            ListOffset::Offset(offset) => offset,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_position_after_an_end_of_partition_event_equals_its_offset() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    produce(&servers, 0..100);
    let mut reader = Reader::start(&servers);
    let (_, end) = reader.read_to_end();
    assert_eq!((end, reader.position()), (NextOffset(100), 100));
    // The next record is the one at the end, not the one behind it.
    produce(&servers, 100..110);
    let (chunk, end) = reader.read_to_end();
    assert_eq!(chunk.index.iter().map(|entry| entry.offset).collect::<Vec<_>>(), (100..110).collect::<Vec<_>>());
    assert_eq!((end, reader.position()), (NextOffset(110), 110));
    let Reader { queue, consumer, .. } = reader;
    drop(queue);
    consumer.context().close();
    drop(consumer);
}

#[test]
fn keys_values_and_headers_arrive_as_they_were_sent() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    produce(&servers, 0..20);
    let mut reader = Reader::start(&servers);
    let (chunk, end) = reader.read_to_end();
    let chunk = chunk.finish(TopicPartition::new("t", 0), Epoch(1), Tile::new(NextOffset(0), end), Default::default());
    let chunk = Arc::new(chunk);
    for position in 0..20 {
        let record = crate::consume::record::Record { chunk: Arc::clone(&chunk), position, attempt: 1, failed: 0 };
        assert_eq!(record.key(), Some(position.to_string().as_bytes()));
        assert_eq!(record.value(), Some(&b"value"[..]));
        assert_eq!(record.offset(), Offset(i64::from(position)));
        assert!(record.timestamp().is_some());
        let expected: Vec<(&str, Option<&[u8]>)> = if position % 10 == 7 { vec![("h", Some(b"x"))] } else { vec![] };
        assert_eq!(record.headers().collect::<Vec<_>>(), expected, "record {position}");
    }
    let Reader { queue, consumer, .. } = reader;
    drop(queue);
    consumer.context().close();
    drop(consumer);
}
