//! Key order: which record may start next, so that each key's records run one at a time, in the order they came. Pure.
//!
//! A lane exists only while its key is in flight, so what a record costs does not depend on how many keys there are: where handlers are ready
//! at once no lane ever begins, and nobody looks one up.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// The key of a record. What has none is independent of everything.
type KeyOf<T> = fn(&T) -> Option<&[u8]>;

/// The keys in flight, each with what waits for it.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    lanes: HashTable<Lane<T>>,
    /// Lanes that have begun.
    begun: u64,
    hasher: RandomState,
    key_of: KeyOf<T>,
}

/// A key in flight. The hash finds it, the key's bytes tell it from others with that hash.
#[derive(Debug)]
struct Lane<T> {
    hash: u64,
    /// Tells it from the others where its key is not at hand: reading both keys again would cost two cache misses.
    id: u64,
    key: Box<[u8]>,
    waiting: VecDeque<T>,
}

/// Who holds a lane: to be given back when the record is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldLane {
    hash: u64,
    id: u64,
}

/// What is left of a batch.
#[derive(Debug)]
pub(crate) struct Settled<T> {
    /// Not finished, each holding its key's lane.
    pub(crate) kept: Vec<T>,
    /// What waited for keys that are free now, and holds their lanes.
    pub(crate) next: Vec<T>,
}

impl<T> Lanes<T> {
    pub(crate) fn new(key_of: KeyOf<T>) -> Self {
        Self { lanes: HashTable::new(), begun: 0, hasher: RandomState::new(), key_of }
    }

    /// The record back, if it may start; otherwise it waits behind what is in flight of its key.
    pub(crate) fn admit(&mut self, record: T) -> Option<T> {
        if self.lanes.is_empty() {
            return Some(record);
        }
        let Some(key) = (self.key_of)(&record) else { return Some(record) };
        let hash = self.hasher.hash_one(key);
        match self.lanes.find_mut(hash, |lane| lane.hash == hash && *lane.key == *key) {
            Some(lane) => {
                lane.waiting.push_back(record);
                None
            }
            None => Some(record),
        }
    }

    /// The record, which was admitted, is in flight from here on: what comes of its key waits. `None` where it has no key.
    pub(crate) fn hold(&mut self, record: &T) -> Option<HeldLane> {
        let key = (self.key_of)(record)?;
        let hash = self.hasher.hash_one(key);
        let id = self.begun;
        self.begun += 1;
        self.lanes.insert_unique(hash, Lane { hash, id, key: key.into(), waiting: VecDeque::new() }, |lane| lane.hash);
        Some(HeldLane { hash, id })
    }

    /// The record that holds this lane is finished. Gives the next of its key, which then holds the lane.
    pub(crate) fn release(&mut self, held: HeldLane) -> Option<T> {
        let mut lane = self.lanes.find_entry(held.hash, |lane| lane.id == held.id).ok()?;
        match lane.get_mut().waiting.pop_front() {
            Some(next) => Some(next),
            None => {
                lane.remove();
                None
            }
        }
    }

    /// As [`hold`](Self::hold), for the records of a batch in turn: the first of each key holds its lane for all of them.
    pub(crate) fn join(&mut self, record: &T) -> Option<HeldLane> {
        if self.of(record).is_some() { None } else { self.hold(record) }
    }

    /// The lane of the record's key, whoever holds it.
    fn of(&self, record: &T) -> Option<HeldLane> {
        let key = (self.key_of)(record)?;
        let hash = self.hasher.hash_one(key);
        let lane = self.lanes.find(hash, |lane| lane.hash == hash && *lane.key == *key)?;
        Some(HeldLane { hash, id: lane.id })
    }

    /// The next that waits in this lane, if it may go into the batch of who holds it.
    pub(crate) fn follow(&mut self, held: HeldLane, may: impl FnOnce(&T) -> bool) -> Option<T> {
        let lane = self.lanes.find_mut(held.hash, |lane| lane.id == held.id)?;
        if may(lane.waiting.front()?) { lane.waiting.pop_front() } else { None }
    }

