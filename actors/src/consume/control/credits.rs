//! Credits: how much may be handed out, of a partition and of all together, and the wake-up when some come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::ControlCell;
use crate::consume::wake::{Source, Wake};

/// How many records and bytes may be handed out and not finished.
///
/// The bytes are checked before a chunk is taken, and a chunk ends with the record that reaches a limit: the bound is passed by at most
/// that one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credits {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Credits {
    const NONE: Self = Self { records: 0, bytes: 0 };

    fn is_none(self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    pub(crate) fn min(self, other: Self) -> Self {
        Self { records: self.records.min(other.records), bytes: self.bytes.min(other.bytes) }
    }
}

/// Of the bound, what is handed to a pump that has gone through all that it had is this part, or more: a chunk costs the poller ten times what a record
/// of it does. So no more than that part of the handlers waits for others, none where the bound is small.
const DRY_SHARE: u64 = 64;

/// Nobody waits.
const NOBODY: u8 = 0;
/// The poller waits until half is free, or a small part where the pump has gone through all that was handed out.
const FOR_HALF: u8 = 1;
/// It waits until all is free.
const FOR_ALL: u8 = 2;

/// Records and bytes handed out and not finished, and whether the poller waits for some to come back. Written by poller and workers.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Flow {
    most: Credits,
    records: AtomicU64,
    bytes: AtomicU64,
    waits: AtomicU8,
    /// The pump has gone through all that was handed out: what it waits for is in handlers, or behind what is.
    dry: AtomicBool,
    /// Records that the worker has begun to look at since the epoch began; counted for retry topics alone.
    taken_up: AtomicU64,
}

impl Flow {
    pub(super) fn new(most: Credits) -> Self {
        let none = || AtomicU64::new(0);
        let (waits, dry) = (AtomicU8::new(NOBODY), AtomicBool::new(false));
        Self { most, records: none(), bytes: none(), waits, dry, taken_up: none() }
    }

    fn in_use(&self) -> Credits {
        Credits { records: self.records.load(Ordering::SeqCst), bytes: self.bytes.load(Ordering::SeqCst) }
    }

    fn look(&self) -> Credits {
        let Credits { records, bytes } = self.in_use();
        let room = Credits {
            records: self.most.records.saturating_sub(records),
            bytes: self.most.bytes.saturating_sub(bytes),
        };
        if room.is_none() { Credits::NONE } else { room }
    }

    /// Whether what is free is worth a look of the poller's.
    fn is_worth_it(&self) -> bool {
        let Credits { records, bytes } = self.in_use();
        let above_half = records > self.most.records / 2 || bytes > self.most.bytes / 2;
        !above_half || (self.dry.load(Ordering::SeqCst) && self.look().records >= self.least())
    }

    /// What a pump that has run dry is given, at least.
    fn least(&self) -> u64 {
        (self.most.records / DRY_SHARE).max(1)
    }

    /// What may be handed out now. Where that is nothing, who gives back the half of it wakes the poller: there is no wake-up per record. But
    /// where the pump has run dry and the rest is in slow handlers, a small part is enough: handlers that could run would wait for them.
    ///
    /// The poller and a worker that gives back the last at the same moment:
    /// 1. poller: no room; 2. poller: says that it waits; 3. poller: looks again.
    ///
    /// The worker subtracts, or says that it is dry, then looks who waits. Whichever comes second sees the other: either the poller's second look finds the room, or
    /// the worker finds that it waits, and wakes it.
    ///
    /// `meanwhile` is what the worker does between 1 and 2: nothing, but in the test of that.
    fn room(&self, meanwhile: impl FnOnce()) -> Credits {
        let room = self.look();
        if !room.is_none() {
            return room;
        }
        meanwhile();
        self.waits.store(FOR_HALF, Ordering::SeqCst);
        if !self.is_worth_it() {
            return Credits::NONE;
        }
        // It is left to wait: of a budget another partition may, and one look too many costs little.
        self.look()
    }

    /// Whether nothing is handed out. Where something is, who gives back the last of it wakes the poller, as in [`room`](Self::room).
    fn is_empty(&self) -> bool {
        self.waits.store(FOR_ALL, Ordering::SeqCst);
        let empty = self.records.load(Ordering::SeqCst) == 0;
        if empty {
            self.waits.store(NOBODY, Ordering::SeqCst);
        }
        empty
    }

    fn take(&self, credits: Credits) -> u64 {
        // Before the chunk is sent: a pump that is done with it says so anew.
        self.dry.store(false, Ordering::SeqCst);
        self.bytes.fetch_add(credits.bytes, Ordering::SeqCst);
        self.records.fetch_add(credits.records, Ordering::SeqCst) + credits.records
    }

