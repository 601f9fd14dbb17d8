//! What has been told of each partition, and what is to be told next. Pure.
//!
//! Whoever reads the events holds each partition to a story: it is assigned, then records of it are consumed, then their offsets are
//! committed, then it is revoked. An offset that is committed before its record is consumed, or of a partition that is not assigned, is a
//! fault to them; so whatever comes late is left out here.

use std::collections::BTreeMap;

use super::events::{Committed, Consumed, Event, Partition};

/// See the module.
#[derive(Debug)]
pub(super) struct Account {
    partitions: BTreeMap<Partition, Stay>,
    /// A record may have been finished by an earlier owner, and skipped by this one: then all that the watermark passes is counted.
    skips: bool,
}

/// A partition that is assigned.
#[derive(Debug)]
struct Stay {
    start: i64,
    /// All below is told as consumed.
    told: i64,
    committed: i64,
    /// Handled, and not below what is told.
    handled: BTreeMap<i64, Option<Data>>,
}

/// A record's key and value, where they are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
}

impl Account {
    pub(super) fn new(skips: bool) -> Self {
        Self { partitions: BTreeMap::new(), skips }
    }

    /// Partitions have come, with where they start.
    pub(super) fn assigned(&mut self, starts: Vec<(Partition, i64)>) -> Event {
        let partitions = starts.iter().map(|(partition, _)| partition.clone()).collect();
        for (partition, start) in starts {
            let stay = Stay { start, told: start, committed: start, handled: BTreeMap::new() };
            self.partitions.insert(partition, stay);
        }
        Event::PartitionsAssigned { partitions }
    }

    /// A record has been handled.
    pub(super) fn handled(&mut self, partition: &Partition, offset: i64, data: Option<Data>) {
        if let Some(stay) = self.partitions.get_mut(partition)
            && offset >= stay.told
        {
            stay.handled.insert(offset, data);
        }
    }

    /// All below these positions is processed.
    pub(super) fn advance(&mut self, watermarks: impl IntoIterator<Item = (Partition, i64)>) -> Vec<Event> {
        let mut events = Vec::new();
        let mut consumed = Vec::new();
        for (partition, watermark) in watermarks {
            let Some(stay) = self.partitions.get_mut(&partition).filter(|stay| stay.told < watermark) else {
                continue;
            };
            let above = stay.handled.split_off(&watermark);
            let handled = std::mem::replace(&mut stay.handled, above);
            let from = std::mem::replace(&mut stay.told, watermark);
            let (first, last) = match (handled.first_key_value(), handled.last_key_value()) {
                _ if self.skips => (from, watermark - 1),
                (Some((first, _)), Some((last, _))) => (*first, *last),
                // There was nothing but a gap.
                _ => continue,
            };
            let count = if self.skips { (watermark - from) as u64 } else { handled.len() as u64 };
            consumed.push(Consumed { at: partition.clone(), count, min_offset: first, max_offset: last });
            events.extend(handled.into_iter().filter_map(|(offset, data)| {
                let Data { key, value } = data?;
                Some(Event::RecordData { key, value, at: partition.clone(), offset })
            }));
        }
        if !consumed.is_empty() {
            let count = consumed.iter().map(|each| each.count).sum();
            events.push(Event::RecordsConsumed { count, partitions: consumed });
        }
        events
    }

    /// These offsets are committed, or not.
    pub(super) fn committed(&mut self, offsets: Vec<(Partition, i64)>, error: Option<String>) -> Vec<Event> {
        let mut events = match error {
            Some(_) => Vec::new(),
            // What is committed is processed, whatever has been seen of it until now.
            None => self.advance(offsets.iter().cloned()),
        };
        let success = error.is_none();
        let told = offsets.into_iter().filter_map(|(partition, offset)| {
            let stay = self.partitions.get_mut(&partition)?;
            // Of an earlier stay, or told already.
            if stay.told == stay.start || offset > stay.told || offset <= stay.committed {
                return None;
            }
            if success {
                stay.committed = offset;
            }
            Some(Committed { at: partition, offset })
        });
        let offsets: Vec<_> = told.collect();
        if !offsets.is_empty() {
            events.push(Event::OffsetsCommitted { offsets, error, success });
        }
        events
    }

    /// Of these partitions, what is processed and not told as committed.
    pub(super) fn uncommitted(&self, partitions: &[Partition]) -> Vec<(Partition, i64)> {
        let stays = partitions.iter().filter_map(|partition| Some((partition, self.partitions.get(partition)?)));
        let open = stays.filter(|(_, stay)| stay.told > stay.committed);
        open.map(|(partition, stay)| (partition.clone(), stay.told)).collect()
    }

