//! The course of it all: a broker, the topics, the rounds, the table.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kafka_troupe::consume::Order;
use serde::Serialize;

use crate::arm::{PARTITIONS, VALUE_BYTES};
use crate::arms::{Answer, Client, Figures, Handling, Request, Work};
use crate::drain::Drained;
use crate::keys::Keys;
use crate::open_loop::Latencies;
use crate::options::{Options, Part};
use crate::runs::{Broker, Run, run_as_arm, write_report};
use crate::stats::Shuffler;
use crate::topics::{Place, Topics};
use crate::{machine, runs, table};

const KEYS: u64 = 10_000;
const WARM_UP_SECONDS: u64 = 2;
/// Of what one key can do serially, or an arm in all.
const SHARE: f64 = 0.7;
const BY_HAND: [Client; 2] = [Client::ByHand, Client::ByHandSpawned];
const AT_ONCE: [Client; 2] = [Client::Ours(Order::Key), Client::Ours(Order::Unordered)];

/// Handlers that sleep so long, so many at once, and records for some seconds of that: enough that the last commit is a small part of it.
pub(crate) const POINTS: [(Handling, u64); 6] = [
    (Handling { sleep_ms: 0, concurrency: 100 }, 2_000_000),
    (Handling { sleep_ms: 1, concurrency: 100 }, 300_000),
    (Handling { sleep_ms: 1, concurrency: 1000 }, 1_000_000),
    (Handling { sleep_ms: 10, concurrency: 100 }, 80_000),
    (Handling { sleep_ms: 10, concurrency: 1000 }, 800_000),
    (Handling { sleep_ms: 10, concurrency: 10_000 }, 1_000_000),
];
/// One record at a time in each partition.
pub(crate) const IN_PARTITION_ORDER: [(Handling, u64); 3] = [
    (Handling { sleep_ms: 0, concurrency: PARTITIONS }, 2_000_000),
    (Handling { sleep_ms: 1, concurrency: PARTITIONS }, 15_000),
    (Handling { sleep_ms: 10, concurrency: PARTITIONS }, 6_000),
];

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Arm {
    pub(crate) client: Client,
    pub(crate) handling: Handling,
    pub(crate) keys: Keys,
    pub(crate) work: Work,
}

pub(crate) type Runs = runs::Runs<Arm, Answer>;

/// A figure of an arm's drains, a round after the other.
pub(crate) fn drains(runs: &Runs, arm: Arm, figure: impl Fn(&Drained) -> f64) -> Vec<f64> {
    runs.of(arm, |answer| match &answer.figures {
        Figures::Drain(drained) => figure(drained),
        Figures::OpenLoop(_) => panic!("not a drain"),
    })
}

pub(crate) fn open_loops(runs: &Runs, arm: Arm, figure: impl Fn(&Latencies) -> f64) -> Vec<f64> {
    runs.of(arm, |answer| match &answer.figures {
        Figures::OpenLoop(latencies) => figure(latencies),
        Figures::Drain(_) => panic!("a drain"),
    })
}

pub(crate) fn drain(client: Client, handling: Handling, records: u64, keys: Keys) -> Arm {
    Arm { client, handling, keys, work: Work::Drain { records } }
}

/// All that goes into `--json`.
#[derive(Serialize)]
struct Report<'a> {
    machine: &'a str,
    seed: u64,
    value_bytes: usize,
    runs: &'a Runs,
}

pub(crate) fn run(options: &Options) {
    // Before anything is started, which would look like other work.
    let machine = machine::describe();
    eprintln!("{machine}");
    let broker = Broker::of(&options.common);
    let mut stage = Stage {
        options,
        broker: &broker,
        topics: Topics::on(&broker.bootstrap_servers),
        filled: HashMap::new(),
        shuffler: Shuffler(options.common.seed),
        runs: Runs::default(),
    };
    println!("{machine}");
    println!(
        "records of {VALUE_BYTES} bytes, {PARTITIONS} partitions; {} runs, arms in random order (--seed {})",
        options.runs, options.common.seed
    );
    if options.wants(Part::Drains) {
        stage.play_drains();
        table::print_drains(&stage.runs);
    }
    if options.wants(Part::Keys) {
        stage.play_keys();
    }
    if options.wants(Part::Latency) {
        stage.play_latency();
    }
    let seed = options.common.seed;
    let report = Report { machine: &machine, seed, value_bytes: VALUE_BYTES, runs: &stage.runs };
    write_report(&options.common, &report);
}

/// Where the arms run.
struct Stage<'a> {
    options: &'a Options,
    broker: &'a Broker,
    topics: Topics,
    /// The backlogs, by the number of their records and by their keys.
    filled: HashMap<(u64, Keys), String>,
    shuffler: Shuffler,
    runs: Runs,
}

