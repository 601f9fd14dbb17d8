//! Settings from files and variables, seen from outside: by the tool, and by an app on the embedded broker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use kafka_troupe::broker::EmbeddedBroker;
use kafka_troupe::config::Sources;
use kafka_troupe::consume::Record;
use kafka_troupe::{ConsumerHandle, ProducerRecord};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
const PLANTED: &str = "pl4nted-s3cret";

/// A folder with a file `troupe.toml`, in which the tool runs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("troupe.toml"), text).unwrap();
        Self(folder)
    }

    /// Runs it to its end, or kills it: a command that does not end fails its test instead of hanging it.
    fn troupe(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let process = i32::try_from(child.id()).unwrap();
        let (ended, end) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // SAFETY: the number is the child's until it is waited for, and right after that the watchdog is told.
                unsafe { libc::kill(process, libc::SIGKILL) };
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(ended);
        watchdog.join().unwrap();
        output
    }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

const FILE: &str = r#"[kafka]
bootstrap.servers = "kafka:9092"
security.protocol = "SASL_PLAINTEXT"
sasl.mechanism = "PLAIN"
sasl.password = "pl4nted-s3cret"

[consumer]
group_id = "billing"
topics = ["orders"]
order = "key"
drain_deadline = "3000ms"

[consumer.kafka]
max.partition.fetch.bytes = 2_000_000

[producer]
linger = "20ms"

[producer.kafka]
acks = 1
enable.idempotence = false
"#;

#[test]
fn what_is_in_force_is_printed_with_defaults_and_origins() {
    let folder = Folder::with(FILE);
    std::fs::write(folder.0.path().join("client.properties"), "# Java's\nfetch.max.wait.ms=7\nlinger.ms=6\n").unwrap();
    let variables = [
        ("TROUPE_CONSUMER__CONCURRENCY", "50"),
        ("TROUPE_CONSUMER__KAFKA__FETCH_MIN_BYTES", "9"),
        ("TROUPE_KAFKA__CLIENT_ID", "me"),
    ];
    let options =
        ["--config", "troupe.toml", "--command-config", "client.properties", "--print-config", "-Xclient.rack=a"];
    for (command, golden) in [
        (&["consume", "--topic", "payments", "--from", "latest"][..], "consume"),
        (&["produce", "--topic", "orders", "--bootstrap-server", "other:1", "-"], "produce"),
    ] {
        let output = folder.troupe(&[command, &options].concat(), &variables);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        let path = format!("{}/tests/golden/print-config-{golden}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("TROUPE_BLESS").is_some() {
            std::fs::write(&path, &output.stdout).unwrap();
        }
        assert_eq!(text(&output.stdout), std::fs::read_to_string(&path).unwrap(), "TROUPE_BLESS=1 writes {path}");

        // The same for programs.
        let output = folder.troupe(&[command, &options, &["--json"]].concat(), &variables);
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let settings = printed["settings"].as_array().unwrap();
        let golden = std::fs::read_to_string(&path).unwrap();
        assert_eq!(settings.len(), golden.lines().count() - 1);
        let client = settings.iter().find(|each| each["name"] == "kafka.client.id").unwrap();
        assert_eq!((&client["value"], &client["default"]), (&"me".into(), &"rdkafka".into()));
        assert_eq!(client["from"], "TROUPE_KAFKA__CLIENT_ID");
    }
}

#[test]
fn print_config_connects_to_nothing_and_needs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let folder = Folder::with("");
    let output = folder.troupe(&["consume", "--print-config", "--bootstrap-server", &server], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let output = folder.troupe(&["consume", "--print-config"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("consumer.topics"));
}

#[test]
fn what_is_wrong_ends_with_2_and_its_place() {
    let folder = Folder::with("[consumer]\norder = \"keys\"\n");
    let commands = [
        &["consume", "--topic", "t"][..],
        &["produce", "--topic", "t", "-"],
        &["lag", "--group", "g"],
        &["offsets", "show", "--group", "g"],
        &["offsets", "reset", "--group", "g", "--all-topics", "--to-earliest"],
    ];
    for command in commands {
        let connect = ["--bootstrap-server", "127.0.0.1:1", "--config", "troupe.toml"];
        let output = folder.troupe(&[command, &connect].concat(), &[]);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", text(&output.stderr));
        let expected =
            "error: troupe.toml:2:9: consumer.order: \"keys\": one of partition, key, unordered is expected\n";
        assert_eq!(text(&output.stderr), expected, "{command:?}");
    }
    let output = folder.troupe(&["consume", "--topic", "t"], &[("TROUPE_CONSUMER__COMIT_WHEN", "1s")]);
    let error = text(&output.stderr);
    assert!(
        error.contains(
            "TROUPE_CONSUMER__COMIT_WHEN: there is no consumer.comit_when; did you mean consumer.commit_when?"
        ),
        "{error}"
    );
    let output = folder.troupe(&["consume", "--config", "nowhere.toml"], &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).starts_with("error: cannot read nowhere.toml: "), "{}", text(&output.stderr));
    for (arguments, asks) in
        [(&["consume"][..], "which Kafka?"), (&["consume", "--bootstrap-server", "x:1"], "which topic?")]
    {
        let output = folder.troupe(arguments, &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(asks) && text(&output.stderr).contains("--config FILE"));
    }
}

