//! What is refused before anything is sent.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::*;

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

/// Exit code, stdout and stderr of a host that only sends.
fn sent(servers: &str, arguments: &str, folder: &Path) -> (i32, Value, String) {
    let arguments = format!("--produce-only --in-flight 100 --warmup 0s --timeout 5s --json {arguments}");
    let output = load(servers, &arguments, folder).output().unwrap();
    let result = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), result, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_record_that_no_producer_takes_is_refused_with_all_that_its_identity_adds() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("in", PARTITIONS).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // With a key of 11 bytes, a header of 118 and 36 more.
    for (size, fits) in [(1_000_000 - 165, true), (1_000_000 - 164, false)] {
        let arguments = format!("--topic in --records 1 --record-size {size}");
        let (code, result, stderr) = sent(broker.bootstrap_servers(), &arguments, &run);
        assert_eq!((code, run.exists()), if fits { (0, true) } else { (2, false) }, "{size}: {stderr}");
        if fits {
            assert_eq!(counts(&result, ["acked", "failed"]), [1, 0], "{result}");
            std::fs::remove_dir_all(&run).unwrap();
        } else {
            assert!(
                stderr.contains("has 1000001 bytes") && stderr.contains("message.max.bytes is 1000000"),
                "{stderr}"
            );
        }
    }
}

#[test]
fn on_apache_kafka_records_are_held_to_what_their_topic_takes() {
    if std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip") {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
        return;
    }
    let kafka = LocalKafka::start().unwrap_or_else(|error| panic!("{error}"));
    let servers = kafka.bootstrap_servers();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    let topics = [("small", "2000"), ("large", "3000000")]
        .map(|(name, most)| NewTopic::new(name, 1, TopicReplication::Fixed(1)).set("max.message.bytes", most));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let folder = tempfile::tempdir().unwrap();
    let folder = |name: &str| folder.path().join(name);

    let refused = |arguments: &str, why: &str| {
        let (code, _, stderr) = sent(servers, arguments, &folder("refused"));
        assert!(code == 2 && stderr.contains(why) && !folder("refused").exists(), "{code}: {stderr}");
    };
    refused("--topic small --records 1 --record-size 1775", "max.message.bytes of topic small is 2000");
    refused("--topic large --records 1 --record-size 3000000", "max.message.bytes of topic large is 3000000");
    let told = "--topic large --records 1 --record-size 1500000 -X message.max.bytes=1400000";
    refused(told, "the producer's message.max.bytes is 1400000");

    // How small compression makes a record nobody knows before: the topic says whether that was small enough.
    let lines = folder("lines");
    std::fs::write(&lines, "x".repeat(5_000)).unwrap();
    let arguments = format!("--topic small --records 3 -X compression.type=lz4 --payload-file {}", lines.display());
    let (code, result, stderr) = sent(servers, &arguments, &folder("compressed"));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(counts(&result, ["acked", "failed"]), [3, 0], "{result}");

    // A batch of several would be too large for the one, a single record too large for a producer that is told nothing of the other.
    for (arguments, records) in [
        ("--topic small --records 200 --record-size uniform:100:1774", 200),
        ("--topic large --records 3 --record-size 1500000", 3),
    ] {
        let (code, result, stderr) = sent(servers, arguments, &folder(arguments));
        assert_eq!((code, counts(&result, ["acked", "failed"])), (0, [records, 0]), "{result} {stderr}");
    }
}
