use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::flights::Flight;

/// What must come out, computed from the file without Kafka and without this program.
const EXPECTED: &str = include_str!("../../../examples/data/flights-2013-01.expected.json");

/// Of many faults only the first are named; all are counted.
const NAMED_FAULTS: usize = 10;

/// The file's own results.
#[derive(Debug, Deserialize)]
pub(super) struct Expected {
    records: u64,
    carriers: BTreeMap<String, Carrier>,
    chains: BTreeMap<String, ExpectedChain>,
}

#[derive(Debug, Deserialize)]
struct ExpectedChain {
    count: u64,
    /// 16 hexadecimal digits.
    chain: String,
}

impl Expected {
    pub(super) fn january_2013() -> anyhow::Result<Self> {
        serde_json::from_str(EXPECTED).context("the compiled-in results cannot be read")
    }
}

/// A row of the per-carrier table: the job's result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Carrier {
    pub(super) flights: u64,
    pub(super) arrived: u64,
    pub(super) arr_delay_minutes: i64,
}

/// One call of the handler.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handled<'a> {
    pub(super) member: usize,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// Watches every call of the handlers, in the order they are made.
///
/// It judges twice, and believes neither alone. A hash chain per key, over the values in the order they were handled, is compared with
/// the file's: any loss, repeat or swap within a key changes it, but it does not say which. So each record, known by its value, is also
/// counted and placed in its key's order, which says which, but would trust this program's own reading of the file.
///
/// - *Lost*: a record of the file that was never handled.
/// - *Duplicated*: each handling of a record after its first.
/// - *Out of order*: a record first handled after a later one of its key.
/// - *Foreign*: a handling of what is not in the file, or under another key.
#[derive(Debug)]
pub(super) struct Judge {
    flights: Arc<[Flight]>,
    records: Vec<Record>,
    by_value: HashMap<Vec<u8>, usize>,
    keys: HashMap<Vec<u8>, Key>,
    carriers: BTreeMap<String, Carrier>,
    /// The member that handled each partition's last record.
    owners: HashMap<i32, usize>,
    handled: u64,
    duplicated: u64,
    out_of_order: u64,
    foreign: u64,
    partitions_moved: u64,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Record {
    /// The record's place among those of its key.
    place: u64,
    handled: bool,
}

#[derive(Debug)]
struct Key {
    chain: u64,
    count: u64,
    /// The highest place handled so far.
    highest: Option<u64>,
}

impl Judge {
    pub(super) fn new(flights: Arc<[Flight]>) -> Self {
        let mut places: HashMap<&str, u64> = HashMap::new();
        let records = flights
            .iter()
            .map(|flight| {
                let next = places.entry(&flight.tailnum).or_default();
                let place = *next;
                *next += 1;
                Record { place, handled: false }
            })
            .collect();
        let by_value = flights.iter().enumerate().map(|(record, flight)| (flight.line.clone(), record)).collect();
        Self {
            flights,
            records,
            by_value,
            keys: HashMap::new(),
            carriers: BTreeMap::new(),
            owners: HashMap::new(),
            handled: 0,
            duplicated: 0,
            out_of_order: 0,
            foreign: 0,
            partitions_moved: 0,
            faults: Vec::new(),
        }
    }

    /// How many records of the file were handled at least once.
    pub(super) fn seen(&self) -> u64 {
        self.handled - self.duplicated - self.foreign
    }

    /// Takes note of one call of the handler.
    pub(super) fn saw(&mut self, handled: Handled<'_>) {
        self.handled += 1;
        let owner = self.owners.insert(handled.partition, handled.member);
        if owner.is_some_and(|owner| owner != handled.member) {
            self.partitions_moved += 1;
        }

        let key =
            self.keys.entry(handled.key.to_vec()).or_insert(Key { chain: FNV_OFFSET_BASIS, count: 0, highest: None });
        key.chain = fnv1a(key.chain, handled.value);
        key.count += 1;

        let found = self.by_value.get(handled.value).copied();
        let Some(record) = found.filter(|&record| self.flights[record].tailnum.as_bytes() == handled.key) else {
            self.foreign += 1;
            return self.fault(Kind::Foreign, handled.key, found, Some(handled));
        };
        let flight = &self.flights[record];
        let carrier = self.carriers.entry(flight.carrier.clone()).or_default();
        carrier.flights += 1;
        if let Some(minutes) = flight.arr_delay {
            carrier.arrived += 1;
            carrier.arr_delay_minutes += minutes;
        }

        if self.records[record].handled {
            self.duplicated += 1;
            return self.fault(Kind::Duplicated, handled.key, Some(record), Some(handled));
        }
        self.records[record].handled = true;
        let place = self.records[record].place;
        if key.highest.is_some_and(|highest| highest > place) {
            self.out_of_order += 1;
            return self.fault(Kind::OutOfOrder, handled.key, Some(record), Some(handled));
        }
        key.highest = Some(place);
    }

