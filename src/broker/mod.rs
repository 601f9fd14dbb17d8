//! Brokers for tests, demos and examples.
//!
//! [`EmbeddedBroker`] needs no installation: it is librdkafka's own mock cluster, in this process, on loopback. [`LocalKafka`] is Apache
//! Kafka itself, in processes of its own, for what the mock cluster cannot prove.

#[cfg(feature = "embedded")]
mod embedded;
mod error;
#[cfg(feature = "local-kafka")]
mod kafka;
#[cfg(feature = "embedded")]
mod mock_cluster;

#[cfg(feature = "embedded")]
pub use embedded::{EmbeddedBroker, EmbeddedBrokerBuilder};
pub use error::BrokerError;
#[cfg(feature = "local-kafka")]
pub use kafka::{LocalKafka, LocalKafkaBuilder};
/// Kinds of requests and the errors that [`EmbeddedBroker::fail_requests`] answers them with, by librdkafka's names.
#[cfg(all(feature = "embedded", feature = "testing"))]
pub use rdkafka_sys::types::{RDKafkaApiKey, RDKafkaRespErr};
