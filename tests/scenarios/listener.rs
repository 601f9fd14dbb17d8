//! A rebalance listener that notes what it is told, and says what a scenario has it say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kafka_troupe::consume::{AssignedPartition, ListenerError, Offsets, RebalanceListener, RevokeReason, Revoked};
use kafka_troupe::ids::{NextOffset, TopicPartition};

pub type Said = Result<Offsets, ListenerError>;

/// One call, with the partitions and their offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Assigned(BTreeMap<i32, i64>),
    Revoked(BTreeMap<i32, i64>, RevokeReason),
    Lost(Vec<i32>),
}

/// The calls in the order in which they began.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Vec<Call>>>);

impl History {
    pub fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap().clone()
    }

    /// How many revocations for this reason began, and of how many partitions.
    pub fn revoked(&self, reason: RevokeReason) -> (usize, usize) {
        let calls = self.calls();
        let of_reason = calls.iter().filter_map(|call| match call {
            Call::Revoked(partitions, why) if *why == reason => Some(partitions.len()),
            _ => None,
        });
        of_reason.fold((0, 0), |(calls, partitions), each| (calls + 1, partitions + each))
    }

    /// Fails unless each partition comes and goes by turns. Gives those that are here now, in order.
    #[track_caller]
    pub fn here(&self) -> Vec<i32> {
        let mut here = std::collections::BTreeSet::new();
        for call in self.calls() {
            match call {
                Call::Assigned(partitions) => {
                    assert!(partitions.into_keys().all(|each| here.insert(each)), "came twice: {:?}", self.calls());
                }
                Call::Revoked(partitions, _) => {
                    assert!(partitions.keys().all(|each| here.remove(each)), "went twice: {:?}", self.calls());
                }
                Call::Lost(partitions) => {
                    assert!(partitions.iter().all(|each| here.remove(each)), "went twice: {:?}", self.calls());
                }
            }
        }
        here.into_iter().collect()
    }

    fn note(&self, call: Call) {
        self.0.lock().unwrap().push(call);
    }
}

type OnAssigned = Box<dyn Fn(&[AssignedPartition]) -> Said + Send + Sync>;
type OnRevoked = Box<dyn Fn(&Revoked) -> Said + Send + Sync>;

/// Notes each call, then does what it was given to do.
pub struct Listener {
    history: History,
    on_assigned: OnAssigned,
    on_revoked: OnRevoked,
}

impl Listener {
    pub fn new(history: &History) -> Self {
        let (on_assigned, on_revoked) = (Box::new(|_: &_| Ok(Offsets::new())), Box::new(|_: &_| Ok(Offsets::new())));
        Self { history: history.clone(), on_assigned, on_revoked }
    }

    pub fn on_assigned(mut self, say: impl Fn(&[AssignedPartition]) -> Said + Send + Sync + 'static) -> Self {
        self.on_assigned = Box::new(say);
        self
    }

    pub fn on_revoked(mut self, say: impl Fn(&Revoked) -> Said + Send + Sync + 'static) -> Self {
        self.on_revoked = Box::new(say);
        self
    }
}

fn offsets<'a>(partitions: impl Iterator<Item = (&'a TopicPartition, NextOffset)>) -> BTreeMap<i32, i64> {
    partitions.map(|(partition, offset)| (partition.partition.0, offset.0)).collect()
}

impl RebalanceListener for Listener {
    fn on_assigned(&self, assigned: &[AssignedPartition]) -> Said {
        self.history.note(Call::Assigned(offsets(assigned.iter().map(|each| (&each.topic_partition, each.start)))));
        (self.on_assigned)(assigned)
    }

    fn on_revoked(&self, revoked: &Revoked) -> Said {
        let partitions = offsets(revoked.partitions.iter().map(|each| (&each.topic_partition, each.finished)));
        self.history.note(Call::Revoked(partitions, revoked.reason));
        (self.on_revoked)(revoked)
    }

    fn on_lost(&self, lost: &[TopicPartition]) {
        self.history.note(Call::Lost(lost.iter().map(|each| each.partition.0).collect()));
    }
}
