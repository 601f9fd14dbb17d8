//! `troupe load`, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod kafka;
mod phases;
mod readers;
mod signals;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

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
        let _ = fs::remove_file(folder.join("result.json"));
        let (code, result) = result(&mut load(arguments, folder));
        if code != 4 || !result["reasons"].to_string().contains("the schedule was not held") {
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
    for latency in ["schedule_delay", "produce_ack", "end_to_end", "residence"] {
        assert_eq!(figures["latency"][latency]["count"], 1_000, "{latency}");
        assert_eq!(result["curves"][latency][0][0], 0.0, "{latency}");
    }
    // Of handlers without work, and of commits, one record in sixteen is timed.
    for latency in ["handler", "commit_lag"] {
        let count = figures["latency"][latency]["count"].as_u64().unwrap();
        assert!((30..120).contains(&count), "{latency}: {count}");
    }
    for latency in ["schedule_delay", "produce_ack", "end_to_end", "residence", "handler", "commit_lag"] {
        let log = fs::read_to_string(folder.path().join(format!("{latency}.hlog"))).unwrap();
        assert!(log.contains("#[Histogram log format version 1.3]") && log.contains(",HISTFAAAA"), "{latency}: {log}");
    }
    let in_partitions = result["partitions"].as_array().unwrap().iter();
    assert_eq!(in_partitions.map(|it| it["handled"].as_u64().unwrap()).sum::<u64>(), 1_500);
    let report = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(report.starts_with("<!DOCTYPE html>") && report.contains(">PASSED</span>"), "{report}");
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
    assert!(stdout.contains("; keys uniform:1000, order partition, seed "), "{stdout}");
    assert!(stderr.contains("time  phase     target"), "{stderr}");
    assert!(stderr.contains("records are sent and not handled at a time"), "{stderr}");
}

#[test]
fn with_ndjson_a_line_comes_each_second_and_the_result_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--rate 200 --duration 2s --warmup 0s --ndjson";
    let Output { stdout, stderr, .. } =
        load(arguments, folder.path()).env("TROUPE_KAFKA__SASL_PASSWORD", "hunter2").output().unwrap();
    let lines: Vec<Value> = stdout.split(|it| *it == b'\n').filter_map(|it| serde_json::from_slice(it).ok()).collect();
    let (result, samples) = lines.split_last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&stderr)));
    assert!(samples.len() >= 2 && samples.iter().all(|line| line["sample"]["phase"].is_string()), "{samples:?}");
    let sum = |field: &str| samples.iter().map(|line| line["sample"][field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("sent"), sum("done")), (400, 400));
    let kept = result["result"]["samples"].as_array().unwrap();
    assert_eq!(kept.len(), samples.len());
    // What they were told is in the result, but no secret.
    let settings = &result["result"]["settings"];
    for client in ["producer", "consumer"] {
        let password = settings[client].as_array().unwrap().iter().find(|it| it["name"] == "kafka.sasl.password");
        assert_eq!(password.unwrap()["value"], "***");
    }
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        assert!(!String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("hunter2"), "{}", path.display());
    }
    refused(&["--json", "--ndjson"]);
}

#[test]
fn a_bare_loop_takes_the_same_load_and_is_verified_like_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--engine bare --rate 500 --duration 2s --warmup 0s --members 2 --work sleep:lognormal:500us:0.5 --failure-rate 5% --seed 3";
    let (code, result) = measured(arguments, folder.path());
    assert_eq!((code, &result["plan"]["engine"]), (0, &"bare".into()), "{result}");
    let figures = &result["figures"];
    assert_eq!((&figures["handled"], &figures["lost"]), (&1_000.into(), &0.into()), "{result}");
    assert!((20..90).contains(&figures["failed_attempts"].as_u64().unwrap()), "{figures}");
    // All is committed long before the time for that is over.
    assert!(result["samples"].as_array().unwrap().last().unwrap()["seconds"].as_f64().unwrap() < 30.0, "{result}");
}

#[test]
fn attempts_that_fail_are_made_again_and_are_no_duplicates() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("soon.toml");
    fs::write(&config, "[consumer]\nretry_pause = '1ms'\nmax_retry_pause = '10ms'\nmax_attempts = 2\n").unwrap();
    let arguments = format!(
        "--rate 500 --duration 2s --warmup 0s --failure-rate 0.2 --order key --record-size uniform:100:2000 --config {} \
         --assert failed_attempts>0&&dup_rate<0.01",
        config.display()
    );
    let (code, result) = measured(&arguments, folder.path());
    assert_eq!(code, 0, "{result}");
    let figures = &result["figures"];
    // Of 1,000 records one in five fails at first, one in five of these again, and so on.
    assert!((200..300).contains(&figures["failed_attempts"].as_u64().unwrap()), "{figures}");
    for name in ["duplicated", "redelivered", "reordered", "lost"] {
        assert_eq!(figures[name], 0, "{name}");
    }
    assert_eq!(result["plan"]["record_size"], "uniform:100:2000");
}

