//! The engine of kafka-troupe.

pub mod consume;
pub mod ids;
pub mod offsets;
pub mod order;
pub mod produce;
mod system;
mod thread;
