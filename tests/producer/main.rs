//! The producer against librdkafka's mock cluster: what senders are told, and what is then in the log.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod fixture;
mod log;

mod acks;
mod batching;
mod bounds;
mod callbacks;
mod encoding;
mod ends;
mod java;
mod layers;
mod many;
mod order;
mod outages;
mod partitions;
mod records;
mod starting;
mod topics;
mod waiting;
