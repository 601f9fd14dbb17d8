//! The drain of a backlog, by each client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kafka_troupe::consume::{Consumer as Ours, Record};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use serde::{Deserialize, Serialize};

use crate::arm::{self, PARTITIONS, fresh_group, number};
use crate::arms::{Client, Request};
use crate::measure::Mark;
use crate::settings::{Properties, Settings, fetching};

const PATIENCE: Duration = Duration::from_secs(60);
/// How often our arm looks whether all is done. It adds that much to a drain at most.
const LOOK: Duration = Duration::from_millis(1);

/// From the first record in the handler's hands on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Drained {
    /// By the time to the last one handled *and* the group's position behind it.
    pub(crate) records_per_second: f64,
    /// By the time to the last one handled.
    pub(crate) handled_per_second: f64,
    /// User and kernel mode, all threads.
    pub(crate) cpu_us_per_record: f64,
    /// The sum of what the handler read.
    pub(crate) checksum: u64,
    /// The sum of the positions that the broker had for the group at the end.
    pub(crate) committed: u64,
}

impl Drained {
    fn new(records: u64, marks: [&Mark; 3], checksum: u64, committed: u64) -> Self {
        let [first, handled, done] = marks;
        let (until_done, cpu) = done.since(first);
        Self {
            records_per_second: records as f64 / until_done.as_secs_f64(),
            handled_per_second: records as f64 / handled.since(first).0.as_secs_f64(),
            cpu_us_per_record: cpu.as_secs_f64() * 1e6 / records as f64,
            checksum,
            committed,
        }
    }
}

/// The handler of every arm reads the number at the value's head, to be added up.
pub(crate) fn run(request: &Request, records: u64) -> (Drained, Properties) {
    match request.client {
        Client::BareBase(settings) => base(request, settings, records),
        Client::BareStream(settings) => stream(request, settings, records),
        Client::Ours => ours(request, records),
    }
}

fn base(request: &Request, settings: Settings, records: u64) -> (Drained, Properties) {
    let mut properties = settings.properties();
    properties.push(("enable.auto.offset.store".to_owned(), "false".to_owned()));
    let consumer: BaseConsumer = bare_config(request, &properties).create().unwrap();
    consumer.subscribe(&[&request.topic]).unwrap();
    let (mut first, mut handled, mut checksum) = (None, 0, 0u64);
    while handled < records {
        let Some(polled) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = polled.unwrap();
        first.get_or_insert_with(Mark::now);
        checksum = checksum.wrapping_add(number(message.payload()));
        consumer.store_offset_from_message(&message).unwrap();
        handled += 1;
    }
    let last = Mark::now();
    commit_the_rest(&consumer);
    let done = Mark::now();
    let committed = committed(&consumer);
    (Drained::new(records, [&first.unwrap(), &last, &done], checksum, committed), properties)
}

fn stream(request: &Request, settings: Settings, records: u64) -> (Drained, Properties) {
    let properties = settings.properties();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let consumer: StreamConsumer = bare_config(request, &properties).create().unwrap();
        consumer.subscribe(&[&request.topic]).unwrap();
        let (mut first, mut handled, mut checksum) = (None, 0, 0u64);
        while handled < records {
            let message = consumer.recv().await.unwrap();
            first.get_or_insert_with(Mark::now);
            checksum = checksum.wrapping_add(number(message.payload()));
            handled += 1;
        }
        let last = Mark::now();
        commit_the_rest(&consumer);
        let done = Mark::now();
        let committed = committed(&consumer);
        (Drained::new(records, [&first.unwrap(), &last, &done], checksum, committed), properties)
    })
}

fn bare_config(request: &Request, properties: &Properties) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &request.bootstrap_servers)
        .set("group.id", fresh_group())
        .set("auto.offset.reset", "earliest");
    config.extend(properties.iter().cloned());
    config
}

/// What a bare program does before it ends: what is handled since the last automatic commit.
fn commit_the_rest<C: ConsumerContext>(consumer: &impl Consumer<C>) {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => panic!("commit: {error}"),
    }
}

fn committed<C: ConsumerContext>(consumer: &impl Consumer<C>) -> u64 {
    let positions = consumer.committed(PATIENCE).unwrap();
    positions.elements().iter().filter_map(|each| each.offset().to_raw()).filter(|offset| *offset > 0).sum::<i64>()
        as u64
}

/// Each partition's figures, on a cache line of their own: a record of one must not wait for another's.
#[derive(Default)]
#[repr(align(128))]
struct Seen {
    records: AtomicU64,
    checksum: AtomicU64,
}

impl Seen {
    /// Only one handler at a time has the partition, so nothing comes between load and store.
    fn add(&self, value: Option<&[u8]>) {
        let checksum = self.checksum.load(Ordering::Relaxed).wrapping_add(number(value));
        self.checksum.store(checksum, Ordering::Relaxed);
        self.records.store(self.records.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

fn ours(request: &Request, records: u64) -> (Drained, Properties) {
    let seen: Arc<[Seen; PARTITIONS]> = Arc::default();
    let first: Arc<OnceLock<Mark>> = Arc::default();
    // The defaults: written out so that what is printed is what is used.
    let properties = fetching();
    let mut builder = Ours::builder()
        .bootstrap_servers(&request.bootstrap_servers)
        .group_id(fresh_group())
        .topics([&request.topic])
        .handler({
            let (seen, first) = (Arc::clone(&seen), Arc::clone(&first));
            move |record: &Record| {
                first.get_or_init(Mark::now);
                seen[record.partition().0 as usize].add(record.value());
            }
        });
    for (name, value) in &properties {
        builder = builder.property(name, value);
    }
    let consumer = builder.start().unwrap();
    let sum = |figure: fn(&Seen) -> &AtomicU64| {
        seen.iter().fold(0u64, |sum, each| sum.wrapping_add(figure(each).load(Ordering::Acquire)))
    };
    while sum(|each| &each.records) < records {
        std::thread::sleep(LOOK);
    }
    let last = Mark::now();
    while arm::committed(&consumer) < records {
        std::thread::sleep(LOOK);
    }
    let done = Mark::now();
    let committed = arm::committed(&consumer);
    consumer.shutdown_blocking(PATIENCE).unwrap();
    let first = *first.get().unwrap();
    (Drained::new(records, [&first, &last, &done], sum(|each| &each.checksum), committed), properties)
}
