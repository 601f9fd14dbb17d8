//! stub
use crate::ids::*;
#[derive(Debug, Default)]
pub struct InvariantCounts;
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct InvariantSnapshot;
pub(crate) enum Invariant {
    CommittedWithinWatermark,
    CommitsNeverFall,
    OnlyOwnedCommitted,
    CreditsBounded,
}
impl InvariantCounts {
    pub(crate) fn check(&self, _i: Invariant, holds: bool, p: &TopicPartition, e: Epoch, o: NextOffset) {
        if !holds {
            tracing::error!("invariant {p} {e} {o}");
        }
    }
    pub fn snapshot(&self) -> InvariantSnapshot {
        InvariantSnapshot
    }
}
