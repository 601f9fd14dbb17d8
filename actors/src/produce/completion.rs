//! How one record's answer reaches its sender: exactly once, whatever happens to whoever holds the record.
//!
//! A [`Completion`] travels with the record; its other half is the sender's [`Confirmation`], or a callback. One that is dropped answers
//! [`SendError::Abandoned`]. The halves share a slot; slots are allocated by the block, so that a record costs no allocation of its own.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::group::Member;
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

fn answer_of(verdict: Verdict, topic: &Arc<str>) -> Answer {
    match verdict {
        Ok(stored) => Ok(Delivery {
            topic: topic.clone(),
            partition: stored.partition,
            offset: stored.offset,
            timestamp: (stored.timestamp >= 0).then_some(stored.timestamp),
        }),
        Err(error) => Err(*error),
    }
}

/// A sender's callback for one record.
pub(super) type Callback = Box<dyn FnOnce(Answer) + Send>;

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

    /// Both halves of the next slot.
    pub(super) fn pair(&mut self) -> (Completion, Confirmation) {
        if self.used == BLOCK {
            *self = Self::new(self.block.topic.clone());
        }
        let index = self.used;
        self.used += 1;
        (Completion(Some(Receiver::Slot(self.block.clone(), index))), Confirmation { block: self.block.clone(), index })
    }
}

/// Kept small, like a [`Verdict`]: hence the box, and the index of a byte.
enum Receiver {
    Slot(Arc<Block>, u8),
    Callback(Box<(Arc<str>, Callback)>),
    Group(Arc<Member>, u32),
}

/// The record's half: answers its sender once.
pub(super) struct Completion(Option<Receiver>);

/// A sender's callback panicked. It has been reported in the log; nothing else suffers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallbackPanicked;

impl Completion {
    pub(super) fn callback(topic: Arc<str>, callback: Callback) -> Self {
        Self(Some(Receiver::Callback(Box::new((topic, callback)))))
    }

    /// The record at `place` of a group.
    pub(super) fn of_group(member: Arc<Member>, place: u32) -> Self {
        Self(Some(Receiver::Group(member, place)))
    }

    /// Answers the sender.
    pub(super) fn answer(mut self, verdict: Verdict) -> Result<(), CallbackPanicked> {
        match mem::take(&mut self.0) {
            Some(receiver) => receiver.answer(verdict),
            // Only `answer` and `drop` take the receiver, and each consumes the completion.
            None => Ok(()),
        }
    }
}

impl Receiver {
    fn answer(self, verdict: Verdict) -> Result<(), CallbackPanicked> {
        match self {
            Self::Slot(block, index) => {
                let before = mem::replace(&mut *block.slot(index), Slot::Answered(verdict));
                if let Slot::Awaited(waker) = before {
                    waker.wake();
                }
                Ok(())
            }
            Self::Callback(parts) => {
                let (topic, callback) = *parts;
                let answer = answer_of(verdict, &topic);
                let called = || blocking::in_callback(|| callback(answer));
                catch_unwind(AssertUnwindSafe(called)).map_err(|panic| {
                    // Dropping a panic's payload may panic again.
                    mem::forget(panic);
                    tracing::error!(%topic, "a delivery callback panicked");
                    CallbackPanicked
                })
            }
            Self::Group(member, place) => {
                member.group.answer(place, answer_of(verdict, &member.topic));
                Ok(())
            }
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(receiver) = self.0.take() {
            let topic = match &receiver {
                Receiver::Slot(block, _) => block.topic.clone(),
                Receiver::Callback(parts) => parts.0.clone(),
                Receiver::Group(member, _) => member.topic.clone(),
            };
            // A panic of the callback is in the log; there is nobody else to tell.
            let _ = receiver.answer(Err(Box::new(SendError::Abandoned {
                topic,
                partition: None,
                possibly_persisted: false,
            })));
        }
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
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn delivery(offset: i64) -> Delivery {
        Delivery { topic: "t".into(), partition: PartitionId(1), offset: Some(Offset(offset)), timestamp: None }
    }

    fn stored(offset: i64) -> Verdict {
        Ok(Stored { partition: PartitionId(1), offset: Some(Offset(offset)), timestamp: -1 })
    }

    #[test]
    fn each_confirmation_gets_the_answer_of_its_own_record() {
        let mut slots = Slots::new("t".into());
        let (records, senders): (Vec<_>, Vec<_>) = (0..100).map(|_| slots.pair()).unzip();
        for (offset, record) in records.into_iter().enumerate().rev() {
            record.answer(stored(offset as i64)).unwrap();
        }
        for (offset, sender) in senders.into_iter().enumerate() {
            assert_eq!(sender.wait_blocking(), Ok(delivery(offset as i64)));
        }
    }

    #[test]
    fn a_completion_that_is_dropped_answers_abandoned() {
        let (record, sender) = Slots::new("t".into()).pair();
        drop(record);
        assert!(matches!(sender.wait_blocking(), Err(SendError::Abandoned { .. })));
    }

    #[test]
    fn a_sender_that_waits_on_another_thread_is_woken() {
        let (record, sender) = Slots::new("t".into()).pair();
        let (waits, waiting) = mpsc::channel();
        let waiter = std::thread::spawn(move || {
            waits.send(()).unwrap();
            sender.wait_blocking()
        });
        waiting.recv().unwrap();
        record.answer(stored(7)).unwrap();
        assert_eq!(waiter.join().unwrap(), Ok(delivery(7)));
    }

    #[test]
    fn a_callback_is_called_once_also_when_its_completion_is_dropped() {
        let (tell, told) = mpsc::channel();
        for drop_it in [false, true] {
            let tell = tell.clone();
            let completion = Completion::callback("t".into(), Box::new(move |answer| tell.send(answer).unwrap()));
            if drop_it {
                drop(completion);
            } else {
                completion.answer(stored(3)).unwrap();
            }
        }
        assert_eq!(told.try_recv().unwrap(), Ok(delivery(3)));
        assert!(matches!(told.try_recv().unwrap(), Err(SendError::Abandoned { .. })));
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn a_callback_that_panics_is_reported_to_the_caller() {
        let completion = Completion::callback("t".into(), Box::new(|_| panic!("on purpose")));
        assert_eq!(completion.answer(stored(0)), Err(CallbackPanicked));
    }
}
