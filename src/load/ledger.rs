//! What was sent and what was handled, record by record, in a bit each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::marks::Marks;
use super::payload::{Odd, Payload};

/// What became of the records of a run: it is told of each record that is handled and of each that was not stored, and finds what does not fit.
///
/// It takes one bit per record by its identity and one by its offset, and less where stretches are complete; 8 bytes for each producer and key; and
/// what is out of the ordinary is kept as it is. Offsets count from 0: the topic is the run's own.
#[derive(Debug)]
pub(crate) struct Ledger {
    held: Held,
    producers: Vec<OfProducer>,
    partitions: Vec<Marks>,
    repeats: HashMap<(u16, u64), u32>,
    counts: Counts,
}

/// Whose order records are held to, each producer's for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Their partition's, whatever their keys.
    ToPartitions,
    /// Their key's; without one, to none.
    ToKeys,
}

#[derive(Debug, Default)]
struct OfProducer {
    seen: Marks,
    /// By partition or key: one more than the highest sequence that was handled.
    next: Vec<u64>,
    /// Sequences of records that the producer gave up.
    failed: BTreeSet<u64>,
    /// Sequences that damaged records say they are.
    damaged: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    redelivered: u64,
    reordered: u64,
    corrupted: u64,
    foreign: u64,
    calls: u64,
}

/// Where a record stood in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
}

/// What the ledger found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Records given to the producers, those included that they gave up.
    pub(crate) sent: u64,
    /// Of these, the ones that were not confirmed by the broker.
    pub(crate) failed: u64,
    /// Different records handled.
    pub(crate) handled: u64,
    /// Calls of handlers, repeats and odd records included.
    pub(crate) calls: u64,
    /// Confirmed records that no handler had, not even damaged and still to be told.
    pub(crate) missing: u64,
    /// Records handled more than once.
    pub(crate) duplicated: u64,
    /// How many records were handled so many times, from 2 on.
    pub(crate) times_handled: BTreeMap<u32, u64>,
    /// Calls for an offset that a handler had had before.
    pub(crate) redelivered: u64,
    /// Records first handled after a later one of their producer, in their partition or of their key.
    pub(crate) reordered: u64,
    /// Records of a run that do not fit their checksum or their key.
    pub(crate) corrupted: u64,
    /// Records of other runs, or of something else.
    pub(crate) foreign: u64,
}

impl Ledger {
    pub(crate) fn new(held: Held, producers: u16, partitions: u32) -> Self {
        Self {
            held,
            producers: (0..producers).map(|_| OfProducer::default()).collect(),
            partitions: (0..partitions).map(|_| Marks::default()).collect(),
            repeats: HashMap::new(),
            counts: Counts::default(),
        }
    }

    /// A handler is through with a record; says whether it is a record of this run that none had before.
    pub(crate) fn handled(&mut self, read: Result<Payload, Odd>, place: Place) -> bool {
        self.counts.calls += 1;
        let anew = self.partitions.get_mut(place.partition as usize).is_none_or(|it| it.mark(place.offset));
        self.counts.redelivered += u64::from(!anew);
        let payload = match read {
            Ok(payload) => payload,
            Err(odd) => return self.odd(odd, anew),
        };
        let Some(producer) = self.producers.get_mut(usize::from(payload.producer)) else {
            return self.odd(Odd::Foreign, anew);
        };
        if !producer.seen.mark(payload.sequence) {
            *self.repeats.entry((payload.producer, payload.sequence)).or_default() += 1;
            return false;
        }
        let lane = match self.held {
            Held::ToPartitions => Some((place.partition, payload.sequence)),
            Held::ToKeys => payload.key.map(|key| (key, payload.key_sequence)),
        };
        if let Some((lane, sequence)) = lane {
            let (lane, lanes) = (lane as usize, &mut producer.next);
            if lane >= lanes.len() {
                lanes.resize(lane + 1, 0);
            }
            if sequence < lanes[lane] {
                self.counts.reordered += 1;
            } else {
                lanes[lane] = sequence + 1;
            }
        }
        true
    }

    fn odd(&mut self, odd: Odd, anew: bool) -> bool {
        let count = match odd {
            Odd::Foreign => &mut self.counts.foreign,
            Odd::Corrupted(claim) => {
                if let Some((producer, sequence)) = claim
                    && let Some(producer) = self.producers.get_mut(usize::from(producer))
                {
                    producer.damaged.insert(sequence);
                }
                &mut self.counts.corrupted
            }
        };
        *count += u64::from(anew);
        false
    }

