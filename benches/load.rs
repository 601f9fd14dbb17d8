//! The engine in its three orders, and a plain consumer loop, under `troupe load`: latency at one rate, how fast a backlog is handled, and how long a
//! group takes to get over a member that joins, leaves or is killed.
//!
//! `cargo bench --bench load -- [--quick] [--bootstrap-server HOST:PORT]`. Without a server it starts an Apache Kafka of its own (Java 17; Maven the first
//! time). Each figure is a run of `troupe load`, verified like every one. The output is Markdown, for `docs/results/`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Stdio};

use kafka_troupe::broker::LocalKafka;
use serde_json::Value;

/// Their names, and the options of each; then how many sleeping handlers it has at once, which says how large a backlog is.
const ARMS: [(&str, &[&str], f64); 4] = [
    ("bare loop", &["--engine", "bare"], 1.0),
    ("partition", &["--order", "partition"], 8.0),
    ("key", &["--order", "key", "--concurrency", "1000"], 300.0),
    ("unordered", &["--order", "unordered", "--concurrency", "1000"], 300.0),
];
/// What a handler does, a rate that each arm holds, and the seconds of it.
const WORK: [(&str, u64, f64); 3] = [("none", 10_000, 0.0), ("sleep:1ms", 400, 0.001), ("sleep:10ms", 40, 0.01)];
/// Records of a backlog whose handlers take no time.
const NO_WORK: u64 = 1_000_000;
/// When a member has a session so long, a kill is over at the soonest.
const SESSION: &str = "session.timeout.ms=6000";

struct Bench {
    servers: String,
    folder: tempfile::TempDir,
    runs: usize,
    seconds: u64,
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|it| it == "--quick");
    let given = arguments.iter().position(|it| it == "--bootstrap-server").map(|at| arguments[at + 1].clone());
    let kafka = given.is_none().then(|| LocalKafka::start().unwrap());
    let servers = given.unwrap_or_else(|| kafka.as_ref().unwrap().bootstrap_servers().to_owned());
    let seconds = if quick { 6 } else { 20 };
    let mut bench = Bench { servers, folder: tempfile::tempdir().unwrap(), runs: 0, seconds };
    bench.latencies();
    bench.backlogs();
    bench.recoveries();
}

impl Bench {
    fn latencies(&mut self) {
        println!(
            "| handler | arm | records/s | e2e p50 ms | p99 ms | p99.9 ms | max ms | CPU s per million | verdict |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for (work, rate, _) in WORK {
            for (arm, options, _) in ARMS {
                let load =
                    [("--work", work), ("--rate", &rate.to_string()), ("--duration", &format!("{}s", self.seconds))];
                let result = self.run(options, &load, &["--keys", "uniform:10000"]);
                let latency = &result["figures"]["latency"]["end_to_end"];
                let [p50, p99, p99_9, max] = ["p50", "p99", "p99.9", "max"].map(|name| milliseconds(&latency[name]));
                let cpu = &result["resources"]["cpu_seconds_per_million_records"];
                let rate = &result["figures"]["rate"];
                println!(
                    "| {work} | {arm} | {} | {p50} | {p99} | {p99_9} | {max} | {} | {} |",
                    number(rate, 0),
                    number(cpu, 1),
                    verdict(&result)
                );
            }
        }
    }

    fn backlogs(&mut self) {
        println!("\n| handler | arm | backlog | handled/s | CPU s per million | verdict |\n|---|---|---|---|---|---|");
        for (work, _, seconds) in WORK {
            for (arm, options, at_once) in ARMS {
                let records =
                    if seconds == 0.0 { NO_WORK } else { (at_once / seconds * self.seconds as f64 / 3.0) as u64 };
                let result =
                    self.run(options, &[("--work", work), ("--backlog", &records.to_string())], &["--drain", "120s"]);
                let (rate, cpu) = (&result["figures"]["rate"], &result["resources"]["cpu_seconds_per_million_records"]);
                println!(
                    "| {work} | {arm} | {records} | {} | {} | {} |",
                    number(rate, 0),
                    number(cpu, 1),
                    verdict(&result)
                );
            }
        }
    }

    fn recoveries(&mut self) {
        println!(
            "\n| arm | fault | shared out after ms | recovered after ms | most behind | repeated | excused, in all | verdict |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for (arm, options, _) in [ARMS[0], ARMS[1], ARMS[2]] {
            let faults =
                ["--members", "3", "--fault", "join@5s", "--fault", "leave@15s", "--fault", "kill@25s", "-X", SESSION];
            let result = self.run(options, &[("--rate", "2000"), ("--duration", "40s"), ("--work", "none")], &faults);
            for it in result["faults"].as_array().into_iter().flatten() {
                println!(
                    "| {arm} | {} | {} | {} | {} | {} | {} | {} |",
                    it["fault"].as_str().unwrap_or("-"),
                    number(&it["shared_out_after_ms"], 0),
                    number(&it["recovered_after_ms"], 0),
                    it["most_behind"],
                    it["repeated"],
                    result["figures"]["excused"],
                    verdict(&result)
                );
            }
        }
    }

    /// One run's result. One that fails has one as well.
    fn run(&mut self, arm: &[&str], load: &[(&str, &str)], more: &[&str]) -> Value {
        self.runs += 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
        command.args(["load", "--json", "--quiet", "--seed", "1", "--bootstrap-server", &self.servers]);
        command.args(arm).args(load.iter().flat_map(|(name, value)| [*name, *value])).args(more);
        command.arg("--out").arg(self.folder.path().join(self.runs.to_string()));
        eprintln!("{command:?}");
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

fn milliseconds(micros: &Value) -> String {
    micros.as_f64().map_or_else(|| "-".to_owned(), |micros| format!("{:.2}", micros / 1e3))
}

fn number(value: &Value, digits: usize) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// With the first reason where it is not passed.
fn verdict(result: &Value) -> String {
    let verdict = result["verdict"].as_str().unwrap_or("no result");
    result["reasons"][0].as_str().map_or_else(|| verdict.to_owned(), |reason| format!("{verdict}: {reason}"))
}
