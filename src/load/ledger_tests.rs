use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const PARTITIONS: u32 = 3;

/// A record on its way: what it says, and where it stands.
type Sent = (Result<Payload, Odd>, Place);

/// Records of two producers with five keys, as a topic would hold them, in the order of sending.
fn topic(count: u64) -> Vec<Sent> {
    let (mut key_sequences, mut ends) = (HashMap::new(), [0; PARTITIONS as usize]);
    (0..count)
        .map(|index| {
            let (producer, key) = ((index % 2) as u16, (index * 7 % 5) as u32);
            let next: &mut u64 = key_sequences.entry((producer, key)).or_default();
            *next += 1;
            let partition = key % PARTITIONS;
            let offset = &mut ends[partition as usize];
            *offset += 1;
            let payload = Payload {
                producer,
                sequence: index / 2,
                key: Some(key),
                key_sequence: *next - 1,
                intended: index,
                warm_up: false,
            };
            (Ok(payload), Place { partition, offset: *offset - 1 })
        })
        .collect()
}

fn damage(record: &mut Sent) {
    if let Ok(payload) = record.0 {
        record.0 = Err(Odd::Corrupted(Some((payload.producer, payload.sequence))));
    }
}

fn tell<'a>(ledger: &mut Ledger, records: impl IntoIterator<Item = &'a Sent>) {
    for (payload, place) in records {
        ledger.handled(*payload, *place);
    }
}

fn told(records: &[Sent]) -> Ledger {
    let mut ledger = Ledger::new(Held::ToKeys, 2, PARTITIONS);
    tell(&mut ledger, records);
    ledger
}

fn findings(records: &[Sent]) -> Findings {
    told(records).findings(&[50, 50])
}

fn clean() -> Findings {
    Findings { sent: 100, handled: 100, calls: 100, ..Findings::default() }
}

#[test]
fn all_is_well_where_each_record_is_handled_once_in_the_order_of_its_key() {
    assert_eq!(findings(&topic(100)), clean());
    // Keys may overtake each other.
    let mut by_key = topic(100);
    by_key.sort_by_key(|(payload, _)| payload.ok().and_then(|it| it.key));
    assert_eq!(findings(&by_key), clean());
}

#[test]
fn a_lost_record_is_found() {
    let mut records = topic(100);
    let _ = records.remove(40);
    assert_eq!(findings(&records), Findings { handled: 99, calls: 99, missing: 1, ..clean() });
    // The last one too, which leaves no gap.
    records.pop();
    assert_eq!(findings(&records).missing, 2);
}

#[test]
fn a_record_that_the_producer_gave_up_is_not_lost_whether_it_was_stored_or_not() {
    let mut records = topic(100);
    let _ = records.remove(40);
    let mut ledger = told(&records);
    ledger.failed(0, 20);
    ledger.failed(1, 3);
    assert_eq!(ledger.findings(&[50, 50]), Findings { handled: 99, calls: 99, failed: 2, ..clean() });
}

#[test]
fn repeats_are_counted_by_how_often_and_are_no_reordering() {
    let mut records = topic(100);
    records.extend([records[10], records[10], records[60]]);
    let expected = Findings {
        calls: 103,
        duplicated: 2,
        times_handled: BTreeMap::from([(2, 1), (3, 1)]),
        redelivered: 3,
        ..clean()
    };
    assert_eq!(findings(&records), expected);
}

#[test]
fn a_record_that_is_stored_twice_is_a_duplicate_and_not_redelivered() {
    let mut records = topic(100);
    let (payload, _) = records[10];
    records.push((payload, Place { partition: 0, offset: 5_000 }));
    let found = findings(&records);
    assert_eq!((found.duplicated, found.redelivered, found.missing), (1, 0, 0));
}

#[test]
fn two_records_of_a_key_that_changed_places_are_found_and_two_of_different_keys_are_not() {
    let mut records = topic(100);
    records.swap(10, 20);
    assert_eq!(findings(&records), Findings { reordered: 1, ..clean() });
    let mut records = topic(100);
    records.swap(10, 11);
    assert_eq!(findings(&records), clean());
}

#[test]
fn records_without_a_key_are_held_to_no_order_of_keys() {
    let mut records = topic(100);
    for (payload, _) in &mut records {
        *payload = payload.map(|it| Payload { key: None, key_sequence: it.sequence, ..it });
    }
    records.swap(10, 20);
    assert_eq!(findings(&records), clean());
}

#[test]
fn where_partitions_are_held_to_their_order_keys_of_one_may_not_overtake_each_other() {
    let reordered = |records: &[Sent]| {
        let mut ledger = Ledger::new(Held::ToPartitions, 2, PARTITIONS);
        tell(&mut ledger, records);
        ledger.findings(&[50, 50]).reordered
    };
    let mut records = topic(100);
    assert_eq!(reordered(&records), 0);
    // Of one producer and one partition, and of two keys.
    records.swap(10, 14);
    assert_eq!((reordered(&records), findings(&records).reordered), (1, 0));
    // Of two partitions.
    let mut records = topic(100);
    records.swap(10, 12);
    assert_eq!(reordered(&records), 0);
}

