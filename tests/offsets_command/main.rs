//! `troupe offsets` and `troupe lag`, seen from outside: on an Apache Kafka, and what the embedded broker can answer on that.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod lag;
mod reset;
mod show;
#[path = "../spawning/mod.rs"]
mod spawning;
mod stage;
