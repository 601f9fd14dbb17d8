//! `troupe offsets show` and `decode`.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use kafka_troupe::broker::EmbeddedBroker;
use kafka_troupe::ids::NextOffset;
use kafka_troupe::offsets::memory::{LogIdentity, decode};
use kafka_troupe::{Consumer, Record};
use rdkafka::admin::AdminOptions;
use serde_json::{Value, json};

use crate::spawning::{output, spawn};
use crate::stage::{Ran, Stage, block_on, eventually, memory, skipped, troupe};

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
    let decoded = Ran::of(output(&mut troupe(&["offsets", "decode", row["metadata"].as_str().unwrap()])));
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
fn a_memory_is_decoded_from_an_argument_and_from_stdin() {
    let text = memory(LogIdentity::of("c", "t", None, 0), 10, &[(12, 12), (20, 29)]);
    let by_argument = Ran::of(output(&mut troupe(&["offsets", "decode", "--json", &text])));
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
        let mut command = troupe(&["offsets", "decode", "-", "--json"]);
        let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let object: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(object["readable"], code == 0);
        assert_eq!(object["why"].is_string(), code == 1);
    }
    // Bytes that are no text, as an argument.
    let bytes: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"T1d\xff");
    let ran = Ran::of(output(troupe(&["offsets", "decode"]).arg(bytes)));
    assert!(ran.code == Some(1) && ran.stdout.contains("not readable: the metadata is damaged"), "{ran:?}");
}
