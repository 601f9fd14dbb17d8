//! Records as handlers see them, and the chunks in which they travel.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::consume::command::CommitEntry;
use crate::consume::decode::Decode;
use crate::consume::handler::{Failure, FailureKind};
use crate::consume::retry_topics::Origin;
use crate::ids::{Epoch, NextOffset, Offset, PartitionId, TopicPartition};
use crate::offsets::{Finished, Tile, TileProgress};
use crate::order::Order;

/// Records of one partition and one epoch, copied out of librdkafka into one arena.
///
/// Chunks tile the offsets: `tile.from` is the `to` of the chunk before, also where the log has gaps. A chunk without records is an
/// end-of-partition mark that closes such a gap behind the last record.
#[derive(Debug)]
pub(crate) struct RecordChunk {
    pub(crate) partition: TopicPartition,
    pub(crate) epoch: Epoch,
    pub(crate) tile: Tile,
    pub(crate) arena: Vec<u8>,
    pub(crate) index: Vec<Entry>,
    pub(crate) headers: Vec<HeaderSpan>,
    pub(crate) revoking: CancellationToken,
    /// The consumer's.
    pub(crate) order: Order,
    /// When it was complete.
    pub(crate) received: Instant,
    /// Of a topic in which records wait for another try: since when they have been in it, at the latest.
    pub(crate) waits_since: Option<Instant>,
}

/// Where one record lies in its chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) at: u32,
    /// -1: null.
    pub(crate) key_len: i32,
    /// -1: null.
    pub(crate) value_len: i32,
    pub(crate) first_header: u32,
    pub(crate) header_count: u32,
}

/// Where one header lies in the arena: its name, and behind it its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderSpan {
    pub(crate) at: u32,
    pub(crate) name_len: u32,
    /// -1: null.
    pub(crate) value_len: i32,
}

impl RecordChunk {
    /// The position behind the first `finished` records, which is the next one's, where there is one.
    pub(crate) fn position_after(&self, finished: usize) -> NextOffset {
        self.index.get(finished).map_or(self.tile.to, |entry| NextOffset(entry.offset))
    }

    /// The key of a record; `None` for a null key.
    #[inline]
    pub(crate) fn key(&self, position: u32) -> Option<&[u8]> {
        let entry = &self.index[position as usize];
        let at = entry.at as usize;
        usize::try_from(entry.key_len).ok().map(|len| &self.arena[at..at + len])
    }

    /// The records' count.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// What the chunk takes from its partition's credits, in records: a mark without records counts as one, so that marks are bounded too.
    pub(crate) fn credit_records(&self) -> u64 {
        self.index.len().max(1) as u64
    }

    /// The same in bytes: also what the engine itself needs for each record, which is much where records are small.
    pub(crate) fn credit_bytes(&self) -> u64 {
        credit_bytes(&self.arena, &self.index, &self.headers)
    }

    /// What librdkafka's own commits may say once the chunk is handed out.
    pub(crate) fn handed_out(&self, slot: usize) -> CommitEntry {
        CommitEntry::plain(slot, self.epoch, self.partition.clone(), self.tile.to)
    }

    /// The records' offsets, where the tile has gaps.
    pub(crate) fn offsets(&self) -> Option<Arc<[i64]>> {
        let dense = self.tile.to.0 - self.tile.from.0 == self.index.len() as i64;
        (!dense).then(|| self.index.iter().map(|entry| entry.offset).collect())
    }

    /// The report that the first `finished` records are finished.
    pub(crate) fn progress(&self, finished: usize) -> TileProgress {
        TileProgress {
            tile: self.tile,
            records: self.index.len() as u32,
            offsets: self.offsets(),
            finished: if finished == self.index.len() { Finished::All } else { Finished::Prefix(finished as u32) },
        }
    }
}

#[inline]
fn credit_bytes(arena: &[u8], index: &[Entry], headers: &[HeaderSpan]) -> u64 {
    (arena.len() + size_of_val(index) + size_of_val(headers)) as u64
}

