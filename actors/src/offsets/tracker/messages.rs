//! What others tell the tracker.

use std::sync::Arc;

use actix::Message;
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::oneshot;

use crate::consume::command::CommitEntry;
use crate::consume::commit::CommitError;
use crate::consume::control::ControlCell;
use crate::consume::listener::Offsets;
use crate::ids::{Epoch, NextOffset, TopicPartition};
use crate::offsets::TileProgress;

/// A partition's epoch begins.
pub(crate) struct EpochStarted(pub(crate) Arc<ControlCell>);
/// Which records of a chunk are finished.
pub(crate) struct ChunkProgress {
    pub(crate) slot: usize,
    pub(crate) epoch: Epoch,
    pub(crate) progress: TileProgress,
    /// By the commit policy it is time for a commit.
    pub(crate) commit: bool,
}
/// A worker's last word.
pub(crate) struct EpochDrained {
    pub(crate) slot: usize,
    pub(crate) epoch: Epoch,
}
/// Say when these are drained: slot, epoch, and whether its worker ever started.
pub(crate) struct BeginDrain {
    pub(crate) id: u64,
    pub(crate) stays: Vec<(usize, Epoch, bool)>,
}
/// Wait no longer.
pub(crate) struct DrainDeadline {
    pub(crate) id: u64,
}
/// The listener has had its turn: close the ledgers of this drain, and build their last commits.
pub(crate) struct EndDrain {
    pub(crate) id: u64,
    pub(crate) last: LastCommit,
}
/// What the last commits of a drain may say, by what became of the listener's call.
#[derive(Debug)]
pub(crate) enum LastCommit {
    /// It stored what it had to: these offsets, and of the other partitions what the policy says.
    Made(Offsets),
    /// It did not: only what the app has asked for by offset.
    HeldBack,
}
/// A rebalance is over, and with it these epochs, or none: unassigned after their drain, or lost.
pub(crate) struct EpochsEnded(pub(crate) Vec<(usize, Epoch)>);
/// The partition begins a new epoch at once; this one is over.
pub(crate) struct EpochReplaced {
    pub(crate) slot: usize,
    pub(crate) epoch: Epoch,
    /// It goes on where this one stood, so that what the app has asked for is still to be committed.
    pub(crate) goes_on: bool,
}
/// Close this epoch's ledger and say where it stands: its worker died, or its log went back.
pub(crate) struct CloseLedger {
    pub(crate) slot: usize,
    pub(crate) epoch: Epoch,
    /// Nothing of it may be committed any more: the offsets are those of a log that is gone.
    pub(crate) rewound: bool,
}
/// What became of a commit.
pub(crate) struct CommitAnswered {
    pub(crate) id: u64,
    pub(crate) results: Vec<(CommitEntry, Option<RDKafkaErrorCode>)>,
}
/// The app wants a commit.
pub(crate) struct CommitNow {
    pub(crate) what: Asked,
    pub(crate) answer: oneshot::Sender<Result<(), CommitError>>,
}
/// All that was reported when the app asked has come.
pub(crate) struct CommitLooked;
/// What the app wants committed.
pub(crate) enum Asked {
    /// All that is finished.
    Finished,
    /// These, which may lie below what is finished; or also above.
    Offsets { offsets: Vec<(TopicPartition, NextOffset)>, past_watermark: bool },
}

macro_rules! plain_messages {
    ($($message:ty),*) => { $(impl Message for $message { type Result = (); })* };
}
plain_messages!(
    EpochStarted,
    ChunkProgress,
    EpochDrained,
    BeginDrain,
    DrainDeadline,
    EndDrain,
    EpochsEnded,
    EpochReplaced,
    CloseLedger,
    CommitAnswered,
    CommitNow,
    CommitLooked
);