#[test]
fn a_planted_secret_is_printed_by_nobody_wherever_it_comes_from() {
    let folder = Folder::with(FILE);
    let nobody = ["--bootstrap-server", "127.0.0.1:1", "--timeout", "300ms", "-vvv", "-Xdebug=all"];
    for command in [&["consume", "--group", "g"][..], &["produce", "--topic", "t", "-"], &["lag", "--group", "g"]] {
        for (from, variables) in [
            (&["--config", "troupe.toml"][..], &[][..]),
            (
                &["-Xsecurity.protocol=SASL_PLAINTEXT", "-Xsasl.mechanism=PLAIN"],
                &[("TROUPE_KAFKA__SASL_PASSWORD", PLANTED)],
            ),
        ] {
            for print in [&["--print-config"][..], &[]] {
                if command[0] == "lag" && !print.is_empty() {
                    continue;
                }
                let output = folder.troupe(&[command, &nobody, from, print].concat(), variables);
                let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
                assert!(!printed.contains(PLANTED), "{command:?} {from:?}: {printed}");
                assert_eq!(printed.contains("***"), !print.is_empty(), "{command:?} {from:?}: {printed}");
            }
        }
    }
}

#[test]
fn the_tool_consumes_and_produces_as_a_file_says() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("orders", 1).unwrap();
    let properties: String = EmbeddedBroker::CONSUMER_PROTOCOL_PROPERTIES
        .iter()
        .map(|(name, value)| format!("{name} = \"{value}\"\n"))
        .collect();
    let folder = Folder::with(&format!(
        "[kafka]\nbootstrap.servers = \"{}\"\n[consumer]\ngroup_id = \"billing\"\ntopics = [\"orders\"]\n\
         order = \"unordered\"\ncommit_when = \"manual\"\n[consumer.kafka]\n{properties}\n[producer]\nbatch_records = 1\n",
        broker.bootstrap_servers()
    ));
    std::fs::write(folder.0.path().join("lines"), "one\ntwo\nthree\n").unwrap();
    let ends_well = |arguments: &[&str]| {
        let output = folder.troupe(&[arguments, &["--config", "troupe.toml"]].concat(), &[]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    ends_well(&["produce", "--topic", "orders", "lines"]);
    // The group is the file's, and what is printed is committed, whatever the file says.
    assert_eq!(ends_well(&["consume", "--max-records", "2"]), "one\ntwo\n");
    assert_eq!(ends_well(&["consume", "--until-end"]), "three\n");
    assert_eq!(ends_well(&["consume", "--group", "another", "--until-end"]), "one\ntwo\nthree\n");
}

#[test]
fn an_app_starts_a_consumer_and_a_producer_from_a_file() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("orders", 4).unwrap();
    let properties: String = EmbeddedBroker::CONSUMER_PROTOCOL_PROPERTIES
        .iter()
        .map(|(name, value)| format!("{name} = \"{value}\"\n"))
        .collect();
    let file = format!(
        "[consumer]\ngroup_id = \"billing\"\ntopics = [\"payments\"]\norder = \"key\"\nconcurrency = 3\n\
         commit_when = \"1 record\"\n[consumer.kafka]\n{properties}\n[producer]\nlinger = \"0s\"\n"
    );
    // What differs from place to place comes by variables.
    let variables =
        [("TROUPE_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap_servers()), ("TROUPE_CONSUMER__TOPICS", "orders")];
    let config = Sources::new().toml("troupe.toml", &file).unwrap().variables(variables).unwrap().load().unwrap();

    let producer = config.producer.builder().start().unwrap();
    for number in 0..100 {
        let key = format!("k{number}");
        let record = ProducerRecord::to("orders").key(&key).value("v");
        drop(producer.sender().enqueue_blocking(record).unwrap());
    }
    producer.shutdown_blocking(PATIENCE).unwrap();

    let (handled, at_once, most) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&handled), at_once, Arc::clone(&most));
    let handler = move |_: Record| {
        let (handled, at_once, most) = counters.clone();
        async move {
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            handled.fetch_add(1, Ordering::SeqCst);
        }
    };
    let consumer = config.consumer.builder().async_handler(handler).start().unwrap();
    wait_until(&consumer, || handled.load(Ordering::SeqCst) == 100);
    // The file's bound holds, and its group has committed.
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert!(consumer.shutdown_blocking(PATIENCE).unwrap().drained);
    let more = Arc::clone(&handled);
    let handler = move |_: &Record| {
        more.fetch_add(1, Ordering::SeqCst);
    };
    let again = config.consumer.builder().handler(handler).start().unwrap();
    wait_until(&again, || again.state().partitions.iter().map(|each| each.watermark).sum::<i64>() == 100);
    assert!(again.shutdown_blocking(PATIENCE).unwrap().drained);
    assert_eq!(handled.load(Ordering::SeqCst), 100, "handled again");
}

#[track_caller]
fn wait_until(consumer: &ConsumerHandle, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "{:?}", consumer.state());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
