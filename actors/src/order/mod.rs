//! How much of a partition runs at once: its pump, the long-lived future that feeds records to the handler.

pub(crate) mod attempt;
pub(crate) mod commits;
pub(crate) mod pace;
pub(crate) mod partition;
pub(crate) mod pump;
