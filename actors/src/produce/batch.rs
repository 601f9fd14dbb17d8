//! A batch of records of one topic, in the order in which they were accepted: one arena for their bytes, one entry each, and their listeners.

use std::sync::Arc;

use super::completion::{Listeners, Rest, Verdict};
use super::credits::Generation;
use super::intake::{Intake, Settled};
use super::leftovers::Accepted;
use super::succession::Origin;
use super::{ProducerRecord, SendError, Undelivered};
use crate::ids::PartitionId;

/// The number of a topic within one intake: where its state is found without looking at its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TopicIndex(pub(super) usize);

/// The most records a batch can hold: a record's place in it is 16 bits of its mark on the delivery report.
pub(super) const MAX_BATCH_RECORDS: usize = 1 << 16;

/// A part of the arena. The arena stays below 4 GiB: `Intake` takes no record above `MAX_RECORD_BYTES`, and seals a batch at a fraction of that.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

/// Where a record lies in the arena. What few records have is kept aside.
#[derive(Debug)]
pub(super) struct Entry {
    key: Option<Span>,
    value: Option<Span>,
    partition: Option<PartitionId>,
    extras: Option<Box<Extras>>,
}

#[derive(Debug)]
struct Extras {
    timestamp: Option<i64>,
    headers: Box<[(Span, Option<Span>)]>,
}

/// The bytes of a batch.
#[derive(Debug, Default)]
pub(super) struct Records {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// Those that were set, by the places of their records.
    timestamps: Vec<(usize, i64)>,
}

/// How much a batch holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BatchSize {
    pub(super) records: usize,
    bytes: usize,
}

impl Records {
    /// None yet, with room for as much as `size`.
    pub(super) fn sized_as(size: BatchSize) -> Self {
        Self {
            arena: Vec::with_capacity(size.bytes),
            entries: Vec::with_capacity(size.records),
            timestamps: Vec::new(),
        }
    }

    /// None any more, and the same room.
    pub(super) fn emptied(mut self) -> Self {
        self.arena.clear();
        self.entries.clear();
        self.timestamps.clear();
        self
    }

    /// Bytes of the arena, used or not.
    pub(super) fn capacity(&self) -> usize {
        self.arena.capacity()
    }

    pub(super) fn size(&self) -> BatchSize {
        BatchSize { records: self.entries.len(), bytes: self.arena.len() }
    }

    pub(super) fn push(&mut self, record: &ProducerRecord<'_>) {
        self.timestamps.extend(record.timestamp.map(|timestamp| (self.entries.len(), timestamp)));
        let extras = (record.timestamp.is_some() || !record.headers.is_empty()).then(|| {
            Box::new(Extras {
                timestamp: record.timestamp,
                headers: record
                    .headers
                    .iter()
                    .map(|(name, value)| (self.copy(name.as_bytes()), value.as_deref().map(|value| self.copy(value))))
                    .collect(),
            })
        });
        let entry = Entry {
            key: record.key.as_deref().map(|key| self.copy(key)),
            value: record.value.as_deref().map(|value| self.copy(value)),
            partition: record.partition,
            extras,
        };
        self.entries.push(entry);
    }

    fn copy(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        Span { start, end: self.arena.len() as u32 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The record at `place`, which is below [`len`](Self::len).
    pub(super) fn get(&self, place: usize) -> RecordView<'_> {
        RecordView { records: self, entry: &self.entries[place] }
    }
}

/// One record of a batch.
#[derive(Clone, Copy)]
pub(super) struct RecordView<'a> {
    records: &'a Records,
    entry: &'a Entry,
}

impl<'a> RecordView<'a> {
    fn bytes(self, span: Span) -> &'a [u8] {
        &self.records.arena[span.start as usize..span.end as usize]
    }

    pub(super) fn key(self) -> Option<&'a [u8]> {
        self.entry.key.map(|span| self.bytes(span))
    }

    pub(super) fn value(self) -> Option<&'a [u8]> {
        self.entry.value.map(|span| self.bytes(span))
    }

    /// Of key, value and headers, as they count against the buffer.
    pub(super) fn size(self) -> usize {
        let of = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let headers = self.headers().map(|(name, value)| name.len() + of(value)).sum::<usize>();
        of(self.key()) + of(self.value()) + headers
    }

    /// The partition the sender named.
    pub(super) fn partition(self) -> Option<PartitionId> {
        self.entry.partition
    }

    pub(super) fn timestamp(self) -> Option<i64> {
        self.entry.extras.as_ref()?.timestamp
    }

    pub(super) fn headers(self) -> impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.entry
            .extras
            .as_ref()
            .map_or(&[][..], |extras| &extras.headers)
            .iter()
            .map(move |(name, value)| (self.bytes(*name), value.map(|span| self.bytes(span))))
    }

    /// The record as it was given, but for the partition that was picked for it since.
    pub(super) fn given_up(self, topic: &str, partition: Option<PartitionId>) -> Undelivered {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned().into();
        let record = ProducerRecord {
            topic: topic.to_owned().into(),
            partition: partition.or(self.partition()),
            key: self.key().map(|key| key.to_vec().into()),
            value: self.value().map(|value| value.to_vec().into()),
            timestamp: self.timestamp(),
            headers: self
                .headers()
                .map(|(name, value)| (text(name), value.map(|value| value.to_vec().into())))
                .collect(),
            fault: None,
        };
        Undelivered { record, possibly_persisted: false }
    }

    /// Without headers and timestamp: librdkafka takes such records by the batch.
    pub(super) fn is_plain(self) -> bool {
        self.entry.extras.is_none()
    }
}

