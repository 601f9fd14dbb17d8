//! From librdkafka's partition queues to the workers, chunk by chunk, as credits allow.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode;
use tracing::warn;

use super::Poller;
use crate::consume::assignment::Stay;
use crate::consume::command::Deliver;
use crate::consume::control::Credits;
use crate::consume::error::ConsumerError;
use crate::consume::native::{Drained, cached_watermarks};
use crate::consume::record::ChunkBuilder;
use crate::consume::state::Counters;
use crate::ids::NextOffset;
use crate::offsets::Tile;

impl Poller {
    /// Drains each ready partition once, one chunk each; says whether there is more to do.
    pub(super) fn drain_ready(&mut self) -> bool {
        let mut busy = false;
        self.more.resize(self.slots.words(), 0);
        for word in 0..self.more.len() {
            let mut bits = std::mem::take(&mut self.more[word]) | self.wake.take_slots(word);
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if self.drain(word * 64 + bit) {
                    self.more[word] |= 1 << bit;
                    busy = true;
                }
            }
        }
        busy
    }

    /// Takes one chunk out of a partition's queue and hands it to the worker, if the partition has credits; says whether there may be more.
    fn drain(&mut self, slot: usize) -> bool {
        let Some(stay) = self.slots.get_mut(slot) else {
            return false;
        };
        if stay.worker.is_none() || stay.paused || stay.reposition.is_some() || stay.cell.is_ending() {
            return false;
        }
        // What waits there for its time must not keep room from other partitions.
        if self.board.retry_delay(&stay.cell.partition.topic).is_some() && !stay.cell.is_taken_up(stay.handed_out) {
            return false;
        }
        let room = stay.cell.room();
        let waiting = stay.queue.len();
        if room.records == 0 || waiting == 0 {
            return false;
        }
        let Credits { records, bytes } = room.min(self.options.memory.chunk);
        let (records, bytes) = (records as usize, bytes as usize);
        let mut chunk = ChunkBuilder::new(records, bytes, waiting, stay.average);
        let from = stay.guard.expected();
        let drained = stay.queue.drain(&mut chunk, &mut stay.guard);
        if drained.refetched > 0 || drained.error.is_some() || drained.rewind.is_some() {
            self.on_anomaly(slot, &drained);
            if drained.rewind.is_some() {
                return false;
            }
        }
        self.hand_out(slot, chunk, from, drained.end);
        drained.more
    }

    /// Makes a chunk of what was drained and sends it to the partition's worker.
    fn hand_out(&mut self, slot: usize, chunk: ChunkBuilder, from: NextOffset, end: Option<NextOffset>) {
        let Some(stay) = self.slots.get_mut(slot) else { return };
        if let Some(end) = end {
            stay.cell.set_end_offset(end.0);
        }
        let tile = Tile::new(from, stay.guard.expected());
        if tile.is_empty() {
            return;
        }
        if !chunk.is_empty() {
            stay.average = (stay.average * 7 + chunk.arena.len() / chunk.index.len()) / 8 + 1;
        }
        let mut chunk = chunk.finish(stay.cell.partition.clone(), stay.cell.epoch, tile, stay.cell.revoking.clone());
        chunk.order = self.options.order;
        if self.board.retry_delay(&chunk.partition.topic).is_some() {
            let high = cached_watermarks(&self.consumer, &chunk.partition).map_or(tile.to.0, |(_, high)| high);
            chunk.waits_since = Some(stay.arrivals.since(tile.to.0 - 1, high, chunk.received));
        }
        let stored = self.board.membership.stores().then(|| chunk.handed_out(slot));
        stay.cell.take(chunk.credit_records(), chunk.credit_bytes());
        stay.handed_out += chunk.credit_records();
        Stay::check_credits(&stay.cell, stay.handed_out, &self.board.invariants);
        let counters = &self.board.counters;
        Counters::add(&counters.delivered, chunk.len() as u64);
        Counters::add(&counters.chunks, 1);
        if stay.cell.end_offset().is_none()
            && let Some((_, high)) = cached_watermarks(&self.consumer, &stay.cell.partition)
        {
            stay.cell.set_end_offset(high);
        }
        let sent = stay.worker.as_ref().map(|worker| worker.try_send(Deliver(Arc::new(chunk))));
        match sent {
            // Closed: the worker died; its death watch tells the supervisor, and the new epoch fetches these records again.
            Some(Ok(()) | Err(actix::prelude::SendError::Closed(_))) | None => {}
            Some(Err(actix::prelude::SendError::Full(_))) => {
                let detail = format!("the mailbox of the worker of {} is full", stay.cell.partition);
                self.fail(ConsumerError::Engine { detail });
            }
        }
        if let Some(entry) = stored {
            self.store(&[entry]);
        }
    }

    /// Budget has come back: whoever went without looks again.
    pub(super) fn retry_all(&mut self) {
        self.more.resize(self.slots.words(), 0);
        for (slot, _) in self.slots.iter() {
            self.more[slot / 64] |= 1 << (slot % 64);
        }
    }

    #[cold]
    fn on_anomaly(&mut self, slot: usize, drained: &Drained) {
        Counters::add(&self.board.counters.refetched, drained.refetched);
        if let Some((code, text)) = &drained.error {
            self.on_partition_error(slot, *code, text);
        }
        if let Some((expected, found)) = drained.rewind {
            self.on_rewind(slot, expected, found);
        }
    }

    fn on_partition_error(&mut self, slot: usize, code: RDKafkaErrorCode, text: &str) {
        use RDKafkaErrorCode as E;
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let (partition, position) = (stay.cell.partition.clone(), stay.guard.expected());
        stay.cell.set_last_error(format!("{code}: {text}"));
        warn!(topic = %partition.topic, partition = partition.partition.0, offset = position.0, error = %code, text, "a partition reports an error");
        match code {
            E::AutoOffsetReset | E::OffsetOutOfRange => {
                // Retention, truncation or another topic of that name: the poller finds out.
                stay.astray = true;
                self.identities.ask_soon(Instant::now());
            }
            E::TopicAuthorizationFailed | E::Fatal => {
                self.fail(ConsumerError::Kafka { code, detail: format!("{partition}: {text}") });
            }
            _ => {}
        }
    }

    /// Also of those that are handed nothing: credits that came back twice leave no room for more.
    pub(super) fn check_credits(&self) {
        for (_, stay) in self.slots.iter() {
            Stay::check_credits(&stay.cell, stay.handed_out, &self.board.invariants);
        }
    }

    pub(super) fn read_end_offsets(&self) {
        for (_, stay) in self.slots.iter() {
            if let Some((_, high)) = cached_watermarks(&self.consumer, &stay.cell.partition) {
                stay.cell.set_end_offset(high);
            }
        }
    }
}
