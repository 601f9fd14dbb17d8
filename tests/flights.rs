//! The main job on real input: flights through `troupe produce` into Apache Kafka, and out through a group of three `troupe consume`, of
//! which one is killed half way. What comes out is judged by figures that were computed without Kafka.
//!
//! `TROUPE_FLIGHTS=FILE.csv.zst TROUPE_FLIGHTS_EXPECTED=FILE.json cargo test --release --test flights` takes another file, a whole year say.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use kafka_troupe::broker::LocalKafka;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use serde_json::Value;

const MEMBERS: usize = 3;
/// What the victim has printed, at least, when it is killed.
const HALF_WAY: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(120);

type Printed = BTreeMap<(i64, i64), (String, Vec<u8>)>;

fn troupe(kafka: &LocalKafka, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.args(arguments).args(["--topic", "flights", "--bootstrap-server", kafka.bootstrap_servers()]);
    command.stdin(Stdio::null());
    command
}

/// A member of the group. It is ended with the test.
struct Member(Child);

impl Member {
    fn join(kafka: &LocalKafka) -> (Self, BufReader<ChildStdout>) {
        let properties = ["-X", "session.timeout.ms=3000", "-X", "heartbeat.interval.ms=200"];
        let mut command = troupe(kafka, &["consume", "--group", "g", "--json", "--until-end"]);
        let mut child = command.args(properties).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        (Self(child), lines)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes a printed line in; false if it is not whole. No member prints a record twice.
fn take(line: &[u8], printed: &mut Printed) -> bool {
    let Some(line) = line.strip_suffix(b"\n") else { return false };
    let record: Value = serde_json::from_slice(line).unwrap();
    let number = |name: &str| record[name].as_i64().unwrap();
    let text = |name: &str| record[name].as_str().unwrap().to_owned();
    let place = (number("partition"), number("offset"));
    assert!(printed.insert(place, (text("key"), text("value").into_bytes())).is_none(), "{place:?} printed twice");
    true
}

/// Reads lines until so many are taken, or the end.
fn read(lines: &mut BufReader<ChildStdout>, printed: &mut Printed, most: usize) {
    let mut line = Vec::new();
    while printed.len() < most && lines.read_until(b'\n', &mut line).unwrap() > 0 && take(&line, printed) {
        line.clear();
    }
}

/// Records that the group has committed, over all partitions.
fn committed(kafka: &LocalKafka) -> usize {
    let mut config = ClientConfig::new();
    let client: BaseConsumer =
        config.set("bootstrap.servers", kafka.bootstrap_servers()).set("group.id", "g").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range("flights", 0, 7);
    let committed = client.committed_offsets(list, PATIENCE).unwrap();
    let offsets = committed.elements().into_iter().filter_map(|each| each.offset().to_raw());
    offsets.map(|offset| usize::try_from(offset).unwrap_or(0)).sum()
}

fn fnv1a(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn flights_go_through_a_group_of_which_one_is_killed_without_loss_and_in_order() {
    if std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip") {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
        return;
    }
    let given = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let file = given("TROUPE_FLIGHTS", "examples/data/flights-2013-01.csv.zst");
    let expected = given("TROUPE_FLIGHTS_EXPECTED", "examples/data/flights-2013-01.expected.json");
    let expected: Value = serde_json::from_slice(&std::fs::read(expected).unwrap()).unwrap();

    let kafka = LocalKafka::start().unwrap_or_else(|error| panic!("{error}"));
    let mut produce = troupe(&kafka, &["produce", "--create-topic", "8", "--csv", "--key", "tailnum", &file]);
    assert!(produce.status().unwrap().success());

    let (mut victim, mut lines) = Member::join(&kafka);
    let mut of_victim = Printed::new();
    // It prints into a pipe that nobody empties any further: it is half way when it is killed.
    read(&mut lines, &mut of_victim, HALF_WAY);
    let survivors: Vec<_> = (1..MEMBERS)
        .map(|_| {
            let (member, mut lines) = Member::join(&kafka);
            let reader = std::thread::spawn(move || {
                let mut printed = Printed::new();
                read(&mut lines, &mut printed, usize::MAX);
                printed
            });
            (member, reader)
        })
        .collect();
    let until = Instant::now() + PATIENCE;
    while committed(&kafka) < HALF_WAY {
        assert!(Instant::now() < until, "what was printed is not committed");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    victim.0.kill().unwrap();
    victim.0.wait().unwrap();
    let committed = committed(&kafka);
    read(&mut lines, &mut of_victim, usize::MAX);

    let until = Instant::now() + PATIENCE;
    let mut all = of_victim.clone();
    let mut printed = of_victim.len();
    for (mut member, reader) in survivors {
        while !reader.is_finished() {
            assert!(Instant::now() < until, "a member does not come to the end");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let of_member = reader.join().unwrap();
        assert!(member.0.wait().unwrap().success());
        printed += of_member.len();
        all.extend(of_member);
    }

    let mut chains = BTreeMap::<&str, u64>::new();
    for (key, line) in all.values() {
        let chain = chains.entry(key).or_insert(0xcbf2_9ce4_8422_2325);
        *chain = fnv1a(*chain, line);
    }
    let fold = chains.iter().fold(0, |fold, (key, chain)| fold ^ fnv1a(*chain, key.as_bytes()));
    assert_eq!(Value::from(all.len()), expected["records"], "records");
    assert_eq!(Value::from(chains.len()), expected["keys"], "keys");
    assert_eq!(Value::from(format!("{fold:016x}")), expected["fold"], "each key's records, in the file's order");
    let repeated = printed - all.len();
    let printed = of_victim.len();
    eprintln!("{} records, the victim printed {printed}, {committed} were committed, {repeated} repeated", all.len());
    assert!(repeated <= printed.saturating_sub(HALF_WAY), "only what was printed and not committed may be repeated");
}