#[test]
fn values_hold_the_lines_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines");
    fs::write(&file, format!("one\ntwo\n\n{}\n", "three".repeat(100))).unwrap();
    let arguments = format!("--rate 500 --records 500 --warmup 0s --payload-file {}", file.display());
    let (code, result) = measured(&arguments, folder.path());
    assert_eq!((code, &result["plan"]["record_size"]), (0, &"3 lines of a file".into()), "{result}");
    fs::write(&file, "\n\n").unwrap();
    assert!(refused(&["--payload-file", file.to_str().unwrap()]).contains("no line"));
}

#[test]
fn a_backlog_is_made_first_and_its_rate_is_that_of_handling() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--backlog 5000 --order key --concurrency 100 --work sleep:1ms --assert rate>1&&unseen==0&&lost==0";
    let (code, result) = result(&mut load(arguments, folder.path()));
    assert_eq!(code, 0, "{result}");
    assert_eq!((&result["figures"]["handled"], &result["figures"]["scheduled"]), (&5_000.into(), &5_000.into()));
    assert!(result["figures"]["latency"]["end_to_end"].is_null(), "{result}");
    let samples = result["samples"].as_array().unwrap();
    assert!(samples.iter().all(|sample| sample["end_to_end"].is_null()), "{result}");
    let done = samples.iter().map(|sample| sample["done"].as_u64().unwrap());
    assert_eq!(done.sum::<u64>(), 5_000, "{result}");
    let intervals = samples.iter().map(|sample| sample["interval_seconds"].as_f64().unwrap());
    let ended = samples.last().unwrap()["seconds"].as_f64().unwrap();
    assert!((intervals.sum::<f64>() - ended).abs() < 1e-6, "{result}");
    let filled = samples.iter().filter(|sample| sample["phase"] == "fill").collect::<Vec<_>>();
    assert!(filled.iter().all(|sample| sample["done"] == 0), "{result}");
    assert_eq!(filled.last().unwrap()["lag"], 5_000, "{result}");
    // A millisecond each, a hundred at once: 100,000 a second are the most that can be, and the making of it does not count.
    assert!(result["figures"]["rate"].as_f64().unwrap() < 100_000.0, "{result}");

    assert!(refused(&["--backlog", "30000"]).contains("--kafka local"));
    refused(&["--backlog", "10", "--duration", "10s"]);
}

#[test]
fn what_nobody_verified_is_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let (code, result) = result(&mut load("--rate 200 --records 200 --warmup 0s --no-verify", folder.path()));
    assert_eq!((code, &result["verdict"]), (4, &"invalid".into()), "{result}");
    assert!(result["reasons"][0].as_str().unwrap().starts_with("nothing was verified"), "{result}");
    assert_eq!((&result["figures"]["handled"], &result["figures"]["lost"]), (&200.into(), &0.into()), "{result}");
    // How many were handled in how long is known all the same.
    assert!(result["figures"]["rate"].as_f64().unwrap() > 1.0, "{result}");
}

