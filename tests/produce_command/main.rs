//! `troupe produce`, seen from outside, on the embedded broker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod options;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use kafka_troupe::broker::{EmbeddedBroker, RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::produce::partition_of_key;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use tempfile::NamedTempFile;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);
const FLIGHTS: &[u8] = include_bytes!("../../examples/data/flights-2013-01.csv.zst");

/// Key and value, as they came out of Kafka.
type Stored = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A broker with one topic.
struct Stage {
    broker: EmbeddedBroker,
}

impl Stage {
    fn new() -> Self {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic(TOPIC, PARTITIONS).unwrap();
        Self { broker }
    }

    fn servers(&self) -> &str {
        self.broker.bootstrap_servers()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        troupe(&[&["produce", "--bootstrap-server", self.servers(), "--topic", TOPIC][..], arguments].concat())
    }

    /// Runs it with this on stdin.
    fn produce(&self, arguments: &[&str], input: &[u8]) -> Output {
        feed(self.command(arguments).arg("-"), input)
    }

    /// The same, and it ends well.
    #[track_caller]
    fn produced(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.produce(arguments, input);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    }

    /// Reads the topic, each partition in its order, until there is no more.
    fn stored(&self) -> Vec<Vec<Stored>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers()).set("group.id", "reader").set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        let mut left = 0;
        for partition in 0..PARTITIONS {
            left += consumer.fetch_watermarks(TOPIC, partition, PATIENCE).unwrap().1;
            list.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut partitions = vec![Vec::new(); PARTITIONS as usize];
        while left > 0 {
            let record = consumer.poll(PATIENCE).expect("a record").unwrap();
            let stored = (record.key().map(<[u8]>::to_vec), record.payload().map(<[u8]>::to_vec));
            partitions[record.partition() as usize].push(stored);
            left -= 1;
        }
        partitions
    }

    /// All values, sorted.
    fn values(&self) -> Vec<String> {
        let stored = self.stored().into_iter().flatten();
        let mut values: Vec<_> = stored.map(|(_, value)| String::from_utf8(value.unwrap()).unwrap()).collect();
        values.sort();
        values
    }
}

fn troupe(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = spawn(command);
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // A command that does not want it all closes the pipe.
    let feeding = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn some(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn file(content: &[u8]) -> (NamedTempFile, String) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

#[test]
fn lines_go_to_the_partitions_of_their_keys_in_their_order() {
    let stage = Stage::new();
    let input: String = (0..1000).map(|number| format!("k{}:v:{number}\n", number % 7)).collect();
    let summary = stage.produced(&["--key-separator", ":", "--json"], input.as_bytes());
    let mut expected = vec![Vec::new(); PARTITIONS as usize];
    for number in 0..1000 {
        let key = format!("k{}", number % 7);
        let partition = partition_of_key(key.as_bytes(), PARTITIONS.unsigned_abs().try_into().unwrap());
        expected[partition.0 as usize].push((some(&key), some(&format!("v:{number}"))));
    }
    assert_eq!(stage.stored(), expected);
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["sent"], &summary["failed"]), (&1000.into(), &0.into()));
    assert_eq!(summary["bytes"], input.len() - 2 * 1000);
    assert!(summary["rate"].as_f64().unwrap() > 0.0 && summary["next_line"].is_null(), "{summary}");
}