    /// Compares what was seen with what must come out.
    pub(super) fn verdict(mut self, expected: &Expected) -> Verdict {
        let mut lost = 0;
        for record in 0..self.records.len() {
            if !self.records[record].handled {
                lost += 1;
                let key = self.flights[record].tailnum.clone();
                self.fault(Kind::Lost, key.as_bytes(), Some(record), None);
            }
        }
        let as_expected = |name: &String, chain: &ExpectedChain| {
            self.keys
                .get(name.as_bytes())
                .is_some_and(|key| key.count == chain.count && format!("{:016x}", key.chain) == chain.chain)
        };
        let wrong_keys = expected.chains.iter().filter(|(name, chain)| !as_expected(name, chain)).count();
        let unknown_keys = self
            .keys
            .keys()
            .filter(|key| !str::from_utf8(key).is_ok_and(|key| expected.chains.contains_key(key)))
            .count();
        let keys_as_expected = wrong_keys == 0 && unknown_keys == 0;
        let carriers_as_expected = self.carriers == expected.carriers;
        Verdict {
            clean: lost == 0
                && self.duplicated == 0
                && self.out_of_order == 0
                && self.foreign == 0
                && self.handled == expected.records
                && keys_as_expected
                && carriers_as_expected,
            records: self.handled,
            expected: expected.records,
            keys: self.keys.len(),
            lost,
            duplicated: self.duplicated,
            out_of_order: self.out_of_order,
            foreign: self.foreign,
            keys_as_expected,
            carriers_as_expected,
            partitions_moved: self.partitions_moved,
            carriers: self.carriers,
            faults: self.faults,
        }
    }

    fn fault(&mut self, kind: Kind, key: &[u8], record: Option<usize>, handled: Option<Handled<'_>>) {
        if self.faults.len() < NAMED_FAULTS {
            self.faults.push(Fault {
                kind,
                key: String::from_utf8_lossy(key).into_owned(),
                // The header is line 1.
                line: record.map(|record| record + 2),
                partition: handled.map(|handled| handled.partition),
                offset: handled.map(|handled| handled.offset),
            });
        }
    }
}

/// What became of the file's records.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) clean: bool,
    pub(super) records: u64,
    pub(super) expected: u64,
    pub(super) keys: usize,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    pub(super) foreign: u64,
    /// Whether each key's chain is the file's.
    pub(super) keys_as_expected: bool,
    pub(super) carriers_as_expected: bool,
    /// How often a partition's next record was handled by another member than its last.
    pub(super) partitions_moved: u64,
    pub(super) carriers: BTreeMap<String, Carrier>,
    /// The first faults.
    pub(super) faults: Vec<Fault>,
}

/// One thing that went wrong, and where to look for it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    kind: Kind,
    key: String,
    /// The line of the file.
    line: Option<usize>,
    partition: Option<i32>,
    offset: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Lost,
    Duplicated,
    OutOfOrder,
    Foreign,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Lost => "lost",
            Kind::Duplicated => "duplicated",
            Kind::OutOfOrder => "out of order",
            Kind::Foreign => "foreign",
        })?;
        write!(f, ": key {}", self.key)?;
        if let Some(line) = self.line {
            write!(f, ", line {line} of the file")?;
        }
        if let (Some(partition), Some(offset)) = (self.partition, self.offset) {
            write!(f, ", partition {partition} offset {offset}")?;
        }
        Ok(())
    }
}

