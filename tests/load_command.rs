//! `troupe load`, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use kafka_troupe::broker::LocalKafka;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::Value;

/// How often a run is made anew that the machine was too busy for, as it says itself.
const TRIES: usize = 5;

/// `troupe load` with these arguments, words apart, and its folder.
fn load(arguments: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.arg("load").args(arguments.split_whitespace()).arg("--out").arg(folder);
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Its exit code and its result.
fn result(command: &mut Command) -> (i32, Value) {
    let Output { status, stdout, stderr } = command.arg("--json").output().unwrap();
    let result = serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr)));
    (status.code().unwrap(), result)
}

/// The same of a run whose schedule was held.
fn measured(arguments: &str, folder: &Path) -> (i32, Value) {
    for _ in 0..TRIES {
        let (code, result) = result(&mut load(arguments, folder));
        if code != 4 {
            return (code, result);
        }
        eprintln!("once more: {}", result["reasons"]);
    }
    panic!("{TRIES} runs were not valid");
}

fn refused(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = load("", folder.path()).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_run_passes_and_its_folder_holds_what_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--rate 500 --duration 2s --warmup 1s --seed 7 --arrivals constant --producers 2 --members 2";
    let (code, result) = measured(arguments, folder.path());
    assert_eq!(code, 0, "{result}");
    assert_eq!((&result["verdict"], &result["schema"]), (&"passed".into(), &1.into()));
    let figures = &result["figures"];
    for name in ["sent", "acked", "handled"] {
        assert_eq!(figures[name], 1_500, "{name}");
    }
    assert_eq!(figures["scheduled"], 1_000);
    for latency in ["schedule_delay", "produce_ack", "end_to_end"] {
        assert_eq!(figures["latency"][latency]["count"], 1_000, "{latency}");
    }
    assert_eq!((&result["plan"]["seed"], &result["plan"]["keys"]), (&7.into(), &"uniform:1000".into()));
    assert!(result["samples"].as_array().unwrap().iter().any(|sample| sample["phase"] == "warmup"));
    let kept: Value = serde_json::from_slice(&fs::read(folder.path().join("result.json")).unwrap()).unwrap();
    assert_eq!(kept, result);
}

#[test]
fn the_report_begins_with_the_verdict_and_the_lines_go_to_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let output = load("--in-flight 50 --num-records 500 --warmup 0s", folder.path()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stdout.starts_with("verdict: passed\n\n500 sent, 500 acked, 500 handled; lost 0, unseen 0"), "{stdout}");
    assert!(stdout.contains("\nend to end "), "{stdout}");
    assert!(stderr.contains("time  phase     target"), "{stderr}");
    assert!(stderr.contains("records are sent and not handled at a time"), "{stderr}");
}

#[test]
fn a_gate_that_does_not_hold_fails_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--rate 500 --duration 1s --warmup 0s --assert lost==0&&e2e.p50<1us";
    let (code, result) = measured(arguments, folder.path());
    assert_eq!((code, &result["verdict"]), (1, &"failed".into()), "{result}");
    assert!(result["reasons"][0].as_str().unwrap().starts_with("the gate e2e.p50<1us does not hold"), "{result}");
    assert_eq!((&result["gates"][0]["held"], &result["gates"][1]["held"]), (&true.into(), &false.into()));
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_runs() {
    assert!(refused(&["--assert", "losst==0"]).contains("lost, unseen, filtered, duplicated"));
    assert!(refused(&["--assert", "e2e.p99<50"]).contains("us, ms or s"));
    assert!(refused(&["--record-size", "47"]).contains("48"));
    assert!(refused(&["--keys", "zipf"]).contains("zipf:1.1:10000"));
    assert!(refused(&["--throughput", "0"]).contains("10000000"));
    refused(&["--rate", "10", "--in-flight", "10"]);
    refused(&["--kafka", "local", "--bootstrap-server", "localhost:1"]);
}