#[test]
fn a_gate_that_does_not_hold_fails_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--rate 500 --duration 1s --warmup 0s --assert lost==0&&e2e.p50<1us";
    let (code, result) = measured(arguments, folder.path());
    assert_eq!((code, &result["verdict"]), (1, &"failed".into()), "{result}");
    let reason = result["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("the gate e2e.p50<1us does not hold: it is ") && reason.ends_with("ms"), "{result}");
    assert_eq!((&result["gates"][0]["held"], &result["gates"][1]["held"]), (&true.into(), &false.into()));
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_runs() {
    assert!(refused(&["--assert", "losst==0"]).contains("lost, unseen, filtered, duplicated"));
    assert!(refused(&["--assert", "e2e.p99<50"]).contains("us, ms or s"));
    assert!(refused(&["--record-size", "47"]).contains("48"));
    assert!(refused(&["--keys", "zipf"]).contains("zipf:1.1:10000"));
    assert!(refused(&["--throughput", "0"]).contains("10000000"));
    assert!(refused(&["--throughput", "-1"]).contains("--in-flight RECORDS"));
    refused(&["--rate", "10", "--in-flight", "10"]);
    assert!(refused(&["--engine", "bare", "--order", "key"]).contains("one record after the other"));
    assert!(refused(&["--failure-rate", "1"]).contains("0.9"));
    assert!(refused(&["--record-size", "uniform:10:20"]).contains("uniform:100:1000"));
    assert!(refused(&["--work", "lognormal:1ms:1"]).contains("spin:lognormal:1ms:0.5"));
    refused(&["--record-size", "100", "--payload-file", "some"]);
    assert!(refused(&["--record-size", "10000000"]).contains("message.max.bytes is 1000000"));
    assert!(refused(&["--record-size", "5000", "-X", "message.max.bytes=2000"]).contains("is 2000"));
    assert!(refused(&["--duration", "0s"]).contains("measures nothing"));
    assert!(refused(&["--duration", "-1s"]).contains("not less than 0"));
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
fn what_piles_up_before_the_broker_is_no_latency_either() {
    let folder = tempfile::tempdir().unwrap();
    // The producers take all at once, and the broker hears of it when the load is over.
    let config = folder.path().join("slow.toml");
    fs::write(&config, "[producer]\nlinger = '10m'\nbatch_records = 65536\n").unwrap();
    let arguments = "--rate 500 --duration 3s --warmup 0s";
    let (code, result) = result(load(arguments, folder.path()).arg("--config").arg(config));
    assert_eq!((code, &result["verdict"]), (4, &"invalid".into()), "{result}");
    assert!(result["reasons"].to_string().contains("were not confirmed as fast"), "{result}");
    let latency = &result["figures"]["latency"];
    assert!(latency["end_to_end"].is_null() && latency["produce_ack"].is_null(), "{latency}");
    assert_eq!(result["figures"]["lost"], 0);
}

#[test]
fn a_result_that_cannot_be_written_is_printed_and_ends_it_with_3() {
    let folder = tempfile::tempdir().unwrap();
    // In the way of the file, also for root.
    fs::create_dir(folder.path().join("result.json.unfinished")).unwrap();
    let arguments = "--in-flight 50 --records 100 --warmup 0s";
    let output = load(arguments, folder.path()).arg("--json").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("cannot write") && stderr.contains("result.json"), "{stderr}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["verdict"], &result["figures"]["handled"]), (&"passed".into(), &100.into()), "{result}");
    // The page is no worse for that.
    assert!(folder.path().join("report.html").exists());

    let output = load(arguments, folder.path()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{stdout}");
    assert!(stdout.starts_with("verdict: passed\n") && !stdout.contains("\nreport: "), "{stdout}");
}

#[test]
fn a_second_run_leaves_the_result_of_the_first_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("result.json"), "the first").unwrap();
    let output = load("--rate 10 --records 1 --warmup 0s", folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("holds the result of a run already"), "{stderr}");
    assert_eq!(fs::read(folder.path().join("result.json")).unwrap(), b"the first");
}

#[test]
fn attempts_that_are_to_fail_are_counted_in_the_lines_and_told_one_by_one_where_more_is_asked_for() {
    for (more, told) in [("", false), ("--verbose", true)] {
        let folder = tempfile::tempdir().unwrap();
        let arguments = format!("--rate 200 --duration 2s --warmup 0s --failure-rate 20% --ndjson {more}");
        let Output { stdout, stderr, .. } = load(&arguments, folder.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!(stderr.contains("a record failed and is tried again"), told, "{stderr}");
        let lines = stdout.split(|it| *it == b'\n').filter_map(|it| serde_json::from_slice::<Value>(it).ok());
        let lines: Vec<Value> = lines.collect();
        let (result, samples) = lines.split_last().unwrap_or_else(|| panic!("{stderr}"));
        let counted = &result["result"]["figures"]["failed_attempts"];
        assert!(counted.as_u64().unwrap() > 0, "{result}");
        assert_eq!(&samples.last().unwrap()["sample"]["failed_attempts"], counted);
    }
}

#[test]
fn a_closed_loop_ends_though_fewer_records_are_on_their_way_than_there_are_producers() {
    let folder = tempfile::tempdir().unwrap();
    let (code, result) = measured("--in-flight 1 --producers 3 --records 10 --warmup 0s", folder.path());
    assert_eq!((code, &result["figures"]["sent"]), (0, &10.into()), "{result}");
    // As many as there are producers, whatever a file says.
    let actors = result["settings"]["producer"].as_array().unwrap().iter().find(|it| it["name"] == "producer.actors");
    assert_eq!(actors.unwrap()["value"], "3", "{result}");
}

#[test]
fn a_key_that_is_spread_over_partitions_is_promised_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("troupe.toml");
    fs::write(&file, "[producer]\npartitioner = 'round_robin'\n").unwrap();
    let told = refused(&["--order", "key", "--config", file.to_str().unwrap()]);
    assert!(told.contains("producer.partitioner") && told.contains("--order unordered"), "{told}");
}

#[test]
fn the_help_says_which_signal_ends_a_load_at_once() {
    let Output { stdout, .. } = Command::new(env!("CARGO_BIN_EXE_troupe")).args(["load", "--help"]).output().unwrap();
    let help = String::from_utf8(stdout).unwrap();
    assert!(help.contains("a third SIGINT ended it at once") && !help.contains("a second SIGINT"), "{help}");
}
