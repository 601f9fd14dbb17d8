//! Key order: which record may start next, so that each key's records run one at a time, in the order they came. Pure.
//!
//! A lane exists only while its key is in flight, so what a record costs does not depend on how many keys there are: where handlers are ready
//! at once no lane ever begins, and nobody looks one up.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// The key of a record. What has none is independent of everything.
type KeyOf<T> = fn(&T) -> Option<&[u8]>;

/// The keys in flight, each with what waits for it.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    lanes: HashTable<Lane<T>>,
    hasher: RandomState,
    key_of: KeyOf<T>,
}

/// A key in flight. The hash finds it, the key's bytes tell it from others with that hash.
#[derive(Debug)]
struct Lane<T> {
    hash: u64,
    key: Box<[u8]>,
    waiting: VecDeque<T>,
}

/// Who holds a lane: to be given back when the record is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneHash(u64);

impl<T> Lanes<T> {
    pub(crate) fn new(key_of: KeyOf<T>) -> Self {
        Self { lanes: HashTable::new(), hasher: RandomState::new(), key_of }
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
    pub(crate) fn hold(&mut self, record: &T) -> Option<LaneHash> {
        let key = (self.key_of)(record)?;
        let hash = self.hasher.hash_one(key);
        self.lanes.insert_unique(hash, Lane { hash, key: key.into(), waiting: VecDeque::new() }, |lane| lane.hash);
        Some(LaneHash(hash))
    }

    /// The record that holds this lane is finished. Gives the next of its key, which then holds the lane.
    pub(crate) fn release(&mut self, LaneHash(hash): LaneHash, record: &T) -> Option<T> {
        let key = (self.key_of)(record)?;
        let mut lane = self.lanes.find_entry(hash, |lane| lane.hash == hash && *lane.key == *key).ok()?;
        match lane.get_mut().waiting.pop_front() {
            Some(next) => Some(next),
            None => {
                lane.remove();
                None
            }
        }
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
            let mut flying: Vec<(Numbered, Option<LaneHash>)> = Vec::new();
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
                        let next = lane.and_then(|lane| lanes.release(lane, &record));
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

    #[test]
    fn a_key_that_is_no_longer_in_flight_leaves_nothing_behind() {
        let mut lanes = Lanes::new(Numbered::key);
        for number in 0..1000 {
            let record = Numbered { number, key: Some(number.to_be_bytes().to_vec()) };
            let lane = lanes.hold(&record).into_iter().next();
            assert_eq!(lane.and_then(|lane| lanes.release(lane, &record)), None);
        }
        assert!(lanes.lanes.is_empty());
    }
}
