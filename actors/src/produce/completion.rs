//! How one record's answer reaches its sender: exactly once, whatever happens to whoever holds the record.
//!
//! The [`Listeners`] of a batch travel with it, one for each record: a sender's [`Confirmation`], a callback, or a group. Nothing of what they hold is
//! counted per record: confirmations have slots, allocated by the block, and a batch refers to each block and each group once.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::callback::Callback;
use super::group::Group;
use super::succession::{self, Origin};
use super::waking::wake_task;
use super::{Delivery, SendError};
use crate::block_on::block_on;
use crate::blocking;
use crate::ids::{Offset, PartitionId};

/// What its sender is told of a record.
pub(super) type Answer = Result<Delivery, SendError>;

/// The same as it is handed about, many at a time: small, for a full buffer of them is beyond any cache. Whoever reads it knows the topic.
pub(super) type Verdict = Result<Stored, Box<SendError>>;

/// Where a record is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) partition: PartitionId,
    /// `None` where the broker did not tell.
    pub(super) offset: Option<Offset>,
    /// Milliseconds since the Unix epoch; negative where there is none.
    pub(super) timestamp: i64,
}

impl Stored {
    pub(super) fn delivery(self, topic: &Arc<str>) -> Delivery {
        Delivery {
            topic: topic.clone(),
            partition: self.partition,
            offset: self.offset,
            timestamp: (self.timestamp >= 0).then_some(self.timestamp),
        }
    }
}

fn answer_of(verdict: Verdict, topic: &Arc<str>) -> Answer {
    verdict.map(|stored| stored.delivery(topic)).map_err(|error| *error)
}

/// Slots per allocation. A confirmation that somebody keeps holds a block of about 1.5 KiB.
const BLOCK: u8 = 32;

#[derive(Default)]
enum Slot {
    #[default]
    Open,
    Awaited(Waker),
    Answered(Verdict),
    Taken,
}

struct Block {
    topic: Arc<str>,
    slots: [Mutex<Slot>; BLOCK as usize],
}

impl Block {
    fn slot(&self, index: u8) -> MutexGuard<'_, Slot> {
        // Nothing that panics runs under this lock, and any content is valid.
        self.slots[usize::from(index)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands out slots for the records of one topic.
pub(super) struct Slots {
    block: Arc<Block>,
    used: u8,
}

impl Slots {
    pub(super) fn new(topic: Arc<str>) -> Self {
        Self { block: Arc::new(Block { topic, slots: Default::default() }), used: 0 }
    }

    /// The next slot.
    fn next(&mut self) -> (&Arc<Block>, u8) {
        if self.used == BLOCK {
            *self = Self::new(self.block.topic.clone());
        }
        self.used += 1;
        (&self.block, self.used - 1)
    }
}

/// Who hears of one record, and what it counts against the buffer in bytes: the intake takes none above 1 GiB.
enum Listener {
    /// Nobody any more.
    Answered,
    Slot {
        bytes: u32,
        /// Among the blocks of these listeners.
        block: u32,
        index: u8,
    },
    Callback {
        bytes: u32,
        callback: Callback,
    },
    Group {
        bytes: u32,
        /// Among the groups of these listeners.
        group: u32,
        place: u32,
    },
}

// A full buffer of these is beyond any cache, and each is touched when its report comes.
const _: () = assert!(size_of::<Listener>() <= 24);

/// The listeners of a batch are kept until they are so many times those that are left, which bounds what a partition keeps that is stuck, with a record in each
/// batch. To keep them by partition from the first would have three threads' caches read them instead of two.
const SPARSE: usize = 8;
/// So few are not worth it.
const FEW: usize = 4;

/// Who hears of the records of a batch, by place. What is left of them must be answered before they are dropped.
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    left: usize,
    /// The places of those that are kept, once they are compact: `MAX_BATCH_RECORDS` is 2^16.
    places: Option<Vec<u16>>,
    blocks: Vec<Arc<Block>>,
    groups: Vec<Arc<Group>>,
}

/// What is left to be done of an answer, where nobody holds a lock.
#[must_use]
pub(super) enum Rest {
    Nothing,
    Wake(Waker),
    Call(Call),
}

/// A callback to be called with its answer.
#[must_use]
pub(super) struct Call {
    callback: Callback,
    verdict: Verdict,
}

/// A sender's callback panicked. It has been reported in the log; nothing else suffers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallbackPanicked;

impl Listeners {
    pub(super) fn with_room_for(records: usize) -> Self {
        let listeners = Vec::with_capacity(records);
        Self { listeners, left: 0, places: None, blocks: Vec::new(), groups: Vec::new() }
    }

