//! What is remembered of letters that nobody waits for any more. Pure.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Letters whose fate is remembered, at most.
const MOST: usize = 4096;

/// The last of them. Each that is too many costs the oldest its place: if the record of that comes here again in this process, its letter may be
/// there twice, as after a crash.
#[derive(Debug)]
pub(super) struct Late<K, V> {
    /// Each with its number among all.
    by_subject: HashMap<K, (u64, V)>,
    by_age: BTreeMap<u64, K>,
    next: u64,
}

impl<K, V> Default for Late<K, V> {
    fn default() -> Self {
        Self { by_subject: HashMap::new(), by_age: BTreeMap::new(), next: 0 }
    }
}

impl<K: Clone + Eq + Hash, V> Late<K, V> {
    pub(super) fn insert(&mut self, subject: K, fate: V) {
        self.take(&subject);
        if self.by_subject.len() >= MOST
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_subject.remove(&oldest);
        }
        self.by_age.insert(self.next, subject.clone());
        self.by_subject.insert(subject, (self.next, fate));
        self.next += 1;
    }

    pub(super) fn take(&mut self, subject: &K) -> Option<V> {
        let (number, fate) = self.by_subject.remove(subject)?;
        self.by_age.remove(&number);
        Some(fate)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_makes_room_for_one_too_many() {
        let mut late = Late::default();
        (0..MOST).for_each(|subject| late.insert(subject, subject));
        // Remembered anew, and so the youngest.
        late.insert(0, MOST);
        late.insert(MOST, 0);
        assert_eq!([0, 1, 2, MOST].map(|subject| late.take(&subject)), [Some(MOST), None, Some(2), Some(0)]);
    }

    proptest! {
        #[test]
        fn what_was_inserted_last_is_there_until_it_is_taken(
            steps in prop::collection::vec((0..6000_usize, prop::bool::weighted(0.9)), 0..12_000),
        ) {
            let mut late = Late::default();
            let mut model: Vec<(usize, usize)> = Vec::new();
            for (step, (subject, inserts)) in steps.into_iter().enumerate() {
                let known = model.iter().position(|(each, _)| *each == subject).map(|at| model.remove(at).1);
                match inserts {
                    true => {
                        late.insert(subject, step);
                        model.push((subject, step));
                        if model.len() > MOST {
                            model.remove(0);
                        }
                    }
                    false => prop_assert_eq!(late.take(&subject), known),
                }
            }
            prop_assert_eq!(late.by_subject.len(), model.len());
            prop_assert_eq!(late.by_age.len(), model.len());
        }
    }
}
