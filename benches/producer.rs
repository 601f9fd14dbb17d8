//! The producer beside rdkafka's own and Java's, on one broker, in interleaved rounds.
//!
//! `cargo bench --bench producer -- [--flat] [--arms NAME,NAME] [--rounds N] [--records N] [--partitions N] [--senders N]
//! [--embedded | --bootstrap-server HOST:PORT]`. Without a server it starts an Apache Kafka of its own (Java 17; Maven the first time). Each figure is a
//! process of its own: this program starts itself for it. Values of 100 bytes, `acks=all`, idempotent, 5 ms of linger and batches of 1,000,000 bytes for
//! all. A rate counts from the first record to the last answer; processor time is the client's whole process. One by one, each record is awaited before
//! the next, without a linger: a five-hundredth of the records. What is compared is compared round by round: the median of the ratios is what counts.
//!
//! With `--flat` the comparison is of one arm (the callbacks, or that of `--arms`) with itself: over partitions, and over senders, each a thread.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kafka_troupe::broker::{EmbeddedBroker, LocalKafka};
use kafka_troupe::produce::{Producer, ProducerRecord};
use mimalloc::MiMalloc;
use rdkafka::ClientConfig;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, FutureProducer, FutureRecord, Producer as _, ProducerContext, ThreadedProducer,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const VALUE: [u8; 100] = [b'x'; 100];
const PATIENCE: Duration = Duration::from_secs(120);
const LINGER: Duration = Duration::from_millis(5);
/// Answers that are waited for at once, where they are awaited.
const WINDOW: usize = 10_000;
const BATCH: usize = 500;
const ARMS: [&str; 8] = [
    "callback",
    "ThreadedProducer",
    "awaited",
    "FutureProducer",
    "send_all",
    "ProducerPerformance",
    "one by one",
    "FutureProducer one by one",
];
/// What is held against what.
const PAIRS: [(&str, &str); 5] = [
    ("callback", "ThreadedProducer"),
    ("awaited", "FutureProducer"),
    ("send_all", "ThreadedProducer"),
    ("send_all", "ProducerPerformance"),
    ("one by one", "FutureProducer one by one"),
];

/// Partitions and senders that one arm is held against itself with.
const FLAT: [(i32, u64); 6] = [(8, 1), (64, 1), (512, 1), (8, 4), (8, 16), (8, 64)];

/// What an arm sends, and where to.
#[derive(Clone)]
struct Task {
    servers: String,
    topic: String,
    records: u64,
    senders: u64,
}

/// Records a second, and microseconds of processor time per record where they are known.
#[derive(Clone, Copy)]
struct Figure {
    rate: f64,
    cpu: f64,
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    let number = |name: &str, default: u64| option(name).map_or(default, |text| text.parse().unwrap());
    let records = number("--records", 1_000_000);
    if let Some(arm) = option("--arm") {
        let [servers, topic] = ["--bootstrap-server", "--topic"].map(|name| option(name).unwrap().to_owned());
        let records = if arm.ends_with("one by one") { (records / 500).max(1) } else { records };
        run_arm(arm, &Task { servers, topic, records, senders: number("--senders", 1) });
        return;
    }
    let broker = match option("--bootstrap-server") {
        Some(servers) => Broker::Elsewhere(servers.to_owned()),
        None if arguments.iter().any(|argument| argument == "--embedded") => {
            Broker::Embedded(EmbeddedBroker::start().unwrap())
        }
        None => Broker::Kafka(LocalKafka::start().unwrap()),
    };
    let task = |partitions: i32, senders| Task {
        servers: broker.servers().to_owned(),
        topic: broker.topic_for(partitions, senders),
        records,
        senders,
    };
    let rounds = number("--rounds", 5) as usize;
    let named = option("--arms").map(|names| names.split(',').collect::<Vec<_>>());
    if arguments.iter().any(|argument| argument == "--flat") {
        let arm = named.map_or("callback", |names| names[0]);
        let tasks =
            FLAT.map(|(partitions, senders)| (format!("{partitions} and {senders}"), task(partitions, senders)));
        let runs: Vec<_> = tasks.iter().map(|(label, task)| (label.as_str(), arm, task)).collect();
        println!("{arm}, by partitions and senders");
        let figures = measured_in_rounds(&runs, rounds);
        for ((label, ..), of_one) in runs.iter().zip(&figures).skip(1) {
            compare(label, of_one, runs[0].0, &figures[0]);
        }
        return;
    }
    let task = task(number("--partitions", 8) as i32, number("--senders", 1));
    let runs: Vec<_> = named.unwrap_or(ARMS.to_vec()).into_iter().map(|arm| (arm, arm, &task)).collect();
    let figures = measured_in_rounds(&runs, rounds);
    for (ours, other) in PAIRS {
        let of = |name| runs.iter().position(|(arm, ..)| *arm == name).map(|place| &figures[place]);
        if let (Some(of_ours), Some(of_other)) = (of(ours), of(other)) {
            compare(ours, of_ours, other, of_other);
        }
    }
}

