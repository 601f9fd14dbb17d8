//! `troupe load` with an application between IN and OUT, seen from outside. The applications are small, and some are wrong in one way.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../load_report/browser.rs"]
mod browser;

mod app;
mod folder;
mod phases;
mod refusals;
mod stops;
mod two_hosts;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kafka_troupe::broker::{EmbeddedBroker, LocalKafka};
use serde_json::{Value, json};

use app::{App, Entry};

/// How often a run is made anew that the machine was too busy for, as it says itself.
const TRIES: usize = 5;
const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);
/// 300 records of five keys: record number `n`, counted from 0, has the key `n % 5`.
const LOAD: &str = "--rate 300 --records 300 --warmup 0s --keys round-robin:5 --in IN";

fn load(servers: &str, arguments: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.args(["load", "--bootstrap-server", servers]).args(arguments.split_whitespace());
    command.arg("--out").arg(folder).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn result(command: &mut Command) -> (i32, Value) {
    let Output { status, stdout, stderr } = command.arg("--json").output().unwrap();
    let result = serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr)));
    (status.code().unwrap(), result)
}

fn refused(arguments: &str, why: &str) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = load("127.0.0.1:1", arguments, &out).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
    assert!(stderr.contains(why), "{arguments}: {stderr}");
    assert!(output.stdout.is_empty() && !out.exists());
}

/// An application between topics of its own, under load: exit code and result. Once more where the machine was too busy to hold the schedule.
fn through<F: FnMut(Entry) -> Vec<Entry> + Send + 'static>(app: impl Fn() -> F, arguments: &str) -> (i32, Value) {
    let broker = EmbeddedBroker::start().unwrap();
    through_on(broker.bootstrap_servers(), &|topic| broker.create_topic(topic, PARTITIONS).unwrap(), app, arguments)
}

fn through_on<F: FnMut(Entry) -> Vec<Entry> + Send + 'static>(
    servers: &str,
    create: &dyn Fn(&str),
    app: impl Fn() -> F,
    arguments: &str,
) -> (i32, Value) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..TRIES {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (into, out) = (format!("in{number}"), format!("out{number}"));
        create(&into);
        create(&out);
        let app = App::start(servers, (&into, &out), app());
        let folder = tempfile::tempdir().unwrap();
        let arguments =
            format!("{} --verify-topic {out} {arguments}", LOAD.replace("--in IN", &format!("--topic {into}")));
        let (code, result) = result(&mut load(servers, &arguments, folder.path()));
        drop(app);
        if code != 4 || !result["reasons"].to_string().contains("the schedule was not held") {
            return (code, result);
        }
        eprintln!("once more: {}", result["reasons"]);
    }
    panic!("{TRIES} runs were not valid");
}

/// `each` with the number of each record as it comes: 0 is the first.
fn counted(mut each: impl FnMut(usize, Entry) -> Vec<Entry>) -> impl FnMut(Entry) -> Vec<Entry> {
    let mut numbers = 0..;
    move |entry| each(numbers.next().unwrap(), entry)
}

fn counts<const N: usize>(result: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| result["figures"][name].as_u64().unwrap_or_else(|| panic!("{name}: {result}")))
}

const FAULTS: [&str; 5] = ["lost", "duplicated", "reordered", "corrupted", "unseen"];

/// With the topics IN and OUT.
fn broker() -> EmbeddedBroker {
    let broker = EmbeddedBroker::start().unwrap();
    for topic in ["in", "out"] {
        broker.create_topic(topic, PARTITIONS).unwrap();
    }
    broker
}

#[test]
fn what_comes_out_once_and_in_order_passes_and_records_of_others_do_not_disturb() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders");
    std::fs::write(&file, "one\ntwo\n").unwrap();
    let app = || {
        counted(|number, mut entry| {
            assert!([&b"one"[..], b"two"].contains(&&*entry.value), "{:?}", entry.value);
            let mut other = entry.clone();
            other.headers.clear();
            entry.value = b"another value".to_vec();
            if number % 10 == 0 { vec![other, entry] } else { vec![entry] }
        })
    };
    let arguments = format!("--settle 60s --assert lost==0&&e2e.p50>0us --payload-file {}", file.display());
    let (code, result) = through(app, &arguments);
    assert_eq!((code, &result["verdict"]), (0, &"passed".into()), "{result}");
    assert_eq!(counts(&result, ["sent", "acked", "handled", "foreign"]), [300, 300, 300, 30]);
    assert_eq!(counts(&result, FAULTS), [0; 5]);
    assert_eq!(result["figures"]["latency"]["end_to_end"]["count"], 300);
    let verification = &result["verification"];
    assert_eq!(verification["waited_until"], "all records had come out");
    assert_eq!((&verification["without_identity"], &verification["two_clocks"]), (&30.into(), &false.into()));
    assert!(result["plan"]["group"].is_null() && result["plan"]["topic"].as_str().unwrap().starts_with("in"));
}

