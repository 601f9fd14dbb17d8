//! The engine alone, and the engine at rest.
//!
//! `cargo bench --bench engine`. Targets: 20 M records/s on one worker from the poller's hand-over to the commit; at most 1 % of a core for
//! 64 partitions at their end. The allocator is mimalloc, as in the binary.
//!
//! A busy machine lowers the rates; the processor time a record takes suffers less.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kafka_troupe::broker::EmbeddedBroker;
use kafka_troupe::consume::{Consumer, ConsumerHandle, Order, Record};
use kafka_troupe::produce::{Producer, ProducerRecord};
use kafka_troupe::testing::EngineAlone;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const RUNS: usize = 7;
const RECORDS: u64 = 64_000_000;
const VALUE_BYTES: usize = 100;
const TOPIC: &str = "idle";
const IDLE_PARTITIONS: i32 = 64;
const SETTLE: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(10);
const IDLE_WINDOWS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
/// The argument with which the bench runs itself as the broker.
const AS_BROKER: &str = "--as-broker";

fn main() {
    if std::env::args().any(|argument| argument == AS_BROKER) {
        return be_the_broker();
    }
    println!("{RECORDS} records of {VALUE_BYTES} bytes; median (lowest to highest) of {RUNS} runs");
    engine_alone("1 partition, 1 worker thread", 1, 1);
    engine_alone("8 partitions, 1 worker thread", 8, 1);
    engine_alone("8 partitions, 2 worker threads", 8, 2);
    for order in [Order::Key, Order::Unordered] {
        for (concurrency, pause) in [(100, 0), (1000, 1), (1000, 10), (10_000, 10)] {
            several_at_once(order, concurrency, pause);
        }
    }
    idle();
}

/// Handlers that wait `pause` milliseconds, several of a partition at once, 10,000 keys.
fn several_at_once(order: Order, concurrency: usize, pause: u64) {
    // About two seconds' worth each.
    let records = match pause {
        0 => 8_000_000,
        _ => (concurrency as u64 * 1000 / (pause + 1)).min(1_000_000),
    };
    let engine = EngineAlone {
        partitions: 8,
        worker_threads: 2,
        records: records / 8,
        value_bytes: VALUE_BYTES,
        keys: 10_000,
        order,
        concurrency: Some(concurrency),
        max_buffered_records: 8192,
        max_buffered_bytes: 4 << 20,
        commit_interval: Duration::from_millis(100),
    };
    let [mut rates, mut cpu] = [const { Vec::new() }; 2];
    for _ in 0..RUNS {
        let (all, own) = (cpu_time(libc::RUSAGE_SELF), cpu_time(libc::RUSAGE_THREAD));
        let handler = move |record: Record| async move {
            touch(&record);
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        };
        let measured = engine.run_async(handler).unwrap();
        let spent = (cpu_time(libc::RUSAGE_SELF) - all) - (cpu_time(libc::RUSAGE_THREAD) - own);
        assert_eq!(measured.invariants.total(), 0);
        rates.push(records as f64 / measured.took.as_secs_f64() / 1e3);
        cpu.push(spent.as_secs_f64() * 1e9 / records as f64);
    }
    println!("{order:?}, {concurrency} at once, {pause} ms each; 8 partitions, 2 worker threads");
    report("from hand-over to commit", "k records/s", rates);
    report("processor time of workers, tracker, supervisor", "ns/record", cpu);
}

fn engine_alone(name: &str, partitions: usize, worker_threads: usize) {
    let engine = EngineAlone {
        partitions,
        worker_threads,
        records: RECORDS / partitions as u64,
        value_bytes: VALUE_BYTES,
        keys: 0,
        order: Order::Partition,
        concurrency: None,
        max_buffered_records: 8192,
        max_buffered_bytes: 4 << 20,
        commit_interval: Duration::from_millis(100),
    };
    let [mut rates, mut cpu, mut poller, mut copying] = [const { Vec::new() }; 4];
    for _ in 0..RUNS {
        let (all, own) = (cpu_time(libc::RUSAGE_SELF), cpu_time(libc::RUSAGE_THREAD));
        let measured = engine.run(touch).unwrap();
        let (all, own) = (cpu_time(libc::RUSAGE_SELF) - all, cpu_time(libc::RUSAGE_THREAD) - own);
        assert_eq!(measured.counters.finished, RECORDS);
        assert_eq!(measured.invariants.total(), 0);
        let per_record = |time: Duration| time.as_secs_f64() * 1e9 / RECORDS as f64;
        rates.push(RECORDS as f64 / measured.took.as_secs_f64() / 1e6);
        cpu.push(per_record(all - own));
        poller.push(per_record(own));
        copying.push(per_record(measured.copying));
    }
    println!("{name}");
    report("from hand-over to commit", "M records/s", rates);
    report("processor time of workers, tracker, supervisor", "ns/record", cpu);
    report("processor time of the poller's thread", "ns/record", poller);
    report("of that, copying into chunks", "ns/record", copying);
}