/// Where the records go.
enum Broker {
    Elsewhere(String),
    Embedded(EmbeddedBroker),
    Kafka(LocalKafka),
}

impl Broker {
    fn servers(&self) -> &str {
        match self {
            Self::Elsewhere(servers) => servers,
            Self::Embedded(broker) => broker.bootstrap_servers(),
            Self::Kafka(broker) => broker.bootstrap_servers(),
        }
    }

    /// A topic of their own for so many senders; elsewhere it is there already.
    fn topic_for(&self, partitions: i32, senders: u64) -> String {
        let name = format!("measured-{partitions}-{senders}");
        match self {
            Self::Elsewhere(_) => {}
            Self::Embedded(broker) => broker.create_topic(&name, partitions).unwrap(),
            Self::Kafka(broker) => {
                broker.create_topic_with(&name, partitions, &[("retention.bytes", "100000000")]).unwrap();
            }
        }
        name
    }
}

/// Each run in each round: a label, an arm, and its task.
fn measured_in_rounds(runs: &[(&str, &str, &Task)], rounds: usize) -> Vec<Vec<Figure>> {
    let mut figures: Vec<Vec<Figure>> = vec![Vec::new(); runs.len()];
    for round in 0..=rounds {
        for turn in 0..runs.len() {
            // Each is first in turn, so that none always follows the same.
            let place = (turn + round) % runs.len();
            let (label, arm, task) = runs[place];
            let figure = measured(arm, task);
            // The first round warms the broker up.
            if round > 0 {
                println!("{round}: {label:<26} {:>10.0}/s {:>6.2} µs", figure.rate, figure.cpu);
                figures[place].push(figure);
            }
        }
    }
    println!();
    for ((label, ..), figures) in runs.iter().zip(&figures) {
        let of = |what: fn(&Figure) -> f64| median(figures.iter().map(what).collect());
        println!("{label:<26} {:>10.0}/s {:>6.2} µs of processor time per record", of(|f| f.rate), of(|f| f.cpu));
    }
    figures
}