    /// A batch's call has ended. Of each key in it, records are finished up to the first that is not: that one is kept, holds the key's lane,
    /// and those behind it in the batch are the first that wait for it. `finished` is asked of each in order, by its place, but
    /// not of those held back.
    pub(crate) fn settle(
        &mut self,
        batch: Vec<T>,
        lane_of: fn(&mut T) -> &mut Option<HeldLane>,
        mut finished: impl FnMut(usize, &T) -> bool,
    ) -> Settled<T> {
        let mut settled = Settled { kept: Vec::new(), next: Vec::new() };
        let (mut held_back, mut released) = (Vec::new(), Vec::new());
        let mut blocked: HashSet<Box<[u8]>> = HashSet::new();
        for (at, mut record) in batch.into_iter().enumerate() {
            let held = lane_of(&mut record).take();
            if !blocked.is_empty() && (self.key_of)(&record).is_some_and(|key| blocked.contains(key)) {
                held_back.push(record);
            } else if finished(at, &record) {
                released.extend(held.map(|lane| (lane, record)));
            } else {
                blocked.extend((self.key_of)(&record).map(Box::from));
                *lane_of(&mut record) = self.of(&record).or_else(|| self.hold(&record));
                settled.kept.push(record);
            }
        }
        for record in held_back.into_iter().rev() {
            if let Some(key) = (self.key_of)(&record) {
                let hash = self.hasher.hash_one(key);
                if let Some(lane) = self.lanes.find_mut(hash, |lane| lane.hash == hash && *lane.key == *key) {
                    lane.waiting.push_front(record);
                }
            }
        }
        for (lane, record) in released {
            let is_blocked = (self.key_of)(&record).is_some_and(|key| blocked.contains(key));
            if !is_blocked && let Some(mut next) = self.release(lane) {
                *lane_of(&mut next) = Some(lane);
                settled.next.push(next);
            }
        }
        settled
    }

