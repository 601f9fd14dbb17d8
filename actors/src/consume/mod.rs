//! The consuming side: from librdkafka's queues to handlers, and back to the poller as commits.

mod assignment;
pub(crate) mod batch;
pub(crate) mod builder;
pub(crate) mod callback;
pub(crate) mod command;
pub(crate) mod commit;
mod context;
pub(crate) mod control;
pub mod cpu_bound;
pub(crate) mod dead_letters;
pub mod decode;
mod engine;
pub(crate) mod error;
pub(crate) mod failing;
mod guard;
mod handle;
pub(crate) mod handler;
pub(crate) mod inbox;
pub mod layer;
pub(crate) mod listener;
mod loading;
pub(crate) mod membership;
pub(crate) mod memory;
pub(crate) mod naming;
mod native;
mod place;
mod poller;
pub(crate) mod properties;
pub(crate) mod pull;
mod recall;
pub(crate) mod record;
mod reminder;
mod resolver;
pub(crate) mod retry;
pub(crate) mod retry_topics;
mod route;
pub(crate) mod seek;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod subscription;
pub(crate) mod supervisor;
mod teller;
pub(crate) mod topic_id;
pub(crate) mod wake;
mod worker;
pub(crate) mod workload;

pub use crate::order::Order;
pub use batch::{BatchBounds, IntoOutcomes, Outcomes};
pub use builder::{Consumer, ConsumerBuilder};
pub use commit::{CommitError, CommitReport, CommitWhen, PartitionCommit, PendingCommit};
pub use control::PartitionPhase;
pub use cpu_bound::CpuBound;
pub use dead_letters::{DEAD_LETTER_HEADERS, DeadLetters, OnDeadLetterFailure};
pub use decode::{Decode, Json, typed};
pub use error::{ConsumerError, Stopped, UnfinishedRecord};
pub use failing::{FailedRecord, OnExhausted};
pub use handle::ConsumerHandle;
pub use handler::{AsyncHandler, Cause, Failure, FailureKind, Handler, IntoOutcome, Outcome, PartitionContext};
pub use layer::{Layer, Timeout, Tracing};
pub use listener::{
    AssignedPartition, ListenerError, Offsets, RebalanceListener, RevokeReason, Revoked, RevokedPartition,
};
pub use poller::{OnLogRewind, OnOffsetOutOfRange};
pub use pull::{Batch, Completion, Pulled, Records};
pub use record::Record;
pub use resolver::AutoOffsetReset;
pub use retry_topics::{Origin, RETRY_DUE_HEADER, RetryTopics};
pub use route::Route;
pub use seek::{PartitionError, Partitions, PendingSeek};
pub use start::StartAt;
pub use state::{
    BlockedThread, CommitState, ConsumerState, CounterState, DeadLetterState, InFlightRecord, PartitionState,
    StoppedRecord, WatermarkHolder,
};
