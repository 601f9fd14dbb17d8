//! `troupe lag`.

use std::time::{Duration, Instant};

use kafka_troupe::broker::{EmbeddedBroker, RDKafkaApiKey, RDKafkaRespErr};
use serde_json::{Value, json};

use crate::spawning::{output, take_down};
use crate::stage::{Ran, STOP, Stage, eventually, skipped, troupe};

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
fn a_gate_on_brokers_that_are_not_there_says_so_within_its_deadline() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let server = listener.local_addr().unwrap().to_string();
    drop(listener);
    let begun = Instant::now();
    let words = ["lag", "--group", "g", "--max", "5", "--timeout", "500ms", "--bootstrap-server", &server];
    Ran::of(output(&mut troupe(&words))).fails(3, "cannot reach Kafka at");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
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
    take_down(&broker, 2);
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
