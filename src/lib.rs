//! Process Kafka partitions with as much concurrency as your handlers can use, and commit exactly what is processed.
//!
//! A loop that polls, handles and commits is either slow, for it does one thing at a time, or wrong, for with tasks or threads records
//! finish in another order than they came, and a committed offset says that everything below it is done. Here actors do the work and a
//! ledger per partition knows what may be committed:
//!
//! 1. **At least once.** An offset is committed only when it and every delivered one below it are processed.
//! 2. **No surprise repeats.** A clean stop or hand-over within the drain deadline repeats nothing. A crash repeats what was unfinished, and
//!    what finished since the last commit; what finished above an unfinished record is remembered in the commit.
//! 3. **Order.** One record at a time per partition, per key, or none, as [`Order`](consume::Order) says; also across retries.
//! 4. **Bounded.** Records in memory are bounded by count and bytes, per partition, whatever the backlog.
//! 5. **Nothing silent.** No panic, full mailbox, dead actor or failed commit loses a record.
//!
//! ```no_run
//! use kafka_troupe::{Consumer, Outcome, Record};
//!
//! # fn main() -> Result<(), kafka_troupe::ConsumerError> {
//! let consumer = Consumer::builder()
//!     .bootstrap_servers("localhost:9092")
//!     .group_id("billing")
//!     .topics(["orders"])
//!     .handler(|record: &Record| {
//!         println!("{} {}", record.topic_partition(), record.offset());
//!         Outcome::Done
//!     })
//!     .start()?;
//! consumer.wait_blocking()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//! - [`consume`]: the consumer. [`Consumer`] builds it, [`ConsumerHandle`] is the running one, a [`Handler`] or a closure
//!   does the work, or the app [pulls](ConsumerBuilder::pull).
//! - [`produce`]: the producer. [`Producer`] builds it, a [`Sender`] takes records and confirms each.
//! - [`ids`]: offsets, positions, partitions and epochs as types.
//! - [`offsets`]: the ledger, for those who want to know how far is far enough.
//! - [`invariants`]: what the engine checks of itself, and counts.
#![cfg_attr(feature = "config", doc = "- [`config`]: settings from a TOML file and from variables of the environment.")]
#![cfg_attr(
    any(feature = "embedded", feature = "local-kafka"),
    doc = "- [`broker`]: brokers for tests, demos and examples."
)]
#![cfg_attr(feature = "testing", doc = "- [`testing`]: handlers and their layers without a broker.")]

#[cfg(any(feature = "embedded", feature = "local-kafka"))]
pub mod broker;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "local-kafka")]
mod warden;

#[doc(inline)]
pub use troupe_actors::consume::{
    AutoOffsetReset, Consumer, ConsumerBuilder, ConsumerError, ConsumerHandle, Handler, Outcome, PartitionContext,
    Record,
};
#[doc(inline)]
pub use troupe_actors::produce::{Producer, ProducerRecord, Sender};
#[cfg(feature = "testing")]
#[doc(inline)]
pub use troupe_actors::testing;
#[doc(inline)]
pub use troupe_actors::{consume, ids, invariants, offsets, produce};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// And those of the document on settings.
#[cfg(all(doctest, feature = "config"))]
#[doc = include_str!("../docs/configuration.md")]
struct Configuration;