#[test]
fn corrupted_and_foreign_records_are_told_apart_and_counted_once_each() {
    let mut records = topic(100);
    damage(&mut records[30]);
    records.push((Err(Odd::Foreign), Place { partition: 1, offset: 9_000 }));
    records.push((Err(Odd::Foreign), Place { partition: 1, offset: 9_000 }));
    let expected = Findings { handled: 99, calls: 102, corrupted: 1, foreign: 1, redelivered: 1, ..clean() };
    assert_eq!(findings(&records), expected);
}

#[test]
fn a_damaged_record_does_not_hide_the_loss_of_another() {
    let mut records = topic(100);
    damage(&mut records[30]);
    let _ = records.remove(70);
    let expected = Findings { handled: 98, calls: 99, corrupted: 1, missing: 1, ..clean() };
    assert_eq!(findings(&records), expected);
    // A second copy is damaged, and the first is not missing.
    let mut records = topic(100);
    records.push((Err(Odd::Corrupted(Some((0, 3)))), Place { partition: 1, offset: 9_000 }));
    let _ = records.remove(70);
    let expected = Findings { handled: 99, calls: 100, corrupted: 1, missing: 1, ..clean() };
    assert_eq!(findings(&records), expected);
    // Nobody can tell which one it was, or it says that it is another: it may have been lost.
    for claim in [None, Some((0, 12_345)), Some((9, 1))] {
        let mut records = topic(100);
        records[30].0 = Err(Odd::Corrupted(claim));
        let expected = Findings { handled: 99, corrupted: 1, missing: 1, ..clean() };
        assert_eq!(findings(&records), expected, "{claim:?}");
    }
}

#[test]
fn of_what_stands_in_the_log_each_record_that_is_missing_is_found_once() {
    let records = topic(100);
    let mut ledger = told(&records[..60]);
    ledger.failed(0, 30);
    ledger.handled(Err(Odd::Corrupted(Some((1, 31)))), Place { partition: 0, offset: 1_000 });
    let missing = ledger.findings(&[50, 50]).missing;
    // It is read from its beginning, and some records stand there twice.
    let all = || records.iter().filter_map(|(payload, _)| payload.ok());
    let found = all().chain(all()).filter(|it| ledger.found_in_log(it.producer, it.sequence)).count();
    assert_eq!((missing, found), (38, 38));
    assert!(!ledger.found_in_log(2, 0));
    // And takes no memory beside that of the ledger.
    let mut ledger = Ledger::new(Held::ToKeys, 1, 1);
    const MANY: u64 = 1_000_000;
    assert_eq!((0..MANY).filter(|sequence| ledger.found_in_log(0, *sequence)).count() as u64, MANY);
    assert!(ledger.bytes_of_records() as u64 * 8 < 2 * MANY, "{}", ledger.bytes_of_records());
}

#[test]
fn what_is_committed_and_not_handled_is_seen_while_it_is_so() {
    let records = topic(100);
    let in_first = records.iter().filter(|(_, place)| place.partition == 0).count() as u64;
    let mut ledger = told(&[]);
    assert_eq!(ledger.unhandled_below(0, 3), 3);
    tell(&mut ledger, records.iter().filter(|(_, place)| place.offset != 1));
    assert_eq!(ledger.unhandled_below(0, 1), 0);
    assert_eq!(ledger.unhandled_below(0, in_first), 1);
    tell(&mut ledger, records.iter().filter(|(_, place)| place.offset == 1));
    assert_eq!(ledger.unhandled_below(0, in_first), 0);
}

#[test]
fn a_record_costs_two_bits_at_most() {
    let count: u64 = 1_000_000;
    let record = |sequence: u64| {
        let payload =
            Payload { producer: 0, sequence, key: Some(0), key_sequence: sequence, intended: 0, warm_up: false };
        (Ok(payload), Place { partition: 0, offset: sequence })
    };
    // Every second one first: no page is complete.
    let mut ledger = Ledger::new(Held::ToKeys, 1, 1);
    tell(&mut ledger, &(0..count).step_by(2).map(record).collect::<Vec<_>>());
    let bits = ledger.bytes_of_records() as f64 * 8.0 / count as f64;
    assert!(bits <= 2.1, "{bits}");
    tell(&mut ledger, &(1..count).step_by(2).map(record).collect::<Vec<_>>());
    let bits = ledger.bytes_of_records() as f64 * 8.0 / count as f64;
    assert!(bits <= 0.1, "{bits}");
}