    /// Partitions have gone.
    pub(super) fn revoked(&mut self, partitions: Vec<Partition>) -> Event {
        for partition in &partitions {
            self.partitions.remove(partition);
        }
        Event::PartitionsRevoked { partitions }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(partition: i32) -> Partition {
        Partition { topic: "t".to_owned(), partition }
    }

    fn consumed(events: &[Event]) -> Vec<(i32, u64, i64, i64)> {
        let of = |event: &Event| match event {
            Event::RecordsConsumed { partitions, .. } => partitions.clone(),
            _ => Vec::new(),
        };
        let all = events.iter().flat_map(of);
        all.map(|each| (each.at.partition, each.count, each.min_offset, each.max_offset)).collect()
    }

    #[test]
    fn what_lies_below_the_watermark_is_told_once_and_gaps_are_not_counted() {
        let mut account = Account::new(false);
        account.assigned(vec![(at(0), 10), (at(1), 0)]);
        for offset in [10, 11, 14, 15] {
            account.handled(&at(0), offset, None);
        }
        assert_eq!(consumed(&account.advance([(at(0), 15), (at(1), 0)])), [(0, 3, 10, 14)]);
        assert!(account.advance([(at(0), 15)]).is_empty());
        assert_eq!(consumed(&account.advance([(at(0), 17)])), [(0, 1, 15, 15)]);
        assert!(account.advance([(at(0), 19)]).is_empty(), "a gap alone is nothing to tell");
    }

    #[test]
    fn where_records_may_be_skipped_all_that_the_watermark_passes_is_counted() {
        let mut account = Account::new(true);
        account.assigned(vec![(at(0), 10)]);
        account.handled(&at(0), 12, None);
        assert_eq!(consumed(&account.advance([(at(0), 20)])), [(0, 10, 10, 19)]);
    }

    #[test]
    fn a_commit_of_an_earlier_stay_is_not_told() {
        let mut account = Account::new(false);
        account.assigned(vec![(at(0), 0)]);
        account.handled(&at(0), 0, None);
        account.advance([(at(0), 1)]);
        account.revoked(vec![at(0)]);
        assert!(account.committed(vec![(at(0), 1)], None).is_empty());
        account.assigned(vec![(at(0), 1)]);
        assert!(account.committed(vec![(at(0), 1)], None).is_empty());
        assert!(account.committed(vec![(at(0), 2)], Some("refused".to_owned())).is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Assign(i32),
        Handle(i32, u8),
        Advance(i32),
        Commit(i32, bool),
        Revoke(i32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..3_i32).prop_map(Step::Assign),
            (0..3_i32, 1..5_u8).prop_map(|(partition, count)| Step::Handle(partition, count)),
            (0..3_i32).prop_map(Step::Advance),
            (0..3_i32, any::<bool>()).prop_map(|(partition, fails)| Step::Commit(partition, fails)),
            (0..3_i32).prop_map(Step::Revoke),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        #[test]
        fn the_story_of_each_partition_holds(steps in steps()) {
            let mut account = Account::new(false);
            // The next record of each partition, and where the reader of the events believes it to be: assigned, consumed up to.
            let mut next = [0_i64; 3];
            let mut believed: BTreeMap<i32, i64> = BTreeMap::new();
            for step in steps {
                let events = match step {
                    Step::Assign(partition) if believed.contains_key(&partition) => continue,
                    Step::Assign(partition) => vec![account.assigned(vec![(at(partition), next[partition as usize])])],
                    Step::Handle(partition, count) => {
                        if believed.contains_key(&partition) {
                            for _ in 0..count {
                                account.handled(&at(partition), next[partition as usize], None);
                                next[partition as usize] += 1;
                            }
                        }
                        continue;
                    }
                    Step::Advance(partition) => account.advance([(at(partition), next[partition as usize])]),
                    Step::Commit(partition, fails) => {
                        account.committed(vec![(at(partition), next[partition as usize])], fails.then(|| "no".to_owned()))
                    }
                    Step::Revoke(partition) => vec![account.revoked(vec![at(partition)])],
                };
                for event in events {
                    match event {
                        Event::PartitionsAssigned { partitions } => {
                            believed.extend(partitions.iter().map(|each| (each.partition, next[each.partition as usize])));
                        }
                        Event::PartitionsRevoked { partitions } => {
                            partitions.iter().for_each(|each| _ = believed.remove(&each.partition));
                        }
                        Event::RecordsConsumed { partitions, .. } => for each in partitions {
                            prop_assert_eq!(believed.get(&each.at.partition), Some(&each.min_offset));
                            prop_assert_eq!(each.count as i64, each.max_offset - each.min_offset + 1);
                            believed.insert(each.at.partition, each.max_offset + 1);
                        },
                        Event::OffsetsCommitted { offsets, .. } => for each in offsets {
                            prop_assert_eq!(believed.get(&each.at.partition), Some(&each.offset));
                        },
                        _ => {}
                    }
                }
            }
        }
    }
}
