//! A thread that sends, by a schedule or as answers come.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use kafka_troupe::ProducerRecord;
use kafka_troupe::produce::Sender;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::clock::nanoseconds;
use super::keys::{KeyChooser, KeyText};
use super::payload::Payload;
use super::pipeline::Carrier;
use super::plan::{Length, Plan};
use super::room::Room;
use super::schedule::Schedule;
use super::sizes::Values;

/// A record sent so much after its time is late.
pub(crate) const LATE_AFTER: Duration = Duration::from_millis(100);
/// How long what should have been sent by the end of the load is still sent.
const OVERTIME: Duration = Duration::from_secs(1);
/// Who is so far behind gives up.
const HOPELESS: Duration = Duration::from_secs(10);
/// How long a stop may go unnoticed.
const NAP: Duration = Duration::from_millis(20);
/// How often it is looked whether there is room.
const LOOK: Duration = Duration::from_micros(200);

/// One producer of the run, on a thread of its own.
pub(crate) struct Generator {
    plan: Arc<Plan>,
    account: Arc<Account>,
    sender: Sender,
    producer: u16,
    /// On the run's clock.
    start: u64,
    /// For the unanswered records of all producers that send as answers come.
    room: Arc<Room>,
    keys: KeyChooser,
    key_sequences: Vec<u64>,
    sequence: u64,
    /// Records of the load that are still to come, where that is what ends it.
    left: Option<u64>,
    values: Values,
    /// Where somebody's application is to carry the records' identity along.
    carrier: Option<Carrier>,
    waker: Waker,
}

impl Generator {
    pub(crate) fn new(
        plan: &Arc<Plan>,
        account: &Arc<Account>,
        sender: Sender,
        producer: u16,
        keys: KeyChooser,
        start: u64,
        room: &Arc<Room>,
    ) -> Self {
        account.starts(start);
        let producers = u64::from(plan.producers);
        let left = match plan.length {
            Length::Records(records) => {
                Some(records / producers + u64::from(u64::from(producer) < records % producers))
            }
            Length::Seconds(_) => None,
        };
        Self {
            account: Arc::clone(account),
            sender,
            producer,
            start,
            room: Arc::clone(room),
            keys,
            key_sequences: vec![0; plan.keys.cardinality() as usize],
            sequence: 0,
            left,
            values: Values::new(&plan.content, plan.seed, producer),
            carrier: None,
            waker: Waker::noop().clone(),
            plan: Arc::clone(plan),
        }
    }

    /// The same, with records that an application can carry the identity of.
    pub(crate) fn carrying(self, carrier: Carrier) -> Self {
        Self { carrier: Some(carrier), ..self }
    }

    /// Sends until the load is over or a stop was asked for. Says how many sequences were given away.
    pub(crate) fn run(mut self) -> u64 {
        self.waker = Waker::from(Arc::new(Unpark(thread::current())));
        match self.plan.pace.phases() {
            Some(phases) => {
                let (plan, producer) = (Arc::clone(&self.plan), self.producer);
                self.by_schedule(Schedule::new(phases, producer, plan.producers, plan.seed));
            }
            None => {
                let sent = self.as_answers_come(&Arc::clone(&self.room));
                self.account.sending().scheduled += sent;
            }
        }
        self.account.is_at(self.producer, None);
        self.sequence
    }

    fn by_schedule(&mut self, mut schedule: Schedule) {
        let (warm, end) = (self.warm(), self.end());
        while let Some(at) = schedule.next() {
            let at = self.start + at;
            let warm_up = at < warm;
            if self.left == Some(0) || end.is_some_and(|end| at >= end) {
                return;
            }
            self.account.is_at(self.producer, Some(at));
            if !self.until(at) {
                return self.cut(at, schedule);
            }
            let now = self.account.clock.now();
            let too_late = now > at + nanoseconds(HOPELESS) || end.is_some_and(|end| now > end + nanoseconds(OVERTIME));
            if too_late || !self.room(at) {
                return if self.account.stop.is_cancelled() {
                    self.cut(at, schedule)
                } else {
                    self.give_up(at, schedule, now)
                };
            }
            if !self.send(at, warm_up, None) {
                return self.cut(at, schedule);
            }
            if !warm_up {
                let delay = self.account.clock.now().saturating_sub(at);
                let phase = self.account.phase_of(at);
                self.account.sending().sent(phase, delay, delay > nanoseconds(LATE_AFTER));
            }
        }
    }

    /// Nothing is left out in silence: what was due by now, or by the end, counts as late, from the record on that is due at `at`.
    fn give_up(&self, at: u64, mut schedule: Schedule, now: u64) {
        match self.left {
            Some(left) => self.account.sending().gave_up(self.account.phase_of(at), left),
            // That may take long to count: a stop ends it.
            None => self.never_sent(
                at,
                || schedule.next().filter(|_| !self.account.stop.is_cancelled()),
                self.end().unwrap_or(now),
            ),
        }
    }

