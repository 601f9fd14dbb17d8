//! The producer: records in from any number of tasks and threads, each answered once.
//!
//! ```text
//! Sender ─record─▶ intake ─batch─▶ ProducerActor ─▶ PartitionerActor ─per-partition batch─▶ librdkafka
//!    ▲                                                                                        │
//!    └──────────── Confirmation or callback ◀── delivery thread ◀── reports ──────────────────┘
//! ```
//!
//! - A [`Sender`] copies the record into a bounded queue, the intake of its `ProducerActor`, and waits where that is full.
//! - The `ProducerActor` takes batches by count, bytes and linger; its `PartitionerActor`, on the same arbiter, picks partitions and calls librdkafka.
//! - The delivery thread reads librdkafka's reports and answers senders; it produces nothing.
//! - A helper thread asks the brokers for partition counts, so that no arbiter waits for them.
//!
//! The producer is idempotent and waits for all in-sync replicas unless told otherwise. Records of one sender are stored in order, partition by
//! partition; without idempotence only with one request in flight. Each accepted record is answered exactly once: confirmed, or with an
//! error that says why, also where an actor dies, the broker is away, the shutdown deadline passes or the producer is dropped.
//!
//! ```no_run
//! use std::time::Duration;
//! use troupe_actors::produce::{Producer, ProducerRecord};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let producer = Producer::builder().bootstrap_servers("127.0.0.1:9092").start()?;
//! let sender = producer.sender();
//! let delivery = sender.send(ProducerRecord::to("flights").key("N14228").value("EWR-IAH")).await?;
//! println!("stored at {delivery}");
//! producer.shutdown(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```

mod backlog;
mod batch;
mod builder;
mod callback;
mod completion;
mod credits;
mod delivery;
mod encode;
mod error;
mod gate;
mod group;
mod in_flight;
mod intake;
mod layer;
mod leftovers;
mod limits;
mod line;
mod murmur2;
mod native;
mod outlet;
mod partition_counts;
mod partitioner;
mod partitioner_actor;
mod producer;
mod producer_actor;
pub(crate) mod properties;
mod record;
mod route;
mod send_many;
mod sender;
mod state;
mod sticky;
mod succession;
mod waking;

pub use crate::blocking::MustNotBlock;
pub use crate::consume::Json;
pub use builder::ProducerBuilder;
pub use completion::Confirmation;
pub use encode::{Encode, Encoded};
pub use error::{ErrorClass, LibraryError, ProducerError, SendError, TrySendError};
pub use layer::Outgoing;
pub use murmur2::{murmur2, partition_of_key};
pub use partitioner::{BuiltInPartitioner, Partitioner, Placement, Unplaced};
pub use producer::Producer;
pub use record::{Delivery, ProducerRecord, Undelivered};
pub use send_many::{BatchError, StreamError};
pub use sender::Sender;
pub use state::{ProducerActorState, ProducerReport, ProducerState};
