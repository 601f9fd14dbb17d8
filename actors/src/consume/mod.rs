//! The consuming side: from librdkafka's queues to handlers, and back to the poller as commits.

mod assignment;
pub(crate) mod builder;
pub(crate) mod command;
mod context;
pub(crate) mod control;
mod engine;
pub(crate) mod error;
mod guard;
mod handle;
pub(crate) mod handler;
pub(crate) mod inbox;
pub(crate) mod membership;
mod native;
mod poller;
mod properties;
pub(crate) mod record;
mod resolver;
pub(crate) mod retry;
pub(crate) mod state;
pub(crate) mod supervisor;
pub(crate) mod wake;
mod worker;

pub use builder::{Consumer, ConsumerBuilder};
pub use control::PartitionPhase;
pub use error::{ConsumerError, Stopped, UnfinishedRecord};
pub use handle::ConsumerHandle;
pub use handler::{Cause, Handler, IntoOutcome, Outcome, PartitionContext};
pub use poller::OnLogRewind;
pub use record::Record;
pub use resolver::AutoOffsetReset;
pub use state::{ConsumerState, CounterState, InFlightRecord, PartitionState};