    /// Whether the poller is to be woken.
    fn free(&self, credits: Credits) -> bool {
        self.bytes.fetch_sub(credits.bytes, Ordering::SeqCst);
        self.records.fetch_sub(credits.records, Ordering::SeqCst);
        self.ends_wait()
    }

    /// The pump has gone through all that was handed out; whether the poller is to be woken.
    fn run_dry(&self) -> bool {
        !self.dry.load(Ordering::Relaxed) && {
            self.dry.store(true, Ordering::SeqCst);
            self.ends_wait()
        }
    }

    /// Whether the poller waits for what is free by now. It is told once.
    fn ends_wait(&self) -> bool {
        let enough = match self.waits.load(Ordering::SeqCst) {
            NOBODY => false,
            FOR_HALF => self.is_worth_it(),
            _ => self.records.load(Ordering::SeqCst) == 0,
        };
        enough && self.waits.swap(NOBODY, Ordering::SeqCst) != NOBODY
    }
}

/// What all partitions together may have handed out and not finished.
///
/// A partition that has nothing handed out gets a chunk even where the budget is used up, so that a few slow partitions keep no other one from
/// going on: the budget is passed by at most a chunk per partition.
#[derive(Debug)]
pub(crate) struct Budget {
    flow: Flow,
    wake: Arc<Wake>,
}

impl Budget {
    pub(crate) fn new(most: Credits, wake: Arc<Wake>) -> Self {
        Self { flow: Flow::new(most), wake }
    }

    /// One that bounds nothing.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn unbounded(wake: Arc<Wake>) -> Arc<Self> {
        Arc::new(Self::new(Credits { records: u64::MAX, bytes: u64::MAX }, wake))
    }

    /// Handed out and not finished, of all partitions.
    pub(crate) fn in_use(&self) -> Credits {
        self.flow.in_use()
    }

    fn free(&self, credits: Credits) {
        if self.flow.free(credits) {
            self.wake.source(Source::Budget);
        }
    }
}

impl ControlCell {
    /// What may be drained now. Where that is nothing, the poller is woken when it is worth another look: the slot's ready bit is set as the
    /// partition's own credits come back, and [`Source::Budget`] when the budget's do.
    pub(crate) fn room(&self) -> Credits {
        let own = self.flow.room(|| ());
        if own.is_none() {
            return own;
        }
        let shared = self.budget.flow.room(|| ());
        if !shared.is_none() {
            return own.min(shared);
        }
        if self.flow.is_empty() { own } else { Credits::NONE }
    }

    /// Takes credits for a chunk that is about to be handed out; returns records in use with it.
    pub(crate) fn take(&self, records: u64, bytes: u64) -> u64 {
        let credits = Credits { records, bytes };
        self.budget.flow.take(credits);
        self.flow.take(credits)
    }

    /// Gives credits back, and wakes the poller if it went without.
    pub(crate) fn free(&self, records: u64, bytes: u64) {
        let credits = Credits { records, bytes };
        // The budget's first: who is woken for the partition's own looks at both.
        self.budget.free(credits);
        if self.flow.free(credits) {
            self.budget.wake.slot(self.slot);
        }
    }

    /// The pump has gone through all that was handed out: wakes the poller, if it went without what is free.
    pub(crate) fn run_dry(&self) {
        if self.flow.run_dry() {
            self.budget.wake.slot(self.slot);
        }
    }

    /// The worker begins with a chunk of a retry topic: wakes the poller, which hands out no other one before.
    ///
    /// A record that is early holds all behind it. So of a partition that waits the chunk with that record and one behind it are handed out at
    /// most, and the budget is left to those that can go on. The poller and a worker that takes up the last chunk at the same moment:
    /// 1. poller: takes the slot's ready bit; 2. poller: looks what was taken up.
    ///
    /// The worker counts, then sets the bit: what the poller does not see yet, it is woken for.
    pub(crate) fn take_up(&self, records: u64) {
        self.flow.taken_up.fetch_add(records, Ordering::SeqCst);
        self.budget.wake.slot(self.slot);
    }

    /// Whether the worker has taken up all of the records that were `handed_out` in this epoch; asked for retry topics alone.
    pub(crate) fn is_taken_up(&self, handed_out: u64) -> bool {
        self.flow.taken_up.load(Ordering::SeqCst) == handed_out
    }

