//! How much memory a consumer takes that is far behind: its own process, as Linux counts it.
//!
//! `cargo test --release --test scenarios -- --ignored --nocapture kafka::a_backlog` runs the long forms.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_troupe::consume::{Consumer, Order, Record};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::each_order::one_of_them;
use crate::fixture::{On, PATIENCE, Stage, eventually};

scenarios! {
    on Apache Kafka, "whose logs keep a backlog":
        a_backlog_of_two_hundred_thousand_takes_a_bounded_amount_of_memory;
    at length on Apache Kafka:
        a_backlog_of_a_million_takes_a_bounded_amount_of_memory_in_each_order,
        a_backlog_of_four_million_takes_a_bounded_amount_of_memory,
        a_backlog_in_512_partitions_takes_no_more_than_is_told;
}

const MIB: u64 = 1 << 20;
/// What holds the consumer's settings, in its own process.
const BACKLOG: &str = "TROUPE_TEST_BACKLOG";

/// A consumer in a process of its own.
struct Consuming {
    child: Child,
    told: Arc<Mutex<Vec<String>>>,
}

impl Consuming {
    fn start(stage: &Stage, order: Order, properties: &[(&str, &str)]) -> Self {
        let order = serde_json::to_string(&order).unwrap();
        let mut settings =
            vec![stage.broker.bootstrap_servers().to_owned(), stage.group("g"), stage.topic.clone(), order];
        settings.extend(properties.iter().map(|(name, value)| format!("{name}={value}")));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "backlog::consumer", "--ignored", "--nocapture"])
            .env(BACKLOG, settings.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, told) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::<Mutex<Vec<_>>>::default());
        let tells = Arc::clone(&told);
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| tells.lock().unwrap().push(line)));
        Self { child, told }
    }

    /// The most memory that it has ever had resident, in bytes.
    fn most_resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    fn told(&self, name: &str) -> Option<u64> {
        let told = self.told.lock().unwrap();
        let value = told.iter().rev().find_map(|line| line.split_once(&format!(" {name}=")))?.1;
        value.split(' ').next().unwrap().parse().ok()
    }
}

impl Drop for Consuming {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The consumer's process: it ends when its input does.
#[test]
#[ignore = "a part of others"]
fn consumer() {
    let Ok(settings) = std::env::var(BACKLOG) else { return };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stdout).init();
    let settings: Vec<_> = settings.split(' ').collect();
    let properties = settings[4..].iter().map(|property| property.split_once('=').unwrap());
    let consumer = Consumer::builder()
        .bootstrap_servers(settings[0])
        .group_id(settings[1])
        .topics([settings[2]])
        .properties(properties)
        .order(serde_json::from_str(settings[3]).unwrap())
        .concurrency(100)
        .async_handler(|_: Record| async { tokio::time::sleep(Duration::from_millis(10)).await })
        .start()
        .unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    consumer.shutdown_blocking(Duration::from_secs(20)).unwrap();
}

/// Appends records of 1 KB, with keys of their own.
fn produce(stage: &Stage, records: usize) {
    let producer: BaseProducer = stage.client().set("linger.ms", "5").set("batch.size", "1000000").create().unwrap();
    let value = [b'v'; 1016];
    for number in 0..records {
        let (partition, key) = (number as i32 % stage.partitions, (number as u64).to_be_bytes());
        let mut record = BaseRecord::to(&stage.topic).partition(partition).key(&key).payload(&value);
        while let Err((_, full)) = producer.send(record) {
            producer.poll(PATIENCE / 100);
            record = full;
        }
    }
    producer.flush(PATIENCE).unwrap();
}

/// Watches a consumer at work on a backlog: its memory must stay below `most` and what it told as the worst case, and no longer grow after a
/// third of the time.
fn watch(
    on: On,
    order: Order,
    (partitions, records): (i32, usize),
    span: Duration,
    most: u64,
    properties: &[(&str, &str)],
) {
    let stage = Stage::new(on, partitions);
    produce(&stage, records);
    let consuming = Consuming::start(&stage, order, properties);
    eventually("it works", || stage.committed("g").values().sum::<i64>() > 0);
    let begun = Instant::now();
    let mut early = 0;
    while begun.elapsed() < span {
        if begun.elapsed() < span / 3 {
            early = consuming.most_resident();
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let (late, bound) = (consuming.most_resident(), consuming.told("worst_case_mib").unwrap() * MIB);
    let committed: i64 = stage.committed("g").values().sum();
    eprintln!(
        "{order:?}, {partitions} partitions, {records} records of 1 KB, {committed} of them processed in {} s: {} MiB resident at most, {} MiB of them \
         after a third of that; told as the worst case: {} MiB",
        span.as_secs(),
        late / MIB,
        early / MIB,
        bound / MIB,
    );
    assert!(late < most, "{} MiB resident", late / MIB);
    // With many partitions the queues take longer than that to fill.
    assert!(
        partitions > 8 || late <= early + early / 10 + 8 * MIB,
        "it grows: {} MiB, then {} MiB",
        early / MIB,
        late / MIB
    );
    assert!(late < bound + 100 * MIB, "more than was told");
    assert!(committed < records as i64, "the backlog was worked off: nothing is proven");
}

fn a_backlog_of_two_hundred_thousand_takes_a_bounded_amount_of_memory(on: On) {
    watch(on, one_of_them(), (8, 200_000), Duration::from_secs(10), 250 * MIB, &[]);
}

fn a_backlog_of_a_million_takes_a_bounded_amount_of_memory_in_each_order(on: On) {
    // One record at a time, and a hundredth of the rate: it takes longer until every buffer has been full once.
    for (order, seconds) in [(Order::Key, 60), (Order::Unordered, 60), (Order::Partition, 180)] {
        watch(on, order, (8, 1_000_000), Duration::from_secs(seconds), 250 * MIB, &[]);
    }
}

fn a_backlog_of_four_million_takes_a_bounded_amount_of_memory(on: On) {
    watch(on, Order::Key, (8, 4_000_000), Duration::from_secs(60), 250 * MIB, &[]);
}

fn a_backlog_in_512_partitions_takes_no_more_than_is_told(on: On) {
    // Librdkafka's own queues are per partition: so many need smaller ones.
    let small =
        [("queued.max.messages.kbytes", "256"), ("queued.min.messages", "1000"), ("fetch.message.max.bytes", "131072")];
    for properties in [&small[..], &[]] {
        watch(on, Order::Key, (512, 1_000_000), Duration::from_secs(30), u64::MAX - 100 * MIB, properties);
    }
}