#[test]
fn a_loss_is_found() {
    let app = || counted(|number, entry| if number == 50 { vec![] } else { vec![entry] });
    let (code, result) = through(app, "--settle 8s");
    assert_eq!((code, counts(&result, FAULTS)), (1, [1, 0, 0, 0, 0]), "{result}");
    assert!(result["reasons"][0].as_str().unwrap().starts_with("1 records were confirmed and did not"), "{result}");
    assert_eq!(result["verification"]["faults"][0]["fault"], "missing");
    assert_eq!(result["verification"]["waited_until"], "nothing new had come out for 8s");
}

#[test]
fn the_report_begins_with_the_verdict_why_the_wait_ended_and_what_is_at_fault() {
    let broker = broker();
    let servers = broker.bootstrap_servers();
    let app = counted(|number, entry| if number == 5 { vec![] } else { vec![entry] });
    let _app = App::start(servers, ("in", "out"), app);
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--topic in --verify-topic out --in-flight 10 --num-records 20 --warmup 0s --settle 8s";
    let output = load(servers, arguments, folder.path()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let begin = "verdict: FAILED\n  1 records were confirmed and did not come out\n  it was waited until nothing new had come out for \
                 8s\n  missing: producer 0, sequence ";
    assert!(output.status.code() == Some(1) && stdout.starts_with(begin), "{stdout}{stderr}");
    assert!(stdout.contains("20 sent, 20 acked, 19 came out; lost 1, unseen 0"), "{stdout}");
    assert!(stderr.contains("time  phase     target      sent     acked      done       lag  in-flight"), "{stderr}");
    assert!(!stderr.contains("ERROR"), "{stderr}");
}

#[test]
fn a_repeat_is_found() {
    let app = || {
        let mut kept = None;
        counted(move |number, entry| {
            if number == 60 {
                kept = Some(entry.clone());
            }
            let again = if number == 90 { kept.take() } else { None };
            [entry].into_iter().chain(again).collect()
        })
    };
    let (code, result) = through(app, "--settle 60s");
    assert_eq!((code, counts(&result, FAULTS)), (1, [0, 1, 0, 0, 0]), "{result}");
    assert_eq!(result["figures"]["times_handled"], json!({ "2": 1 }));
}

#[test]
fn a_swap_within_a_key_is_found_and_one_between_keys_is_none() {
    let swapping = |same_key: bool| {
        move || {
            let mut kept: Option<Entry> = None;
            counted(move |number, entry| {
                if number == 70 {
                    kept = Some(entry);
                    return vec![];
                }
                let swap = kept.take_if(|kept| (kept.key == entry.key) == same_key);
                [entry].into_iter().chain(swap).collect()
            })
        }
    };
    let (code, result) = through(swapping(true), "--settle 60s");
    assert_eq!((code, counts(&result, FAULTS)), (1, [0, 0, 1, 0, 0]), "{result}");
    assert_eq!(result["verification"]["faults"][0]["fault"], "reordered");
    let (code, result) = through(swapping(true), "--settle 60s --expect unordered");
    assert_eq!((code, counts(&result, FAULTS)), (0, [0, 0, 1, 0, 0]), "{result}");
    let (code, result) = through(swapping(false), "--settle 60s");
    assert_eq!((code, counts(&result, FAULTS)), (0, [0; 5]), "{result}");
}

#[test]
fn a_damaged_identity_is_found_and_a_damaged_value_where_none_is_to_change() {
    let app = || {
        counted(|number, mut entry| {
            match number {
                40 => entry.headers[0].1[50] ^= 1,
                80 => entry.value[60] ^= 1,
                _ => {}
            }
            vec![entry]
        })
    };
    // Who the damaged one was nobody knows: it is missing as well.
    let (code, result) = through(app, "--settle 8s --expect unchanged");
    assert_eq!((code, counts(&result, FAULTS)), (1, [1, 0, 0, 2, 0]), "{result}");
    let (_, result) = through(app, "--settle 8s");
    assert_eq!(counts(&result, FAULTS), [1, 0, 0, 1, 0], "{result}");
}

#[test]
fn what_an_application_may_leave_out_or_repeat_fails_nothing_and_is_counted() {
    let app = || {
        counted(|number, entry| match number % 3 {
            0 => vec![],
            1 => vec![entry.clone(), entry],
            _ => vec![entry],
        })
    };
    let (code, result) = through(app, "--settle 8s --expect filtered,at-least-once");
    assert_eq!((code, counts(&result, FAULTS)), (0, [0, 100, 0, 0, 0]), "{result}");
    assert_eq!(counts(&result, ["filtered", "handled"]), [100, 200]);
    let (code, result) = through(|| |_| vec![], "--settle 1s --expect filtered");
    assert!(code == 4 && result["reasons"].to_string().contains("not one record came out"), "{result}");
}

/// It keeps no headers: it makes new JSON of the old, and the order's number stays where it was.
fn without_headers(entry: Entry) -> Vec<Entry> {
    let value: Value = serde_json::from_slice(&entry.value).unwrap_or_default();
    let value = json!({ "confirmed": true, "order": { "id": value["order"]["id"], "item": value["item"] } });
    vec![Entry { key: entry.key, value: value.to_string().into_bytes(), headers: Vec::new() }]
}

#[test]
fn an_identity_in_json_is_followed_where_headers_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.ndjson");
    std::fs::write(
        &file,
        "{\"order\":{\"id\":\"{{id}}\"},\"item\":1}\n{\"item\": 2, \"order\": {\"id\": \"{{id}}\"}}\n",
    )
    .unwrap();
    let arguments = format!("--settle 60s --id-pointer /order/id --payload-file {}", file.display());
    let (code, result) = through(|| without_headers, &arguments);
    assert_eq!((code, counts(&result, ["handled", "foreign"])), (0, [300, 0]), "{result}");

    let losing = || counted(|number, entry| if number == 20 { vec![] } else { without_headers(entry) });
    let (code, result) = through(losing, "--settle 8s --id-pointer /order/id");
    assert_eq!((code, counts(&result, FAULTS)), (1, [1, 0, 0, 0, 0]), "{result}");

    let (code, result) = through(|| without_headers, "--settle 8s");
    assert_eq!((code, counts(&result, ["handled", "foreign"])), (1, [0, 300]), "{result}");
    assert!(result["reasons"].to_string().contains("does the application keep headers"), "{result}");
}

