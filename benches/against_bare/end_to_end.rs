//! From the time a record was meant to be sent to the handler: open loop, so what holds up the sender counts as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kafka_troupe::consume::{Consumer as Ours, Record};
use kafka_troupe::produce::{Producer as OurProducer, ProducerRecord};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use serde::{Deserialize, Serialize};

use crate::arm::{PARTITIONS, VALUE_BYTES, fresh_group};
use crate::arms::{Client, Request};
use crate::measure::Mark;
use crate::settings::{Properties, Settings, fetching, sending};

const PATIENCE: Duration = Duration::from_secs(60);
/// A record that is handed to the producer this much after its time is late.
const LATE: Duration = Duration::from_millis(10);
/// The number of the records that are sent ahead of the schedule, to see that the consumer is there.
const AHEAD: u64 = u64::MAX;

/// Milliseconds, of the records behind the warm-up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) records: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// Records that were handed to the producer late.
    pub(crate) late: u64,
    /// The schedule was held: at most one record in a hundred was late.
    pub(crate) held: bool,
    /// Of a core, over the whole schedule: producer and consumer.
    pub(crate) cpu_percent: f64,
}

/// What came, and when: nanoseconds from its time on the schedule, 0 for what has not come.
struct Arrivals {
    epoch: Instant,
    step: Duration,
    latencies: Vec<AtomicU64>,
    /// Records that came before the schedule, and on it.
    ahead: AtomicU64,
    came: AtomicU64,
}

impl Arrivals {
    fn new(epoch: Instant, rate: u64, records: u64) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            step: Duration::from_nanos(1_000_000_000 / rate),
            latencies: (0..records).map(|_| AtomicU64::new(0)).collect(),
            ahead: AtomicU64::new(0),
            came: AtomicU64::new(0),
        })
    }

    /// The value carries its number and its time, in nanoseconds since the epoch.
    fn note(&self, value: Option<&[u8]>) {
        let now = self.epoch.elapsed().as_nanos() as u64;
        let value = value.unwrap();
        let word = |at: usize| u64::from_be_bytes(*value[at..].first_chunk().unwrap());
        let (number, intended) = (word(0), word(8));
        if number == AHEAD {
            self.ahead.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // A repeat would hide the first one's latency.
        if self.latencies[number as usize].swap(now.saturating_sub(intended).max(1), Ordering::Relaxed) == 0 {
            self.came.fetch_add(1, Ordering::Release);
        }
    }

    fn value(number: u64, intended: Duration) -> [u8; VALUE_BYTES] {
        let mut value = [b'x'; VALUE_BYTES];
        value[..8].copy_from_slice(&number.to_be_bytes());
        value[8..16].copy_from_slice(&(intended.as_nanos() as u64).to_be_bytes());
        value
    }

    /// Sends one record into each partition until all have come, so that the group stands; then keeps the schedule.
    fn drive(&self, warm_up: u64, mut send: impl FnMut(i32, &[u8])) -> Latencies {
        for partition in 0..PARTITIONS {
            send(partition as i32, &Self::value(AHEAD, Duration::ZERO));
        }
        self.wait_for(&self.ahead, PARTITIONS as u64);
        let (start, began) = (self.epoch.elapsed() + Duration::from_millis(100), Mark::now());
        let records = self.latencies.len() as u64;
        let mut late = 0;
        for number in 0..records {
            let intended = start + self.step * number as u32;
            let mut now = self.epoch.elapsed();
            while now < intended {
                std::thread::sleep(intended - now);
                now = self.epoch.elapsed();
            }
            late += u64::from(now - intended > LATE);
            send((number % PARTITIONS as u64) as i32, &Self::value(number, intended));
        }
        self.wait_for(&self.came, records);
        let (wall, cpu) = Mark::now().since(&began);
        let mut sorted: Vec<u64> =
            self.latencies[warm_up as usize..].iter().map(|latency| latency.load(Ordering::Relaxed)).collect();
        sorted.sort_unstable();
        let quantile = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted[rank.clamp(1, sorted.len()) - 1] as f64 / 1e6
        };
        Latencies {
            records: sorted.len() as u64,
            p50: quantile(0.5),
            p99: quantile(0.99),
            max: quantile(1.0),
            late,
            held: late * 100 <= records,
            cpu_percent: cpu.as_secs_f64() / wall.as_secs_f64() * 100.0,
        }
    }

    fn wait_for(&self, counter: &AtomicU64, wanted: u64) {
        let give_up = Instant::now() + PATIENCE;
        while counter.load(Ordering::Acquire) < wanted {
            assert!(Instant::now() < give_up, "{counter:?} of {wanted} records came within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) fn run(request: &Request, rate: u64, warm_up_seconds: u64, seconds: u64) -> (Latencies, Properties) {
    let arrivals = Arrivals::new(Instant::now(), rate, (warm_up_seconds + seconds) * rate);
    let warm_up = warm_up_seconds * rate;
    match request.client {
        Client::Ours => (ours(request, &arrivals, warm_up), [fetching(), sending()].concat()),
        Client::BareBase(settings) | Client::BareStream(settings) => {
            (bare(request, settings, &arrivals, warm_up), [settings.properties(), sending()].concat())
        }
    }
}

fn ours(request: &Request, arrivals: &Arc<Arrivals>, warm_up: u64) -> Latencies {
    let mut builder = Ours::builder()
        .bootstrap_servers(&request.bootstrap_servers)
        .group_id(fresh_group())
        .topics([&request.topic])
        .handler({
            let arrivals = Arc::clone(arrivals);
            move |record: &Record| arrivals.note(record.value())
        });
    for (name, value) in fetching() {
        builder = builder.property(name, value);
    }
    let consumer = builder.start().unwrap();
    let mut builder = OurProducer::builder().bootstrap_servers(&request.bootstrap_servers).linger(Duration::ZERO);
    for (name, value) in sending() {
        builder = builder.property(name, value);
    }
    let producer = builder.start().unwrap();
    let sender = producer.sender();
    let latencies = arrivals.drive(warm_up, |partition, value| {
        let record = ProducerRecord::to(&request.topic).partition(partition).value(value);
        // The producer's report says at the end whether all were stored.
        drop(sender.enqueue_blocking(record).unwrap());
    });
    assert_eq!(producer.shutdown_blocking(PATIENCE).unwrap().failed, 0);
    consumer.shutdown_blocking(PATIENCE).unwrap();
    latencies
}

fn bare(request: &Request, settings: Settings, arrivals: &Arc<Arrivals>, warm_up: u64) -> Latencies {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &request.bootstrap_servers)
        .set("group.id", fresh_group())
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false");
    config.extend(settings.properties());
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[&request.topic]).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &request.bootstrap_servers).set("linger.ms", "0");
    config.extend(sending());
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let Some(polled) = consumer.poll(Duration::from_millis(100)) else { continue };
                let message = polled.unwrap();
                arrivals.note(message.payload());
                consumer.store_offset_from_message(&message).unwrap();
            }
        });
        let latencies = arrivals.drive(warm_up, |partition, value| {
            let record = BaseRecord::<(), [u8]>::to(&request.topic).partition(partition).payload(value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        });
        ended.store(true, Ordering::Relaxed);
        producer.flush(PATIENCE).unwrap();
        latencies
    })
}
