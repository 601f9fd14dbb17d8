//! `troupe offsets` and `troupe lag`, seen from outside: on an Apache Kafka, and what the embedded broker can answer on that.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_troupe::broker::{EmbeddedBroker, LocalKafka, RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::ids::{NextOffset, Offset};
use kafka_troupe::offsets::memory::{LogIdentity, Packing, decode, encode};
use kafka_troupe::offsets::{CommittedOffset, FinishedRange, committed_offsets};
use kafka_troupe::{Consumer, ConsumerHandle, Record};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use rdkafka_sys as sys;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);

/// The Kafka of all tests here. It ends with this process.
fn kafka() -> &'static LocalKafka {
    static KAFKA: LazyLock<LocalKafka> =
        LazyLock::new(|| LocalKafka::start().unwrap_or_else(|error| panic!("{error}")));
    &KAFKA
}

fn skipped() -> bool {
    let skipped = std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip");
    if skipped {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
    }
    skipped
}

/// A topic, and a group of the same name.
struct Stage {
    servers: String,
    topic: String,
    partitions: i32,
}

impl Stage {
    /// One on Kafka, whose partitions hold `count` records each.
    fn with(partitions: i32, count: i64) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let topic = format!("topic-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        kafka().create_topic(&topic, partitions).unwrap();
        let stage = Self { servers: kafka().bootstrap_servers().to_owned(), topic, partitions };
        stage.produce(count, None);
        stage
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    fn member(&self) -> BaseConsumer {
        self.client().set("group.id", &self.topic).create().unwrap()
    }

    /// Appends records to each partition, of this time.
    fn produce(&self, count: i64, timestamp: Option<i64>) {
        let producer: BaseProducer = self.client().create().unwrap();
        for number in 0..count {
            for partition in 0..self.partitions {
                let (key, value) = (number.to_string(), "v");
                let mut record = BaseRecord::to(&self.topic).partition(partition).key(&key).payload(value);
                record.timestamp = timestamp;
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Commits for the group, as a client that is no member.
    fn plant(&self, commits: &[(i32, i64, &[u8])]) {
        let mut list = TopicPartitionList::new();
        for (partition, offset, _) in commits {
            list.add_partition_offset(&self.topic, *partition, ListOffset::Offset(*offset)).unwrap();
        }
        for (at, (.., metadata)) in commits.iter().enumerate() {
            // SAFETY: librdkafka frees the copy with the list. rdkafka's own setter takes text only.
            unsafe {
                let element = &mut *(*list.ptr()).elems.add(at);
                let copy = sys::rd_kafka_mem_malloc(std::ptr::null_mut(), metadata.len().max(1));
                std::ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
                (element.metadata, element.metadata_size) = (copy, metadata.len());
            }
        }
        let member = self.member();
        eventually("the commits are taken", || coordinated(member.commit(&list, CommitMode::Sync)).is_some());
    }

    /// A memory that fits the topic: without its id, as an owner writes that does not know it.
    fn memory(&self, partition: i32, base: i64, finished: &[(i64, i64)]) -> String {
        let cluster = self.member().client().fetch_cluster_id(PATIENCE).unwrap();
        memory(LogIdentity::of(&cluster, &self.topic, None, partition), base, finished)
    }

    fn commits(&self) -> Vec<CommittedOffset> {
        let member = self.member();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, self.partitions - 1);
        let mut commits = None;
        eventually("the commits are told", || {
            commits = coordinated(member.committed_offsets(list.clone(), PATIENCE));
            commits.is_some()
        });
        committed_offsets(&commits.unwrap())
    }

    fn committed(&self) -> Vec<Option<i64>> {
        self.commits().iter().map(|commit| commit.next.map(|next| next.0)).collect()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// Deletes the records of each partition below an offset.
    fn delete_records(&self, below: i64) {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&self.topic, partition, ListOffset::Offset(below)).unwrap();
        }
        block_on(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
    }

    /// A running member of the group, of either protocol.
    fn consumer(&self, protocol: &str) -> ConsumerHandle {
        let builder = Consumer::builder().bootstrap_servers(&self.servers).group_id(&self.topic).topics([&self.topic]);
        let builder = builder.property("group.protocol", protocol).property("client.id", "till");
        builder.handler(|_: &Record| ()).start().unwrap()
    }

    /// `troupe` of these words, and the group and the brokers.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = troupe(words);
        command.args(["--bootstrap-server", &self.servers, "--group", &self.topic]);
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::of(self.command(words).output().unwrap())
    }

    /// The same, which ends well and prints an object.
    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let ran = self.run(&[words, &["--json"]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Resets the topic, in earnest, and says what the group has committed then.
    #[track_caller]
    fn reset(&self, to: &[&str]) -> Vec<Option<i64>> {
        let ran = self.run(&[&["offsets", "reset", "--topic", &self.topic, "--execute"], to].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        self.committed()
    }
}

fn memory(log: LogIdentity, base: i64, finished: &[(i64, i64)]) -> String {
    let runs = finished.iter().map(|(first, last)| FinishedRange { first: Offset(*first), last: Offset(*last) });
    encode(NextOffset(base), runs, log, Packing::Dense, 4095).unwrap()
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The table on stdout, without its header.
    fn rows(&self) -> Vec<Vec<&str>> {
        self.stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
    }

    /// It failed like this, without a word on stdout.
    #[track_caller]
    fn fails(&self, code: i32, why: &str) {
        assert!(self.code == Some(code) && self.stderr.contains(why) && self.stdout.is_empty(), "{why}: {self:?}");
    }
}

fn troupe(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.args(words).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// What became of a call, unless the group's coordinator is only just coming up: that of a Kafka's first groups is.
#[track_caller]
fn coordinated<T>(called: KafkaResult<T>) -> Option<T> {
    use RDKafkaErrorCode as E;
    match called {
        Err(error) => match error.rdkafka_error_code() {
            Some(E::NotCoordinator | E::CoordinatorNotAvailable | E::CoordinatorLoadInProgress) => None,
            _ => panic!("{error}"),
        },
        Ok(value) => Some(value),
    }
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn lag_is_told_per_partition_and_in_all() {
    if skipped() {
        return;
    }
    let stage = Stage::with(3, 100);
    stage.plant(&[(0, 100, b""), (1, 40, b"")]);
    let ran = stage.run(&["lag"]);
    let topic = stage.topic.as_str();
    assert_eq!(
        ran.rows(),
        [
            vec![topic, "0", "100", "100", "0"],
            vec![topic, "1", "40", "100", "60"],
            vec![topic, "2", "-", "100", "100"],
            vec!["total", "160"]
        ],
        "{ran:?}"
    );
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{ran:?}");
    let verdict = format!(
        "group {topic} (Empty, no members): lag 160; furthest behind: {topic}-2 (100), {topic}-1 (60); \
         1 partition without a commit counts from the log's start\n"
    );
    assert_eq!(ran.stderr, verdict);
    let lag = stage.json(&["lag", "--topic", &format!("{topic}:1,0")]);
    assert_eq!((&lag["lag"], &lag["members"], &lag["state"]), (&json!(60), &json!(0), &json!("Empty")));
    assert_eq!(
        lag["partitions"][1],
        json!({"topic": topic, "partition": 1, "committed": 40, "log_start": 0, "log_end": 100, "lag": 60})
    );
    assert_eq!(lag["partitions"].as_array().unwrap().len(), 2);
}

#[test]
fn the_gate_fails_above_the_most_that_is_allowed_and_not_at_it() {
    if skipped() {
        return;
    }
    let stage = Stage::with(2, 50);
    stage.plant(&[(0, 20, b""), (1, 49, b"")]);
    let within = stage.run(&["lag", "--max", "31"]);
    assert_eq!(within.code, Some(0), "{within:?}");
    assert!(within.stderr.contains("lag 31, within 31"), "{within:?}");
    let above = stage.run(&["lag", "--max", "30"]);
    assert_eq!(above.code, Some(1), "{above:?}");
    assert!(above.stderr.contains("lag 31, above 30: FAILED; furthest behind: "), "{above:?}");
    assert_eq!(above.rows().last().unwrap(), &["total", "31"], "the table is there all the same");
    let silent = stage.run(&["lag", "--max", "30", "-q", "--json"]);
    assert_eq!((silent.code, silent.stderr.as_str()), (Some(1), ""));
    let lag: Value = serde_json::from_str(&silent.stdout).unwrap();
    assert_eq!((&lag["lag"], &lag["max"]), (&json!(31), &json!(30)));
    let programs = stage.run(&["lag", "--max", "30", "--log-format", "json"]);
    let event: Value = serde_json::from_str(programs.stderr.trim()).unwrap();
    assert_eq!((&event["level"], &event["fields"]["lag"]), (&json!("ERROR"), &json!(31)));
}

#[test]
fn what_retention_took_and_what_was_cut_off_is_noted() {
    if skipped() {
        return;
    }
    let stage = Stage::with(2, 50);
    stage.delete_records(30);
    stage.plant(&[(0, 10, b""), (1, 60, b"")]);
    let lag = stage.json(&["lag"]);
    let note = |partition: usize| lag["partitions"][partition]["note"].as_str().unwrap().to_owned();
    assert!(note(0).contains("begins 20 above the commit"), "{lag}");
    assert!(note(1).contains("10 beyond the log's end"), "{lag}");
    assert_eq!((&lag["partitions"][0]["lag"], &lag["partitions"][1]["lag"]), (&json!(40), &json!(0)));
}

#[test]
fn a_member_counts_with_what_it_holds_before_anything_is_committed() {
    if skipped() {
        return;
    }
    for protocol in ["classic", "consumer"] {
        let stage = Stage::with(2, 0);
        let member = stage.consumer(protocol);
        eventually("it holds both", || member.state().partitions.len() == 2);
        let ran = stage.run(&["lag"]);
        let topic = stage.topic.as_str();
        let rows = [vec![topic, "0", "-", "0", "0"], vec![topic, "1", "-", "0", "0"], vec!["total", "0"]];
        assert_eq!(ran.rows(), rows, "{ran:?}");
        assert!(ran.stderr.contains(", 1 member): lag 0"), "{ran:?}");
        member.shutdown_blocking(STOP).unwrap();
    }
}

#[test]
fn holes_that_the_engine_left_are_shown_and_decoded() {
    if skipped() {
        return;
    }
    let stage = Stage::with(1, 100);
    stage.plant(&[(0, 0, stage.memory(0, 0, &[(10, 12), (50, 59)]).as_bytes())]);
    // It comes as far as 5 and hands on what it found, under the topic's id.
    let builder = Consumer::builder().bootstrap_servers(&stage.servers).group_id(&stage.topic).topics([&stage.topic]);
    let builder = builder.async_handler(|record: Record| async move {
        if record.offset().0 == 5 {
            std::future::pending::<()>().await;
        }
    });
    let engine = builder.start().unwrap();
    eventually("5 are committed", || stage.committed() == [Some(5)]);
    // It waits for the record at 5 for as long as it has.
    engine.shutdown_blocking(Duration::from_secs(5)).unwrap();
    assert!(decode(&stage.commits()[0].metadata).unwrap().names_topic_id());

    let ran = stage.run(&["offsets", "show", "--holes"]);
    let topic = stage.topic.as_str();
    let rows = ran.rows();
    assert_eq!(rows[0], [topic, "0", "5", "0", "100", "95", "13", "42", "v1"], "{ran:?}");
    assert_eq!(rows[3..], [[topic, "0", "5", "9", "5"], [topic, "0", "13", "49", "37"]], "{ran:?}");
    assert!(ran.stderr.contains("lag 95, of which 13 are finished above the commits"), "{ran:?}");

    let show = stage.json(&["offsets", "show", "--holes"]);
    let row = &show["partitions"][0];
    assert_eq!(
        (&row["holes_at"], &row["finished_at"]),
        (&json!([[5, 9], [13, 49]]), &json!([[10, 12], [50, 59]])),
        "{row}"
    );
    assert_eq!((&row["metadata_kind"], &row["packing"]), (&json!("troupe"), &json!("dense")));
    let decoded = Ran::of(troupe(&["offsets", "decode", row["metadata"].as_str().unwrap()]).output().unwrap());
    assert_eq!(decoded.code, Some(0), "{decoded:?}");
    for line in [
        "base            5",
        "names_topic_id  yes",
        "finished        13",
        "holes           42",
        "run             10-12",
    ] {
        assert!(decoded.stdout.lines().any(|each| each == line), "{line}: {decoded:?}");
    }
}

#[test]
fn metadata_is_believed_only_where_it_fits_and_otherwise_the_reason_is_shown() {
    if skipped() {
        return;
    }
    let stage = Stage::with(9, 30);
    let fitting = stage.memory(0, 10, &[(20, 29)]);
    let elsewhere = memory(LogIdentity::of("another cluster", &stage.topic, None, 4), 10, &[(20, 29)]);
    let mut damaged = stage.memory(6, 10, &[(20, 29)]);
    damaged.pop();
    let metadata: [(&[u8], &str, &str); 9] = [
        (fitting.as_bytes(), "v1", ""),
        (b"", "-", ""),
        (b"processed by somebody", "other", "another program's"),
        // As MirrorMaker translates an offset and keeps its metadata.
        (
            &stage.memory(3, 11, &[(20, 29)]).into_bytes(),
            "v1",
            "committed at offset 11, but the committed offset is 10",
        ),
        (elsewhere.as_bytes(), "v1", "of another log"),
        (&stage.memory(5, 10, &[(20, 30)]).into_bytes(), "v1", "offset 30 as finished, but the high watermark is 30"),
        (damaged.as_bytes(), "damaged", "damaged"),
        (b"\xff\xfe\x80", "other", "another program's"),
        (b"T3dabc", "v3", "version 3 of the format is newer"),
    ];
    let commits: Vec<_> = (0..).zip(metadata).map(|(partition, (metadata, ..))| (partition, 10, metadata)).collect();
    stage.plant(&commits);
    let ran = stage.run(&["offsets", "show"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for ((row, line), (_, kind, why)) in ran.rows().iter().zip(ran.stdout.lines().skip(1)).zip(metadata) {
        assert_eq!(row[8], kind, "{line}");
        assert!(line.contains(why) && (row.len() > 9) != why.is_empty(), "{line}");
        let finished = if row[1] == "0" { ["10", "10"] } else { ["-", "-"] };
        assert_eq!(row[6..8], finished, "{line}");
    }
    let show = stage.json(&["offsets", "show"]);
    // Apache Kafka keeps text: of what is none it makes question marks.
    assert_eq!(show["partitions"][7]["metadata"], "\u{fffd}\u{fffd}\u{fffd}");
    assert_eq!(show["partitions"][2]["metadata"], "processed by somebody");
    assert_eq!(show["finished_above"], 10);
    // None of it is in the way of a reset, and all of it goes.
    let reset = stage.json(&["offsets", "reset", "--all-topics", "--to-current", "--execute"]);
    assert_eq!(reset["metadata_dropped"], 8);
    assert!(stage.commits().iter().all(|commit| commit.metadata.is_empty() && commit.next == Some(NextOffset(10))));
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    if skipped() {
        return;
    }
    let stage = Stage::with(2, 50);
    stage.plant(&[(0, 20, b"a note"), (1, 30, b"")]);
    let before = stage.commits();
    for words in [&["--dry-run"][..], &[]] {
        let ran =
            stage.run(&[&["offsets", "reset", "--topic", stage.topic.as_str(), "--shift-by", "-25"], words].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let topic = stage.topic.as_str();
        assert_eq!(ran.rows()[0][..5], [topic, "0", "20", "0", "-20"], "{ran:?}");
        assert_eq!(ran.rows()[1], [topic, "1", "30", "5", "-25"], "{ran:?}");
        assert!(ran.stdout.contains("-5 is below the log's start"), "{ran:?}");
        assert!(ran.stderr.contains("would reset 2 partitions") && ran.stderr.contains("1 commit would go"), "{ran:?}");
        assert_eq!(stage.commits(), before);
    }
    let plan = stage.json(&["offsets", "reset", "--topic", &stage.topic, "--to-latest"]);
    assert_eq!(plan["executed"], false);
    assert_eq!(
        plan["partitions"][0],
        json!({"topic": stage.topic, "partition": 0, "current": 20, "new": 50, "change": 30})
    );
    assert_eq!(stage.commits(), before);
}

#[test]
fn every_way_to_reset_commits_what_it_says() {
    if skipped() {
        return;
    }
    let stage = Stage::with(2, 0);
    let hour = 3_600_000;
    let (then, later) = (now() - 3 * hour, now() - hour);
    stage.produce(40, Some(then));
    stage.produce(10, Some(later));
    stage.delete_records(10);
    stage.plant(&[(0, 20, b"a note")]);
    assert_eq!(stage.reset(&["--to-current"]), [Some(20), Some(50)], "without a commit it is the log's end");
    assert!(stage.commits()[0].metadata.is_empty());
    assert_eq!(stage.reset(&["--to-earliest"]), [Some(10), Some(10)]);
    assert_eq!(stage.reset(&["--to-latest"]), [Some(50), Some(50)]);
    assert_eq!(stage.reset(&["--to-offset", "33"]), [Some(33), Some(33)]);
    assert_eq!(stage.reset(&["--shift-by", "-3"]), [Some(30), Some(30)]);
    assert_eq!(stage.reset(&["--shift-by", "7"]), [Some(37), Some(37)]);
    assert_eq!(stage.reset(&["--by-duration", "PT2H"]), [Some(40), Some(40)]);
    assert_eq!(stage.reset(&["--by-duration", "P1DT2H"]), [Some(10), Some(10)], "all is younger");
    // What lies outside the log.
    assert_eq!(stage.reset(&["--to-offset", "51"]), [Some(50), Some(50)]);
    assert_eq!(stage.reset(&["--to-offset", "9"]), [Some(10), Some(10)]);
    assert_eq!(stage.reset(&["--shift-by", "1000"]), [Some(50), Some(50)]);
    assert_eq!(stage.reset(&["--shift-by=-9223372036854775808"]), [Some(10), Some(10)]);
    // A time with and without a zone; behind the last record; before the first.
    assert_eq!(stage.reset(&["--to-datetime", "2001-09-09T01:46:40.000"]), [Some(10), Some(10)]);
    assert_eq!(stage.reset(&["--to-datetime", "2101-09-09T01:46:40.000+02:00"]), [Some(50), Some(50)]);
    assert_eq!(stage.reset(&["--to-datetime", &utc(later)]), [Some(40), Some(40)], "just then is late enough");
    assert_eq!(stage.reset(&["--to-datetime", &utc(later + 1)]), [Some(50), Some(50)]);
    // Of one partition only.
    let one = format!("{}:1", stage.topic);
    let ran = stage.run(&["offsets", "reset", "--topic", &one, "--to-earliest", "--execute"]);
    assert_eq!((ran.code, stage.committed()), (Some(0), vec![Some(50), Some(10)]), "{ran:?}");
    // What a file says, with more topics than one.
    let other = Stage::with(1, 5);
    let mut plan = tempfile::NamedTempFile::new().unwrap();
    write!(plan, "{},0,12\n{},0,3\n{},1,99\n", stage.topic, other.topic, stage.topic).unwrap();
    let plan = plan.path().to_str().unwrap();
    let ran = stage.run(&["offsets", "reset", "--from-file", plan, "--execute"]);
    assert_eq!((ran.code, stage.committed()), (Some(0), vec![Some(12), Some(50)]), "{ran:?}");
    let show = stage.json(&["offsets", "show", "--topic", &other.topic]);
    assert_eq!(show["partitions"][0]["committed"], 3);
    // All that the group has a commit of.
    let ran = stage.run(&["offsets", "reset", "--all-topics", "--to-latest", "--execute"]);
    assert_eq!((ran.code, ran.rows().len(), stage.committed()), (Some(0), 3, vec![Some(50), Some(50)]), "{ran:?}");
}

/// UTC, as Kafka's tool takes it: `2024-06-30T18:00:00.000`.
fn utc(millis: i64) -> String {
    let output = Command::new("date")
        .args(["-u", "-d", &format!("@{}.{:03}", millis / 1000, millis % 1000), "+%Y-%m-%dT%H:%M:%S.%3N"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn nothing_is_shifted_where_one_partition_has_no_commit() {
    if skipped() {
        return;
    }
    let stage = Stage::with(2, 50);
    stage.plant(&[(0, 20, b"")]);
    let ran = stage.run(&["offsets", "reset", "--topic", &stage.topic, "--shift-by", "1", "--execute"]);
    ran.fails(3, &format!("{}-1: it has no commit to shift", stage.topic));
    assert_eq!(stage.committed(), [Some(20), None]);
}

#[test]
fn a_group_with_a_member_is_not_reset_and_the_member_is_named() {
    if skipped() {
        return;
    }
    for protocol in ["classic", "consumer"] {
        let stage = Stage::with(2, 50);
        let member = stage.consumer(protocol);
        eventually("it is through", || stage.committed() == [Some(50), Some(50)]);
        let ran = stage.run(&["offsets", "reset", "--topic", &stage.topic, "--to-earliest", "--execute"]);
        ran.fails(3, "has members, and cannot be reset while they run\n  client till at ");
        assert!(ran.stderr.starts_with("error: group "), "it is not even tried: {ran:?}");
        assert!(ran.stderr.contains(", with 2 partitions\nstop them and try again"), "{ran:?}");
        assert_eq!(stage.committed(), [Some(50), Some(50)]);
        // A rehearsal is possible.
        let ran = stage.run(&["offsets", "reset", "--topic", &stage.topic, "--to-earliest"]);
        assert!(ran.code == Some(0) && ran.stderr.contains("client till at "), "{ran:?}");
        member.shutdown_blocking(STOP).unwrap();
        eventually("the member is gone", || stage.json(&["lag"])["members"] == 0);
        assert_eq!(stage.reset(&["--to-earliest"]), [Some(0), Some(0)]);
        // And the group goes on from there.
        let member = stage.consumer(protocol);
        eventually("it is through again", || stage.committed() == [Some(50), Some(50)]);
        assert_eq!(member.state().counters.finished, 100);
        member.shutdown_blocking(STOP).unwrap();
    }
}

#[test]
fn a_group_that_does_not_exist_is_missing_and_comes_into_being_by_a_reset() {
    if skipped() {
        return;
    }
    let stage = Stage::with(1, 50);
    for words in [&["lag"][..], &["offsets", "show"], &["lag", "--topic", &stage.topic]] {
        stage.run(words).fails(3, "does not exist: it has neither members nor commits");
    }
    stage.run(&["offsets", "reset", "--all-topics", "--to-earliest"]).fails(3, "has committed nothing");
    let ran = stage.run(&["offsets", "reset", "--topic", &stage.topic, "--to-offset", "7", "--execute"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("does not exist, and comes into being"), "{ran:?}");
    assert_eq!(stage.json(&["lag"])["lag"], 43);
}

#[test]
fn a_topic_that_is_gone_is_missing_and_its_commits_with_it() {
    if skipped() {
        return;
    }
    let (stage, gone) = (Stage::with(1, 50), Stage::with(2, 50));
    stage.plant(&[(0, 20, b"")]);
    let ran = stage.run(&["offsets", "reset", "--topic", &gone.topic, "--to-earliest", "--execute"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(stage.json(&["lag"])["lag"], 130);
    block_on(stage.admin().delete_topics(&[&gone.topic], &AdminOptions::new())).unwrap();
    let named = ["--topic", gone.topic.as_str()];
    eventually("it is deleted", || stage.run(&[&["lag"], &named[..]].concat()).code == Some(3));
    for words in [&["lag"][..], &["offsets", "show"], &["offsets", "reset", "--to-earliest"]] {
        stage.run(&[words, &named].concat()).fails(3, &format!("topic {} does not exist", gone.topic));
    }
    // Kafka drops the commits with their topic, a moment later.
    eventually("its commits are gone", || stage.json(&["lag"])["lag"] == 30);
    let absent = format!("{}:1", stage.topic);
    stage.run(&["lag", "--topic", &absent]).fails(3, "has no partition 1; it has only partition 0");
}

#[test]
fn a_gate_on_brokers_that_are_not_there_says_so_within_its_deadline() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let server = listener.local_addr().unwrap().to_string();
    drop(listener);
    let begun = Instant::now();
    let words = ["lag", "--group", "g", "--max", "5", "--timeout", "500ms", "--bootstrap-server", &server];
    Ran::of(troupe(&words).output().unwrap()).fails(3, "cannot reach Kafka at");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn on_the_embedded_broker_a_named_topics_lag_and_commits_are_told() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("orders", 2).unwrap();
    let servers = broker.bootstrap_servers().to_owned();
    let named = Stage { servers, topic: "orders".to_owned(), partitions: 2 };
    named.produce(50, None);
    named.plant(&[(0, 20, named.memory(0, 20, &[(30, 39)]).as_bytes()), (1, 50, b"\xff\xfe\x80")]);
    let lag = named.json(&["lag", "--topic", "orders"]);
    assert_eq!((&lag["lag"], &lag["members"]), (&json!(30), &Value::Null));
    let above = named.run(&["lag", "--topic", "orders", "--max", "29"]);
    assert!(above.code == Some(1) && above.stderr.starts_with("group orders: lag 30, above 29"), "{above:?}");
    let show = named.json(&["offsets", "show", "--topic", "orders"]);
    assert_eq!((&show["finished_above"], &show["partitions"][0]["holes"]), (&json!(10), &json!(10)), "{show}");
    assert_eq!(show["partitions"][1]["metadata_base64"], "//6A", "bytes that are no text are shown as they are");
    assert_eq!(named.reset(&["--to-offset", "7"]), [Some(7), Some(7)]);
}

#[test]
fn a_partition_whose_leader_does_not_answer_makes_the_lag_not_known_and_spoils_no_other() {
    let broker = EmbeddedBroker::builder().brokers(2).start().unwrap();
    broker.create_topic("orders", 2).unwrap();
    (0..2).for_each(|partition| broker.move_leader("orders", partition, partition + 1).unwrap());
    broker.move_coordinator("orders", 1).unwrap();
    let first = broker.bootstrap_servers().split(',').next().unwrap().to_owned();
    let stage = Stage { servers: first, topic: "orders".to_owned(), partitions: 2 };
    stage.produce(50, None);
    stage.plant(&[(0, 20, b""), (1, 30, b"")]);
    let lag = ["lag", "--topic", "orders", "--timeout", "2s"];
    let reset = ["offsets", "reset", "--topic", "orders", "--to-earliest", "--execute", "--timeout", "2s"];
    let is_dark = |why: &str| {
        for (max, code) in [("30", 3), ("29", 1)] {
            let ran = stage.run(&[&lag[..], &["--max", max]].concat());
            assert_eq!(ran.code, Some(code), "{max}: {ran:?}");
            assert_eq!(ran.rows()[0], ["orders", "0", "20", "50", "30"], "{ran:?}");
            assert_eq!(ran.rows()[1][..5], ["orders", "1", "30", "-", "-"], "{ran:?}");
            assert!(ran.stdout.contains(why), "{ran:?}");
            assert_eq!(ran.stderr.contains("that of 1 partition is NOT KNOWN"), code == 3, "{ran:?}");
        }
        stage.run(&reset).fails(3, &format!("nothing is reset:\n  orders-1: {why}"));
        assert_eq!(stage.committed(), [Some(20), Some(30)]);
    };
    broker.set_rtt(2, Duration::from_secs(60)).unwrap();
    is_dark("the leader does not answer");
    broker.take_down(2).unwrap();
    is_dark("the partition has no leader");
    broker.set_rtt(2, Duration::ZERO).unwrap();
    broker.bring_up(2).unwrap();
    assert_eq!(stage.json(&["lag", "--topic", "orders"])["lag"], 50);
}

#[test]
fn a_leader_that_moves_is_asked_again() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("orders", 2).unwrap();
    let servers = broker.bootstrap_servers().to_owned();
    let stage = Stage { servers, topic: "orders".to_owned(), partitions: 2 };
    stage.produce(50, None);
    stage.plant(&[(0, 20, b""), (1, 30, b"")]);
    let moving = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3];
    broker.fail_requests(RDKafkaApiKey::ListOffsets, &moving);
    let loading = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 3];
    broker.fail_requests(RDKafkaApiKey::OffsetFetch, &loading);
    assert_eq!(stage.json(&["lag", "--topic", "orders"])["lag"], 50);
    // One that is refused for good is told.
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR];
    broker.fail_requests(RDKafkaApiKey::ListOffsets, &refused);
    let ran = stage.run(&["lag", "--topic", "orders"]);
    assert!(ran.code == Some(3) && ran.stdout.contains("the leader does not tell: "), "{ran:?}");
}

#[test]
fn a_memory_is_decoded_from_an_argument_and_from_stdin() {
    let text = memory(LogIdentity::of("c", "t", None, 0), 10, &[(12, 12), (20, 29)]);
    let by_argument = Ran::of(troupe(&["offsets", "decode", "--json", &text]).output().unwrap());
    assert_eq!(by_argument.code, Some(0), "{by_argument:?}");
    let decoded: Value = serde_json::from_str(&by_argument.stdout).unwrap();
    let expected = BTreeMap::from([
        ("readable", json!(true)),
        ("version", json!(1)),
        ("packing", json!("dense")),
        ("base", json!(10)),
        ("names_topic_id", json!(false)),
        ("finished", json!(11)),
        ("holes", json!(9)),
        ("run_count", json!(2)),
        ("runs", json!([[12, 12], [20, 29]])),
    ]);
    for (name, value) in expected {
        assert_eq!(decoded[name], value, "{name}");
    }
    for (input, code) in
        [(format!("{text}\n"), 0), (format!("{text}\r\n"), 0), (format!("{text}x"), 1), (String::new(), 1)]
    {
        let mut child = troupe(&["offsets", "decode", "-", "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let object: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(object["readable"], code == 0);
        assert_eq!(object["why"].is_string(), code == 1);
    }
    // Bytes that are no text, as an argument.
    let bytes: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"T1d\xff");
    let ran = Ran::of(troupe(&["offsets", "decode"]).arg(bytes).output().unwrap());
    assert!(ran.code == Some(1) && ran.stdout.contains("not readable: the metadata is damaged"), "{ran:?}");
}

#[test]
fn what_cannot_be_asked_for_ends_with_2() {
    let reset = ["offsets", "reset", "--bootstrap-server", "localhost:1", "--group", "g"];
    for words in [
        &["--topic", "t"][..],
        &["--to-earliest"],
        &["--topic", "t", "--all-topics", "--to-earliest"],
        &["--topic", "t", "--to-earliest", "--to-latest"],
        &["--topic", "t", "--to-earliest", "--dry-run", "--execute"],
        &["--topic", "t", "--to-offset", "-1"],
        &["--topic", "t:x", "--to-earliest"],
        &["--topic", "t", "--to-datetime", "yesterday"],
        &["--topic", "t", "--by-duration", "1h"],
        &["--topic", "t", "--by-duration", "P1M"],
        &["--topic", "t", "--from-file", "plan.csv"],
    ] {
        let ran = Ran::of(troupe(&[&reset[..], words].concat()).output().unwrap());
        assert!(ran.code == Some(2) && ran.stdout.is_empty() && !ran.stderr.is_empty(), "{words:?}: {ran:?}");
    }
    for words in [&["lag"][..], &["lag", "--group", "g", "--max", "-1"], &["offsets"], &["offsets", "show"]] {
        assert_eq!(Ran::of(troupe(words).output().unwrap()).code, Some(2), "{words:?}");
    }
    let mut plan = tempfile::NamedTempFile::new().unwrap();
    plan.write_all(b"t,0,5\nt,zero,5\n").unwrap();
    let ran = Ran::of(troupe(&reset).arg("--from-file").arg(plan.path()).output().unwrap());
    ran.fails(2, "line 2 is not topic,partition,offset");
}
