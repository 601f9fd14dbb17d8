//! The producer beside rdkafka's own and Java's, on one broker, in interleaved rounds.
//!
//! `cargo bench --bench producer -- [--flat] [--arms NAME,NAME] [--rounds N] [--records N] [--warm-up SECONDS] [--partitions N] [--senders N]
//! [--embedded | --bootstrap-server HOST:PORT]`. Without a server it starts an Apache Kafka of its own (Java 17; Maven the first time). Each figure is a
//! process of its own: this program starts itself for it. Values of 100 bytes, `acks=all`, idempotent, 5 ms of linger and batches of 1,000,000 bytes for
//! all. A rate counts from the first record to the last answer; processor time is that of the client's whole process, and of the broker meanwhile. One by
//! one, each record is awaited before the next, without a linger: a five-hundredth of the records. What is compared is compared round by round: the median
//! of the ratios is what counts. Rounds count once the broker has been warmed up for so long, 30 seconds (none for the embedded one), and one round at
//! least: a Java process compiles for minutes what it runs.
//!
//! With `--flat` the comparison is of one arm (the callbacks, or that of `--arms`) with itself: over partitions, and over senders, each a thread.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arms;
mod broker;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kafka_troupe::broker::{EmbeddedBroker, LocalKafka};
use mimalloc::MiMalloc;

use arms::run_arm;
use broker::Broker;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const ARMS: [&str; 9] = [
    "callback",
    "ThreadedProducer",
    "awaited",
    "FutureProducer",
    "send_all",
    "send_all without a window",
    "ProducerPerformance",
    "one by one",
    "FutureProducer one by one",
];
/// What is held against what.
const PAIRS: [(&str, &str); 6] = [
    ("callback", "ThreadedProducer"),
    ("awaited", "FutureProducer"),
    ("send_all", "ThreadedProducer"),
    ("send_all without a window", "ThreadedProducer"),
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

impl Task {
    /// How many records the arm sends.
    fn sent_by(&self, arm: &str) -> u64 {
        if arm.ends_with("one by one") { (self.records / 500).max(1) } else { self.records }
    }
}

/// Records a second, and microseconds of processor time per record where they are known: the client's and the broker's.
#[derive(Clone, Copy)]
struct Figure {
    rate: f64,
    cpu: f64,
    broker: f64,
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
        let task = Task { servers, topic, records, senders: number("--senders", 1) };
        run_arm(arm, &Task { records: task.sent_by(arm), ..task });
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
    let warm_up = if matches!(broker, Broker::Embedded(_)) { 0 } else { 30 };
    let warm_up = Duration::from_secs(number("--warm-up", warm_up));
    let named = option("--arms").map(|names| names.split(',').collect::<Vec<_>>());
    if arguments.iter().any(|argument| argument == "--flat") {
        let arm = named.map_or("callback", |names| names[0]);
        let tasks =
            FLAT.map(|(partitions, senders)| (format!("{partitions} and {senders}"), task(partitions, senders)));
        let runs: Vec<_> = tasks.iter().map(|(label, task)| (label.as_str(), arm, task)).collect();
        println!("{arm}, by partitions and senders");
        let figures = measured_in_rounds(&broker, &runs, rounds, warm_up);
        for ((label, ..), of_one) in runs.iter().zip(&figures).skip(1) {
            compare(label, of_one, runs[0].0, &figures[0]);
        }
        return;
    }
    let task = task(number("--partitions", 8) as i32, number("--senders", 1));
    let runs: Vec<_> = named.unwrap_or(ARMS.to_vec()).into_iter().map(|arm| (arm, arm, &task)).collect();
    let figures = measured_in_rounds(&broker, &runs, rounds, warm_up);
    for (ours, other) in PAIRS {
        let of = |name| runs.iter().position(|(arm, ..)| *arm == name).map(|place| &figures[place]);
        if let (Some(of_ours), Some(of_other)) = (of(ours), of(other)) {
            compare(ours, of_ours, other, of_other);
        }
    }
}

/// Each run in each round: a label, an arm, and its task.
fn measured_in_rounds(
    broker: &Broker,
    runs: &[(&str, &str, &Task)],
    rounds: usize,
    warm_up: Duration,
) -> Vec<Vec<Figure>> {
    let mut figures: Vec<Vec<Figure>> = vec![Vec::new(); runs.len()];
    let began = Instant::now();
    let mut round = 0;
    while round <= rounds {
        for turn in 0..runs.len() {
            // Each is first in turn, so that none always follows the same.
            let place = (turn + round) % runs.len();
            let (label, arm, task) = runs[place];
            let before = broker.cpu_time();
            let (rate, cpu) = measured(arm, task);
            let figure = Figure { rate, cpu, broker: (broker.cpu_time() - before) * 1e6 / task.sent_by(arm) as f64 };
            if round > 0 {
                println!("{round}: {label:<26} {:>10.0}/s {:>6.2} {:>6.2} µs", figure.rate, figure.cpu, figure.broker);
                figures[place].push(figure);
            }
        }
        // Until the broker is warm, each round is the first.
        if round > 0 || began.elapsed() >= warm_up {
            round += 1;
        }
    }
    println!();
    for ((label, ..), figures) in runs.iter().zip(&figures) {
        let of = |what: fn(&Figure) -> f64| median(figures.iter().map(what).collect());
        let (rate, cpu, broker) = (of(|f| f.rate), of(|f| f.cpu), of(|f| f.broker));
        println!(
            "{label:<26} {rate:>10.0}/s {cpu:>6.2} µs of processor time per record, {broker:>6.2} µs of the broker's"
        );
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
fn measured(arm: &str, task: &Task) -> (f64, f64) {
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
    (rate.parse().unwrap(), cpu.parse().unwrap())
}

/// `1000000 records sent, 512345.6 records/sec (…`
fn of_java(task: &Task) -> (f64, f64) {
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
    (summary.split(", ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap(), f64::NAN)
}