    /// Records that wait for their key.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Numbered {
        number: usize,
        key: Option<Vec<u8>>,
    }

    impl Numbered {
        fn key(&self) -> Option<&[u8]> {
            self.key.as_deref()
        }
    }

    /// What the next record is, or which of those in flight ends.
    #[derive(Debug, Clone)]
    enum Step {
        /// A record of this key; whether it is finished at once.
        Comes(Option<u8>, bool),
        Ends(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (prop::option::of(0..4_u8), any::<bool>()).prop_map(|(key, at_once)| Step::Comes(key, at_once)),
            any::<prop::sample::Index>().prop_map(Step::Ends),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn each_key_runs_one_at_a_time_in_order_and_nothing_waits_without_need(steps in steps()) {
            let mut lanes = Lanes::new(Numbered::key);
            let mut flying: Vec<(Numbered, Option<HeldLane>)> = Vec::new();
            // The naive model: of each key, what has come and is not finished, in order.
            let mut model: BTreeMap<u8, VecDeque<usize>> = BTreeMap::new();
            let mut started: Vec<Numbered> = Vec::new();
            let mut came = 0;
            for step in steps {
                match step {
                    Step::Comes(key, at_once) => {
                        let record = Numbered { number: came, key: key.map(|key| vec![key]) };
                        came += 1;
                        let admitted = lanes.admit(record.clone());
                        let in_flight = key.is_some_and(|key| model.get(&key).is_some_and(|line| !line.is_empty()));
                        prop_assert_eq!(admitted.is_some(), !in_flight);
                        if admitted.is_some() {
                            started.push(record.clone());
                        }
                        if admitted.is_some() && at_once {
                            continue;
                        }
                        if admitted.is_some() {
                            let lane = lanes.hold(&record);
                            flying.push((record.clone(), lane));
                        }
                        if let Some(key) = key {
                            model.entry(key).or_default().push_back(record.number);
                        }
                    }
                    Step::Ends(_) if flying.is_empty() => {}
                    Step::Ends(index) => {
                        let (record, lane) = flying.swap_remove(index.index(flying.len()));
                        let next = lane.and_then(|lane| lanes.release(lane));
                        let line = record.key.as_ref().and_then(|key| model.get_mut(&key[0]));
                        let expected = line.and_then(|line| {
                            let _ = line.pop_front();
                            line.front().copied()
                        });
                        prop_assert_eq!(next.as_ref().map(|next| next.number), expected);
                        if let Some(next) = next {
                            started.push(next.clone());
                            flying.push((next, lane));
                        }
                    }
                }
                prop_assert_eq!(lanes.waiting(), model.values().map(|line| line.len().saturating_sub(1)).sum::<usize>());
            }
            for key in 0..4 {
                let of_key: Vec<_> = started.iter().filter(|each| each.key == Some(vec![key])).map(|each| each.number).collect();
                prop_assert!(of_key.is_sorted());
            }
        }
    }

    /// A record of a batch test, with the lane it holds.
    #[derive(Debug, Clone)]
    struct Batched {
        number: usize,
        key: Option<Vec<u8>>,
        lane: Option<HeldLane>,
    }

    /// What a batch's records may be of, and whether its call ends at once.
    #[derive(Debug, Clone)]
    struct Call {
        at_once: bool,
        /// Of the calls under way, the one that ends before this begins.
        ends: usize,
        done: Vec<bool>,
    }

    fn calls() -> impl Strategy<Value = Vec<Call>> {
        let call = (any::<bool>(), 0..100_usize, prop::collection::vec(prop::bool::weighted(0.7), 3));
        prop::collection::vec(call.prop_map(|(at_once, ends, done)| Call { at_once, ends, done }), 0..60)
    }

    proptest! {
        /// The model: of each key its records in order, which are given up to the first that is not done, and never while others of it are away.
        #[test]
        fn of_each_key_a_batch_finishes_up_to_the_first_that_is_not_done(
            keys in prop::collection::vec(prop::option::weighted(0.8, 0..3_u8), 0..80),
            calls in calls(),
        ) {
            let key_of = |batched: &Batched| -> Option<u8> { batched.key.as_ref().map(|key| key[0]) };
            let mut lanes: Lanes<Batched> = Lanes::new(|batched| batched.key.as_deref());
            let mut coming: VecDeque<Batched> = keys.iter().enumerate().map(|(number, key)| {
                Batched { number, key: key.map(|key| vec![key]), lane: None }
            }).collect();
            let mut model: BTreeMap<u8, VecDeque<usize>> = BTreeMap::new();
            for batched in &coming {
                if let Some(key) = key_of(batched) {
                    model.entry(key).or_default().push_back(batched.number);
                }
            }
            let mut runnable: VecDeque<Batched> = VecDeque::new();
            let mut away: Vec<(Vec<Batched>, Vec<bool>)> = Vec::new();
            let mut finished = Vec::new();
            let rest = (0..400).map(|_| Call { at_once: false, ends: 0, done: vec![true; 3] });
            for Call { at_once, ends, done } in calls.into_iter().chain(rest) {
                let mut ended = Vec::new();
                if !away.is_empty() {
                    ended.push(away.swap_remove(ends % away.len()));
                }
                // A batch of three at most.
                let mut batch: Vec<Batched> = Vec::new();
                while batch.len() < 3 {
                    let next = runnable.pop_front().or_else(|| loop {
                        if let Some(admitted) = lanes.admit(coming.pop_front()?) {
                            break Some(admitted);
                        }
                    });
                    let Some(next) = next else { break };
                    batch.push(next);
                }
                let mut at = 0;
                while let Some(holder) = batch.get(at).filter(|_| batch.len() < 3) {
                    match holder.lane.and_then(|lane| lanes.follow(lane, |_| true)) {
                        Some(next) => batch.push(next),
                        None => at += 1,
                    }
                }
                for (at, batched) in batch.iter().enumerate() {
                    let Some(key) = key_of(batched) else { continue };
                    let others = away.iter().chain(&ended).flat_map(|(batch, _)| batch);
                    prop_assert!(others.filter(|other| key_of(other) == Some(key)).count() == 0, "a key is given to two calls");
                    let before = batch[..at].iter().filter(|other| key_of(other) == Some(key)).count();
                    prop_assert_eq!(model[&key].get(before), Some(&batched.number), "out of order");
                }
                match at_once {
                    true => ended.push((batch, done)),
                    false => {
                        for batched in batch.iter_mut().filter(|batched| batched.lane.is_none()) {
                            batched.lane = lanes.join(batched);
                        }
                        away.push((batch, done));
                    }
                }
                for (batch, done) in ended {
                    let mut open: Vec<u8> = Vec::new();
                    for (batched, done) in batch.iter().zip(&done) {
                        let key = key_of(batched);
                        if key.is_some_and(|key| open.contains(&key)) {
                            continue;
                        }
                        match done {
                            true => finished.push(batched.number),
                            false => open.extend(key),
                        }
                        if *done && let Some(line) = key.and_then(|key| model.get_mut(&key)) {
                            prop_assert_eq!(line.pop_front(), Some(batched.number));
                        }
                    }
                    let mut asked = Vec::new();
                    let settled = lanes.settle(batch, |batched| &mut batched.lane, |at, _| {
                        asked.push(at);
                        done[at]
                    });
                    prop_assert!(asked.is_sorted());
                    runnable.extend(settled.next);
                    runnable.extend(settled.kept);
                }
            }
            finished.sort_unstable();
            prop_assert_eq!(finished, (0..keys.len()).collect::<Vec<_>>(), "each is finished, and once");
            prop_assert_eq!(lanes.lanes.len(), 0);
        }
    }

    #[test]
    fn a_key_that_is_no_longer_in_flight_leaves_nothing_behind() {
        let mut lanes = Lanes::new(Numbered::key);
        for number in 0..1000 {
            let record = Numbered { number, key: Some(number.to_be_bytes().to_vec()) };
            let lane = lanes.hold(&record).into_iter().next();
            assert_eq!(lane.and_then(|lane| lanes.release(lane)), None);
        }
        assert!(lanes.lanes.is_empty());
    }
}
