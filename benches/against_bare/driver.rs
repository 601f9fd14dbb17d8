//! The course of it all: a broker, the topics, each bare arm's settings, the rounds, the table.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::arm::{PARTITIONS, VALUE_BYTES};
use crate::arms::{Answer, Client, Figures, Request, Work};
use crate::drain::Drained;
use crate::end_to_end::Latencies;
use crate::options::Options;
use crate::runs::{Broker, Run, run_as_arm, write_report};
use crate::settings::Settings;
use crate::stats::{Shuffler, Spread};
use crate::topics::Place;
use crate::{machine, runs, table, topics};

/// Records a second of the end-to-end runs.
pub(crate) const RATE: u64 = 5_000;
const WARM_UP_SECONDS: u64 = 3;
/// What glibc's allocator may hold where another has its place: it sets itself up when it is asked.
const NEXT_TO_NOTHING: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Allocator {
    Mimalloc,
    Glibc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Load {
    /// A backlog spread over all partitions.
    Even,
    /// The same backlog, all of it in one partition.
    Skewed,
    EndToEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Arm {
    pub(crate) client: Client,
    pub(crate) allocator: Allocator,
    pub(crate) load: Load,
}

pub(crate) type Runs = runs::Runs<Arm, Answer>;

pub(crate) fn rates(runs: &Runs, arm: Arm) -> Vec<f64> {
    runs.of(arm, |answer| drained(answer).records_per_second)
}

pub(crate) fn drained(answer: &Answer) -> &Drained {
    match &answer.figures {
        Figures::Drain(drained) => drained,
        Figures::EndToEnd(_) => panic!("not a drain"),
    }
}

pub(crate) fn latencies(answer: &Answer) -> &Latencies {
    match &answer.figures {
        Figures::EndToEnd(latencies) => latencies,
        Figures::Drain(_) => panic!("a drain"),
    }
}

/// All that goes into `--json`.
#[derive(Serialize)]
struct Report<'a> {
    machine: &'a str,
    seed: u64,
    records: u64,
    value_bytes: usize,
    trials: &'a Runs,
    runs: &'a Runs,
}

pub(crate) fn run(options: &Options) {
    // Before anything is built or started, which would look like other work.
    let machine = machine::describe();
    eprintln!("{machine}");
    let glibc = build_glibc_arms();
    let broker = Broker::of(&options.common);
    let mut stage = Stage::set(options, &broker, glibc);
    let (trials, bare) = stage.choose_settings(options.trials);
    let runs = stage.play_rounds(options.runs, &bare);
    println!("{machine}");
    println!(
        "{} records of {VALUE_BYTES} bytes, {PARTITIONS} partitions; {} runs, arms in random order (--seed {})",
        options.records, options.runs, options.common.seed
    );
    table::print(&runs, &trials, &bare);
    let report = Report {
        machine: &machine,
        seed: options.common.seed,
        records: options.records,
        value_bytes: VALUE_BYTES,
        trials: &trials,
        runs: &runs,
    };
    write_report(&options.common, &report);
}

/// The program without mimalloc. An allocator is a program's, not a run's.
fn build_glibc_arms() -> PathBuf {
    eprintln!("building against_bare_glibc");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["bench", "--no-run", "--bench", "against_bare_glibc", "--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "against_bare_glibc does not build");
    let messages = String::from_utf8(output.stdout).unwrap();
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "against_bare_glibc")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .unwrap()
}

/// Where the arms run.
struct Stage<'a> {
    options: &'a Options,
    broker: &'a Broker,
    glibc: PathBuf,
    topics: topics::Topics,
    even: String,
    skewed: String,
    shuffler: Shuffler,
}

impl<'a> Stage<'a> {
    fn set(options: &'a Options, broker: &'a Broker, glibc: PathBuf) -> Self {
        let mut topics = topics::Topics::on(&broker.bootstrap_servers);
        eprintln!("writing two backlogs of {} records", options.records);
        let (even, skewed) = (topics.create("even"), topics.create("skewed"));
        let by_turns = |number| Place { partition: (number % PARTITIONS as u64) as usize, key: None };
        topics.fill(&even, options.records, by_turns);
        topics.fill(&skewed, options.records, |_| Place { partition: 0, key: None });
        Self { options, broker, glibc, topics, even, skewed, shuffler: Shuffler(options.common.seed) }
    }

