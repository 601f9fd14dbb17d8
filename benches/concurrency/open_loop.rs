//! From the time a record was meant to be sent to the end of its handling: open loop, so what holds up the sender counts as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kafka_troupe::consume::{Order, Record};
use rdkafka::ClientConfig;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde::{Deserialize, Serialize};

use crate::arm::{PARTITIONS, VALUE_BYTES, number};
use crate::arms::{Client, Request};
use crate::by_hand::{self, Notes};
use crate::keys::{Drawn, Keys};
use crate::measure::Mark;
use crate::ours;
use crate::topics::Place;

const PATIENCE: Duration = Duration::from_secs(60);
/// A record that is handed to the producer this much after its time is late.
const LATE: Duration = Duration::from_millis(10);
/// The number of the records that are sent ahead of the schedule, to see that the consumer is there.
const AHEAD: u64 = u64::MAX;

/// Of the records behind the warm-up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) all: Quantiles,
    /// Of all keys but the hottest.
    pub(crate) others: Quantiles,
    /// Of all keys but the hottest hundred: those whose records hardly ever wait for another of their own key.
    pub(crate) cold: Quantiles,
    /// Records a second of all keys but the hottest, by the time until the last of them was finished.
    pub(crate) others_per_second: f64,
    /// The schedule was held: at most one record in a hundred was handed to the producer late.
    pub(crate) held: bool,
    /// Of a core, over the whole schedule: producer and consumer.
    pub(crate) cpu_percent: f64,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Quantiles {
    fn of(mut latencies: Vec<u64>) -> Self {
        latencies.sort_unstable();
        let quantile = |share: f64| {
            let rank = (latencies.len() as f64 * share).ceil() as usize;
            latencies[rank.clamp(1, latencies.len()) - 1] as f64 / 1e6
        };
        Self { p50: quantile(0.5), p99: quantile(0.99), p999: quantile(0.999), max: quantile(1.0) }
    }
}

/// What was finished, and when: nanoseconds from its time on the schedule, 0 for what is not.
struct Finished {
    epoch: Instant,
    latencies: Vec<AtomicU64>,
    /// Records that came before the schedule, and on it.
    ahead: AtomicU64,
    finished: AtomicU64,
}

impl Notes for Finished {
    /// The value carries the number and the time, in nanoseconds since the epoch.
    fn handled(&self, _: i32, message: &impl Message) {
        self.note(message.payload());
    }
}

impl Finished {
    fn note(&self, value: Option<&[u8]>) {
        let now = self.epoch.elapsed().as_nanos() as u64;
        let (number, intended) = (number(value), number(value.map(|value| &value[8..])));
        if number == AHEAD {
            self.ahead.fetch_add(1, Ordering::Release);
            return;
        }
        // A repeat would hide the first one's latency.
        if self.latencies[number as usize].swap(now.saturating_sub(intended).max(1), Ordering::Relaxed) == 0 {
            self.finished.fetch_add(1, Ordering::Release);
        }
    }

