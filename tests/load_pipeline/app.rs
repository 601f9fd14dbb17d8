//! The application between IN and OUT.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::{PARTITIONS, PATIENCE};

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// An application: it makes records of OUT of each record of IN, until it is dropped.
pub(crate) struct App {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl App {
    pub(crate) fn start(
        servers: &str,
        topics: (&str, &str),
        mut each: impl FnMut(Entry) -> Vec<Entry> + Send + 'static,
    ) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers);
        let producer: BaseProducer = config.clone().set("linger.ms", "0").create().unwrap();
        config.set("group.id", "app").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topics.0, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (stop, out) = (Arc::new(AtomicBool::new(false)), topics.1.to_owned());
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(Ok(record)) = consumer.poll(Duration::from_millis(10)) else {
                    producer.poll(Duration::ZERO);
                    continue;
                };
                let headers = record.headers().into_iter().flat_map(|it| it.iter());
                let headers = headers.map(|it| (it.key.to_owned(), it.value.unwrap_or_default().to_vec()));
                let [key, value] = [record.key(), record.payload()].map(|it| it.unwrap_or_default().to_vec());
                for Entry { key, value, headers } in each(Entry { key, value, headers: headers.collect() }) {
                    let headers = headers
                        .iter()
                        .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
                    producer
                        .send(BaseRecord::to(&out).key(&key).payload(&value).headers(headers))
                        .map_err(|it| it.0)
                        .unwrap();
                }
                producer.poll(Duration::ZERO);
            }
            producer.flush(PATIENCE).unwrap();
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}
