//! What came out of an application, record by record, in a bit each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::load::ledger::Place;
use crate::load::marks::Marks;
use crate::load::payload::Payload;

use super::identity::Found;

/// Of each kind of fault, how many are told one by one.
const TOLD: usize = 5;
/// No run gets so far: a sequence above is damage that its checksum did not show.
const MOST: u64 = 1 << 36;

/// It is told of each record of OUT, once, in the order of its partition.
///
/// One bit per record of the run, less where stretches are complete; an entry for each producer, key and partition; and what is out of the ordinary.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Values are held to the checksum of what was sent.
    unchanged: bool,
    producers: Vec<OfProducer>,
    /// By producer, key and partition of OUT: one more than the highest sequence of the key that came.
    lanes: HashMap<(u16, u32, u32), u64>,
    repeats: HashMap<(u16, u64), u32>,
    reordered: u64,
    corrupted: u64,
    foreign: u64,
    nameless: u64,
    told: Vec<Fault>,
}

#[derive(Debug, Default)]
struct OfProducer {
    came: Marks,
    /// One more than the highest sequence that came.
    end: u64,
}

/// One record at fault, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    pub(crate) fault: Kind,
    /// Who it is, as far as it is known.
    #[serde(flatten)]
    pub(crate) who: Option<Who>,
    /// Where it stands in OUT, if it does.
    #[serde(flatten)]
    pub(crate) place: Option<At>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Who {
    pub(crate) producer: u16,
    pub(crate) sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct At {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Missing,
    Duplicated,
    Reordered,
    Corrupted,
}

impl Kind {
    /// For people.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Duplicated => "again",
            Self::Reordered => "late in its key",
            Self::Corrupted => "damaged",
        }
    }
}

/// What is known of the records that went in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// By producer, how many sequences it has given away.
    pub(crate) sequences: Vec<u64>,
    /// By producer, the ones the broker did not confirm.
    pub(crate) failed: Vec<BTreeSet<u64>>,
}

/// What the ledger found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Different records that came out.
    pub(crate) came: u64,
    /// Confirmed ones that did not.
    pub(crate) missing: u64,
    pub(crate) duplicated: u64,
    /// How many records came so many times, from 2 on.
    pub(crate) times: BTreeMap<u32, u64>,
    /// First came after a later one of their producer and key, in the same partition of OUT.
    pub(crate) reordered: u64,
    /// With an identity that does not fit its checksum, or another value, where none may be.
    pub(crate) corrupted: u64,
    /// Of other runs.
    pub(crate) foreign: u64,
    /// Without an identity.
    pub(crate) nameless: u64,
    /// Records of this run that nobody has sent.
    pub(crate) unsent: u64,
    pub(crate) faults: Vec<Fault>,
}

impl Ledger {
    pub(crate) fn new(unchanged: bool) -> Self {
        Self { unchanged, ..Self::default() }
    }

    /// A record of OUT. Gives the payload of one that is the run's and had not come before.
    pub(crate) fn came(&mut self, found: Found, place: Place) -> Option<Payload> {
        let (payload, altered) = match found {
            Found::Ours { payload, altered } if payload.sequence < MOST => (payload, altered && self.unchanged),
            Found::Ours { .. } | Found::Damaged => {
                self.corrupted += 1;
                self.tell(Kind::Corrupted, None, place);
                return None;
            }
            Found::Foreign => {
                self.foreign += 1;
                return None;
            }
            Found::Nameless => {
                self.nameless += 1;
                return None;
            }
        };
        if altered {
            self.corrupted += 1;
            self.tell(Kind::Corrupted, Some(payload), place);
        }
        let index = usize::from(payload.producer);
        if index >= self.producers.len() {
            self.producers.resize_with(index + 1, OfProducer::default);
        }
        let producer = &mut self.producers[index];
        producer.end = producer.end.max(payload.sequence + 1);
        if !producer.came.mark(payload.sequence) {
            *self.repeats.entry((payload.producer, payload.sequence)).or_default() += 1;
            self.tell(Kind::Duplicated, Some(payload), place);
            return None;
        }
        if let Some(key) = payload.key {
            let next = self.lanes.entry((payload.producer, key, place.partition)).or_default();
            if payload.key_sequence < *next {
                self.reordered += 1;
                self.tell(Kind::Reordered, Some(payload), place);
            } else {
                *next = payload.key_sequence + 1;
            }
        }
        Some(payload)
    }

