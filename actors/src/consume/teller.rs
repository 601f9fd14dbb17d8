//! Calls the app's rebalance listener, on a thread of its own: it may block and panic without harm.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use tracing::{debug, error};

use crate::consume::command::{PollerCommand, PollerPort};
use crate::consume::listener::{
    AssignedPartition, ListenerError, Offsets, RebalanceListener, RevokeReason, Revoked, RevokedPartition,
};
use crate::consume::state::{Board, Counters};
use crate::ids::TopicPartition;

/// What the listener said, to the call of this id. `None`: it failed or panicked.
#[derive(Debug)]
pub(crate) struct ListenerAnswer {
    pub(crate) id: u64,
    pub(crate) offsets: Option<Offsets>,
}

/// A call that is answered, or not, as the poller sees it.
#[derive(Debug, Clone)]
pub(crate) struct PendingCall {
    pub(crate) id: u64,
    withdrawn: Arc<AtomicBool>,
}

impl PendingCall {
    /// It is not made any more, if it has not begun.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }
}

enum Call {
    Assigned { id: u64, partitions: Vec<AssignedPartition>, withdrawn: Arc<AtomicBool> },
    Revoked { id: u64, revoked: Revoked },
    Lost(Vec<TopicPartition>),
}

/// Where calls go in, in their order. Calls that wait behind one that does not return are as many as there are rebalances meanwhile. The thread
/// ends with this, once what was put in is told.
#[derive(Debug)]
pub(crate) struct Teller {
    calls: Sender<Call>,
}

impl Teller {
    pub(crate) fn start(
        listener: Arc<dyn RebalanceListener>,
        poller: PollerPort,
        board: Arc<Board>,
    ) -> std::io::Result<Self> {
        let (calls, inbox) = crossbeam_channel::unbounded();
        let telling = Telling { listener, poller, board, told: Told::default() };
        std::thread::Builder::new().name("troupe-listener".to_owned()).spawn(move || telling.serve(&inbox))?;
        Ok(Self { calls })
    }

    pub(crate) fn assigned(&self, id: u64, partitions: Vec<AssignedPartition>) -> PendingCall {
        let withdrawn = Arc::<AtomicBool>::default();
        self.call(Call::Assigned { id, partitions, withdrawn: Arc::clone(&withdrawn) });
        PendingCall { id, withdrawn }
    }

    pub(crate) fn revoked(
        &self,
        id: u64,
        partitions: Vec<RevokedPartition>,
        reason: RevokeReason,
        deadline: Instant,
    ) -> PendingCall {
        let withdrawn = Arc::<AtomicBool>::default();
        let revoked = Revoked { partitions, reason, deadline, withdrawn: Arc::clone(&withdrawn) };
        self.call(Call::Revoked { id, revoked });
        PendingCall { id, withdrawn }
    }

    pub(crate) fn lost(&self, partitions: Vec<TopicPartition>) {
        self.call(Call::Lost(partitions));
    }

    fn call(&self, call: Call) {
        // The thread ends after its last sender only.
        let _ = self.calls.send(call);
    }
}

/// What the listener has been told is assigned to it, so that each partition is told as gone once, and only if it was told as come.
#[derive(Debug, Default)]
struct Told(HashSet<TopicPartition>);

impl Told {
    fn come(&mut self, partitions: &[AssignedPartition]) {
        self.0.extend(partitions.iter().map(|each| each.topic_partition.clone()));
    }

    /// Leaves of `partitions` those that are to be told as gone.
    fn gone<T>(&mut self, partitions: &mut Vec<T>, name: impl Fn(&T) -> &TopicPartition) {
        partitions.retain(|each| self.0.remove(name(each)));
    }
}

struct Telling {
    listener: Arc<dyn RebalanceListener>,
    poller: PollerPort,
    board: Arc<Board>,
    told: Told,
}