    /// The producer gave a record up; it may be stored all the same.
    pub(crate) fn failed(&mut self, producer: u16, sequence: u64) {
        if let Some(producer) = self.producers.get_mut(usize::from(producer)) {
            producer.failed.insert(sequence);
        }
    }

    /// The sequences that the producer gave up.
    pub(crate) fn given_up(&self, producer: u16) -> BTreeSet<u64> {
        self.producers.get(usize::from(producer)).map(|it| it.failed.clone()).unwrap_or_default()
    }

    /// A record stands in the log when all is over; says whether it was missing, and had not been found before. From then on it counts as handled: what
    /// the ledger finds is to be asked before, so that a record found takes no memory of its own.
    pub(crate) fn found_in_log(&mut self, producer: u16, sequence: u64) -> bool {
        let of = self.producers.get_mut(usize::from(producer));
        of.is_some_and(|it| !it.is_excused(sequence) && it.seen.mark(sequence))
    }

    /// How many different records have been handled.
    pub(crate) fn count_handled(&self) -> u64 {
        self.producers.iter().map(|producer| producer.seen.count()).sum()
    }

    /// How many records were handled more than once.
    pub(crate) fn count_duplicated(&self) -> u64 {
        self.repeats.len() as u64
    }

    /// How many records were handled after a later one of what they are held to.
    pub(crate) fn count_reordered(&self) -> u64 {
        self.counts.reordered
    }

    /// How many offsets from a committed one on a handler has been through with.
    pub(crate) fn handled_from(&self, partition: u32, committed: u64) -> u64 {
        let marks = self.partitions.get(partition as usize);
        marks.map_or(0, |marks| marks.count() - (committed - marks.missing_below(committed)))
    }

    /// How many offsets below a committed one no handler has been through with.
    pub(crate) fn unhandled_below(&self, partition: u32, committed: u64) -> u64 {
        self.partitions.get(partition as usize).map_or(committed, |marks| marks.missing_below(committed))
    }

    /// Of the offsets below an end, those that no handler has been through with.
    pub(crate) fn unhandled(&self, partition: u32, end: u64) -> impl Iterator<Item = u64> {
        let marks = self.partitions.get(partition as usize);
        (0..end).filter(move |offset| marks.is_none_or(|marks| !marks.contains(*offset)))
    }

    /// How many different offsets of a partition have been handled.
    pub(crate) fn count_in(&self, partition: u32) -> u64 {
        self.partitions.get(partition as usize).map_or(0, Marks::count)
    }

    /// What it comes to, where the producers have given away so many sequences each.
    pub(crate) fn findings(&self, sent: &[u64]) -> Findings {
        let mut findings = Findings {
            handled: self.count_handled(),
            calls: self.counts.calls,
            duplicated: self.count_duplicated(),
            redelivered: self.counts.redelivered,
            reordered: self.counts.reordered,
            corrupted: self.counts.corrupted,
            foreign: self.counts.foreign,
            ..Findings::default()
        };
        for (producer, sent) in self.producers.iter().zip(sent) {
            // What came damaged is known by what it says it is, and one whose name is damaged counts as lost too: a loss is never called damage.
            let excused = producer.failed.union(&producer.damaged);
            let excused = excused.filter(|it| **it < *sent && !producer.seen.contains(**it)).count() as u64;
            findings.sent += sent;
            findings.failed += producer.failed.len() as u64;
            findings.missing += producer.seen.missing_below(*sent).saturating_sub(excused);
        }
        for repeats in self.repeats.values() {
            *findings.times_handled.entry(repeats + 1).or_default() += 1;
        }
        findings
    }

    /// The memory of what it keeps per record, in bytes: without keys and exceptions.
    #[cfg(test)]
    fn bytes_of_records(&self) -> usize {
        let seen = self.producers.iter().map(|producer| producer.seen.bytes()).sum::<usize>();
        seen + self.partitions.iter().map(Marks::bytes).sum::<usize>()
    }
}

impl OfProducer {
    fn is_excused(&self, sequence: u64) -> bool {
        self.failed.contains(&sequence) || self.damaged.contains(&sequence)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