/// The handler: it reads the value, and the compiler must not see that nobody wants it.
fn touch(record: &Record) {
    black_box(record.value().and_then(<[u8]>::first));
}

/// A consumer whose partitions are at their end, on a broker in another process.
fn idle() {
    let broker = BrokerProcess::start();
    let consumer = Consumer::builder()
        .bootstrap_servers(&broker.bootstrap_servers)
        .group_id("idle")
        .topics([TOPIC])
        .handler(touch)
        .start()
        .unwrap();
    let give_up = Instant::now() + PATIENCE;
    while !is_at_the_end(&consumer) {
        assert!(Instant::now() < give_up, "not at the end: {:?}", consumer.state());
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(SETTLE);
    let [mut shares, mut wakes] = [const { Vec::new() }; 2];
    for _ in 0..IDLE_WINDOWS {
        let (began, cpu, woken) = (Instant::now(), cpu_time(libc::RUSAGE_SELF), wake_ups(&consumer));
        std::thread::sleep(WINDOW);
        let seconds = began.elapsed().as_secs_f64();
        shares.push((cpu_time(libc::RUSAGE_SELF) - cpu).as_secs_f64() / seconds * 100.0);
        wakes.push((wake_ups(&consumer) - woken) as f64 / seconds);
    }
    println!("idle: {IDLE_PARTITIONS} partitions at their end, {IDLE_WINDOWS} windows of {WINDOW:?}");
    report("processor time of the process", "% of a core", shares);
    report("wake-ups of the poller", "per second", wakes);
    consumer.shutdown_blocking(PATIENCE).unwrap();
}

fn is_at_the_end(consumer: &ConsumerHandle) -> bool {
    let partitions = consumer.state().partitions;
    partitions.len() == IDLE_PARTITIONS as usize && partitions.iter().all(|partition| partition.lag == Some(0))
}

fn wake_ups(consumer: &ConsumerHandle) -> u64 {
    consumer.state().counters.wakes
}

/// The embedded broker in a process of its own, so that its processor time is not the consumer's.
struct BrokerProcess {
    child: Child,
    bootstrap_servers: String,
}

impl BrokerProcess {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(AS_BROKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut bootstrap_servers = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut bootstrap_servers).unwrap();
        Self { child, bootstrap_servers: bootstrap_servers.trim().to_owned() }
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts one record into each partition, tells where it listens, and runs until its parent is gone.
fn be_the_broker() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic(TOPIC, IDLE_PARTITIONS).unwrap();
    let producer = Producer::builder().bootstrap_servers(broker.bootstrap_servers()).start().unwrap();
    let sender = producer.sender();
    for partition in 0..IDLE_PARTITIONS {
        let record = ProducerRecord::to(TOPIC).partition(partition).value("only");
        sender.send_blocking(record).unwrap();
    }
    producer.shutdown_blocking(PATIENCE).unwrap();
    println!("{}", broker.bootstrap_servers());
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Processor time spent so far, in user and kernel mode, by the process or the calling thread.
fn cpu_time(whose: libc::c_int) -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `usage` is writable and of the type that the call fills; it is read only when the call says it has.
    let usage = unsafe {
        assert_eq!(libc::getrusage(whose, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    [usage.ru_utime, usage.ru_stime]
        .into_iter()
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000))
        .sum()
}

fn report(what: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let (low, median, high) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    println!("    {what:<50} {median:>8.2} {unit}  ({low:.2} to {high:.2})");
}