/// The same by sets and lists.
#[derive(Default)]
struct Naive {
    times: HashMap<(u16, u64), u32>,
    handled: Vec<(Payload, u32)>,
    places: Vec<Place>,
    corrupted: HashSet<(u32, u64)>,
    damaged: HashSet<(u16, u64)>,
    foreign: HashSet<(u32, u64)>,
}

impl Naive {
    fn handled(&mut self, (read, place): Sent) {
        let at = (place.partition, place.offset);
        let first = !self.places.contains(&place);
        self.places.push(place);
        match read {
            Ok(payload) => {
                let times = self.times.entry((payload.producer, payload.sequence)).or_default();
                *times += 1;
                if *times == 1 {
                    self.handled.push((payload, place.partition));
                }
            }
            Err(Odd::Corrupted(claim)) => {
                self.damaged.extend(claim);
                if first {
                    self.corrupted.insert(at);
                }
            }
            Err(Odd::Foreign) if first => drop(self.foreign.insert(at)),
            Err(_) => {}
        }
    }

    fn findings(&self, held: Held, sent: &[u64; 2], failed: &HashSet<(u16, u64)>) -> Findings {
        let of_all = (0..2_u16).flat_map(|producer| (0..sent[usize::from(producer)]).map(move |it| (producer, it)));
        let known = |it: &(u16, u64)| self.times.contains_key(it) || failed.contains(it) || self.damaged.contains(it);
        let missing = of_all.filter(|it| !known(it)).count() as u64;
        let behind = |index: usize, (it, partition): &(Payload, u32)| {
            self.handled[..index].iter().any(|(other, others)| {
                other.producer == it.producer
                    && match held {
                        Held::ToPartitions => others == partition && other.sequence > it.sequence,
                        Held::ToKeys => other.key == it.key && other.key_sequence > it.key_sequence,
                    }
            })
        };
        let mut times_handled = BTreeMap::new();
        self.times.values().filter(|it| **it > 1).for_each(|it| *times_handled.entry(*it).or_default() += 1);
        let places: HashSet<_> = self.places.iter().map(|it| (it.partition, it.offset)).collect();
        Findings {
            sent: sent.iter().sum(),
            failed: failed.len() as u64,
            handled: self.handled.len() as u64,
            calls: self.places.len() as u64,
            missing,
            duplicated: times_handled.values().sum(),
            times_handled,
            redelivered: (self.places.len() - places.len()) as u64,
            reordered: self.handled.iter().enumerate().filter(|(index, it)| behind(*index, it)).count() as u64,
            corrupted: self.corrupted.len() as u64,
            foreign: self.foreign.len() as u64,
        }
    }
}

proptest! {
    #[test]
    fn it_finds_what_a_naive_ledger_finds(
        by_partition: bool,
        count in 0_u64..80,
        faults in proptest::collection::vec((0_u8..5, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..12),
        failed in proptest::collection::hash_set((0_u16..2, 0_u64..40), 0..5),
    ) {
        let mut records = topic(count);
        for (fault, one, other) in faults {
            if records.is_empty() {
                break;
            }
            let (one, other) = (one.index(records.len()), other.index(records.len()));
            match fault {
                0 => drop(records.remove(one)),
                1 => records.insert(other, records[one]),
                2 => records.swap(one, other),
                3 => damage(&mut records[one]),
                _ => records.insert(one, (Err(Odd::Foreign), Place { partition: 1, offset: 1_000 + other as u64 })),
            }
        }
        let sent = [count.div_ceil(2), count / 2];
        let failed: HashSet<_> = failed.into_iter().filter(|(of, it)| *it < sent[usize::from(*of)]).collect();
        let held = if by_partition { Held::ToPartitions } else { Held::ToKeys };
        let (mut ledger, mut naive) = (Ledger::new(held, 2, PARTITIONS), Naive::default());
        for (payload, place) in records {
            ledger.handled(payload, place);
            naive.handled((payload, place));
        }
        failed.iter().for_each(|(producer, sequence)| ledger.failed(*producer, *sequence));
        prop_assert_eq!(ledger.findings(&sent), naive.findings(held, &sent, &failed));
    }
}

#[test]
fn what_was_handled_from_a_committed_offset_on_is_counted() {
    let mut ledger = Ledger::new(Held::ToPartitions, 1, 2);
    for offset in [0, 1, 2, 5, 9] {
        ledger.handled(Err(Odd::Foreign), Place { partition: 1, offset });
    }
    let from = |committed| ledger.handled_from(1, committed);
    assert_eq!([from(0), from(2), from(3), from(9), from(10), from(1_000_000)], [5, 3, 2, 1, 0, 0]);
    assert_eq!((ledger.handled_from(0, 7), ledger.handled_from(2, 7)), (0, 0));
}
