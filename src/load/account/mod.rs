//! What producers, the broker's answers and handlers write down, and the run reads.

mod answers;
mod book;
mod sending;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_troupe::consume::Order;
use kafka_troupe::produce::{Delivery, ErrorClass, SendError};
use tokio_util::sync::CancellationToken;

use super::by_phase::Kept;
use super::clock::Clock;
use super::families::{ByFamily, FromIntended};
use super::frame::Frame;
use super::keys::KeyText;
use super::latencies::Latencies;
use super::ledger::{Held, Place};
use super::payload::{Odd, Payload};
use super::phases::Timeline;
use super::plan::{Outstanding, Plan};
use super::relay::Relay;
use answers::Answers;
pub(crate) use answers::Confirmed;
use book::Book;
pub(crate) use book::Call;
pub(crate) use sending::Due;
use sending::Sending;

/// A producer has no record to send.
const NOTHING_DUE: u64 = u64::MAX;

/// Shared by all threads of a run.
#[derive(Debug)]
pub(crate) struct Account {
    run: u64,
    verify: bool,
    pub(crate) clock: Clock,
    /// Of the schedule's phases, from the run's start.
    pub(crate) timeline: Timeline,
    /// On the run's clock.
    start: AtomicU64,
    book: Mutex<Book>,
    answers: Mutex<Answers>,
    sending: Mutex<Sending>,
    /// Records given to the producers.
    pub(crate) sent: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Different records handled.
    pub(crate) handled: AtomicU64,
    /// Attempts that failed because they were to.
    pub(crate) failed_attempts: AtomicU64,
    /// Taken for records that are not sent yet.
    places: AtomicU64,
    /// The broker keeps so little that bytes count, and records differ in them.
    counts_bytes: bool,
    sent_bytes: AtomicU64,
    handled_bytes: AtomicU64,
    /// By partition, one more than the highest offset that was confirmed.
    ends: Vec<AtomicI64>,
    /// By producer, the intended time of the record that it is at, on the run's clock; [`NOTHING_DUE`] while it has none.
    due: Vec<AtomicU64>,
    /// Where this process is a member, the run gets what its handlers write down.
    relay: Option<Arc<Relay>>,
    /// Cancelled when there is no use in sending more.
    pub(crate) stop: CancellationToken,
}

impl Account {
    pub(crate) fn new(plan: &Plan, stop: CancellationToken) -> anyhow::Result<Self> {
        let held = if plan.order == Order::Partition { Held::ToPartitions } else { Held::ToKeys };
        let timeline = plan.pace.phases().map(|phases| Timeline::of(&phases)).unwrap_or_default();
        Ok(Self {
            run: plan.run,
            verify: plan.verify,
            clock: Clock::start(),
            book: Mutex::new(Book::new(held, plan.producers, plan.partitions)?),
            answers: Mutex::new(Answers::new(timeline.ends().len())?),
            sending: Mutex::new(Sending::new(timeline.ends().len())?),
            start: AtomicU64::new(0),
            timeline,
            sent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(0),
            places: AtomicU64::new(0),
            counts_bytes: plan.most_outstanding.is_some_and(|most| most.bytes.is_some()),
            sent_bytes: AtomicU64::new(0),
            handled_bytes: AtomicU64::new(0),
            ends: (0..plan.partitions).map(|_| AtomicI64::new(0)).collect(),
            due: (0..plan.producers).map(|_| AtomicU64::new(NOTHING_DUE)).collect(),
            relay: None,
            stop,
        })
    }

