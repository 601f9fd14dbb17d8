//! The engine of kafka-troupe.

mod client_log;
pub mod consume;
pub mod ids;
pub mod invariants;
pub mod offsets;
mod order;
pub mod produce;
mod system;
#[cfg(feature = "testing")]
pub mod testing;
mod thread;
