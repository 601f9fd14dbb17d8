//! Which records of a partition are finished, and how far that lets it be committed.

pub(crate) mod budget;
pub(crate) mod committed;
mod ledger;
pub(crate) mod limit;
pub mod memory;
mod progress;
pub(crate) mod remembered;
pub(crate) mod tracker;

pub use committed::{CommittedOffset, committed_offsets};
pub use ledger::{FinishedRange, LedgerError, OffsetLedger, Recorded};
pub use progress::{Finished, Tile, TileProgress};