const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a over `bytes`, going on from `hash`.
fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::super::flights::january_2013;
    use super::*;

    #[test]
    fn the_file_in_its_own_order_is_clean() {
        let flights = january_2013().unwrap();
        let verdict = judge(&flights);
        assert!(verdict.clean, "{verdict:?}");
        assert_eq!((verdict.records, verdict.keys), (27_004, 3_149));
        assert!(verdict.faults.is_empty());
    }

    #[test]
    fn any_order_that_keeps_each_keys_order_is_clean() {
        let mut flights = january_2013().unwrap();
        flights.sort_by(|a, b| a.tailnum.cmp(&b.tailnum));
        assert!(judge(&flights).clean);
    }

    #[test]
    fn two_records_of_a_key_swapped_are_one_out_of_order() {
        let mut flights = january_2013().unwrap();
        let (first, second) = two_of_one_key(&flights);
        flights.swap(first, second);
        let verdict = judge(&flights);
        assert!(!verdict.clean);
        assert_eq!(counts(&verdict), (0, 0, 1, 0));
        assert!(!verdict.keys_as_expected && verdict.carriers_as_expected);
        let fault = verdict.faults[0].to_string();
        let key = &flights[first].tailnum;
        assert_eq!(
            fault,
            format!("out of order: key {key}, line {} of the file, partition 0 offset {second}", first + 2)
        );
    }

    #[test]
    fn a_record_dropped_is_lost_by_its_key() {
        let mut flights = january_2013().unwrap();
        let dropped = flights.remove(5_000);
        let verdict = judge(&flights);
        assert!(!verdict.clean);
        assert_eq!(counts(&verdict), (1, 0, 0, 0));
        assert!(!verdict.keys_as_expected && !verdict.carriers_as_expected);
        let fault = verdict.faults[0].to_string();
        assert_eq!(fault, format!("lost: key {}, line 5002 of the file", dropped.tailnum));
    }

    #[test]
    fn a_record_repeated_is_duplicated_and_not_out_of_order() {
        let mut flights = january_2013().unwrap();
        flights.push(flights[0].clone());
        let verdict = judge(&flights);
        assert!(!verdict.clean);
        assert_eq!(counts(&verdict), (0, 1, 0, 0));
        assert!(!verdict.keys_as_expected && !verdict.carriers_as_expected);
        assert!(verdict.faults[0].to_string().starts_with("duplicated: key N14228, line 2 "));
    }

    #[test]
    fn a_record_changed_or_under_another_key_is_foreign_and_its_own_is_lost() {
        for change in [|flight: &mut Flight| flight.line.push(b' '), |flight: &mut Flight| flight.tailnum.push('X')] {
            let mut flights = january_2013().unwrap();
            change(&mut flights[7]);
            let verdict = judge(&flights);
            assert!(!verdict.clean);
            assert_eq!(counts(&verdict), (1, 0, 0, 1));
            assert!(!verdict.keys_as_expected);
        }
    }

    #[test]
    fn all_faults_are_counted_and_the_first_are_named() {
        let flights = january_2013().unwrap();
        let verdict = judge(&flights[..20_000]);
        assert_eq!(verdict.lost, 7_004);
        assert_eq!(verdict.faults.len(), NAMED_FAULTS);
    }

    #[test]
    fn a_partition_moves_when_another_member_goes_on_with_it() {
        let flights: Arc<[Flight]> = january_2013().unwrap().into();
        let mut judge = Judge::new(Arc::clone(&flights));
        for (i, (partition, member)) in [(0, 1), (1, 1), (0, 2), (0, 2), (1, 1), (0, 1)].into_iter().enumerate() {
            judge.saw(Handled { member, partition, ..handled(&flights[i], i) });
        }
        assert_eq!(judge.partitions_moved, 2);
    }

    fn judge(handled_flights: &[Flight]) -> Verdict {
        let mut judge = Judge::new(january_2013().unwrap().into());
        for (i, flight) in handled_flights.iter().enumerate() {
            judge.saw(handled(flight, i));
        }
        judge.verdict(&Expected::january_2013().unwrap())
    }

    fn handled(flight: &Flight, offset: usize) -> Handled<'_> {
        Handled {
            member: 1,
            partition: 0,
            offset: i64::try_from(offset).unwrap(),
            key: flight.tailnum.as_bytes(),
            value: &flight.line,
        }
    }

    fn counts(verdict: &Verdict) -> (u64, u64, u64, u64) {
        (verdict.lost, verdict.duplicated, verdict.out_of_order, verdict.foreign)
    }

    /// The first record of the file, and the next of its key.
    fn two_of_one_key(flights: &[Flight]) -> (usize, usize) {
        let again = flights[1..].iter().position(|flight| flight.tailnum == flights[0].tailnum);
        (0, again.unwrap() + 1)
    }
}