    /// That of a member, which tells the run.
    pub(crate) fn of_member(plan: &Plan, relay: Arc<Relay>) -> anyhow::Result<Self> {
        Ok(Self { relay: Some(relay), ..Self::new(plan, CancellationToken::new())? })
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker answered for a record.
    pub(crate) fn answered(&self, payload: &Payload, answer: Result<Delivery, SendError>) {
        let now = if self.verify { self.clock.now() } else { 0 };
        match answer {
            Ok(delivery) => {
                // All replicas confirm, so that it has an offset.
                if let Some((end, offset)) = self.ends.get(delivery.partition.0 as usize).zip(delivery.offset) {
                    end.fetch_max(offset.0 + 1, Ordering::Relaxed);
                }
                if !payload.warm_up && self.verify {
                    let phase = self.phase_of(payload.intended);
                    self.answers().confirmed(phase, now.saturating_sub(payload.intended), now);
                }
                self.acked.fetch_add(1, Ordering::Release);
            }
            Err(error) => self.refused(payload, &error),
        }
    }

    /// A record was not taken, or not confirmed.
    pub(crate) fn refused(&self, payload: &Payload, error: &SendError) {
        self.book().ledger.failed(payload.producer, payload.sequence);
        let mut answers = self.answers();
        answers.first_error.get_or_insert_with(|| error.to_string());
        if error.class() == ErrorClass::Fatal {
            answers.fatal = true;
            self.stop.cancel();
        }
        drop(answers);
        self.failed.fetch_add(1, Ordering::Release);
    }

    /// A handler is through with a record.
    pub(crate) fn handled(&self, key: Option<&[u8]>, value: Option<&[u8]>, place: Place, call: Call) {
        if !self.verify {
            self.handled.fetch_add(1, Ordering::Release);
            return;
        }
        let value = value.unwrap_or_default();
        let read = Payload::read(self.run, value).and_then(|payload| {
            let wanted = payload.key.map(KeyText::of);
            let fits = key == wanted.as_ref().map(AsRef::as_ref);
            if fits { Ok(payload) } else { Err(Odd::Corrupted(Some((payload.producer, payload.sequence)))) }
        });
        let ended = self.clock.now();
        match &self.relay {
            Some(relay) => {
                let (waited, worked) =
                    (ended.saturating_sub(call.received), call.called.map(|it| ended.saturating_sub(it)));
                relay.say(Frame::Handled { place, read, length: value.len() as u32, waited, worked });
            }
            None => self.note(read, place, value.len(), call, ended),
        }
    }

    /// A handler of another process was through just now with a record of so many bytes, which had waited for so long since it was received there,
    /// and whose handler had worked for so long, in nanoseconds.
    pub(crate) fn handled_elsewhere(
        &self,
        read: Result<Payload, Odd>,
        place: Place,
        length: usize,
        waited: u64,
        worked: Option<u64>,
    ) {
        let now = self.clock.now();
        let call = Call { received: now.saturating_sub(waited), called: worked.map(|it| now.saturating_sub(it)) };
        self.note(read, place, length, call, now);
    }

    fn note(&self, read: Result<Payload, Odd>, place: Place, length: usize, call: Call, ended: u64) {
        let phase = read.as_ref().map_or(0, |payload| self.phase_of(payload.intended));
        if self.book().handled(read, phase, place, call, ended) {
            self.handled.fetch_add(1, Ordering::Release);
            if self.counts_bytes {
                self.handled_bytes.fetch_add(Plan::bytes_in_log(length), Ordering::Release);
            }
        }
    }

    /// A member was told that all of these partitions is committed below these offsets.
    pub(crate) fn confirmed(&self, partitions: impl Iterator<Item = (i32, i64)>) {
        for (partition, next) in partitions {
            let (partition, next) = (partition as u32, u64::try_from(next).unwrap_or_default());
            match &self.relay {
                Some(relay) => relay.say(Frame::Committed { partition, next }),
                None => self.confirmed_elsewhere(partition, next),
            }
        }
    }

    /// The same of one partition, and of a member in another process, just now.
    pub(crate) fn confirmed_elsewhere(&self, partition: u32, next: u64) {
        let now = self.clock.now();
        self.book().confirmed(partition, next, now);
    }

    /// The latencies of the load since they were last taken; and of those that count from the intended send, which phase had which.
    pub(crate) fn take_latencies(&self) -> (ByFamily<Latencies>, FromIntended<BTreeMap<usize, Kept>>) {
        let (schedule_delay, delays) = self.sending().schedule_delay.take();
        let (produce_ack, acks) = self.answers().produce_ack.take();
        let mut book = self.book();
        let (end_to_end, ends) = book.end_to_end.take();
        let whole = ByFamily {
            schedule_delay,
            produce_ack,
            end_to_end,
            residence: book.residence.take(),
            handler: book.handler.take(),
            commit_lag: book.commit_lag.take(),
        };
        (whole, FromIntended { schedule_delay: delays, produce_ack: acks, end_to_end: ends })
    }

    /// The schedule begins at that time on the run's clock.
    pub(crate) fn starts(&self, start: u64) {
        self.start.store(start, Ordering::Release);
    }

    /// In which phase a record was to be sent.
    pub(crate) fn phase_of(&self, intended: u64) -> usize {
        self.timeline.phase_at(intended.saturating_sub(self.start.load(Ordering::Acquire)))
    }

    /// A handler failed as it was to.
    pub(crate) fn attempt_failed(&self) {
        self.failed_attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// By partition, what members in other processes have committed, as far as they have told.
    pub(crate) fn committed(&self) -> Vec<i64> {
        self.book().committed.iter().map(|it| i64::try_from(*it).unwrap_or_default()).collect()
    }

    /// A member in another process has committed so far.
    pub(crate) fn committed_elsewhere(&self, partition: u32, committed: u64) {
        if let Some(known) = self.book().committed.get_mut(partition as usize) {
            *known = committed.max(*known);
        }
    }

    /// Members are gone that held these partitions, and have not committed all that they were through with: what is repeated for that is excused.
    pub(crate) fn expose(&self, partitions: &[u32]) {
        let mut book = self.book();
        for partition in partitions {
            let committed = book.committed.get(*partition as usize).copied().unwrap_or_default();
            book.excused += book.ledger.handled_from(*partition, committed);
        }
    }

    /// A record is about to be given to a producer.
    pub(crate) fn sending_bytes(&self, length: usize) {
        if self.counts_bytes {
            self.sent_bytes.fetch_add(Plan::bytes_in_log(length), Ordering::Release);
        }
    }

    /// Of records sent and not handled, in the log; 0 where that is not counted. What was given up stays in it.
    pub(crate) fn outstanding_bytes(&self) -> u64 {
        let handled = self.handled_bytes.load(Ordering::Acquire);
        self.sent_bytes.load(Ordering::Acquire).saturating_sub(handled)
    }

    /// Sent and neither handled nor given up.
    pub(crate) fn outstanding(&self) -> u64 {
        let (handled, failed) = (self.handled.load(Ordering::Acquire), self.failed.load(Ordering::Acquire));
        self.sent.load(Ordering::Acquire).saturating_sub(handled + failed)
    }

    /// Takes a place on a broker that keeps no more than `most` for a record that is about to be sent; says whether there was one. So no two producers take the
    /// last one. It is [given back](Self::placed) when the record counts as sent, or is not sent after all.
    pub(crate) fn takes_place(&self, most: Outstanding) -> bool {
        let others = self.places.fetch_add(1, Ordering::AcqRel);
        let bytes = most.bytes.is_some_and(|bytes| self.outstanding_bytes() >= bytes);
        let full = bytes || self.outstanding() + others >= most.records;
        if full {
            self.placed();
        }
        !full
    }

    /// Nothing where none is ever taken.
    pub(crate) fn placed(&self) {
        let one_less = |places: u64| places.checked_sub(1);
        let _ = self.places.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
    }

    /// Confirmed and not handled.
    pub(crate) fn lag(&self) -> u64 {
        let handled = self.handled.load(Ordering::Acquire);
        self.acked.load(Ordering::Acquire).saturating_sub(handled)
    }

    /// By partition, how many records were confirmed, and how many different ones were handled.
    pub(crate) fn by_partition(&self) -> Vec<(u64, u64)> {
        // What is confirmed meanwhile is not handled yet.
        let confirmed: Vec<u64> = self.ends().map(|end| u64::try_from(end).unwrap_or_default()).collect();
        let ledger = &self.book().ledger;
        (0..).zip(confirmed).map(|(partition, confirmed)| (confirmed, ledger.count_in(partition))).collect()
    }

    /// A producer is at the record with this intended time, or at none any more.
    pub(crate) fn is_at(&self, producer: u16, intended: Option<u64>) {
        if let Some(due) = self.due.get(usize::from(producer)) {
            due.store(intended.unwrap_or(NOTHING_DUE), Ordering::Relaxed);
        }
    }

    /// What was to be sent by now and is not confirmed: waiting in the producers, or not even taken by them: by what all
    /// producers were to send between two times, in nanoseconds from the run's start.
    pub(crate) fn unconfirmed(&self, now: u64, due_between: impl Fn(u64, u64) -> f64) -> u64 {
        let (acked, failed) = (self.acked.load(Ordering::Acquire), self.failed.load(Ordering::Acquire));
        let unanswered = self.sent.load(Ordering::Acquire).saturating_sub(acked + failed);
        let start = self.start.load(Ordering::Acquire);
        let behind = self.due.iter().map(|due| due.load(Ordering::Relaxed)).filter(|due| *due < now);
        let unsent = behind.map(|due| due_between(due.saturating_sub(start), now.saturating_sub(start))).sum::<f64>();
        unanswered + (unsent / self.due.len().max(1) as f64) as u64 + self.sending().given_up
    }

    /// One more than the highest confirmed offset of each partition.
    pub(crate) fn ends(&self) -> impl Iterator<Item = i64> {
        self.ends.iter().map(|end| end.load(Ordering::Relaxed))
    }
}
