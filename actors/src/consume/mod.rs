//! The consuming side: from librdkafka's queues to handlers, and back to the poller as commits.

mod assignment;
pub(crate) mod builder;
pub(crate) mod callback;
pub(crate) mod command;
pub(crate) mod commit;
mod context;
pub(crate) mod control;
mod engine;
pub(crate) mod error;
mod guard;
mod handle;
pub(crate) mod handler;
pub(crate) mod inbox;
pub(crate) mod listener;
pub(crate) mod membership;
mod native;
mod poller;
mod properties;
mod recall;
pub(crate) mod record;
mod resolver;
pub(crate) mod retry;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod supervisor;
mod teller;
pub(crate) mod topic_id;
pub(crate) mod wake;
mod worker;
pub(crate) mod workload;

pub use builder::{Consumer, ConsumerBuilder};
pub use commit::{CommitError, CommitReport, CommitWhen, PartitionCommit, PendingCommit};
pub use control::PartitionPhase;
pub use error::{ConsumerError, Stopped, UnfinishedRecord};
pub use handle::ConsumerHandle;
pub use handler::{Cause, Handler, IntoOutcome, Outcome, PartitionContext};
pub use listener::{
    AssignedPartition, ListenerError, Offsets, RebalanceListener, RevokeReason, Revoked, RevokedPartition,
};
pub use poller::OnLogRewind;
pub use record::Record;
pub use resolver::AutoOffsetReset;
pub use state::{CommitState, ConsumerState, CounterState, InFlightRecord, PartitionState};
