//! Apache Kafka on this machine: what the embedded broker cannot prove.

mod cluster;
mod config;
mod jars;
mod node;
mod ports;

pub use cluster::{LocalKafka, LocalKafkaBuilder};