impl Stage<'_> {
    fn play_drains(&mut self) {
        let keys = Keys::Uniform(KEYS);
        let mut arms = Vec::new();
        for (handling, records) in POINTS {
            arms.extend([AT_ONCE, BY_HAND].concat().into_iter().map(|client| drain(client, handling, records, keys)));
        }
        for (handling, records) in IN_PARTITION_ORDER {
            let clients = [Client::Ours(Order::Partition), Client::TaskPerPartition];
            arms.extend(clients.map(|client| drain(client, handling, records, keys)));
        }
        arms.retain(|arm| self.options.handling.is_none_or(|handling| handling == arm.handling));
        self.play_rounds(&arms);
    }

    fn play_keys(&mut self) {
        let (busy, waiting) = (Handling { sleep_ms: 0, concurrency: 100 }, Handling { sleep_ms: 1, concurrency: 1000 });
        let by_key = Client::Ours(Order::Key);
        let [few, many] = [10, 1_000_000].map(|keys| drain(by_key, busy, 2_000_000, Keys::Uniform(keys)));
        let [even, hot] = [Keys::Uniform(KEYS), Keys::Zipf(KEYS)].map(|keys| drain(by_key, waiting, 60_000, keys));
        let open = Handling { sleep_ms: 1, concurrency: 100 };
        let rate = (SHARE / as_slept(open).as_secs_f64() / Keys::Zipf(KEYS).hottest()) as u64;
        let [uniform, zipf] =
            [Keys::Uniform(KEYS), Keys::Zipf(KEYS)].map(|keys| self.open_loop(by_key, open, rate, keys));
        self.play_rounds(&[few, many, even, hot, uniform, zipf]);
        table::print_keys(&self.runs, [few, many], [even, hot], [uniform, zipf]);
    }

    /// At what the slowest of the arms can do at most, so that all are compared at one rate.
    fn play_latency(&mut self) {
        let clients = [AT_ONCE, BY_HAND].concat();
        let keys = Keys::Uniform(KEYS);
        let points = POINTS.into_iter().filter(|(handling, _)| handling.sleep_ms > 0 && handling.concurrency == 100);
        let arms: Vec<Arm> = points
            .flat_map(|(handling, _)| {
                let rate = SHARE * handling.concurrency as f64 / as_slept(handling).as_secs_f64();
                clients.iter().map(move |client| (*client, handling, rate as u64))
            })
            .map(|(client, handling, rate)| self.open_loop(client, handling, rate, keys))
            .collect();
        self.play_rounds(&arms);
        table::print_latency(&self.runs, &arms);
    }

    fn open_loop(&self, client: Client, handling: Handling, rate: u64, keys: Keys) -> Arm {
        let seconds = self.options.seconds;
        Arm { client, handling, keys, work: Work::OpenLoop { rate, warm_up_seconds: WARM_UP_SECONDS, seconds, keys } }
    }

    fn play_rounds(&mut self, arms: &[Arm]) {
        for round in 1..=self.options.runs {
            let mut arms = arms.to_vec();
            self.shuffler.shuffle(&mut arms);
            for arm in arms {
                let answer = self.play(arm);
                eprintln!("round {round} of {}: {}", self.options.runs, table::in_a_line(arm, &answer));
                self.runs.0.push(Run { arm, answer });
            }
        }
    }

    fn play(&mut self, arm: Arm) -> Answer {
        let topic = match arm.work {
            Work::Drain { records } => self.backlog(records, arm.keys),
            Work::OpenLoop { .. } => self.topics.create("open-loop"),
        };
        let (bootstrap_servers, client) = (self.broker.bootstrap_servers.clone(), arm.client);
        let request = Request { client, handling: arm.handling, work: arm.work, bootstrap_servers, topic };
        let answer: Answer = run_as_arm(&std::env::current_exe().unwrap(), &request);
        if let (Figures::Drain(drained), Work::Drain { records }) = (&answer.figures, arm.work) {
            // The values count from 0.
            assert_eq!(drained.checksum, records * (records - 1) / 2, "{arm:?}: checksum");
        }
        answer
    }

    fn backlog(&mut self, records: u64, keys: Keys) -> String {
        let topics = &mut self.topics;
        let topic = self.filled.entry((records, keys)).or_insert_with(|| {
            let (topic, drawn) = (topics.create("backlog"), keys.draw());
            topics.fill(&topic, records, |number| Place::of_key(drawn.key(number)));
            topic
        });
        topic.clone()
    }
}

/// How long a handler takes that sleeps so long, on this machine at rest: tokio's timer has a grain of a millisecond.
fn as_slept(handling: Handling) -> Duration {
    const TIMES: u32 = 100;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    runtime.block_on(async {
        for _ in 0..TIMES {
            handling.handle(None).await;
        }
    });
    began.elapsed() / TIMES
}