/// Who hears of the records of a batch, and what the answers need. Dropping it answers those left with `Abandoned` and gives their credit back.
pub(super) struct Answers {
    pub(super) intake: Arc<Intake>,
    pub(super) topic: Arc<str>,
    pub(super) generation: Generation,
    /// The number of the batch among those of its intake.
    pub(super) number: u64,
    /// The records themselves, until they are placed.
    pub(super) records: Records,
    /// The timestamps that were set, which no report of a failure tells, by the places of their records.
    timestamps: Vec<(usize, i64)>,
    /// What was left is kept for the report.
    kept: bool,
    pub(super) listeners: Listeners,
}

impl Answers {
    /// None yet, with room for those of `size`: an arena that is used again may have room for far more.
    pub(super) fn new(
        intake: Arc<Intake>,
        topic: Arc<str>,
        generation: Generation,
        number: u64,
        records: Records,
        size: BatchSize,
    ) -> Self {
        let listeners = Listeners::with_room_for(size.records);
        Self { intake, topic, generation, number, records, timestamps: Vec::new(), kept: false, listeners }
    }

    /// Takes the records out, to be placed.
    pub(super) fn take_records(&mut self) -> Records {
        self.listeners.trim();
        let mut records = std::mem::take(&mut self.records);
        self.timestamps = std::mem::take(&mut records.timestamps);
        records
    }

    /// The timestamp that was set for the record at `place`.
    pub(super) fn timestamp(&self, place: usize) -> Option<i64> {
        let at = self.timestamps.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        Some(self.timestamps[at].1)
    }

    /// Answers the record at `place` and counts it in `settled`. It may be done under a lock; what is handed back may not.
    pub(super) fn answer(&mut self, place: usize, verdict: Verdict, settled: &mut Settled) -> Rest {
        let Some(bytes) = self.listeners.bytes(place) else {
            return Rest::Nothing;
        };
        settled.count(&verdict, bytes);
        self.listeners.answer(place, verdict)
    }

    /// The same, and all that follows from it, where nobody holds a lock.
    pub(super) fn answer_now(&mut self, place: usize, verdict: Verdict, settled: &mut Settled) {
        let rest = self.answer(place, verdict, settled);
        settled.called(rest.finish(&self.topic, Origin::of(&self.intake)));
    }

    /// Lets go of what answered records need, once few are left: a partition that is stuck may leave a record in every batch.
    pub(super) fn compact(&mut self) {
        if self.listeners.compact() {
            self.timestamps.retain(|(place, _)| self.listeners.bytes(*place).is_some());
            self.timestamps.shrink_to_fit();
        }
    }

    /// Records not answered.
    pub(super) fn left(&self) -> usize {
        self.listeners.left()
    }

    /// Gives up what is left.
    pub(super) fn abandon(mut self, possibly_persisted: bool) {
        self.give_up(possibly_persisted);
    }

    /// Keeps what is left for the report, if somebody waits for it: before any callback, which may not return.
    pub(super) fn keep(&mut self) {
        let leftovers = &self.intake.leftovers;
        if !leftovers.keeps() || std::mem::replace(&mut self.kept, true) {
            return;
        }
        for place in self.listeners.unanswered().into_iter().take_while(|place| *place < self.records.len()) {
            let at = Accepted { batch: self.number, place };
            leftovers.add(at, self.records.get(place).given_up(&self.topic, None));
        }
    }

    fn give_up(&mut self, possibly_persisted: bool) {
        if self.left() == 0 {
            return;
        }
        self.keep();
        let mut settled = Settled::default();
        for place in self.listeners.unanswered() {
            let topic = self.topic.clone();
            let error = SendError::Abandoned { topic, partition: None, possibly_persisted };
            self.answer_now(place, Err(Box::new(error)), &mut settled);
        }
        self.intake.settle(self.generation, settled);
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.give_up(false);
    }
}

/// What a `ProducerActor` hands to its `PartitionerActor`.
pub(super) struct RecordBatch {
    pub(super) topic: TopicIndex,
    pub(super) answers: Answers,
    /// Key, value and header bytes.
    pub(super) bytes: usize,
}

impl actix::Message for RecordBatch {
    type Result = ();
}