    fn push(&mut self, listener: Listener) {
        self.listeners.push(listener);
        self.left += 1;
    }

    /// The next record's sender is told by a confirmation.
    pub(super) fn confirm(&mut self, slots: &mut Slots, bytes: usize) -> Confirmation {
        let (block, index) = slots.next();
        let confirmation = Confirmation { block: block.clone(), index };
        let block = last_or_new(&mut self.blocks, block);
        self.push(Listener::Slot { bytes: bytes as u32, block, index });
        confirmation
    }

    /// The next record's sender is told by a callback.
    pub(super) fn call_back(&mut self, callback: Callback, bytes: usize) {
        self.push(Listener::Callback { bytes: bytes as u32, callback });
    }

    /// The next record is the one at `place` of a group.
    pub(super) fn join(&mut self, group: &Arc<Group>, place: u32, bytes: usize) {
        let group = last_or_new(&mut self.groups, group);
        self.push(Listener::Group { bytes: bytes as u32, group, place });
    }

    /// No more come: lets go of room that was made for far more, which would be kept for as long as one of them is not answered.
    pub(super) fn trim(&mut self) {
        if self.listeners.capacity() > 2 * self.listeners.len() {
            self.listeners.shrink_to_fit();
        }
    }

    /// The places of the records that are not answered.
    pub(super) fn unanswered(&self) -> Vec<usize> {
        let kept = self.listeners.iter().enumerate().filter(|(_, listener)| !matches!(listener, Listener::Answered));
        kept.map(|(at, _)| self.places.as_ref().map_or(at, |places| usize::from(places[at]))).collect()
    }

    /// Keeps the others only, and what they refer to, once they are as few as [`SPARSE`] says. True where it did.
    pub(super) fn compact(&mut self) -> bool {
        if self.listeners.len() < SPARSE * self.left.max(FEW) {
            return false;
        }
        let places = self.unanswered();
        let (listeners, blocks, groups) =
            (mem::take(&mut self.listeners), mem::take(&mut self.blocks), mem::take(&mut self.groups));
        self.listeners.reserve_exact(places.len());
        for mut listener in listeners {
            match &mut listener {
                Listener::Answered => continue,
                Listener::Slot { block, .. } => *block = last_or_new(&mut self.blocks, &blocks[*block as usize]),
                Listener::Group { group, .. } => *group = last_or_new(&mut self.groups, &groups[*group as usize]),
                Listener::Callback { .. } => {}
            }
            self.listeners.push(listener);
        }
        self.places = Some(places.into_iter().map(|place| place as u16).collect());
        true
    }

    /// For how many there is room, also of records that are answered, and how many blocks and groups are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.listeners.capacity(), self.blocks.len() + self.groups.len())
    }

    /// Where the listener of the record at `place` is kept.
    fn at(&self, place: usize) -> Option<usize> {
        match &self.places {
            None => Some(place),
            Some(places) => places.binary_search(&u16::try_from(place).ok()?).ok(),
        }
    }

    /// Records that are not answered.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// What the record at `place` counts against the buffer. `None` where it is answered, or there is none.
    pub(super) fn bytes(&self, place: usize) -> Option<usize> {
        match self.listeners.get(self.at(place)?)? {
            Listener::Answered => None,
            Listener::Slot { bytes, .. } | Listener::Callback { bytes, .. } | Listener::Group { bytes, .. } => {
                Some(*bytes as usize)
            }
        }
    }