impl Telling {
    fn serve(mut self, calls: &Receiver<Call>) {
        for call in calls {
            match call {
                // Revoked or lost before it was told: it is not told of, then or now.
                Call::Assigned { withdrawn, .. } if withdrawn.load(Ordering::Acquire) => {}
                Call::Assigned { id, partitions, .. } => {
                    self.told.come(&partitions);
                    let offsets = self.made("on_assigned", |listener| listener.on_assigned(&partitions));
                    self.answer(id, offsets);
                }
                // Lost before it was told: told as that.
                Call::Revoked { revoked, .. } if revoked.withdrawn.load(Ordering::Acquire) => {}
                Call::Revoked { id, mut revoked } => {
                    let nothing = revoked.partitions.is_empty();
                    self.told.gone(&mut revoked.partitions, |each| &each.topic_partition);
                    let offsets = if nothing || !revoked.partitions.is_empty() {
                        self.made("on_revoked", |listener| listener.on_revoked(&revoked))
                    } else {
                        Some(Offsets::new())
                    };
                    self.answer(id, offsets);
                }
                Call::Lost(mut partitions) => {
                    self.told.gone(&mut partitions, |each| each);
                    self.lost(&partitions);
                }
            }
        }
        // The poller ended without having given up everything: it failed.
        let rest: Vec<_> = self.told.0.drain().collect();
        self.lost(&rest);
    }

    fn lost(&self, partitions: &[TopicPartition]) {
        if !partitions.is_empty() {
            self.made("on_lost", |listener| {
                listener.on_lost(partitions);
                Ok(Offsets::new())
            });
        }
    }

    /// User code.
    fn made(
        &self,
        name: &'static str,
        call: impl FnOnce(&dyn RebalanceListener) -> Result<Offsets, ListenerError>,
    ) -> Option<Offsets> {
        let begun = Instant::now();
        let made = catch_unwind(AssertUnwindSafe(|| call(&*self.listener)));
        debug!(took_ms = begun.elapsed().as_millis() as u64, "the listener's {name} returned");
        match made {
            Ok(Ok(offsets)) => return Some(offsets),
            Ok(Err(error)) => error!(%error, "the listener's {name} failed"),
            Err(_) => error!("the listener's {name} panicked"),
        }
        Counters::add(&self.board.counters.listener_failures, 1);
        None
    }