    /// Sends one record into each partition until all have come, so that the group stands; then keeps the schedule.
    fn drive(&self, request: &Request, rate: u64, warm_up: usize, keys: &Drawn) -> Latencies {
        let producer = producer(request);
        let send = |number: u64, intended: Duration, place: Place| {
            let mut value = [b'x'; VALUE_BYTES];
            value[..8].copy_from_slice(&number.to_be_bytes());
            value[8..16].copy_from_slice(&(intended.as_nanos() as u64).to_be_bytes());
            let key = place.key.unwrap_or_default().to_be_bytes();
            let record = BaseRecord::to(&request.topic).partition(place.partition as i32).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        };
        for key in 0..PARTITIONS as u64 {
            send(AHEAD, Duration::ZERO, Place::of_key(key));
        }
        wait_for(&self.ahead, PARTITIONS as u64);
        let (start, began) = (self.epoch.elapsed() + Duration::from_millis(100), Mark::now());
        let intended = |number: u64| start + Duration::from_nanos(number * 1_000_000_000 / rate);
        let records = self.latencies.len() as u64;
        let mut late = 0;
        for number in 0..records {
            let intended = intended(number);
            let mut now = self.epoch.elapsed();
            while now < intended {
                std::thread::sleep(intended - now);
                now = self.epoch.elapsed();
            }
            late += u64::from(now - intended > LATE);
            send(number, intended, Place::of_key(keys.key(number)));
        }
        wait_for(&self.finished, records);
        producer.flush(PATIENCE).unwrap();
        let (wall, cpu) = Mark::now().since(&began);
        let counted = || {
            self.latencies
                .iter()
                .enumerate()
                .skip(warm_up)
                .map(|(at, latency)| (at as u64, latency.load(Ordering::Relaxed)))
        };
        let colder_than = |key: u64| counted().filter(move |(number, _)| keys.key(*number) > key);
        let others = || colder_than(0);
        let last = others().map(|(number, latency)| intended(number) + Duration::from_nanos(latency)).max();
        let took = last.unwrap() - intended(warm_up as u64);
        Latencies {
            all: Quantiles::of(counted().map(|(_, latency)| latency).collect()),
            others: Quantiles::of(others().map(|(_, latency)| latency).collect()),
            cold: Quantiles::of(colder_than(99).map(|(_, latency)| latency).collect()),
            others_per_second: others().count() as f64 / took.as_secs_f64(),
            held: late * 100 <= records,
            cpu_percent: cpu.as_secs_f64() / wall.as_secs_f64() * 100.0,
        }
    }
}

/// Every arm's: its batches are small, and their number bounded.
fn producer(request: &Request) -> ThreadedProducer<DefaultProducerContext> {
    ClientConfig::new()
        .set("bootstrap.servers", &request.bootstrap_servers)
        .set("linger.ms", "1")
        .set("enable.idempotence", "true")
        .set("max.in.flight.requests.per.connection", "5")
        .create()
        .unwrap()
}

fn wait_for(counter: &AtomicU64, wanted: u64) {
    let give_up = Instant::now() + PATIENCE;
    while counter.load(Ordering::Acquire) < wanted {
        assert!(Instant::now() < give_up, "{counter:?} of {wanted} records were finished within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn run(request: &Request, rate: u64, [warm_up, seconds]: [u64; 2], keys: Keys) -> Latencies {
    let records = (warm_up + seconds) * rate;
    let finished = Arc::new(Finished {
        epoch: Instant::now(),
        latencies: (0..records).map(|_| AtomicU64::new(0)).collect(),
        ahead: AtomicU64::new(0),
        finished: AtomicU64::new(0),
    });
    let drive = || finished.drive(request, rate, (warm_up * rate) as usize, &keys.draw());
    match request.client {
        Client::Ours(order) => by_engine(request, order, &finished, drive),
        _ => by_loop(request, &finished, records, drive),
    }
}

fn by_engine(
    request: &Request,
    order: Order,
    finished: &Arc<Finished>,
    drive: impl FnOnce() -> Latencies,
) -> Latencies {
    let (handling, notes) = (request.handling, Arc::clone(finished));
    let handler = move |record: Record| {
        let notes = Arc::clone(&notes);
        async move {
            handling.handle(record.value()).await;
            notes.note(record.value());
        }
    };
    let consumer = ours::builder(request, order).async_handler(handler).start().unwrap();
    let latencies = drive();
    consumer.shutdown_blocking(PATIENCE).unwrap();
    latencies
}

fn by_loop(request: &Request, finished: &Arc<Finished>, records: u64, drive: impl FnOnce() -> Latencies) -> Latencies {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| {
        let (runtime, notes) = (&runtime, Arc::clone(finished));
        scope.spawn(move || {
            runtime.block_on(async {
                let consumer = by_hand::consumer(request);
                by_hand::run(request, &consumer, &notes, records + PARTITIONS as u64).await;
            });
        });
        drive()
    })
}
