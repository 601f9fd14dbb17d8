//! The engine of kafka-troupe: actors that process Kafka partitions concurrently and commit exactly what is processed.
//!
//! People use it through the crate `kafka-troupe`, which tells the whole story; this crate has no command line, no HTTP and no files.
//!
//! - [`consume`]: poller, supervisor and workers. [`offsets`]: ledger and tracker. `order`: how much of a partition runs at once.
//! - [`produce`]: the producing actors and their sender.
//! - [`ids`], [`invariants`]: the types of positions, and what must always hold. [`secret`]: which properties are not shown.

mod aliases;
mod block_on;
mod blocking;
mod client_log;
pub mod consume;
pub mod ids;
pub mod invariants;
pub mod offsets;
mod order;
pub mod produce;
mod refused;
pub mod secret;
mod system;
#[cfg(feature = "testing")]
pub mod testing;
mod thread;

// For the tool, which asks a cluster what the engine asks it; no part of what people use.
pub use consume::topic_id::{DescribedTopic, TopicId, describe_topics};
pub use offsets::committed::from_raw as committed_offsets_from_raw;
// For configurations from files, which say early, and with the place, what `start` would say; no part of what people use.
pub use aliases::ALIASES as PROPERTY_ALIASES;
pub use consume::properties::{defaults_beside as consumer_defaults_beside, refused as refused_by_consumers};
pub use produce::properties::{
    defaults_beside as producer_defaults_beside, refused as refused_by_producers,
    refused_together as refused_together_by_producers,
};