#[test]
fn an_application_that_filters_and_does_not_keep_up_is_found_out() {
    let broker = broker();
    let servers = broker.bootstrap_servers();
    let app = counted(|number, entry| {
        if number % 2 == 0 {
            return vec![];
        }
        // Half of 1,200 records, in 12 s: the load lasts for half of that.
        thread::sleep(Duration::from_millis(20));
        vec![entry]
    });
    let _app = App::start(servers, ("in", "out"), app);
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--topic in --verify-topic out --rate 200 --duration 6s --warmup 0s --settle 8s --expect filtered";
    let (code, result) = result(&mut load(servers, arguments, folder.path()));
    assert_eq!((code, counts(&result, ["filtered", "handled"])), (4, [600, 600]), "{result}");
    assert!(result["reasons"].to_string().contains("did not keep up"), "{result}");
    assert!(result["figures"]["latency"]["end_to_end"].is_null(), "{result}");
}

#[test]
fn on_apache_kafka_a_right_application_passes_and_a_loss_is_found() {
    if std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip") {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
        return;
    }
    let kafka = LocalKafka::start().unwrap_or_else(|error| panic!("{error}"));
    let create = |topic: &str| kafka.create_topic(topic, PARTITIONS).unwrap();
    let (code, result) = through_on(kafka.bootstrap_servers(), &create, || |entry| vec![entry], "--settle 60s");
    assert_eq!((code, counts(&result, FAULTS)), (0, [0; 5]), "{result}");
    let losing = || counted(|number, entry| if number == 50 { vec![] } else { vec![entry] });
    let (code, result) = through_on(kafka.bootstrap_servers(), &create, losing, "--settle 8s");
    assert_eq!((code, counts(&result, FAULTS)), (1, [1, 0, 0, 0, 0]), "{result}");
}
