//! The topics the arms read.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::arm::{PARTITIONS, VALUE_BYTES};

/// Where a record goes, and its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) partition: usize,
    pub(crate) key: Option<u64>,
}

impl Place {
    /// A key's records all lie in one partition, and neighbouring keys in different ones.
    #[allow(dead_code, reason = "one of the benches has no keys")]
    pub(crate) fn of_key(key: u64) -> Self {
        Self { partition: (key % PARTITIONS as u64) as usize, key: Some(key) }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Topics {
    bootstrap_servers: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
    made: Vec<String>,
}

impl Topics {
    pub(crate) fn on(bootstrap_servers: &str) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.to_owned(),
            admin: ClientConfig::new().set("bootstrap.servers", bootstrap_servers).create().unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            made: Vec::new(),
        }
    }

    /// A new topic with this in its name. It is deleted with `self`.
    pub(crate) fn create(&mut self, what: &str) -> String {
        let topic = format!("troupe-bench-{}-{what}-{}", std::process::id(), self.made.len());
        let new = NewTopic::new(&topic, PARTITIONS as i32, TopicReplication::Fixed(1));
        let created = self.runtime.block_on(self.admin.create_topics([&new], &options())).unwrap();
        created[0].as_ref().unwrap();
        self.made.push(topic.clone());
        topic
    }

    /// Writes `records` numbered ones, each where `place` says.
    pub(crate) fn fill(&self, topic: &str, records: u64, mut place: impl FnMut(u64) -> Place) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("linger.ms", "20")
            .set("batch.size", "131072")
            .set("queue.buffering.max.messages", "500000")
            .create()
            .unwrap();
        let mut value = [b'x'; VALUE_BYTES];
        for number in 0..records {
            value[..8].copy_from_slice(&number.to_be_bytes());
            let Place { partition, key } = place(number);
            let key = key.map(u64::to_be_bytes);
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition as i32).payload(&value);
            record.key = key.as_ref().map(<[u8; 8]>::as_slice);
            while let Err((error, back)) = producer.send(record) {
                assert!(is_full(&error), "{error}");
                producer.poll(Duration::from_millis(10));
                record = back;
            }
            if number % 1024 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(PATIENCE).unwrap();
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        let topics: Vec<&str> = self.made.iter().map(String::as_str).collect();
        if let Err(error) = self.runtime.block_on(self.admin.delete_topics(&topics, &options())) {
            eprintln!("topics {topics:?} are left behind: {error}");
        }
    }
}

fn is_full(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull))
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}
