//! The engine of kafka-troupe.

pub mod consume;
pub mod ids;
pub mod invariants;
pub mod offsets;
pub mod order;
pub mod produce;