#[test]
fn a_kafka_that_is_not_there_ends_it_with_3_and_leaves_no_folder() {
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join("run");
    let output = load("--bootstrap-server 127.0.0.1:1 --timeout 500ms", &folder).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("127.0.0.1:1"), "{stderr}");
    assert!(!folder.exists());
}

#[test]
fn more_than_the_embedded_broker_keeps_is_held_up_and_invalid_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    // A record is a quarter of what may be outstanding.
    let arguments = "--rate 1000 --duration 2s --warmup 0s --record-size 900000 --work sleep:20ms --partitions 2";
    let (code, result) = result(&mut load(arguments, folder.path()));
    assert_eq!((code, &result["verdict"]), (4, &"invalid".into()), "{result}");
    assert!(result["reasons"][0].as_str().unwrap().contains("held up"), "{result}");
    assert_eq!((&result["figures"]["lost"], &result["figures"]["unseen"]), (&0.into(), &0.into()));
    // What was due and not sent is late, and all of it is in the schedule.
    assert_eq!(result["figures"]["scheduled"], 2_000);
    assert!(result["figures"]["late"].as_u64().unwrap() > 1_000, "{result}");
}

#[test]
fn handlers_that_do_not_keep_up_make_it_invalid_and_leave_no_latency_to_show() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--rate 1500 --duration 3s --warmup 0s --partitions 1 --work sleep:1ms --drain 120s";
    let (code, result) = result(&mut load(arguments, folder.path()));
    assert_eq!((code, &result["verdict"]), (4, &"invalid".into()), "{result}");
    assert!(result["reasons"].to_string().contains("did not keep up"), "{result}");
    assert!(result["figures"]["latency"]["end_to_end"].is_null());
    assert_eq!(result["figures"]["lost"], 0);
}

#[test]
fn what_is_not_handled_in_time_is_unseen_and_not_called_lost() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--rate 50 --duration 1s --warmup 0s --partitions 1 --work sleep:10m --drain 1s";
    let (code, result) = result(&mut load(arguments, folder.path()));
    assert_eq!((code, &result["verdict"]), (1, &"failed".into()), "{result}");
    assert_eq!((&result["figures"]["unseen"], &result["figures"]["lost"]), (&50.into(), &0.into()), "{result}");
    assert_eq!(result["figures"]["committed_ahead"], 0);
}

#[test]
fn a_signal_ends_the_load_and_what_was_sent_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = load("--rate 200 --duration 10m --warmup 0s --json", folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    stderr.find(|line| line.contains("s  load ")).unwrap();
    // SAFETY: it sends a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
    stderr.for_each(drop);
    let output = child.wait_with_output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    // A busy machine may not have held the schedule.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{result}");
    let figures = &result["figures"];
    assert!(figures["sent"].as_u64().unwrap() > 0);
    assert_eq!((&figures["handled"], &figures["lost"]), (&figures["sent"], &0.into()));
    assert_eq!(result["stopped_early"], true);
}

#[test]
fn on_apache_kafka_members_share_skewed_keys_and_the_topic_is_gone_in_the_end() {
    if std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip") {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
        return;
    }
    let kafka = LocalKafka::start().unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().unwrap();
    let arguments = format!(
        "--bootstrap-server {} --rate 1000 --duration 3s --warmup 1s --members 2 --producers 2 --order key --concurrency 50 \
         --keys zipf:1.1:500 --work sleep:1ms --arrivals poisson",
        kafka.bootstrap_servers()
    );
    let (code, result) = measured(&arguments, folder.path());
    assert_eq!(code, 0, "{result}");
    assert!((3_500..4_500).contains(&result["figures"]["sent"].as_u64().unwrap()), "{result}");
    assert_eq!(result["broker"], kafka.bootstrap_servers());

    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap_servers()).create().unwrap();
    let patience = Duration::from_secs(30);
    let topic = result["plan"]["topic"].as_str().unwrap();
    let until = Instant::now() + patience;
    while client.fetch_metadata(None, patience).unwrap().topics().iter().any(|it| it.name() == topic) {
        assert!(Instant::now() < until, "{topic} is still there");
        std::thread::yield_now();
    }
}
