//! From Kafka's partitions to the handler.

mod guard;
mod retry;

pub use guard::{Admission, PositionGuard};
pub use retry::RetrySchedule;