    fn tell(&mut self, fault: Kind, payload: Option<Payload>, place: Place) {
        if self.told.iter().filter(|told| told.fault == fault).count() < TOLD {
            let who = payload.map(|it| Who { producer: it.producer, sequence: it.sequence });
            let place = Some(At { partition: place.partition, offset: place.offset });
            self.told.push(Fault { fault, who, place });
        }
    }

    /// How many different records have come.
    pub(crate) fn count(&self) -> u64 {
        self.producers.iter().map(|producer| producer.came.count()).sum()
    }

    pub(crate) fn count_duplicated(&self) -> u64 {
        self.repeats.len() as u64
    }

    pub(crate) fn count_reordered(&self) -> u64 {
        self.reordered
    }

    /// How many confirmed records have not come.
    pub(crate) fn count_missing(&self, sent: &Sent) -> u64 {
        (0..sent.sequences.len()).map(|producer| self.missing_of(producer, sent)).sum()
    }

    /// What is known to have been sent by what came alone: all up to each producer's last.
    pub(crate) fn sent_at_least(&self) -> Sent {
        let sequences: Vec<u64> = self.producers.iter().map(|producer| producer.end).collect();
        Sent { failed: vec![BTreeSet::new(); sequences.len()], sequences }
    }

    pub(crate) fn findings(&self, sent: &Sent) -> Findings {
        let mut findings = Findings {
            came: self.count(),
            duplicated: self.count_duplicated(),
            reordered: self.reordered,
            corrupted: self.corrupted,
            foreign: self.foreign,
            nameless: self.nameless,
            ..Findings::default()
        };
        for repeats in self.repeats.values() {
            *findings.times.entry(repeats + 1).or_default() += 1;
        }
        let mut known = 0;
        for (number, end) in (0..).zip(&sent.sequences) {
            let index = usize::from(number);
            known += self.producers.get(index).map_or(0, |it| end - it.came.missing_below(*end));
            let missing = self.missing_of(index, sent);
            findings.missing += missing;
            let room = TOLD - findings.faults.len();
            if missing > 0 && room > 0 {
                let first = (0..*end).filter(|it| !self.has(index, *it) && !sent.has_failed(index, *it)).take(room);
                let told = first.map(|sequence| Who { producer: number, sequence });
                findings.faults.extend(told.map(|who| Fault { fault: Kind::Missing, who: Some(who), place: None }));
            }
        }
        findings.unsent = findings.came - known;
        findings.faults.extend(self.told.iter().cloned());
        findings
    }

    fn has(&self, producer: usize, sequence: u64) -> bool {
        self.producers.get(producer).is_some_and(|it| it.came.contains(sequence))
    }

    fn missing_of(&self, producer: usize, sent: &Sent) -> u64 {
        let end = sent.sequences.get(producer).copied().unwrap_or_default();
        let missing = self.producers.get(producer).map_or(end, |it| it.came.missing_below(end));
        // What was not confirmed may be stored all the same.
        let failed = sent.failed.get(producer).into_iter().flatten();
        let excused = failed.filter(|sequence| **sequence < end && !self.has(producer, **sequence)).count() as u64;
        missing.saturating_sub(excused)
    }
}

impl Sent {
    fn has_failed(&self, producer: usize, sequence: u64) -> bool {
        self.failed.get(producer).is_some_and(|failed| failed.contains(&sequence))
    }

    /// How many the broker did not confirm.
    pub(crate) fn count_failed(&self) -> u64 {
        self.failed.iter().map(|failed| failed.len() as u64).sum()
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
