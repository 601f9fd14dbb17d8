//! kafka-troupe.

#[cfg(feature = "embedded")]
pub mod broker;

pub use troupe_actors::*;
