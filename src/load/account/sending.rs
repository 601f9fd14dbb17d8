//! What producers did of what they were to do.

use crate::load::latencies::Latencies;

/// Producers' side, of the load.
#[derive(Debug)]
pub(crate) struct Sending {
    /// Since it was last taken.
    pub(crate) schedule_delay: Latencies,
    /// Records whose time came, those included that were not sent any more.
    pub(crate) scheduled: u64,
    pub(crate) late: u64,
    /// Those of them that were not sent any more.
    pub(crate) given_up: u64,
    /// How often a producer waited for room that the broker would not have had.
    pub(crate) held_back: u64,
}