fn compare(ours: &str, of_ours: &[Figure], other: &str, of_other: &[Figure]) {
    let pairs = of_ours.iter().zip(of_other);
    let rate = median(pairs.clone().map(|(ours, other)| ours.rate / other.rate).collect());
    let cpu = median(pairs.map(|(ours, other)| ours.cpu / other.cpu).collect());
    println!("{ours} / {other}: {rate:.2} of its rate, {cpu:.2} of its processor time");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs an arm in a process of its own.
fn measured(arm: &str, task: &Task) -> Figure {
    if arm == "ProducerPerformance" {
        return of_java(task);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--arm", arm, "--bootstrap-server", &task.servers, "--topic", &task.topic]);
    command.args(["--records", &task.records.to_string(), "--senders", &task.senders.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{arm}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (rate, cpu) = text.trim().split_once(' ').unwrap();
    Figure { rate: rate.parse().unwrap(), cpu: cpu.parse().unwrap() }
}

/// `1000000 records sent, 512345.6 records/sec (…`
fn of_java(task: &Task) -> Figure {
    let mut command = LocalKafka::tool("org.apache.kafka.tools.ProducerPerformance").unwrap();
    command.args([
        "--topic",
        &task.topic,
        "--num-records",
        &task.records.to_string(),
        "--record-size",
        "100",
        "--throughput",
        "-1",
    ]);
    command.arg("--producer-props").arg(format!("bootstrap.servers={}", task.servers));
    command.args(["linger.ms=5", "batch.size=1000000", "acks=all", "enable.idempotence=true"]);
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let summary =
        text.lines().rfind(|line| line.contains("records/sec") && line.contains("99.9th")).expect("a summary");
    let rate = summary.split(", ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    Figure { rate, cpu: f64::NAN }
}

fn run_arm(arm: &str, task: &Task) {
    let (took, sent) = match arm {
        "callback" => ours(task, LINGER, |producer| with_callbacks(producer, task)),
        "awaited" => ours(task, LINGER, |producer| runtime().block_on(awaited(producer, task, WINDOW))),
        "send_all" => ours(task, LINGER, |producer| runtime().block_on(in_batches(producer, task))),
        "one by one" => ours(task, Duration::ZERO, |producer| runtime().block_on(awaited(producer, task, 1))),
        "ThreadedProducer" => (threaded(task), task.records),
        "FutureProducer" => (runtime().block_on(futures(bare(&task.servers), task, WINDOW)), task.records),
        "FutureProducer one by one" => {
            let mut config = bare(&task.servers);
            config.set("linger.ms", "0");
            (runtime().block_on(futures(config, task, 1)), task.records)
        }
        other => panic!("no arm {other}"),
    };
    println!("{} {}", sent as f64 / took.as_secs_f64(), cpu_time().as_secs_f64() * 1e6 / sent as f64);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn ours(task: &Task, linger: Duration, send: impl FnOnce(&Producer) -> u64) -> (Duration, u64) {
    let producer = Producer::builder()
        .bootstrap_servers(&*task.servers)
        .linger(linger)
        .property("batch.size", "1000000")
        .start()
        .unwrap();
    // The topic is known, and the connections stand.
    producer.sender().send_blocking(ProducerRecord::to(&*task.topic).value(&VALUE)).unwrap();
    let started = Instant::now();
    let sent = send(&producer);
    producer.flush_blocking(PATIENCE).unwrap();
    let took = started.elapsed();
    assert_eq!(producer.shutdown_blocking(PATIENCE).unwrap().confirmed, sent + 1);
    (took, sent)
}

fn with_callbacks(producer: &Producer, task: &Task) -> u64 {
    let senders = task.senders;
    let records = task.records / senders * senders;
    // As `ThreadedProducer`'s context: no record costs a count of references.
    let confirmed: &'static AtomicU64 = Box::leak(Box::default());
    let send = &|who: u64| {
        let sender = producer.sender();
        runtime().block_on(async {
            for number in (who..records).step_by(senders as usize) {
                let key = number.to_be_bytes();
                let callback =
                    move |answer: Result<_, _>| _ = confirmed.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
                sender.send_with(ProducerRecord::to(&*task.topic).key(&key).value(&VALUE), callback).await.unwrap();
            }
        });
    };
    std::thread::scope(|scope| {
        for who in 0..senders {
            scope.spawn(move || send(who));
        }
    });
    producer.flush_blocking(PATIENCE).unwrap();
    assert_eq!(confirmed.load(Ordering::Relaxed), records);
    records
}

async fn awaited(producer: &Producer, task: &Task, most: usize) -> u64 {
    let (sender, mut window) = (producer.sender(), VecDeque::with_capacity(most));
    for number in 0..task.records {
        if window.len() == most {
            let oldest: kafka_troupe::produce::Confirmation = window.pop_front().unwrap();
            oldest.await.unwrap();
        }
        let key = number.to_be_bytes();
        window.push_back(sender.enqueue(ProducerRecord::to(&*task.topic).key(&key).value(&VALUE)).await.unwrap());
    }
    for confirmation in window {
        confirmation.await.unwrap();
    }
    task.records
}

async fn in_batches(producer: &Producer, task: &Task) -> u64 {
    let (sender, keys) = (producer.sender(), (0..task.records).map(u64::to_be_bytes).collect::<Vec<_>>());
    let mut window = FuturesUnordered::new();
    for batch in keys.chunks(BATCH) {
        if window.len() == WINDOW / BATCH {
            let _: Vec<_> = window.next().await.map(Result::unwrap).unwrap();
        }
        window.push(sender.send_all(batch.iter().map(|key| ProducerRecord::to(&*task.topic).key(key).value(&VALUE))));
    }
    while let Some(batch) = window.next().await {
        batch.unwrap();
    }
    task.records
}

fn bare(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random");
    config
}

#[derive(Default)]
struct Counting(AtomicU64);

impl rdkafka::ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
    }
}

fn threaded(task: &Task) -> Duration {
    let producer: ThreadedProducer<Counting> = bare(&task.servers).create_with_context(Counting::default()).unwrap();
    let send = |number: u64| {
        let key = number.to_be_bytes();
        let mut record = BaseRecord::to(&task.topic).key(&key).payload(&VALUE);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull), "{error}");
            // It has no way to wait for room but this.
            std::thread::yield_now();
            record = back;
        }
    };
    send(0);
    producer.flush(PATIENCE).unwrap();
    let started = Instant::now();
    (0..task.records).for_each(send);
    producer.flush(PATIENCE).unwrap();
    let took = started.elapsed();
    assert_eq!(producer.context().0.load(Ordering::Relaxed), task.records + 1);
    took
}

async fn futures(config: ClientConfig, task: &Task, most: usize) -> Duration {
    let producer: FutureProducer = config.create().unwrap();
    let first = FutureRecord::to(&task.topic).key(&[0; 8]).payload(&VALUE);
    producer.send(first, PATIENCE).await.unwrap();
    let (started, mut window) = (Instant::now(), VecDeque::with_capacity(most));
    for number in 0..task.records {
        if window.len() == most {
            let oldest: rdkafka::producer::DeliveryFuture = window.pop_front().unwrap();
            oldest.await.unwrap().unwrap();
        }
        let key = number.to_be_bytes();
        let record = FutureRecord::to(&task.topic).key(&key).payload(&VALUE);
        window.push_back(producer.send_result(record).map_err(|(error, _)| error).unwrap());
    }
    for delivery in window {
        delivery.await.unwrap().unwrap();
    }
    started.elapsed()
}

/// The processor time of this process so far.
fn cpu_time() -> Duration {
    // SAFETY: plain numbers, all zeros is a value; written by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
        usage
    };
    let span = |time: libc::timeval| Duration::from_micros(time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64);
    span(usage.ru_utime) + span(usage.ru_stime)
}
