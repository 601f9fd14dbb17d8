//! What is done to topics from outside, on Apache Kafka.

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::fixture::{PATIENCE, Stage};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

impl Stage {
    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// Grows the topic.
    pub fn grow(&mut self, partitions: i32) {
        let count = usize::try_from(partitions).unwrap();
        let grown = block_on(self.admin().create_partitions(&[NewPartitions::new(&self.topic, count)], &options()));
        grown.unwrap().pop().unwrap().unwrap();
        self.partitions = partitions;
    }

    /// Sets a property of the topic's.
    pub fn configure(&self, name: &str, value: &str) {
        let config = AlterConfig::new(ResourceSpecifier::Topic(&self.topic)).set(name, value);
        let altered = block_on(self.admin().alter_configs(&[config], &options()));
        altered.unwrap().pop().unwrap().unwrap();
    }

    /// Deletes the topic.
    pub fn delete_topic(&self) {
        let deleted = block_on(self.admin().delete_topics(&[&self.topic], &options()));
        deleted.unwrap().pop().unwrap().unwrap();
    }

    /// Deletes the topic and creates it again, empty.
    pub fn recreate_topic(&self) {
        self.delete_topic();
        // The deletion is told before it is done.
        crate::fixture::eventually("the topic can be created again", || self.create_topic().is_ok());
    }

    /// Deletes a partition's records below an offset.
    pub fn delete_records(&self, partition: i32, below: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(below)).unwrap();
        block_on(self.admin().delete_records(&list, &options())).unwrap();
    }
}
