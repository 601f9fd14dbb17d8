//! What is refused before anything is sent.

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
