//! kafka-troupe.

#[cfg(feature = "embedded")]
pub mod broker;
