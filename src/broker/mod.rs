//! Brokers for tests, demos and examples.
//!
//! [`EmbeddedBroker`] needs no installation: it is librdkafka's own mock cluster, in this process, on loopback.

mod embedded;
mod error;
mod mock_cluster;

pub use embedded::{EmbeddedBroker, EmbeddedBrokerBuilder};
pub use error::BrokerError;
/// Kinds of requests and the errors that [`EmbeddedBroker::fail_requests`] answers them with, by librdkafka's names.
#[cfg(feature = "testing")]
pub use rdkafka_sys::types::{RDKafkaApiKey, RDKafkaRespErr};