    /// Records and bytes handed out and not finished.
    pub(crate) fn in_use(&self) -> (u64, u64) {
        let Credits { records, bytes } = self.flow.in_use();
        (records, bytes)
    }
}

/// What an epoch that ends has not finished is no longer held by anyone.
impl Drop for ControlCell {
    fn drop(&mut self) {
        self.budget.free(self.flow.in_use());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::super::tests::cell;
    use super::*;
    use crate::consume::start::StartPosition;
    use crate::ids::{Epoch, NextOffset, TopicPartition};

    fn cell_of(budget: &Arc<Budget>, slot: usize, records: u64) -> ControlCell {
        let credits = Credits { records, bytes: 1000 };
        let start = StartPosition::at(TopicPartition::new("t", slot as i32), NextOffset(0));
        ControlCell::new(start, Epoch(1), slot, credits, Arc::clone(budget))
    }

    #[test]
    fn a_partition_without_credits_has_no_room_until_half_of_them_are_back() {
        let cell = cell();
        assert_eq!(cell.take(10, 100), 10);
        assert_eq!(cell.room(), Credits::NONE);
        cell.free(4, 40);
        assert_eq!(cell.budget.wake.take_slots(0), 0, "above the low-water mark nobody is woken");
        cell.free(1, 10);
        assert_eq!(cell.budget.wake.take_slots(0), 1, "at the low-water mark the poller is woken");
        assert_eq!(cell.room().records, 5);
    }

    #[test]
    fn a_pump_that_has_gone_through_all_gets_what_comes_back_at_once() {
        let cell = cell();
        let woken = || cell.budget.wake.take_slots(0) != 0;
        cell.take(10, 100);
        assert_eq!(cell.room(), Credits::NONE);
        cell.run_dry();
        assert!(!woken(), "there is nothing to be had");
        cell.free(1, 0);
        assert!(woken());
        assert_eq!(cell.room().records, 1);
        // As it is told in the other order.
        cell.take(1, 0);
        assert_eq!(cell.room(), Credits::NONE);
        cell.free(2, 0);
        assert!(!woken(), "it has one of its chunk yet");
        cell.run_dry();
        assert!(woken());
        cell.take(2, 0);
        // It says so while the poller looks.
        let room = cell.flow.room(|| {
            cell.free(1, 0);
            cell.run_dry();
        });
        assert_eq!((room.records, woken()), (1, false));
    }

    #[test]
    fn with_a_large_bound_a_pump_that_has_gone_through_all_gets_a_part_of_it() {
        let budget = Budget::unbounded(Arc::new(Wake::new()));
        let cell = ControlCell::new(
            StartPosition::at(TopicPartition::new("t", 0), NextOffset(0)),
            Epoch(1),
            0,
            Credits { records: 8192, bytes: u64::MAX },
            budget,
        );
        cell.take(8192, 0);
        assert_eq!(cell.room(), Credits::NONE);
        cell.run_dry();
        cell.free(127, 0);
        assert_eq!(cell.budget.wake.take_slots(0), 0);
        cell.free(1, 0);
        assert_eq!((cell.budget.wake.take_slots(0), cell.room().records), (1, 128));
    }

    #[test]
    fn bytes_run_out_like_records() {
        let cell = cell();
        cell.take(1, 1200);
        assert_eq!(cell.room(), Credits::NONE);
        cell.free(1, 1200);
        assert_eq!(cell.room(), Credits { records: 10, bytes: 1000 });
    }

    #[test]
    fn room_that_is_freed_between_the_pollers_look_and_its_flag_is_found() {
        let cell = cell();
        cell.take(10, 100);
        let room = cell.flow.room(|| cell.free(10, 100));
        // The worker saw no flag and woke nobody: the poller must find the room itself.
        assert_eq!((room.records, cell.budget.wake.take_slots(0)), (10, 0));
    }

    #[test]
    fn a_chunk_that_is_taken_up_makes_the_poller_look_for_another() {
        let cell = cell();
        assert!(cell.is_taken_up(0), "there is none yet");
        cell.take(3, 30);
        assert_eq!((cell.is_taken_up(3), cell.budget.wake.take_slots(0)), (false, 0));
        cell.take_up(3);
        assert_eq!((cell.is_taken_up(3), cell.budget.wake.take_slots(0)), (true, 1));
    }

    #[test]
    fn a_budget_that_is_used_up_leaves_each_partition_that_has_nothing_a_chunk() {
        let wake = Arc::new(Wake::new());
        let budget = Arc::new(Budget::new(Credits { records: 10, bytes: 1000 }, Arc::clone(&wake)));
        let (slow, other) = (cell_of(&budget, 0, 100), cell_of(&budget, 1, 100));
        assert_eq!(slow.room().records, 10, "the budget bounds it");
        slow.take(10, 10);
        assert_eq!(slow.room(), Credits::NONE);
        assert_eq!(other.room().records, 100, "it has nothing handed out");
        other.take(4, 4);
        assert_eq!(other.room(), Credits::NONE);
        other.free(3, 3);
        assert_eq!((wake.take_slots(0), wake.take_sources().has(Source::Budget)), (0, false));
        other.free(1, 1);
        assert_eq!(wake.take_slots(0), 1 << 1, "with its last one back it may have another chunk");
        slow.free(5, 5);
        assert!(wake.take_sources().has(Source::Budget), "half of the budget is back");
    }

    #[test]
    fn what_an_epoch_leaves_unfinished_goes_back_to_the_budget_with_it() {
        let budget = Budget::unbounded(Arc::new(Wake::new()));
        let (left, stays) = (cell_of(&budget, 0, 10), cell_of(&budget, 1, 10));
        left.take(5, 50);
        stays.take(3, 30);
        left.free(1, 0);
        drop(left);
        assert_eq!(budget.in_use(), Credits { records: 3, bytes: 30 });
    }

    proptest! {
        #[test]
        fn nobody_starves_and_the_budget_is_passed_by_a_chunk_a_partition_at_most(
            most in 1..40_u64,
            steps in prop::collection::vec((0..4_usize, any::<bool>(), 1..9_u64), 0..300),
        ) {
            const CHUNK: u64 = 8;
            let wake = Arc::new(Wake::new());
            let budget = Arc::new(Budget::new(Credits { records: most, bytes: u64::MAX }, Arc::clone(&wake)));
            let cells: Vec<_> = (0..4).map(|slot| cell_of(&budget, slot, 20)).collect();
            let mut held = [0; 4];
            // As the poller has it: who found no room is looked at again only when woken.
            let mut asleep = [false; 4];
            for (which, takes, count) in steps {
                let budget_woke = wake.take_sources().has(Source::Budget);
                let slots = wake.take_slots(0);
                for (slot, asleep) in asleep.iter_mut().enumerate() {
                    *asleep &= !(budget_woke || slots & (1 << slot) != 0);
                }
                let cell = &cells[which];
                if takes && !asleep[which] {
                    let taken = cell.room().records.min(CHUNK);
                    asleep[which] = taken == 0;
                    if taken > 0 {
                        cell.take(taken, 0);
                        held[which] += taken;
                    }
                } else if !takes {
                    let freed = count.min(held[which]);
                    cell.free(freed, 0);
                    held[which] -= freed;
                }
                prop_assert!(held.iter().all(|held| *held <= 20));
                prop_assert!(held.iter().sum::<u64>() <= most + 4 * CHUNK);
                prop_assert_eq!(budget.in_use().records, held.iter().sum::<u64>());
                for slot in 0..4 {
                    let woken = wake.peek_slot(slot) || wake.peek_source(Source::Budget);
                    prop_assert!(!asleep[slot] || woken || held[slot] > 0, "it has nothing, sleeps, and nobody woke it");
                }
            }
            for slot in 0..4 {
                cells[slot].free(held[slot], 0);
            }
            let woken = |slot| wake.peek_slot(slot) || wake.peek_source(Source::Budget);
            prop_assert!((0..4).all(|slot| !asleep[slot] || woken(slot)));
        }
    }

    #[test]
    fn hand_overs_between_two_threads_never_wait_for_a_wake_up_that_is_lost() {
        // One credit, of the partition's own and of a budget that others have used up: every hand-over sleeps and is woken.
        for used_up in [false, true] {
            let wake = Arc::new(Wake::new());
            let budget = Arc::new(Budget::new(Credits { records: 10, bytes: 1000 }, Arc::clone(&wake)));
            let other = cell_of(&budget, 1, 10);
            other.take(if used_up { 10 } else { 0 }, 0);
            let cell = Arc::new(cell_of(&budget, 0, if used_up { 100 } else { 1 }));
            let (chunks, inbox) = crossbeam_channel::unbounded::<()>();
            let worker = {
                let cell = Arc::clone(&cell);
                std::thread::spawn(move || inbox.into_iter().for_each(|()| cell.free(1, 1)))
            };
            wake.attach();
            let begun = Instant::now();
            for _ in 0..20_000 {
                while cell.room().is_none() {
                    if wake.take_slots(0) == 0 {
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
}