/// One Kafka record, and how often it has been tried.
///
/// It is a counted reference into the chunk it arrived in: cloning copies no bytes, and a clone that is kept keeps the whole chunk (at most
/// 256 KiB and one record) in memory, beyond the engine's bounds.
#[derive(Clone)]
pub struct Record {
    pub(crate) chunk: Arc<RecordChunk>,
    pub(crate) position: u32,
    pub(crate) attempt: u32,
    /// Attempts before this one that count.
    pub(crate) failed: u32,
}

impl Record {
    #[inline]
    fn entry(&self) -> &Entry {
        &self.chunk.index[self.position as usize]
    }

    #[inline]
    fn bytes(&self, at: u32, len: i32) -> Option<&[u8]> {
        let at = at as usize;
        usize::try_from(len).ok().map(|len| &self.chunk.arena[at..at + len])
    }

    /// The topic's name.
    #[inline]
    pub fn topic(&self) -> &str {
        &self.chunk.partition.topic
    }

    /// The partition within the topic.
    #[inline]
    pub fn partition(&self) -> PartitionId {
        self.chunk.partition.partition
    }

    /// Topic and partition.
    #[inline]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.chunk.partition
    }

    /// The record's offset in its partition.
    #[inline]
    pub fn offset(&self) -> Offset {
        Offset(self.entry().offset)
    }

    /// Milliseconds since the Unix epoch, of creation or of append as the topic is set up; `None` where the record carries none. Of a record
    /// that was read from a [retry topic](crate::consume::ConsumerBuilder::retry_topics), that of its [origin](Self::origin).
    #[inline]
    pub fn timestamp(&self) -> Option<i64> {
        if self.chunk.waits_since.is_some()
            && let Some(past) = self.past()
        {
            return past.origin.timestamp;
        }
        self.written()
    }

    /// The timestamp that it has where it was read.
    pub(crate) fn written(&self) -> Option<i64> {
        Some(self.entry().timestamp).filter(|timestamp| *timestamp >= 0)
    }

    /// Where the record comes from, if it was read from a [retry topic](crate::consume::ConsumerBuilder::retry_topics):
    /// [`topic`](Self::topic), [`partition`](Self::partition) and [`offset`](Self::offset) tell where it was read. `None` for any other record, also for
    /// one that somebody else has written to a retry topic.
    pub fn origin(&self) -> Option<Origin<'_>> {
        self.past().map(|past| past.origin)
    }

    /// The key's bytes; `None` for a null key.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        self.chunk.key(self.position)
    }

    /// The value's bytes; `None` for a null value (a tombstone).
    #[inline]
    pub fn value(&self) -> Option<&[u8]> {
        let entry = self.entry();
        self.bytes(entry.at + entry.key_len.max(0) as u32, entry.value_len)
    }

    /// The headers in their order: name, and value where it is not null. A name may occur more than once.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, Option<&[u8]>)> {
        let entry = self.entry();
        let first = entry.first_header as usize;
        self.chunk.headers[first..first + entry.header_count as usize].iter().map(|span| {
            let name = self.bytes(span.at, span.name_len as i32).unwrap_or_default();
            // librdkafka hands names as C strings; Kafka's are UTF-8.
            let name = std::str::from_utf8(name).unwrap_or("\u{fffd}");
            (name, self.bytes(span.at + span.name_len, span.value_len))
        })
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(each, _)| *each == name).and_then(|(_, value)| value)
    }

    /// How often the record has been given to a handler in this epoch, this time included: 1 at first. Of a record that was read from a
    /// [retry topic](crate::consume::ConsumerBuilder::retry_topics), those count too that brought it there.
    #[inline]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the engine had taken it over from librdkafka, with the records of its chunk: one time for all of them. What it has waited for its
    /// handler since then, it has waited in the engine.
    #[inline]
    pub fn received_at(&self) -> Instant {
        self.chunk.received
    }

    /// How many attempts before this one failed and count towards [`max_attempts`](crate::consume::ConsumerBuilder::max_attempts): those that
    /// the handler asked for do not, nor do failures that it shared with others. In a retry topic the count begins anew.
    #[inline]
    pub fn failures(&self) -> u32 {
        self.failed
    }

    /// Cancelled when its partition is to be given up, or sought elsewhere: what is not finished by the drain deadline is started anew by the
    /// next owner, or left behind by the seek.
    #[inline]
    pub fn revoking(&self) -> &CancellationToken {
        &self.chunk.revoking
    }

    /// The record as a `D`, of its value, its key or its headers, as `D` says.
    ///
    /// # Errors
    /// A [`Failure`] of kind [`FailureKind::Undecodable`]: by default the handler that passes it on has its record exhausted at once.
    pub fn decode<D: Decode>(&self) -> Result<D, Failure> {
        D::decode(self).map_err(|error| Failure::new(FailureKind::Undecodable, format!("cannot be decoded: {error}")))
    }
}

