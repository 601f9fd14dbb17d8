//! `troupe consume`, seen from outside, on the embedded broker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use kafka_troupe::broker::{EmbeddedBroker, RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

const TOPIC: &str = "orders";
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker with one topic.
struct Stage {
    broker: EmbeddedBroker,
    partitions: i32,
}

impl Stage {
    fn new(partitions: i32) -> Self {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic(TOPIC, partitions).unwrap();
        Self { broker, partitions }
    }

    /// One whose partitions hold `count` records each, of about `bytes`.
    fn with(partitions: i32, count: usize, bytes: usize) -> Self {
        let stage = Self::new(partitions);
        stage.produce(0..count, bytes);
        stage
    }

    fn producer(&self) -> BaseProducer {
        ClientConfig::new().set("bootstrap.servers", self.broker.bootstrap_servers()).create().unwrap()
    }

    fn produce(&self, numbers: Range<usize>, bytes: usize) {
        let producer = self.producer();
        for number in numbers {
            let value = format!("{number:0bytes$}");
            for partition in 0..self.partitions {
                let key = format!("k{number}");
                let record = BaseRecord::to(TOPIC).partition(partition).key(&key).payload(&value);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// `troupe consume` with these arguments, of the stage's topic unless they name one.
    fn consume(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
        command.args(["consume", "--bootstrap-server", self.broker.bootstrap_servers()]);
        // The group protocol that the embedded broker plays right also on a busy machine.
        for (name, value) in EmbeddedBroker::CONSUMER_PROTOCOL_PROPERTIES {
            command.arg("-X").arg(format!("{name}={value}"));
        }
        if !arguments.contains(&"--topic") {
            command.args(["--topic", TOPIC]);
        }
        command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Runs it to its end, or kills it: a command that does not end fails its test instead of hanging it.
    fn run(&self, arguments: &[&str]) -> Output {
        let child = self.spawn(arguments);
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

    /// Runs it to its end, which has to be a good one, and gives what it printed.
    #[track_caller]
    fn printed(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        lines(&output.stdout)
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.consume(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What the group has committed, by partition.
    fn committed(&self, group: &str) -> BTreeMap<i64, i64> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker.bootstrap_servers()).set("group.id", group);
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(TOPIC, 0, self.partitions - 1);
        let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
        committed.elements().iter().filter_map(|e| Some((e.partition().into(), offset(e.offset())?))).collect()
    }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn lines(bytes: &[u8]) -> Vec<String> {
    text(bytes).lines().map(str::to_owned).collect()
}

/// The offsets of each partition in what `--json` printed, in the order they stand there.
fn offsets(printed: &[String]) -> BTreeMap<i64, Vec<i64>> {
    let mut offsets = BTreeMap::<_, Vec<_>>::new();
    for line in printed {
        let record: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| record[name].as_i64().unwrap();
        offsets.entry(number("partition")).or_default().push(number("offset"));
    }
    offsets
}

/// All offsets below `count`, of each partition.
fn all(partitions: i32, count: i64) -> BTreeMap<i64, Vec<i64>> {
    (0..partitions.into()).map(|partition| (partition, (0..count).collect())).collect()
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

fn send(child: &Child, signal: i32) {
    // SAFETY: the process is our child and not yet waited for, so the number is still its own.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), signal) }, 0);
}

/// Reads this many lines, and keeps the pipe open.
fn read_lines(stdout: &mut BufReader<ChildStdout>, count: usize) -> Vec<String> {
    stdout.by_ref().lines().take(count).map(Result::unwrap).collect()
}

fn read_all(mut from: impl Read) -> String {
    let mut all = String::new();
    from.read_to_string(&mut all).unwrap();
    all
}

/// The summary that a log for programs ends with.
fn summary(log: &str) -> Value {
    let mut events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.rfind(|event| event["fields"]["message"] == "consumed").unwrap()["fields"].clone()
}

#[test]
fn without_a_group_all_is_printed_and_nothing_committed() {
    let stage = Stage::with(4, 500, 20);
    let output = stage.run(&["--until-end", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(offsets(&lines(&output.stdout)), all(4, 500));
    let summary = text(&output.stderr);
    assert!(summary.contains("2,000 records") && summary.contains("nothing committed"), "{summary}");
    assert!(stage.committed("troupe-standalone").is_empty());
    assert!(stage.run(&["--until-end", "-q"]).stderr.is_empty());
}

#[test]
fn so_many_records_as_asked_for_are_printed_and_exactly_these_committed() {
    let stage = Stage::with(4, 100, 20);
    let first = offsets(&stage.printed(&["--group", "g", "--json", "--max-records", "57"]));
    assert_eq!(first.values().map(Vec::len).sum::<usize>(), 57);
    let committed: BTreeMap<_, _> =
        first.iter().map(|(partition, offsets)| (*partition, offsets.len() as i64)).collect();
    assert_eq!(stage.committed("g"), committed);
    // The next one goes on behind them: each record is printed once, in order.
    let second = offsets(&stage.printed(&["--group", "g", "--json", "--max-messages", "343"]));
    let mut both = first;
    second.into_iter().for_each(|(partition, offsets)| both.entry(partition).or_default().extend(offsets));
    assert_eq!(both, all(4, 100));
}

#[test]
fn a_reader_that_goes_away_leaves_committed_what_was_written() {
    // Far more than a pipe holds, so that a write waits when the reader goes.
    let stage = Stage::with(2, 1000, 500);
    let mut child = stage.spawn(&["--group", "g", "--log-format", "json"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(read_lines(&mut stdout, 3).len(), 3);
    drop(stdout);
    let log = read_all(child.stderr.take().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(0), "{log}");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    let summary = summary(&log);
    let written = summary["records"].as_i64().unwrap();
    assert!((3..2000).contains(&written), "{summary}");
    assert_eq!(stage.committed("g").values().sum::<i64>(), written);
    assert_eq!(summary["committed"], "all");
}

#[test]
fn a_signal_ends_it_in_good_order_and_what_is_printed_is_committed() {
    let stage = Stage::with(2, 1000, 500);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let group = format!("g{signal}");
        let mut child = stage.spawn(&["--group", &group, "--json"]);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = read_lines(&mut stdout, 5);
        send(&child, signal);
        printed.extend(lines(read_all(stdout).as_bytes()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{}", read_all(child.stderr.take().unwrap()));
        let counts: BTreeMap<_, _> =
            offsets(&printed).into_iter().map(|(p, offsets)| (p, offsets.len() as i64)).collect();
        assert_eq!(stage.committed(&group), counts);
    }
}

#[test]
fn a_signal_ends_it_also_while_its_reader_stands_still() {
    let stage = Stage::with(1, 1000, 500);
    let mut child = stage.spawn(&["--group", "g", "--json"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut printed = read_lines(&mut stdout, 1);
    // The pipe is full: what is committed stands still, too.
    let mut before = None;
    eventually("it is stuck", || {
        let now = Some(stage.committed("g"));
        std::mem::replace(&mut before, now.clone()) == now && now.is_some_and(|committed| !committed.is_empty())
    });
    let begun = Instant::now();
    send(&child, libc::SIGTERM);
    let log = read_all(child.stderr.take().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(0), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let rest = read_all(stdout);
    printed.extend(lines(&rest.as_bytes()[..rest.rfind('\n').map_or(0, |at| at + 1)]));
    assert_eq!(stage.committed("g"), BTreeMap::from([(0, printed.len() as i64)]), "{log}");
}

#[test]
fn the_members_of_a_group_end_together_at_the_end_that_is_committed() {
    let stage = Stage::with(4, 1000, 100);
    let arguments = ["--group", "g", "--json", "--until-end"];
    // Of two that join at once the mock gives one the partitions that the other has, and has not confirmed: the first prints before the second comes.
    let mut first = stage.spawn(&arguments);
    let mut stdout = BufReader::new(first.stdout.take().unwrap());
    let mut printed = read_lines(&mut stdout, 1);
    let mut second = stage.spawn(&arguments);
    let from_second = second.stdout.take().unwrap();
    let members = [
        (first, std::thread::spawn(move || lines(read_all(stdout).as_bytes()))),
        (second, std::thread::spawn(move || lines(read_all(from_second).as_bytes()))),
    ];
    for (mut child, reader) in members {
        let log = read_all(child.stderr.take().unwrap());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{log}");
        printed.extend(reader.join().unwrap());
    }
    let mut offsets = offsets(&printed);
    offsets.values_mut().for_each(|offsets| offsets.sort_unstable());
    assert_eq!(offsets, all(4, 1000), "each once, by either");
    assert_eq!(stage.committed("g"), (0..4).map(|partition| (partition, 1000)).collect());
}

#[test]
fn what_a_killed_member_had_is_finished_by_the_other_before_it_ends() {
    let stage = Stage::with(4, 1000, 500);
    // A classic group, for its member counts as dead after 1.5 s and not only after 30.
    let classic: Vec<_> =
        EmbeddedBroker::CONSUMER_PROPERTIES.iter().flat_map(|(n, v)| ["-X".to_owned(), format!("{n}={v}")]).collect();
    let arguments = ["-X", "group.protocol=classic", "--group", "g", "--json", "--until-end"].map(str::to_owned);
    let arguments: Vec<_> = arguments.iter().chain(&classic).map(String::as_str).collect();
    // Nobody reads what it prints, so that it gets stuck with a record in each of its partitions.
    let mut stuck = stage.spawn(&arguments);
    let mut stdout = BufReader::new(stuck.stdout.take().unwrap());
    let mut from_stuck = read_lines(&mut stdout, 1);
    let mut other = stage.spawn(&arguments);
    let reader = {
        let stdout = other.stdout.take().unwrap();
        std::thread::spawn(move || lines(read_all(stdout).as_bytes()))
    };
    stuck.kill().unwrap();
    stuck.wait().unwrap();
    // Its last line may have been cut.
    let rest = read_all(stdout);
    from_stuck.extend(lines(&rest.as_bytes()[..rest.rfind('\n').map_or(0, |at| at + 1)]));
    let log = read_all(other.stderr.take().unwrap());
    assert_eq!(other.wait().unwrap().code(), Some(0), "{log}");
    let (from_stuck, from_other) = (offsets(&from_stuck), offsets(&reader.join().unwrap()));
    for (partition, offsets) in from_other {
        let known = from_stuck.get(&partition).map_or(0, |offsets| offsets.len() as i64);
        assert!(offsets[0] <= known, "partition {partition}: a gap between {known} and {}", offsets[0]);
        assert_eq!(offsets, (offsets[0]..1000).collect::<Vec<_>>(), "partition {partition}");
    }
    assert_eq!(stage.committed("g"), (0..4).map(|partition| (partition, 1000)).collect());
}

#[test]
fn json_has_everything_of_a_record() {
    let stage = Stage::new(1);
    let producer = stage.producer();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header { key: "a", value: Some(&b"\xff\xfe"[..]) })
        .insert(Header { key: "b", value: None::<&str> });
    let send = |record: BaseRecord<'_, [u8], [u8]>| {
        producer.send(record.timestamp(1_700_000_000_000)).map_err(|(e, _)| e).unwrap()
    };
    send(BaseRecord::to(TOPIC).partition(0).key(&b"k\"\n"[..]).payload("grüße".as_bytes()));
    send(BaseRecord::to(TOPIC).partition(0).key(&b"\x00\xff"[..]).payload(&b"\x80"[..]).headers(headers));
    send(BaseRecord::to(TOPIC).partition(0).key(&b"gone"[..]));
    send(BaseRecord::to(TOPIC).partition(0).payload(&b""[..]));
    producer.flush(PATIENCE).unwrap();
    let printed = stage.printed(&["--json", "--until-end"]);
    let printed: Vec<Value> = printed.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let record = |offset: i64, rest: Value| {
        let mut record = json!({"topic": TOPIC, "partition": 0, "offset": offset, "timestamp": 1_700_000_000_000_i64});
        record.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        record
    };
    let headers =
        json!([{"name": "a", "value": "1"}, {"name": "a", "value_base64": "//4="}, {"name": "b", "value": null}]);
    assert_eq!(
        printed,
        [
            record(0, json!({"key": "k\"\n", "value": "grüße"})),
            record(1, json!({"key_base64": "AP8=", "value_base64": "gA==", "headers": headers})),
            record(2, json!({"key": "gone", "value": null})),
            record(3, json!({"key": null, "value": ""})),
        ]
    );
}

#[test]
fn text_is_the_value_and_on_demand_the_key() {
    let stage = Stage::new(1);
    let producer = stage.producer();
    for record in [
        BaseRecord::to(TOPIC).partition(0).key(&b"k"[..]).payload(&b"v"[..]),
        BaseRecord::to(TOPIC).partition(0).payload(&b"\xff"[..]),
        BaseRecord::to(TOPIC).partition(0).key(&b"gone"[..]),
    ] {
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(stage.run(&["--until-end"]).stdout, b"v\n\xff\nnull\n");
    assert_eq!(stage.run(&["--until-end", "--key-separator", ": "]).stdout, b"k: v\nnull: \xff\ngone: null\n");
}

#[test]
fn earliest_and_latest_say_where_a_group_starts_that_has_committed_nothing_and_never_rewind() {
    let stage = Stage::with(1, 10, 1);
    assert!(stage.printed(&["--from", "latest", "--until-end"]).is_empty());
    assert!(stage.printed(&["--from", "latest", "--until-end", "--group", "new"]).is_empty());
    assert_eq!(stage.printed(&["--from", "earliest", "--max-records", "4"]), ["0", "1", "2", "3"]);
    assert_eq!(stage.printed(&["--group", "g", "--max-records", "4"]), ["0", "1", "2", "3"]);
    assert_eq!(stage.printed(&["--group", "g", "--from-beginning", "--max-records", "2"]), ["4", "5"]);
    assert_eq!(stage.printed(&["--group", "g", "--from", "latest", "--until-end"]), ["6", "7", "8", "9"]);
    assert!(stage.printed(&["--group", "g", "--from", "earliest", "--until-end"]).is_empty());
}

#[test]
fn from_latest_only_what_is_new_is_printed() {
    let stage = Stage::with(1, 10, 1);
    let mut child = stage.spawn(&["--from", "latest", "--max-records", "2", "-vv"]);
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("a partition starts") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before");
    }
    let drained = std::thread::spawn(move || read_all(log));
    stage.produce(10..12, 1);
    assert_eq!(read_all(child.stdout.take().unwrap()), "10\n11\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drained.join().unwrap();
}

#[test]
fn the_group_may_stand_among_the_properties() {
    let stage = Stage::with(1, 10, 1);
    assert_eq!(stage.printed(&["-X", "group.id=g", "--until-end"]).len(), 10);
    assert_eq!(stage.committed("g"), BTreeMap::from([(0, 10)]));
}

#[test]
fn an_empty_topic_is_at_its_end() {
    let stage = Stage::new(3);
    assert!(stage.printed(&["--until-end"]).is_empty());
    assert!(stage.printed(&["--until-end", "--group", "g"]).is_empty());
}

#[test]
fn a_stdout_that_takes_no_more_is_named_with_the_record_and_that_is_not_committed() {
    let stage = Stage::with(1, 10, 1);
    let mut command = stage.consume(&["--group", "g"]);
    let output = command.stdout(File::create("/dev/full").unwrap()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let log = text(&output.stderr);
    assert!(log.contains("orders-0 offset 0: stdout takes no more"), "{log}");
    assert!(stage.committed("g").is_empty());
}

#[test]
fn a_topic_that_does_not_exist_ends_it_with_3() {
    let stage = Stage::new(1);
    for group in [&[][..], &["--group", "g"]] {
        let output = stage.run(&[&["--topic", "missing"], group].concat());
        assert_eq!(output.status.code(), Some(3));
        let log = text(&output.stderr);
        assert!(log.contains("missing") && log.contains("does not exist"), "{log}");
    }
}

#[test]
fn a_group_that_may_not_be_used_ends_it_with_3() {
    let stage = Stage::with(1, 10, 1);
    let denied = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 100];
    stage.broker.fail_requests(RDKafkaApiKey::FindCoordinator, &denied);
    let output = stage.run(&["--group", "secret"]);
    assert_eq!(output.status.code(), Some(3));
    let log = text(&output.stderr);
    assert!(log.contains("group secret") && log.contains("READ"), "{log}");
}

#[test]
fn a_broker_that_is_not_there_ends_it_with_3_in_time() {
    let begun = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    let output = command
        .args(["consume", "--bootstrap-server", "127.0.0.1:9", "--topic", TOPIC, "--timeout", "1s"])
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("127.0.0.1:9"), "{}", text(&output.stderr));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_file_that_says_what_becomes_of_failures_keeps_no_topic_from_being_printed() {
    let stage = Stage::with(1, 3, 5);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("troupe.toml");
    let settings = format!(
        "[consumer]\ndead_letter_topic = '{TOPIC}'\non_dead_letter_failure = 'stop'\nmax_dead_letters_in_a_row = 5\n\
         max_dead_letter_ratio = 0.25\ndead_letter_window = 50\nretry_topics = ['retries=10s']\n"
    );
    std::fs::write(&file, settings).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(stage.printed(&["--config", file, "--until-end"]).len(), 3);
    assert_eq!(stage.printed(&["--config", file, "--group", "g", "--until-end"]).len(), 3);
}