    /// Lets each bare arm run with the engine's settings and with its own, and gives it those it is faster with.
    fn choose_settings(&mut self, trials: usize) -> (Runs, Vec<Arm>) {
        let kinds: [fn(Settings) -> Client; 2] = [Client::BareBase, Client::BareStream];
        let choices: Vec<[Arm; 2]> = [Allocator::Mimalloc, Allocator::Glibc]
            .into_iter()
            .flat_map(|allocator| {
                kinds.map(|kind| {
                    Settings::ALL.map(|settings| Arm { client: kind(settings), allocator, load: Load::Even })
                })
            })
            .collect();
        let mut runs = Runs::default();
        for trial in 1..=trials {
            let arms: Vec<Arm> = choices.iter().flatten().copied().collect();
            self.play(&format!("trial {trial} of {trials}"), arms, &mut runs);
        }
        let median = |arm: Arm| Spread::of(rates(&runs, arm)).median;
        let chosen = choices.iter().map(|[one, other]| if median(*one) >= median(*other) { *one } else { *other });
        let chosen = chosen.collect();
        (runs, chosen)
    }

    fn play_rounds(&mut self, rounds: usize, bare: &[Arm]) -> Runs {
        let mut arms = bare.to_vec();
        // For comparison with the skewed run of ours: the safe loop beside it.
        arms.push(Arm { load: Load::Skewed, ..bare[0] });
        arms.push(Arm { client: Client::BareBase(Settings::AsOurs), ..END_TO_END });
        arms.extend([
            Arm { client: Client::Ours, allocator: Allocator::Mimalloc, load: Load::Even },
            Arm { client: Client::Ours, allocator: Allocator::Glibc, load: Load::Even },
            Arm { client: Client::Ours, allocator: Allocator::Mimalloc, load: Load::Skewed },
            END_TO_END,
        ]);
        let mut runs = Runs::default();
        for round in 1..=rounds {
            self.play(&format!("round {round} of {rounds}"), arms.clone(), &mut runs);
        }
        runs
    }

    fn play(&mut self, name: &str, mut arms: Vec<Arm>, runs: &mut Runs) {
        self.shuffler.shuffle(&mut arms);
        for arm in arms {
            let answer = self.run(arm);
            eprintln!("{name}: {}", table::in_a_line(arm, &answer));
            runs.0.push(Run { arm, answer });
        }
    }

    fn run(&mut self, arm: Arm) -> Answer {
        let records = self.options.records;
        let (topic, work) = match arm.load {
            Load::Even => (self.even.clone(), Work::Drain { records }),
            Load::Skewed => (self.skewed.clone(), Work::Drain { records }),
            Load::EndToEnd => {
                let seconds = self.options.seconds;
                let work = Work::EndToEnd { rate: RATE, warm_up_seconds: WARM_UP_SECONDS, seconds };
                (self.topics.create("end-to-end"), work)
            }
        };
        let bootstrap_servers = self.broker.bootstrap_servers.clone();
        let request = Request { client: arm.client, work, bootstrap_servers, topic };
        let program = match arm.allocator {
            Allocator::Mimalloc => std::env::current_exe().unwrap(),
            Allocator::Glibc => self.glibc.clone(),
        };
        let answer: Answer = run_as_arm(&program, &request);
        check(arm, &answer, records);
        answer
    }
}

/// Our pair; the bare one differs in its client.
pub(crate) const END_TO_END: Arm = Arm { client: Client::Ours, allocator: Allocator::Mimalloc, load: Load::EndToEnd };

/// A figure counts only if the work was done, and done with the allocator it says.
fn check(arm: Arm, answer: &Answer, records: u64) {
    let in_glibc = answer.glibc_heap > NEXT_TO_NOTHING;
    assert_eq!(in_glibc, arm.allocator == Allocator::Glibc, "{arm:?}: {} bytes in glibc's heap", answer.glibc_heap);
    if let Figures::Drain(drained) = &answer.figures {
        // The values count from 0.
        assert_eq!(drained.checksum, records * (records - 1) / 2, "{arm:?}: checksum");
        assert_eq!(drained.committed, records, "{arm:?}: committed");
    }
}