    /// Answers the record at `place`. It may be done under a lock; what is handed back may not.
    pub(super) fn answer(&mut self, place: usize, verdict: Verdict) -> Rest {
        let Some(listener) = self.at(place).and_then(|at| self.listeners.get_mut(at)) else {
            return Rest::Nothing;
        };
        let listener = mem::replace(listener, Listener::Answered);
        if !matches!(listener, Listener::Answered) {
            self.left -= 1;
        }
        match listener {
            Listener::Answered => Rest::Nothing,
            Listener::Slot { block, index, .. } => {
                let before = mem::replace(&mut *self.blocks[block as usize].slot(index), Slot::Answered(verdict));
                if let Slot::Awaited(waker) = before { Rest::Wake(waker) } else { Rest::Nothing }
            }
            Listener::Callback { callback, .. } => Rest::Call(Call { callback, verdict }),
            Listener::Group { group, place, .. } => {
                self.groups[group as usize].answer(place, verdict).map_or(Rest::Nothing, Rest::Wake)
            }
        }
    }
}

/// The place of this one among those that are referred to; records that share one mostly follow each other.
fn last_or_new<T>(kept: &mut Vec<Arc<T>>, this: &Arc<T>) -> u32 {
    if !kept.last().is_some_and(|last| Arc::ptr_eq(last, this)) {
        kept.push(this.clone());
    }
    (kept.len() - 1) as u32
}

impl Rest {
    /// `topic` is that of the record, and `origin` where it came through.
    pub(super) fn finish(self, topic: &Arc<str>, origin: Origin) -> Result<(), CallbackPanicked> {
        match self {
            Self::Nothing => Ok(()),
            Self::Wake(waker) => {
                wake_task(waker);
                Ok(())
            }
            Self::Call(call) => call.call(topic, origin),
        }
    }
}

impl Call {
    /// As [`Rest::finish`].
    pub(super) fn call(self, topic: &Arc<str>, origin: Origin) -> Result<(), CallbackPanicked> {
        let answer = answer_of(self.verdict, topic);
        let called = || succession::in_callback(origin, || self.callback.call(answer));
        catch_unwind(AssertUnwindSafe(called)).map_err(|panic| {
            // Dropping a panic's payload may panic again.
            mem::forget(panic);
            tracing::error!(%topic, "a delivery callback panicked");
            CallbackPanicked
        })
    }
}

/// The word on one accepted record, to come: a future of its [`Delivery`]. Dropping it does not recall the record.
///
/// It needs no runtime, and [`wait_blocking`](Self::wait_blocking) needs no async at all.
#[must_use = "without it nobody learns whether the record was stored"]
pub struct Confirmation {
    block: Arc<Block>,
    index: u8,
}

impl Confirmation {
    /// Waits on this thread.
    ///
    /// # Errors
    /// Why the record was not confirmed. [`SendError::MustNotBlock`] on a thread that runs async tasks or actors, and in a delivery callback.
    pub fn wait_blocking(self) -> Result<Delivery, SendError> {
        match blocking::must_not_block() {
            Some(place) => Err(SendError::MustNotBlock { topic: self.block.topic.clone(), place }),
            None => block_on(self),
        }
    }
}

impl Future for Confirmation {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.block.slot(self.index);
        match mem::replace(&mut *slot, Slot::Taken) {
            Slot::Answered(verdict) => Poll::Ready(answer_of(verdict, &self.block.topic)),
            Slot::Open => {
                *slot = Slot::Awaited(cx.waker().clone());
                Poll::Pending
            }
            Slot::Awaited(mut waker) => {
                waker.clone_from(cx.waker());
                *slot = Slot::Awaited(waker);
                Poll::Pending
            }
            // Polled after it was ready, which the contract of futures forbids: an error rather than a task that never ends.
            Slot::Taken => {
                Poll::Ready(Err(SendError::Closed { topic: self.block.topic.clone(), error: None, reason: None }))
            }
        }
    }
}

impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmation").field("topic", &self.block.topic).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "completion_tests.rs"]
mod tests;
