//! `troupe load` with an application between IN and OUT, seen from outside. The applications are small, and some are wrong in one way.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "load_report/browser.rs"]
mod browser;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kafka_troupe::broker::{EmbeddedBroker, LocalKafka};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

/// How often a run is made anew that the machine was too busy for, as it says itself.
const TRIES: usize = 5;
const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);
/// 300 records of five keys: record number `n`, counted from 0, has the key `n % 5`.
const LOAD: &str = "--rate 300 --records 300 --warmup 0s --keys round-robin:5 --in IN";

#[derive(Clone)]
struct Entry {
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
}

/// An application: it makes records of OUT of each record of IN, until it is dropped.
struct App {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl App {
    fn start(servers: &str, topics: (&str, &str), mut each: impl FnMut(Entry) -> Vec<Entry> + Send + 'static) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers);
        let producer: BaseProducer = config.clone().set("linger.ms", "0").create().unwrap();
        config.set("group.id", "app").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topics.0, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (stop, out) = (Arc::new(AtomicBool::new(false)), topics.1.to_owned());
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(Ok(record)) = consumer.poll(Duration::from_millis(10)) else {
                    producer.poll(Duration::ZERO);
                    continue;
                };
                let headers = record.headers().into_iter().flat_map(|it| it.iter());
                let headers = headers.map(|it| (it.key.to_owned(), it.value.unwrap_or_default().to_vec()));
                let [key, value] = [record.key(), record.payload()].map(|it| it.unwrap_or_default().to_vec());
                for Entry { key, value, headers } in each(Entry { key, value, headers: headers.collect() }) {
                    let headers = headers
                        .iter()
                        .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
                    producer
                        .send(BaseRecord::to(&out).key(&key).payload(&value).headers(headers))
                        .map_err(|it| it.0)
                        .unwrap();
                }
                producer.poll(Duration::ZERO);
            }
            producer.flush(PATIENCE).unwrap();
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

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
    let broker = EmbeddedBroker::start().unwrap();
    for topic in ["in", "out"] {
        broker.create_topic(topic, PARTITIONS).unwrap();
    }
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
fn two_hosts_share_a_run_and_its_last_record_is_missed_by_who_knows_how_many_there_were() {
    let broker = EmbeddedBroker::start().unwrap();
    let servers = broker.bootstrap_servers();
    for topic in ["in", "out"] {
        broker.create_topic(topic, PARTITIONS).unwrap();
    }
    let last = Arc::new(AtomicBool::new(false));
    let lost = Arc::clone(&last);
    let app = App::start(servers, ("in", "out"), move |entry: Entry| {
        // Its sequence, as it stands in its identity.
        if &entry.headers[0].1[32..48] == format!("{:016x}", 299).as_bytes() {
            lost.store(true, Ordering::Relaxed);
            vec![]
        } else {
            vec![entry]
        }
    });
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let manifest = folders[0].path().join("manifest.json");

    // The verifying host begins first, and the manifest comes later.
    let arguments = format!("--verify-only --run 1f --verify-topic out --settle 15s --manifest {}", manifest.display());
    let mut early = load(servers, &arguments, folders[1].path());
    let mut early = early.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(early.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.contains("  wait  ")).unwrap();

    let sending = LOAD
        .replace("--in IN", "--topic in --verify-topic out --produce-only --run 1f --in-flight 50")
        .replace("--rate 300", "");
    let (code, sent) = result(&mut load(servers, &sending, folders[0].path()));
    assert_eq!(
        (code, &sent["part"], counts(&sent, ["sent", "acked"])),
        (0, &"produce_only".into(), [300, 300]),
        "{sent}"
    );
    lines.for_each(drop);
    let verified: Value = serde_json::from_slice(&early.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!((&verified["verdict"], counts(&verified, FAULTS)), (&"failed".into(), [1, 0, 0, 0, 0]), "{verified}");
    assert_eq!(verified["figures"]["latency"]["end_to_end"]["count"], 299);
    assert_eq!(verified["verification"]["two_clocks"], true);
    assert!(last.load(Ordering::Relaxed));
    drop(app);

    // Without the manifest nobody can say that nothing is missing, and nobody does.
    let arguments = "--verify-only --run 1f --verify-topic out --settle 1s";
    let (code, result_without) = result(&mut load(servers, arguments, folders[2].path()));
    assert_eq!((code, counts(&result_without, ["handled", "lost"])), (4, [299, 0]), "{result_without}");
    assert!(result_without["reasons"].to_string().contains("--manifest"), "{result_without}");

    // What was there before the look began has no latency.
    let arguments = format!(
        "--verify-only --run 1f --verify-topic out --settle 1s --manifest {} --expect filtered",
        manifest.display()
    );
    let (code, late) = result(&mut load(servers, &arguments, folders[3].path()));
    assert_eq!((code, counts(&late, ["handled", "filtered"])), (0, [299, 1]), "{late}");
    assert!(late["figures"]["latency"]["end_to_end"].is_null());
    assert_eq!(late["verification"]["not_timed"], 299);

    for (arguments, why) in [
        ("--run 2f --verify-topic out", "is of run 000000000000001f"),
        ("--run 1f --verify-topic out --id-pointer /id", "no --id-pointer"),
        ("--run 1f --verify-topic in", "--verify-topic out"),
    ] {
        let arguments = format!("--verify-only {arguments} --manifest {}", manifest.display());
        refused(&arguments, why);
    }
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The ids of a page's sections.
fn sections(folder: &Path) -> Vec<String> {
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    page.split("<section id=\"").skip(1).map(|it| it.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn each_part_of_a_run_leaves_all_that_it_knows_in_its_folder_and_a_page_that_can_be_read() {
    let broker = EmbeddedBroker::start().unwrap();
    let servers = broker.bootstrap_servers();
    for topic in ["in", "out"] {
        broker.create_topic(topic, PARTITIONS).unwrap();
    }
    let _app =
        App::start(servers, ("in", "out"), counted(|number, entry| if number == 20 { vec![] } else { vec![entry] }));
    let folders = tempfile::tempdir().unwrap();
    let [whole, sent, seen] = ["whole", "sent", "seen"].map(|name| folders.path().join(name));
    let load = |arguments: &str, folder: &Path| {
        let mut command = load(servers, arguments, folder);
        command.env("TROUPE_KAFKA__SASL_PASSWORD", "hunter2");
        command
    };
    let load_of = |more: &str| format!("--rate 300 --duration 3s --warmup 1s --keys zipf:1.1:50 {more}");

    result(&mut load(&load_of("--topic in --verify-topic out --settle 3s --assert lost<3&&e2e.p99<60s"), &whole));
    let verifying =
        format!("--verify-only --run 1f --verify-topic out --settle 60s --manifest {}/manifest.json", sent.display());
    let mut early = load(&verifying, &seen);
    let mut early = early.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(early.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.contains("  wait  ")).unwrap();
    let sending = load_of("--topic in --verify-topic out --produce-only --run 1f --assert ack.p99<60s&&acked>0");
    result(&mut load(&sending, &sent));
    lines.for_each(drop);
    early.wait_with_output().unwrap();

    let logs = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        files(&whole),
        logs(&["end_to_end.hlog", "produce_ack.hlog", "report.html", "result.json", "schedule_delay.hlog"])
    );
    assert_eq!(
        files(&sent),
        logs(&["manifest.json", "produce_ack.hlog", "report.html", "result.json", "schedule_delay.hlog"])
    );
    assert_eq!(files(&seen), logs(&["end_to_end.hlog", "report.html", "result.json"]));

    for (folder, producer, consumer) in [(&whole, true, true), (&sent, true, false), (&seen, false, true)] {
        for file in files(folder) {
            let text = std::fs::read_to_string(folder.join(&file)).unwrap();
            assert!(!text.contains("hunter2"), "{file}");
            assert!(!file.ends_with(".hlog") || text.lines().count() > 4, "{file}: {text}");
        }
        let result: Value = serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap();
        for (of, here) in [("producer", producer), ("consumer", consumer)] {
            let settings = result["settings"][of].as_array().unwrap();
            assert_eq!(!settings.is_empty(), here, "{of}: {result}");
            let password = settings.iter().find(|it| it["name"] == "kafka.sasl.password");
            let told = password.map(|it| [&it["value"], &it["from"]]);
            assert_eq!(told, here.then_some([&json!("***"), &json!("TROUPE_KAFKA__SASL_PASSWORD")]), "{of}: {result}");
        }
        assert!(result["host"]["os"].is_string() && result["versions"]["librdkafka"].is_string(), "{result}");
        assert!(result["resources"]["load_cpu_seconds"].as_f64().unwrap() > 0.0, "{result}");
        // Those that are measured may have no curve, on a machine too busy to keep up; their logs have them in any case.
        for (latency, here) in [("produce_ack", producer), ("end_to_end", consumer), ("handler", false)] {
            assert!(here || result["curves"][latency].as_array().unwrap().is_empty(), "{latency}: {result}");
        }
        let came: Vec<u64> = serde_json::from_value(result["verification"]["partitions"].clone()).unwrap_or_default();
        assert_eq!(came.len(), if consumer { PARTITIONS as usize } else { 0 });
        assert_eq!(came.iter().sum::<u64>(), result["figures"]["handled"].as_u64().unwrap());
    }

    let all = [
        "verdict",
        "records",
        "faults",
        "gates",
        "latencies",
        "throughput",
        "latency",
        "percentiles",
        "lag",
        "partitions",
        "resources",
        "configuration",
    ];
    assert_eq!(sections(&whole), all);
    assert_eq!(
        sections(&sent),
        all.into_iter().filter(|it| !["faults", "partitions"].contains(it)).collect::<Vec<_>>()
    );
    assert_eq!(sections(&seen), all.into_iter().filter(|it| !["faults", "lag"].contains(it)).collect::<Vec<_>>());

    let Some(mut browser) = browser::Browser::start() else { return };
    for (folder, name) in [(whole, "whole"), (sent, "sent"), (seen, "seen")] {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
        browser.look_at_all(&folder.join("report.html"), kept, &format!("load-pipeline-{name}"));
    }
}

#[test]
fn a_signal_ends_the_wait_and_what_is_not_there_is_unseen_and_not_called_lost() {
    let broker = EmbeddedBroker::start().unwrap();
    for topic in ["in", "out"] {
        broker.create_topic(topic, PARTITIONS).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--topic in --verify-topic out --in-flight 10 --records 20 --warmup 0s --settle 10m --ndjson";
    let mut command = load(broker.bootstrap_servers(), arguments, folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.contains(r#""phase":"wait""#)).unwrap();
    // SAFETY: it sends a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
    let last: Value = serde_json::from_str(&lines.last().unwrap()).unwrap();
    let (output, result) = (child.wait_with_output().unwrap(), last["result"].clone());
    assert_eq!((output.status.code(), counts(&result, FAULTS)), (Some(1), [0, 0, 0, 0, 20]), "{result}");
    assert_eq!(result["verification"]["waited_until"], "a signal ended the wait");
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

#[test]
fn what_does_not_go_together_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let payloads = folder.path().join("payloads");
    std::fs::write(&payloads, "{\"id\":\"{{id}}\"}\n{\"id\":\"x\"}\n").unwrap();
    let payloads = format!("--topic i --verify-topic o --id-pointer /id --payload-file {}", payloads.display());
    for (arguments, why) in [
        ("--topic i", "--produce-only"),
        ("--verify-topic o", "--topic"),
        ("--topic i --verify-topic i", "one topic"),
        ("--topic i --verify-topic o --members 2", "--members"),
        ("--topic i --verify-topic o --order key", "--order"),
        ("--topic i --verify-topic o --engine bare", "--engine"),
        ("--topic i --verify-topic o --fault kill@1s", "--fault"),
        ("--topic i --verify-topic o --assert failed_attempts<5", "failed_attempts"),
        ("--topic i --verify-topic o --assert handler.p99<1s", "handler.p99 is not to be seen from outside"),
        (
            "--topic i --verify-topic o --assert lost==0&&residence.p50<1s",
            "residence.p50 is not to be seen from outside",
        ),
        ("--topic i --produce-only --assert ack.p99<1s&&commit.max<1s", "commit.max is not to be seen from outside"),
        ("--topic i --verify-topic o --kafka embedded", "--kafka"),
        ("--topic i --verify-topic o --run 1", "--run"),
        ("--topic i --verify-topic o --expect each,filtered", "each, alone"),
        ("--topic i --verify-topic o --expect unchanged --id-pointer /id", "--id-pointer"),
        ("--topic i --verify-topic o --id-pointer id", "JSON pointer"),
        ("--topic i --verify-topic o --assert redelivered==0", "redelivered"),
        ("--topic i --verify-topic o --manifest m", "--verify-only"),
        ("--topic i --produce-only --verify-only --run 1", "--verify-only"),
        ("--topic i --produce-only --assert lost==0", "lost is known to who verifies"),
        ("--topic i --produce-only --assert rate>1&&e2e.p99<1s", "e2e.p99 is known to who verifies"),
        ("--verify-only --run 1 --verify-topic o --assert ack.p99<1s", "ack.p99 is known to who sends"),
        ("--verify-only --run 1 --verify-topic o --assert schedule.max<1s", "schedule.max is known to who sends"),
        ("--produce-only", "--topic"),
        ("--verify-only --verify-topic o", "--run"),
        ("--verify-only --run 1", "--verify-topic"),
        ("--verify-only --run nightly --verify-topic o", "hexadecimal"),
        ("--verify-only --run 1 --verify-topic o --rate 5", "--rate"),
        ("--verify-only --run 1 --verify-topic o --topic i", "--topic"),
        ("--id-pointer /id", "--topic"),
        ("--expect filtered", "--topic"),
        (payloads.as_str(), "line 2"),
        ("--topic i --verify-topic o --payload-file /dev/null", "no line"),
        ("--settle 1s", "--topic"),
    ] {
        refused(arguments, why);
    }
}

#[test]
fn a_kafka_or_a_topic_that_is_not_there_ends_it_with_3_and_leaves_no_folder() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("in", PARTITIONS).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for (servers, why) in [("127.0.0.1:1", "127.0.0.1:1"), (broker.bootstrap_servers(), "topic nowhere does not exist")]
    {
        let arguments = "--topic in --verify-topic nowhere --timeout 5s";
        let output = load(servers, arguments, &run).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains(why) && !run.exists(), "{stderr}");
    }
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