/// Position and sizes, never the key's or the value's bytes.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("topic", &self.topic())
            .field("partition", &self.partition().0)
            .field("offset", &self.offset().0)
            .field("key_len", &self.key().map(<[u8]>::len))
            .field("value_len", &self.value().map(<[u8]>::len))
            .field("attempt", &self.attempt)
            .finish()
    }
}

/// Collects what one drain of a partition's queue yields.
#[derive(Debug)]
pub(crate) struct ChunkBuilder {
    pub(crate) arena: Vec<u8>,
    pub(crate) index: Vec<Entry>,
    pub(crate) headers: Vec<HeaderSpan>,
    max_records: usize,
    max_bytes: usize,
}

impl ChunkBuilder {
    /// A chunk of at most `max_records`, ended early by the record that reaches `max_bytes`; room is made for `expected` records of
    /// `average` bytes.
    pub(crate) fn new(max_records: usize, max_bytes: usize, expected: usize, average: usize) -> Self {
        let expected = expected.min(max_records);
        Self {
            arena: Vec::with_capacity((expected * average).min(max_bytes) + average),
            index: Vec::with_capacity(expected),
            headers: Vec::new(),
            max_records,
            max_bytes,
        }
    }

    /// Copies a record in.
    pub(crate) fn push(&mut self, offset: i64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let at = self.arena.len() as u32;
        let len = |part: Option<&[u8]>| part.map_or(-1, |bytes| bytes.len() as i32);
        self.arena.extend_from_slice(key.unwrap_or_default());
        self.arena.extend_from_slice(value.unwrap_or_default());
        self.index.push(Entry {
            offset,
            timestamp,
            at,
            key_len: len(key),
            value_len: len(value),
            first_header: self.headers.len() as u32,
            header_count: 0,
        });
    }

    /// Adds a header to the record pushed last.
    pub(crate) fn push_header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let Some(entry) = self.index.last_mut() else { return };
        entry.header_count += 1;
        self.headers.push(HeaderSpan {
            at: self.arena.len() as u32,
            name_len: name.len() as u32,
            value_len: value.map_or(-1, |bytes| bytes.len() as i32),
        });
        self.arena.extend_from_slice(name);
        self.arena.extend_from_slice(value.unwrap_or_default());
    }

    /// No further record should be pushed.
    pub(crate) fn is_full(&self) -> bool {
        self.index.len() >= self.max_records
            || credit_bytes(&self.arena, &self.index, &self.headers) >= self.max_bytes as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(crate) fn finish(
        self,
        partition: TopicPartition,
        epoch: Epoch,
        tile: Tile,
        revoking: CancellationToken,
    ) -> RecordChunk {
        let Self { arena, index, headers, .. } = self;
        RecordChunk {
            partition,
            epoch,
            tile,
            arena,
            index,
            headers,
            revoking,
            order: Order::default(),
            received: Instant::now(),
            waits_since: None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The record at offset 7 of partition 2 of topic `t`, at its first attempt.
    pub(crate) fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
        let mut chunk = ChunkBuilder::new(1, 1, 1, 1);
        chunk.push(7, 0, key, value);
        let tile = Tile::new(NextOffset(7), NextOffset(8));
        let chunk = chunk.finish(TopicPartition::new("t", 2), Epoch(1), tile, CancellationToken::new());
        Record { chunk: Arc::new(chunk), position: 0, attempt: 1, failed: 0 }
    }

    #[test]
    fn a_record_tells_when_its_chunk_was_complete() {
        let before = Instant::now();
        let record = record(None, None);
        assert!((before..=Instant::now()).contains(&record.received_at()));
        assert_eq!(record.clone().received_at(), record.received_at());
    }
}