    /// A stop came. What was late by then was to be sent before.
    fn cut(&self, at: u64, mut schedule: Schedule) {
        let late = self.account.clock.now().saturating_sub(nanoseconds(LATE_AFTER));
        self.never_sent(at, || schedule.next(), self.end().map_or(late, |end| end.min(late)));
    }

    /// Those that are due before `until`, `at` and what follows.
    fn never_sent(&self, at: u64, next: impl FnMut() -> Option<u64>, until: u64) {
        let (warm, mut due) = (self.warm(), BTreeMap::new());
        let left = usize::try_from(self.left.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let behind = std::iter::from_fn(next).map(|at| self.start + at);
        let all = std::iter::once(at).chain(behind).take_while(|at| *at < until).filter(|at| *at >= warm);
        all.take(left).for_each(|at| *due.entry(self.account.phase_of(at)).or_default() += 1);
        let mut sending = self.account.sending();
        due.into_iter().for_each(|(phase, records)| sending.gave_up(phase, records));
    }

    /// Says how many records of the load it has sent.
    fn as_answers_come(&mut self, room: &Arc<Room>) -> u64 {
        let (warm, end) = (self.warm(), self.end());
        let mut sent = 0;
        self.until(self.start);
        while room.take(|| self.account.stop.is_cancelled()) {
            let placed = self.room(self.account.clock.now());
            let at = self.account.clock.now();
            let warm_up = at < warm;
            let over = self.left == Some(0) || end.is_some_and(|end| at >= end);
            if !placed || over || !self.send(at, warm_up, Some(room)) {
                // Others wait for the place, to see that it is over.
                room.give();
                if placed {
                    self.account.placed();
                }
                break;
            }
            sent += u64::from(!warm_up);
        }
        sent
    }

    /// Says whether the producer took the record over, be it to refuse it: not where a stop came while there was no room for it.
    fn send(&mut self, intended: u64, warm_up: bool, room: Option<&Arc<Room>>) -> bool {
        let key = self.keys.next();
        let key_sequence = key.map_or(self.sequence, |key| self.key_sequences[key as usize]);
        let payload =
            Payload { producer: self.producer, sequence: self.sequence, key, key_sequence, intended, warm_up };
        let value = self.values.next();
        if self.plan.verify {
            payload.write(self.plan.run, value);
        }
        self.account.sending_bytes(value.len());
        let text = key.map(KeyText::of);
        let mut record = ProducerRecord::to(&self.plan.topic).value(value);
        if let Some(text) = &text {
            record = record.key(text.as_ref());
        }
        if let Some(carrier) = &mut self.carrier {
            record = carrier.dress(&payload, value, record);
        }
        let (account, given) = (Arc::clone(&self.account), room.cloned());
        let taken = self.sender.send_with(record, move |answer| {
            account.answered(&payload, answer);
            if let Some(room) = given {
                room.give();
            }
        });
        let Some(taken) = block_on(taken, &self.waker, &self.account.stop) else {
            // Nobody has heard of it, so that its sequence is not given away.
            return false;
        };
        self.account.sent.fetch_add(1, Ordering::Release);
        self.account.placed();
        if let Err(error) = taken {
            self.account.refused(&payload, &error);
            if let Some(room) = room {
                room.give();
            }
        }
        self.sequence += 1;
        if let Some(key) = key {
            self.key_sequences[key as usize] += 1;
        }
        if let Some(left) = self.left.as_mut().filter(|_| !warm_up) {
            *left -= 1;
        }
        true
    }

    /// When the warm-up ends.
    fn warm(&self) -> u64 {
        self.start + nanoseconds(self.plan.warmup)
    }

    /// When the load ends, if by time.
    fn end(&self) -> Option<u64> {
        match self.plan.length {
            Length::Seconds(duration) => Some(self.warm() + nanoseconds(duration)),
            Length::Records(_) => None,
        }
    }

    /// Sleeps until then; says whether it came to that.
    fn until(&self, at: u64) -> bool {
        loop {
            let now = self.account.clock.now();
            if self.account.stop.is_cancelled() {
                return false;
            }
            if now >= at {
                return true;
            }
            thread::sleep(Duration::from_nanos(at - now).min(NAP));
        }
    }

    /// Waits while the broker could not keep more than there is without a record that is due at `at`. Says whether there is room, and a place in it is
    /// taken until the record is sent: not after a stop, nor where nothing moves for long.
    fn room(&self, at: u64) -> bool {
        let Some(most) = self.plan.most_outstanding else { return true };
        let full = || !self.account.takes_place(most);
        if !full() {
            return true;
        }
        let since = self.account.clock.now();
        let until = since + nanoseconds(self.plan.drain.max(HOPELESS));
        let mut room = true;
        while full() {
            room = !self.account.stop.is_cancelled() && self.account.clock.now() <= until;
            if !room {
                break;
            }
            thread::sleep(LOOK);
        }
        let now = self.account.clock.now();
        let waited = now.saturating_sub(since.max(self.warm()));
        // In the warm-up nobody is held up.
        if waited > 0 {
            let (due, until) = (self.account.phase_of(at), self.account.phase_of(now));
            self.account.sending().waited_for_room(due, until, waited);
        }
        room
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread, which the waker unparks; `None` where a stop came first.
fn block_on<F: Future>(future: F, waker: &Waker, stop: &CancellationToken) -> Option<F::Output> {
    let (mut future, mut context) = (pin!(future), Context::from_waker(waker));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        if stop.is_cancelled() {
            return None;
        }
        thread::park_timeout(NAP);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use std::fmt::Debug;
    use std::sync::mpsc;
    use std::time::Instant;

    use kafka_troupe::Producer;

    use super::super::plan::{Outstanding, Pace};
    use super::super::schedule::Arrivals;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn plan(producers: u16, pace: Pace) -> Arc<Plan> {
        Arc::new(Plan::small(producers, pace))
    }

    fn wait_until(condition: impl Fn() -> bool, what: &dyn Debug) {
        let until = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < until, "not within {PATIENCE:?}: {what:?}");
            thread::yield_now();
        }
    }

    /// Starts the plan's generators against a port on which nobody listens. Each tells in the end what it has sent.
    fn started(plan: &Arc<Plan>, account: &Arc<Account>, producer: &Producer) -> mpsc::Receiver<u64> {
        let room = plan.pace.in_flight().unwrap_or_default();
        let (tell, told) = mpsc::channel();
        let (room, start) = (Arc::new(Room::of(room)), account.clock.now());
        for (number, keys) in (0..).zip(KeyChooser::of_all(plan.keys, plan.producers, plan.seed)) {
            let generator = Generator::new(plan, account, producer.sender(), number, keys, start, &room);
            let tell = tell.clone();
            thread::spawn(move || tell.send(generator.run()));
        }
        told
    }

    #[test]
    fn a_stop_ends_a_producer_that_waits_for_room_and_what_nobody_took_was_not_sent() {
        let plan = plan(1, Pace::OpenLoop { rate: 1_000_000, arrivals: Arrivals::Constant });
        let stop = CancellationToken::new();
        let account = Arc::new(Account::new(&plan, stop.clone()).unwrap());
        let producer = Producer::builder().bootstrap_servers("127.0.0.1:1").buffer_records(10).start().unwrap();
        let told = started(&plan, &account, &producer);
        wait_until(|| producer.state().waiting_senders > 0, &"somebody waits");
        // What has no room counts as not confirmed from when it was due.
        wait_until(
            || account.unconfirmed(account.clock.now(), |from, to| plan.pace.due_between(from, to)) > 200_000,
            &"a queue",
        );
        stop.cancel();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(10));
        assert_eq!(account.sent.load(Ordering::Acquire), 10);
        // What was late by then was to be sent.
        let sending = account.sending();
        assert_eq!((sending.scheduled, sending.given_up), (1_000, 990));
    }