    fn answer(&self, id: u64, offsets: Option<Offsets>) {
        self.poller.send(PollerCommand::ListenerAnswered(ListenerAnswer { id, offsets }));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::consume::control::Budget;
    use crate::consume::membership::Membership;
    use crate::consume::wake::Wake;
    use crate::ids::NextOffset;

    /// Notes what it is told; panics where it is asked to.
    #[derive(Default)]
    struct Notes {
        told: Mutex<Vec<(char, BTreeSet<i32>)>>,
        panics: bool,
    }

    impl Notes {
        fn note(&self, what: char, partitions: impl Iterator<Item = i32>) {
            self.told.lock().unwrap().push((what, partitions.collect()));
            assert!(!self.panics, "as asked");
        }
    }

    impl RebalanceListener for Notes {
        fn on_assigned(&self, assigned: &[AssignedPartition]) -> Result<Offsets, ListenerError> {
            self.note('a', assigned.iter().map(|each| each.topic_partition.partition.0));
            Ok(Offsets::new())
        }

        fn on_revoked(&self, revoked: &Revoked) -> Result<Offsets, ListenerError> {
            self.note('r', revoked.partitions.iter().map(|each| each.topic_partition.partition.0));
            Ok(Offsets::new())
        }

        fn on_lost(&self, lost: &[TopicPartition]) {
            self.note('l', lost.iter().map(|each| each.partition.0));
        }
    }

    fn assigned(partition: i32) -> AssignedPartition {
        let (topic_partition, start) = (TopicPartition::new("t", partition), NextOffset(0));
        AssignedPartition { topic_partition, start, committed: None }
    }

    fn revoked(partition: i32) -> RevokedPartition {
        RevokedPartition { topic_partition: TopicPartition::new("t", partition), finished: NextOffset(0) }
    }

    #[derive(Debug, Clone)]
    enum Signal {
        Assigned(BTreeSet<i32>, bool),
        Revoked(BTreeSet<i32>, bool),
        Lost(BTreeSet<i32>),
    }

    fn signals() -> impl Strategy<Value = Vec<Signal>> {
        let some = || prop::collection::btree_set(0..4_i32, 0..4);
        let signal = prop_oneof![
            (some(), any::<bool>()).prop_map(|(some, withdrawn)| Signal::Assigned(some, withdrawn)),
            (some(), any::<bool>()).prop_map(|(some, withdrawn)| Signal::Revoked(some, withdrawn)),
            some().prop_map(Signal::Lost),
        ];
        prop::collection::vec(signal, 0..20)
    }

    /// Tells all of it to the listener, on this thread; gives the answers.
    fn tell(listener: &Arc<Notes>, signals: Vec<Signal>) -> (Vec<ListenerAnswer>, Arc<Board>) {
        let (commands, answers) = crossbeam_channel::unbounded();
        let poller = PollerPort::new(commands, Arc::new(Wake::new()));
        let board = Arc::new(Board::new(Membership::default(), Budget::unbounded(Arc::new(Wake::new()))));
        let (calls, inbox) = crossbeam_channel::unbounded();
        let teller = Teller { calls };
        let deadline = Instant::now() + Duration::from_secs(60);
        for (id, signal) in signals.into_iter().enumerate() {
            let call = match signal {
                Signal::Assigned(some, withdrawn) => {
                    Some((teller.assigned(id as u64, some.into_iter().map(assigned).collect()), withdrawn))
                }
                Signal::Revoked(some, withdrawn) => {
                    let some = some.into_iter().map(revoked).collect();
                    Some((teller.revoked(id as u64, some, RevokeReason::Rebalance, deadline), withdrawn))
                }
                Signal::Lost(some) => {
                    teller.lost(some.into_iter().map(|partition| TopicPartition::new("t", partition)).collect());
                    None
                }
            };
            if let Some((call, true)) = call {
                call.withdraw();
            }
        }
        drop(teller);
        let listener = Arc::clone(listener) as Arc<dyn RebalanceListener>;
        Telling { listener, poller, board: Arc::clone(&board), told: Told::default() }.serve(&inbox);
        let answers = answers.try_iter().map(|command| match command {
            PollerCommand::ListenerAnswered(answer) => answer,
            _ => panic!("nothing else is said"),
        });
        (answers.collect(), board)
    }

    proptest! {
        #[test]
        fn each_partition_that_came_goes_once_and_none_goes_that_did_not_come(signals in signals()) {
            let listener = Arc::<Notes>::default();
            tell(&listener, signals);
            let mut here = BTreeSet::new();
            for (what, partitions) in listener.told.lock().unwrap().iter() {
                match what {
                    'a' => here.extend(partitions.iter().copied()),
                    _ => for each in partitions {
                        prop_assert!(here.remove(each), "{each} went without having come");
                    }
                }
            }
            prop_assert!(here.is_empty(), "{here:?} never went");
        }
    }

    #[test]
    fn an_empty_assignment_and_an_empty_revocation_are_told_an_empty_loss_is_not() {
        let listener = Arc::<Notes>::default();
        let none = BTreeSet::new;
        let signals = vec![Signal::Assigned(none(), false), Signal::Revoked(none(), false), Signal::Lost(none())];
        assert_eq!(tell(&listener, signals).0.len(), 2);
        assert_eq!(*listener.told.lock().unwrap(), [('a', none()), ('r', none())]);
    }

    #[test]
    fn a_listener_that_panics_is_counted_answered_for_and_told_the_rest() {
        let listener = Arc::new(Notes { panics: true, ..Notes::default() });
        let one = || BTreeSet::from([1]);
        let (answers, board) = tell(&listener, vec![Signal::Assigned(one(), false), Signal::Revoked(one(), false)]);
        assert_eq!(listener.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len(), 2);
        assert!(answers.iter().all(|answer| answer.offsets.is_none()));
        assert_eq!(answers.iter().map(|answer| answer.id).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(board.counters.snapshot().listener_failures, 2);
    }

    #[test]
    fn what_is_revoked_counts_until_its_deadline_and_until_it_is_withdrawn() {
        let (now, withdrawn) = (Instant::now(), Arc::<AtomicBool>::default());
        let revoked = |deadline| {
            let withdrawn = Arc::clone(&withdrawn);
            Revoked { partitions: Vec::new(), reason: RevokeReason::Stop, deadline, withdrawn }
        };
        let (late, early) = (revoked(now), revoked(now + Duration::from_secs(60)));
        assert!(!late.still_counts() && early.still_counts());
        withdrawn.store(true, Ordering::Release);
        assert!(!early.still_counts());
    }
}
