use std::error::Error;

use rdkafka_sys::types::RDKafkaErrorCode;

/// What can go wrong with a broker that this process runs.
///
/// None of it passes with time: trying the same again gives the same answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The broker did not start.
    #[error("the embedded broker cannot start with {brokers} brokers")]
    Start {
        /// How many brokers were asked for.
        brokers: i32,
        /// What librdkafka said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The topic was not created.
    #[error("topic {topic} cannot be created with {partitions} partitions")]
    CreateTopic {
        /// The topic's name.
        topic: String,
        /// How many partitions were asked for.
        partitions: i32,
        /// What the broker said.
        #[source]
        source: RDKafkaErrorCode,
    },
    /// A fault was not injected.
    #[error("the embedded broker refused to {operation}")]
    Refused {
        /// What was asked of it.
        operation: String,
        /// What the broker said.
        #[source]
        source: RDKafkaErrorCode,
    },
    /// A program that is needed is not installed.
    #[error("a local Apache Kafka needs {tool}, which cannot be run: install {install}")]
    MissingTool {
        /// The program.
        tool: &'static str,
        /// What brings it.
        install: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Apache Kafka's jars could not be fetched.
    #[error("Apache Kafka could not be fetched: {detail}")]
    Fetch {
        /// What went wrong.
        detail: String,
    },
    /// A node of a local Apache Kafka did not come up, or did not take a signal.
    #[error("node {node} of the local Apache Kafka failed: {detail}")]
    Node {
        /// Its number, from 1.
        node: usize,
        /// What went wrong, with the end of its log where there is one.
        detail: String,
    },
}