    #[test]
    fn producers_that_share_what_a_broker_keeps_send_no_more_than_that() {
        for _ in 0..50 {
            let pace = Pace::OpenLoop { rate: 1_000_000, arrivals: Arrivals::Constant };
            let most_outstanding = Some(Outstanding { records: 4, bytes: None });
            let plan = Arc::new(Plan { most_outstanding, ..Plan::small(8, pace) });
            let stop = CancellationToken::new();
            let account = Arc::new(Account::new(&plan, stop.clone()).unwrap());
            let producer = Producer::builder().bootstrap_servers("127.0.0.1:1").start().unwrap();
            let told = started(&plan, &account, &producer);
            wait_until(|| account.sending().held_back > 0 || account.outstanding() >= 4, &"it is full");
            stop.cancel();
            assert_eq!((0..8).map(|_| told.recv_timeout(PATIENCE).unwrap()).sum::<u64>(), 4);
        }
    }

    #[test]
    fn several_producers_have_as_many_records_in_flight_together_as_was_said() {
        for in_flight in [2, 7] {
            let plan = plan(3, Pace::ClosedLoop { in_flight });
            let stop = CancellationToken::new();
            let account = Arc::new(Account::new(&plan, stop.clone()).unwrap());
            let producer = Producer::builder().bootstrap_servers("127.0.0.1:1").start().unwrap();
            let told = started(&plan, &account, &producer);
            let sent = || account.sent.load(Ordering::Acquire);
            wait_until(|| sent() >= u64::from(in_flight), &"all that have room");
            stop.cancel();
            let of_each: u64 = (0..3).map(|_| told.recv_timeout(PATIENCE).unwrap()).sum();
            assert_eq!((of_each, sent()), (u64::from(in_flight), u64::from(in_flight)));
        }
    }
}
