//! A thread that sends, by a schedule or as answers come.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
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
use super::plan::{Length, Pace, Plan};
use super::random::Random;
use super::schedule::Schedule;

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
    keys: KeyChooser,
    key_sequences: Vec<u64>,
    sequence: u64,
    /// Records of the load that are still to come, where that is what ends it.
    left: Option<u64>,
    value: Vec<u8>,
    /// Where somebody's application is to carry the records' identity along.
    carrier: Option<Carrier>,
    waker: Waker,
}

/// The room for unanswered records of a producer that sends as answers come.
struct Room {
    free: Mutex<u32>,
    freed: Condvar,
}

impl Generator {
    pub(crate) fn new(
        plan: &Arc<Plan>,
        account: &Arc<Account>,
        sender: Sender,
        producer: u16,
        keys: KeyChooser,
        start: u64,
    ) -> Self {
        let mut random = Random::new(plan.seed, 0x3_0000 + u64::from(producer));
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
            keys,
            key_sequences: vec![0; plan.keys.cardinality() as usize],
            sequence: 0,
            left,
            value: (0..plan.record_size).map(|_| random.next() as u8).collect(),
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
        match self.plan.pace {
            Pace::OpenLoop { rate, arrivals } => {
                let (plan, producer) = (Arc::clone(&self.plan), self.producer);
                self.by_schedule(Schedule::new(arrivals, rate, producer, plan.producers, plan.seed));
            }
            Pace::ClosedLoop { in_flight } => {
                let share = in_flight.div_ceil(u32::from(self.plan.producers));
                self.as_answers_come(&Arc::new(Room { free: Mutex::new(share), freed: Condvar::new() }));
            }
        }
        self.sequence
    }

    fn by_schedule(&mut self, mut schedule: Schedule) {
        let (warm, end) = (self.warm(), self.end());
        loop {
            let at = self.start + schedule.next();
            let warm_up = at < warm;
            if self.left == Some(0) || end.is_some_and(|end| at >= end) || !self.until(at) {
                return;
            }
            let now = self.account.clock.now();
            let too_late = now > at + nanoseconds(HOPELESS) || end.is_some_and(|end| now > end + nanoseconds(OVERTIME));
            if too_late || !self.room() {
                // Nothing is left out in silence: what was due by now, or by the end, counts as late.
                let due = match (self.left, end) {
                    (Some(left), _) => left,
                    (None, end) => {
                        let until = end.unwrap_or(now);
                        let behind =
                            std::iter::from_fn(|| Some(self.start + schedule.next())).take_while(|at| *at < until);
                        u64::from(!warm_up) + behind.filter(|at| *at >= warm).count() as u64
                    }
                };
                if !self.account.stop.is_cancelled() {
                    let mut sending = self.account.sending();
                    sending.scheduled += due;
                    sending.late += due;
                }
                return;
            }
            if !self.send(at, warm_up, None) {
                return;
            }
            let delay = self.account.clock.now().saturating_sub(at);
            if !warm_up {
                let mut sending = self.account.sending();
                sending.scheduled += 1;
                sending.late += u64::from(delay > nanoseconds(LATE_AFTER));
                sending.schedule_delay.record(delay);
            }
        }
    }

    fn as_answers_come(&mut self, room: &Arc<Room>) {
        let (warm, end) = (self.warm(), self.end());
        self.until(self.start);
        while room.take(|| self.account.stop.is_cancelled()) && self.room() {
            let at = self.account.clock.now();
            let warm_up = at < warm;
            if self.left == Some(0) || end.is_some_and(|end| at >= end) {
                return;
            }
            if !self.send(at, warm_up, Some(room)) {
                return;
            }
            if !warm_up {
                self.account.sending().scheduled += 1;
            }
        }
    }

    /// Says whether the producer took the record over, be it to refuse it: not where a stop came while there was no room for it.
    fn send(&mut self, intended: u64, warm_up: bool, room: Option<&Arc<Room>>) -> bool {
        let key = self.keys.next();
        let key_sequence = key.map_or(self.sequence, |key| self.key_sequences[key as usize]);
        let payload =
            Payload { producer: self.producer, sequence: self.sequence, key, key_sequence, intended, warm_up };
        payload.write(self.plan.run, &mut self.value);
        let text = key.map(KeyText::of);
        let mut record = ProducerRecord::to(&self.plan.topic).value(&self.value);
        if let Some(text) = &text {
            record = record.key(text.as_ref());
        }
        if let Some(carrier) = &mut self.carrier {
            record = carrier.dress(&payload, &self.value, record);
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

    /// Waits while the broker could not keep more. Says whether there is room: not after a stop, nor where nothing moves for long.
    fn room(&self) -> bool {
        let Some(most) = self.plan.most_outstanding else { return true };
        if self.account.outstanding() < most {
            return true;
        }
        self.account.sending().held_back += 1;
        let until = self.account.clock.now() + nanoseconds(self.plan.drain.max(HOPELESS));
        while self.account.outstanding() >= most {
            if self.account.stop.is_cancelled() || self.account.clock.now() > until {
                return false;
            }
            thread::sleep(LOOK);
        }
        true
    }
}

impl Room {
    /// Takes a place, once there is one. Says whether there was before `stopped`.
    fn take(&self, stopped: impl Fn() -> bool) -> bool {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if stopped() {
                return false;
            }
            if *free > 0 {
                *free -= 1;
                return true;
            }
            free = self.freed.wait_timeout(free, NAP).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn give(&self) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
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
    use std::sync::mpsc;
    use std::time::Instant;

    use kafka_troupe::Producer;
    use kafka_troupe::consume::Order;

    use super::super::keys::Keys;
    use super::super::payload::MINIMUM;
    use super::super::plan::Work;
    use super::super::schedule::Arrivals;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_stop_ends_a_producer_that_waits_for_room_and_what_nobody_took_was_not_sent() {
        let plan = Arc::new(Plan {
            run: 1,
            seed: 1,
            topic: "t".to_owned(),
            group: "g".to_owned(),
            partitions: 1,
            producers: 1,
            members: 1,
            pace: Pace::OpenLoop { rate: 1_000_000, arrivals: Arrivals::Constant },
            warmup: Duration::ZERO,
            length: Length::Records(1_000),
            drain: Duration::ZERO,
            record_size: MINIMUM,
            keys: Keys::RoundRobin { keys: 3 },
            order: Order::Key,
            concurrency: None,
            work: Work::None,
            most_outstanding: None,
        });
        let stop = CancellationToken::new();
        let account = Arc::new(Account::new(&plan, stop.clone()).unwrap());
        // A port on which nobody listens.
        let producer = Producer::builder().bootstrap_servers("127.0.0.1:1").buffer_records(10).start().unwrap();
        let keys = KeyChooser::of_all(plan.keys, 1, plan.seed).remove(0);
        let generator = Generator::new(&plan, &account, producer.sender(), 0, keys, account.clock.now());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || tell.send(generator.run()));
        let until = Instant::now() + PATIENCE;
        while producer.state().waiting_senders == 0 {
            assert!(Instant::now() < until, "nobody waits: {:?}", producer.state());
            thread::yield_now();
        }
        stop.cancel();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(10));
        assert_eq!((account.sent.load(Ordering::Acquire), account.sending().scheduled), (10, 10));
    }
}
