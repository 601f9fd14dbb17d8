//! Credits: how much of a partition may be handed out, and the wake-up when some come back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::ControlCell;

/// How many records and bytes of one partition may be handed out and not finished.
///
/// The bytes are checked before a chunk is taken, and a chunk ends with the record that reaches a limit: the bound is passed by at most
/// that one record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credits {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// Written by poller and worker: records and bytes handed out and not finished.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Flow {
    records: AtomicU64,
    bytes: AtomicU64,
    starved: AtomicBool,
}

impl ControlCell {
    /// Records that may be drained now; 0 when records or bytes have run out.
    ///
    /// Where it is 0, the cell is marked starved, and the worker's next [`free`](Self::free) past the low-water mark sets the slot's ready
    /// bit. The poller and a worker that frees its last credit at the same moment:
    /// 1. poller: no room; 2. poller: sets `starved`; 3. poller: looks again.
    ///
    /// The worker subtracts, then looks at `starved`. Whichever comes second sees the other: either the poller's second look finds the
    /// room, or the worker finds the flag and wakes it.
    pub(crate) fn room(&self) -> u64 {
        self.room_while(|| ())
    }

    /// `meanwhile` is what the worker does between the first look and the flag: nothing, but in the test of that.
    fn room_while(&self, meanwhile: impl FnOnce()) -> u64 {
        let room = self.look();
        if room > 0 {
            return room;
        }
        meanwhile();
        self.flow.starved.store(true, Ordering::SeqCst);
        if self.above_low_water() {
            return 0;
        }
        self.flow.starved.store(false, Ordering::SeqCst);
        self.look()
    }

    fn look(&self) -> u64 {
        let records = self.flow.records.load(Ordering::SeqCst);
        let bytes = self.flow.bytes.load(Ordering::SeqCst);
        if bytes >= self.credits.bytes { 0 } else { self.credits.records.saturating_sub(records) }
    }

    fn above_low_water(&self) -> bool {
        self.flow.records.load(Ordering::SeqCst) > self.credits.records / 2
            || self.flow.bytes.load(Ordering::SeqCst) > self.credits.bytes / 2
    }

    /// Bytes that may be drained now.
    pub(crate) fn room_bytes(&self) -> u64 {
        self.credits.bytes.saturating_sub(self.flow.bytes.load(Ordering::SeqCst))
    }

    /// Takes credits for a chunk that is about to be handed out; returns records in use with it.
    pub(crate) fn take(&self, records: u64, bytes: u64) -> u64 {
        self.flow.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.flow.records.fetch_add(records, Ordering::SeqCst) + records
    }

    /// Gives credits back, and wakes the poller if it went without.
    pub(crate) fn free(&self, records: u64, bytes: u64) {
        self.flow.records.fetch_sub(records, Ordering::SeqCst);
        self.flow.bytes.fetch_sub(bytes, Ordering::SeqCst);
        if self.flow.starved.load(Ordering::SeqCst)
            && !self.above_low_water()
            && self.flow.starved.swap(false, Ordering::SeqCst)
        {
            self.wake.slot(self.slot);
        }
    }

    /// Records and bytes handed out and not finished.
    pub(crate) fn in_use(&self) -> (u64, u64) {
        (self.flow.records.load(Ordering::Relaxed), self.flow.bytes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::super::tests::cell;
    use super::*;
    use crate::consume::start::StartPosition;
    use crate::consume::wake::Wake;
    use crate::ids::{Epoch, NextOffset, TopicPartition};

    #[test]
    fn a_partition_without_credits_has_no_room_until_half_of_them_are_back() {
        let cell = cell();
        assert_eq!(cell.take(10, 100), 10);
        assert_eq!(cell.room(), 0);
        cell.free(4, 40);
        assert_eq!(cell.wake.take_slots(0), 0, "above the low-water mark nobody is woken");
        cell.free(1, 10);
        assert_eq!(cell.wake.take_slots(0), 1, "at the low-water mark the poller is woken");
        assert_eq!(cell.room(), 5);
    }

    #[test]
    fn bytes_run_out_like_records() {
        let cell = cell();
        cell.take(1, 1200);
        assert_eq!((cell.room(), cell.room_bytes()), (0, 0));
        cell.free(1, 1200);
        assert_eq!(cell.room(), 10);
    }

    #[test]
    fn room_that_is_freed_between_the_pollers_look_and_its_flag_is_found() {
        let cell = cell();
        cell.take(10, 100);
        let room = cell.room_while(|| cell.free(10, 100));
        // The worker saw no flag and woke nobody: the poller must find the room itself.
        assert_eq!((room, cell.wake.take_slots(0)), (10, 0));
    }

    #[test]
    fn hand_overs_between_two_threads_never_wait_for_a_wake_up_that_is_lost() {
        // One credit: every hand-over sleeps and is woken.
        let cell = Arc::new(ControlCell::new(
            StartPosition::at(TopicPartition::new("t", 0), NextOffset(0)),
            Epoch(1),
            0,
            Credits { records: 1, bytes: 1000 },
            Arc::new(Wake::new()),
        ));
        let (chunks, inbox) = crossbeam_channel::unbounded::<()>();
        let worker = {
            let cell = Arc::clone(&cell);
            std::thread::spawn(move || inbox.into_iter().for_each(|()| cell.free(1, 1)))
        };
        cell.wake.attach();
        let begun = Instant::now();
        for _ in 0..20_000 {
            while cell.room() == 0 {
                if cell.wake.take_slots(0) == 0 {
                    let slept = Instant::now();
                    std::thread::park_timeout(Duration::from_secs(10));
                    assert!(slept.elapsed() < Duration::from_secs(5), "the wake-up was lost");
                }
            }
            cell.take(1, 1);
            let _ = chunks.send(());
        }
        drop(chunks);
        assert!(worker.join().is_ok());
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