#[test]
fn a_month_of_flights_is_sent_row_by_row_however_it_is_compressed() {
    let csv = {
        let mut csv = Vec::new();
        std::io::Read::read_to_end(&mut ruzstd::decoding::StreamingDecoder::new(FLIGHTS).unwrap(), &mut csv).unwrap();
        csv
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&csv).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut rows: Vec<_> = text(&csv).lines().skip(1).map(str::to_owned).collect();
    rows.sort();
    for input in [FLIGHTS, &gzip, &csv] {
        let stage = Stage::new();
        let (_kept, path) = file(input);
        let output = stage.command(&["--csv", "--key", "tailnum", &path]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let log = text(&output.stderr);
        assert!(log.starts_with("sent 27004 records (") && log.ends_with("records/s\n"), "{log}");
        assert!(!log.contains(['\r', '\x1b']), "a bar without a terminal");
        assert_eq!(stage.values(), rows);
        let keys_fit = |(key, value): &Stored| {
            let value = text(value.as_ref().unwrap()).to_owned();
            some(value.split(',').nth(11).unwrap()) == *key
        };
        assert!(stage.stored().iter().flatten().all(keys_fit));
    }
}

#[test]
fn ndjson_is_keyed_by_its_pointer() {
    let stage = Stage::new();
    stage.produced(&["--json-key", "/who/id"], b"{\"who\":{\"id\":\"a\"}}\n\n{\"who\": {\"id\": 7}}\n");
    let mut stored: Vec<_> = stage.stored().concat();
    stored.sort();
    assert_eq!(stored, [(some("7"), some("{\"who\": {\"id\": 7}}")), (some("a"), some("{\"who\":{\"id\":\"a\"}}"))]);
}

#[test]
fn what_consume_prints_comes_back_as_it_was() {
    const COPY: &str = "copy";
    let stage = Stage::new();
    stage.broker.create_topic(COPY, PARTITIONS).unwrap();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", stage.servers()).create().unwrap();
    let odd: &[&[u8]] = &[b"", b"plain", b"\xff\x00\xfe", "\u{e9}\n\"\\\u{1}".as_bytes()];
    for (number, bytes) in odd.iter().enumerate() {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "name", value: Some(*bytes) })
            .insert(Header { key: "name", value: None::<&[u8]> })
            .insert(Header { key: "", value: Some("x") });
        let record = BaseRecord::to(TOPIC).partition(number as i32).timestamp(1_700_000_000_000 + number as i64);
        let record = record.key(*bytes).payload(*bytes).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        // Neither key nor value.
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(TOPIC).partition(number as i32).timestamp(5);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let printed = |topic: &str| {
        let arguments = ["consume", "--bootstrap-server", stage.servers(), "--topic", topic, "--until-end", "--json"];
        let output = troupe(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let lines = text(&output.stdout).replace("\"topic\":\"copy\"", "\"topic\":\"orders\"");
        let mut lines: Vec<_> = lines.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let original = printed(TOPIC);
    assert_eq!(original.len(), 8);
    let arguments = ["produce", "--bootstrap-server", stage.servers(), "--topic", COPY];
    let mut produce = troupe(&[&arguments[..], &["--input", "records", "--keep-partitions", "-"]].concat());
    let output = feed(&mut produce, (original.join("\n") + "\n").as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // Offsets too: the printed lines were sorted, and those of a partition by offset among them.
    assert_eq!(printed(COPY), original);
}

#[test]
fn bad_input_ends_it_behind_all_that_was_good_and_it_goes_on_from_there() {
    let stage = Stage::new();
    let input = b"{\"k\":1}\n{\"k\":2}\n{\"k\":\n{\"k\":4}\n";
    let output = stage.produce(&["--json-key", "/k", "--json"], input);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stderr);
    assert!(log.contains("sent 2 records"), "{log}");
    assert!(log.contains("line 3: no JSON") && log.contains("all records before it are sent"), "{log}");
    assert!(log.contains("--from-line 3 once it is mended, or with --from-line 4 without it"), "{log}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["sent"], &summary["next_line"]), (&2.into(), &3.into()));
    stage.produced(&["--json-key", "/k", "--from-line", "4"], input);
    assert_eq!(stage.values(), ["{\"k\":1}", "{\"k\":2}", "{\"k\":4}"]);
}

#[test]
fn a_file_that_is_cut_off_is_sent_up_to_the_cut_and_the_whole_one_goes_on_from_there() {
    let stage = Stage::new();
    let arguments = ["--csv", "--key", "tailnum", "--json"];
    let output = stage.produce(&arguments, &FLIGHTS[..FLIGHTS.len() / 2]);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stderr);
    assert!(log.contains("the zstd data are cut off"), "{log}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (sent, next) = (summary["sent"].as_u64().unwrap(), summary["next_line"].as_u64().unwrap());
    assert!(sent > 5_000, "{summary}");
    assert_eq!(next, sent + 2, "the header is a line too");
    stage.produced(&[&arguments[..], &["--from-line", &next.to_string()]].concat(), FLIGHTS);
    let mut values = stage.values();
    values.dedup();
    assert_eq!(values.len(), 27_004);
}

#[test]
fn a_record_that_is_too_large_is_named_and_the_others_are_sent() {
    let stage = Stage::new();
    let input = format!("a\n{}\nb\n", "x".repeat(3_000));
    let output = stage.produce(&["-X", "max.request.size=2000"], input.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stderr);
    assert!(log.contains("sent 2 records") && log.contains("1 record failed:\n  line 2: "), "{log}");
    assert!(log.contains("a record of 3000 bytes is too large"), "{log}");
    assert_eq!(stage.values(), ["a", "b"]);
}

#[test]
fn no_permission_to_write_ends_it_at_once() {
    let stage = Stage::new();
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 100];
    stage.broker.fail_requests(RDKafkaApiKey::Produce, &refused);
    let input = "x\n".repeat(1_000_000);
    let output = stage.produce(&[], input.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stderr);
    assert!(log.contains("no permission to write to topic orders, an ACL must allow Write"), "{log}");
    assert!(log.contains("go on with --from-line 1"), "{log}");
}

#[test]
fn what_comes_by_stdin_is_sent_as_it_comes_and_a_signal_ends_it_in_good_order() {
    let stage = Stage::new();
    let mut child = spawn(stage.command(&["--json"]).arg("-"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"a\nb\nc\nhalf a li").unwrap();
    stdin.flush().unwrap();
    let until = Instant::now() + PATIENCE;
    while stage.values() != ["a", "b", "c"] {
        assert!(Instant::now() < until, "they are not sent before the end of the input");
    }
    // SAFETY: the process is our child and not yet waited for, so the number is still its own.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
    let output = child.wait_with_output().unwrap();
    let log = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("sent 3 records") && log.contains("the rest begins at line 4"), "{log}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["next_line"], 4);
    drop(stdin);
}

#[test]
fn a_topic_that_is_not_there_is_said_and_does_not_come_into_being() {
    let stage = Stage::new();
    let output =
        feed(&mut troupe(&["produce", "--bootstrap-server", stage.servers(), "--topic", "oders", "-"]), b"x\n");
    assert_eq!(output.status.code(), Some(3));
    let log = text(&output.stderr);
    assert!(log.contains("topic oders does not exist") && log.contains("--create-topic PARTITIONS"), "{log}");
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", stage.servers()).create().unwrap();
    let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
    let topics: Vec<_> = metadata.topics().iter().map(|topic| topic.name()).collect();
    assert_eq!(topics, [TOPIC]);
}

#[test]
fn a_topic_that_exists_with_other_partitions_is_left_alone() {
    let stage = Stage::new();
    stage.produced(&["--create-topic", "4"], b"x\n");
    let output = stage.produce(&["--create-topic", "8"], b"y\n");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("topic orders exists with 4 partitions, not 8"));
    assert_eq!(stage.values(), ["x"]);
}

#[test]
fn a_kafka_that_is_not_there_ends_with_3_and_is_named() {
    // A port that was ours a moment ago, and is nobody's now.
    let server = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = troupe(&["produce", "--bootstrap-server", &server, "--topic", "t", "--timeout", "300ms", "-"]);
    let output = feed(&mut command, b"x\n");
    assert_eq!(output.status.code(), Some(3));
    let log = text(&output.stderr);
    assert!(log.contains(&format!("cannot reach Kafka at {server} within 300ms")), "{log}");
    assert!(log.contains("Connection refused") && output.stdout.is_empty(), "{log}");
}

#[test]
fn what_is_asked_wrongly_ends_with_2_and_says_how_it_is_right() {
    let (_kept, config) = file(b"linger.ms=soon\n");
    let stage = Stage::new();
    let here = ["--bootstrap-server", stage.servers(), "--topic", TOPIC];
    let cases: &[(&[&str], &str)] = &[
        (&["--topic", "t", "-"], "--bootstrap-server HOST:PORT"),
        (&["--bootstrap-server", "x:1", "-"], "--topic"),
        (&[&here[..], &["--csv", "--key", "tail", "-"]].concat(), "there is no column tail; the columns are a, b"),
        (&[&here[..], &["--key", "a", "-"]].concat(), "--csv"),
        (&[&here[..], &["--csv", "--json-key", "/a", "-"]].concat(), "cannot be used with"),
        (&[&here[..], &["--json-key", "a", "-"]].concat(), "begins with a slash"),
        (&[&here[..], &["--create-topic", "many", "-"]].concat(), "as in 8 or 8:3"),
        (&[&here[..], &["-X", "linger.ms", "-"]].concat(), "-X takes NAME=VALUE"),
        (&[&here[..], &["-X", "acks=most", "-"]].concat(), "property acks: "),
        (&[&here[..], &["--command-config", &config, "-"]].concat(), "property linger.ms: \"soon\" is no number"),
    ];
    for (arguments, said) in cases {
        let output = feed(&mut troupe(&[&["produce"], *arguments].concat()), b"a,b\n1,2\n");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    assert_eq!(stage.values(), Vec::<String>::new());
}

#[test]
#[cfg(not(feature = "tls"))]
fn tls_names_the_feature_that_it_takes() {
    for property in ["security.protocol=SSL", "sasl.mechanism=SCRAM-SHA-512"] {
        let output =
            feed(&mut troupe(&["produce", "--bootstrap-server", "x:1", "--topic", "t", "-X", property, "-"]), b"");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("cargo install kafka-troupe --features tls"));
    }
}

#[test]
fn no_secret_is_shown_whatever_goes_wrong_and_however_much_is_logged() {
    const SECRET: &str = "hunter2";
    // A login that the embedded broker does not answer: the connection is closed on it.
    let login = format!("x.PlainLoginModule required username=\"u\" password=\"{SECRET}\";");
    let (_kept, config) = file(
        format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={login}\nssl.key.password={SECRET}\n\
             ssl.keystore.key={SECRET}\nsasl.oauthbearer.client.secret={SECRET}\nunknown.password={SECRET}\n"
        )
        .as_bytes(),
    );
    let stage = Stage::new();
    let with_file = ["--command-config", &config, "-X", "debug=all", "--timeout", "500ms"];
    let (by_x, malformed) = (format!("sasl.password={SECRET}"), format!("sasl.password:{SECRET}"));
    let oauth = format!("sasl.oauthbearer.config={SECRET}");
    let broken = format!("sasl.jaas.config={SECRET}");
    let cases: &[&[&str]] = &[
        &with_file,
        &[&with_file[..], &["-X", &by_x]].concat(),
        &[&with_file[..], &["-X", &malformed]].concat(),
        &[&with_file[..], &["-X", &oauth, "-X", "sasl.mechanism=OAUTHBEARER"]].concat(),
        &[&with_file[..], &["-X", &broken]].concat(),
        // Here it gets through, for the login is left out.
        &["-X", &by_x, "-X", "debug=all"],
    ];
    let mut codes = BTreeMap::new();
    for arguments in cases {
        for format in ["text", "json"] {
            let output = stage.produce(&[*arguments, &["-vvv", "--log-format", format, "--json"]].concat(), b"x\n");
            let shown = format!("{}{}", text(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(!shown.contains(SECRET), "{arguments:?}: {:?}", shown.lines().find(|line| line.contains(SECRET)));
            *codes.entry(output.status.code()).or_insert(0) += 1;
        }
    }
    // They fail for their own reasons, and the last one does not.
    assert_eq!(codes[&Some(0)], 2);
    assert_eq!((codes[&Some(2)], codes[&Some(3)]), (6, 4));
}
