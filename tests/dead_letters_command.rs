//! `troupe dead-letters`: what it shows, and what it sends back.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[allow(dead_code)]
#[path = "scenarios/fixture.rs"]
mod fixture;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fixture::{On, PATIENCE, Stage, eventually, on_kafka, since_1970};
use kafka_troupe::broker::{RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::consume::{DeadLetters, Outcome, Record};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

mod embedded {
    #[test]
    fn each_dead_letter_is_listed_with_its_story_and_filters_leave_the_others_out() {
        super::listed(super::On::Embedded);
    }

    #[test]
    fn dead_letters_that_retention_takes_away_under_the_reader_do_not_hide_those_behind_them() {
        super::listed_after_a_reset(super::On::Embedded);
    }

    #[test]
    fn a_replay_sends_nothing_unless_it_is_told_to_and_then_the_records_as_they_were() {
        super::replayed(super::On::Embedded);
    }

    #[test]
    fn a_replay_that_a_signal_ends_tells_how_many_are_sent_and_has_failed() {
        super::interrupted(super::On::Embedded);
    }
}

mod kafka {
    #[test]
    fn each_dead_letter_is_listed_with_its_story_and_filters_leave_the_others_out() {
        super::on_kafka(super::listed);
    }

    #[test]
    fn a_replay_sends_nothing_unless_it_is_told_to_and_then_the_records_as_they_were() {
        super::on_kafka(super::replayed);
    }
}

/// Of each partition of a topic, dead letters of its records 4, 14, 24 and 34, and for another reason of 7, 17, 27 and 37; and a record that
/// is none.
fn with_dead_letters(on: On) -> (Stage, Stage, i64) {
    let (stage, begun) = (Stage::new(on, 2), since_1970() - 60_000);
    let letters = stage.another_topic(2);
    stage.produce_at(&[0, 1], 0..40, |number| begun + number);
    let consumer = stage
        .consumer("g")
        .dead_letters(DeadLetters::to(&letters.topic))
        .handler(|record: &Record| match record.offset().0 % 10 {
            4 => Outcome::DeadLetter { cause: "no such customer".into() },
            7 => Outcome::DeadLetter { cause: "the warehouse\nis closed".into() },
            _ => Outcome::Done,
        })
        .start()
        .unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 40), (1, 40)].into());
    consumer.shutdown_blocking(Duration::from_secs(20)).unwrap();
    let producer: BaseProducer = letters.client().create().unwrap();
    producer.send(BaseRecord::to(&letters.topic).key("k").payload("none")).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    (stage, letters, begun)
}

fn troupe(stage: &Stage, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.args(arguments).args(["--bootstrap-server", stage.broker.bootstrap_servers()]).output().unwrap()
}

#[track_caller]
fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    (out, err)
}

fn listed(on: On) {
    let (stage, letters, _) = with_dead_letters(on);
    let list = |filters: &[&str]| {
        let arguments = [&["dead-letters", "list", "--topic", &letters.topic], filters].concat();
        said(&troupe(&letters, &arguments))
    };
    let (table, summary) = list(&[]);
    assert_eq!(table.lines().count(), 1 + 16, "{table}");
    assert!(summary.contains("16 dead letters, and 1 records that are none"), "{summary}");
    let source = format!("{}-1@17", stage.topic);
    let row = table.lines().find(|line| line.contains(&source)).unwrap();
    assert!(row.trim_end().ends_with("1  17   the warehouse is closed"), "{row:?}");

    let count = |filters: &[&str]| list(filters).0.lines().count() - 1;
    assert_eq!(count(&["--error", "no such customer"]), 8);
    assert_eq!(count(&["--source", &format!("{}:0", stage.topic), "--error", "closed"]), 4);
    assert_eq!(count(&["--source", "another"]), 0);
    assert_eq!(count(&["--key", "24"]), 2);
    assert_eq!((count(&["--since", "2020-01-01T00:00:00"]), count(&["--until", "2020-01-01T00:00:00"])), (16, 0));

    let (lines, _) = list(&["--json", "--key", "24", "--source", &format!("{}:1", stage.topic)]);
    let letter: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(
        (&letter["topic"], &letter["key"], &letter["value"]),
        (&letters.topic.as_str().into(), &"24".into(), &"24".into())
    );
    let header = |name: &str| {
        let headers = letter["headers"].as_array().unwrap();
        headers.iter().find(|header| header["name"] == name).map(|header| header["value"].clone())
    };
    assert_eq!(header("__troupe.errors.offset"), Some("24".into()));
    assert_eq!(header("__troupe.errors.message"), Some("no such customer".into()));
}

fn listed_after_a_reset(on: On) {
    let (_stage, letters, _) = with_dead_letters(on);
    let gone = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
    letters.broker.embedded().fail_requests(RDKafkaApiKey::Fetch, &[gone]);
    let (table, _) = said(&troupe(&letters, &["dead-letters", "list", "--topic", &letters.topic]));
    assert_eq!(table.lines().count(), 1 + 16, "{table}");
}

fn replayed(on: On) {
    let (stage, letters, begun) = with_dead_letters(on);
    let mended = stage.another_topic(2);
    let replay = |options: &[&str]| {
        let arguments = [&["dead-letters", "replay", "--topic", &letters.topic, "--json"], options].concat();
        let (out, err) = said(&troupe(&letters, &arguments));
        (serde_json::from_str::<Value>(&out).unwrap(), err)
    };
    let dry = [&[][..], &["--dry-run"]].map(&replay);
    for (outcome, summary) in dry {
        assert_eq!(outcome["records"], serde_json::json!({ stage.topic.clone(): 16 }));
        assert_eq!((&outcome["executed"], &outcome["sent"]), (&false.into(), &0.into()));
        assert!(summary.contains("16 dead letters would go back, and 1 records that are none; --execute"), "{summary}");
    }
    assert_eq!(stage.ends(), [(0, 40), (1, 40)].into());

    let (outcome, _) = replay(&["--error", "no such customer", "--execute"]);
    assert_eq!((&outcome["executed"], &outcome["sent"], &outcome["failed"]), (&true.into(), &8.into(), &0.into()));
    assert_eq!(stage.ends(), [(0, 44), (1, 44)].into());
    let (lines, _) = said(&troupe(&stage, &["consume", "--topic", &stage.topic, "--until-end", "--json"]));
    let back: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for partition in 0..2 {
        let of = back.iter().filter(|record| record["partition"] == partition && record["offset"].as_i64() >= Some(40));
        let mut of: Vec<_> = of.map(|record| (&record["key"], &record["value"], &record["timestamp"])).collect();
        // Each key is one record here, and between keys there is no order.
        of.sort_by_key(|(.., timestamp)| timestamp.as_i64());
        let numbers = ["4", "14", "24", "34"].map(Value::from);
        let times = [4, 14, 24, 34].map(|number| Value::from(begun + number));
        let expected: Vec<_> = numbers.iter().zip(&times).map(|(number, time)| (number, number, time)).collect();
        assert_eq!(of, expected, "as they were");
    }
    assert!(back.iter().all(|record| record.get("headers").is_none()), "without their story");

    let (outcome, _) = replay(&["--source", &format!("{}:0", stage.topic), "--to", &mended.topic, "--execute"]);
    assert_eq!(outcome["records"], serde_json::json!({ mended.topic.clone(): 8 }));
    assert_eq!((stage.ends(), mended.ends().values().sum::<i64>()), ([(0, 44), (1, 44)].into(), 8));

    let itself = troupe(&letters, &["dead-letters", "replay", "--topic", &letters.topic, "--to", &letters.topic]);
    assert_eq!(itself.status.code(), Some(2));
}

fn interrupted(on: On) {
    // More than it sends ahead of the answers, and one request takes beside that.
    const LETTERS: i64 = 30_000;
    let stage = Stage::new(on, 1);
    let letters = stage.another_topic(1);
    let producer: BaseProducer = letters.client().create().unwrap();
    for number in 0..LETTERS {
        let offset = number.to_string();
        let story = [("topic", stage.topic.as_str()), ("partition", "0"), ("offset", &offset)];
        let headers = story.iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
            headers.insert(Header { key: &format!("__troupe.errors.{name}"), value: Some(*value) })
        });
        let record = BaseRecord::<str, str>::to(&letters.topic).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).unwrap();
    // The first request is taken, and the others are not.
    let (fine, busy) =
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
    letters.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[&[fine][..], &[busy; 10_000]].concat());
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.args(["dead-letters", "replay", "--topic", &letters.topic, "--execute", "--json"]);
    command.args(["--bootstrap-server", letters.broker.bootstrap_servers()]);
    let replay = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("some are sent", || stage.ends()[&0] > 0);
    assert!(Command::new("kill").args(["-s", "INT", &replay.id().to_string()]).status().unwrap().success());
    letters.broker.embedded().stop_failing_requests(RDKafkaApiKey::Produce);
    let output = replay.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    let outcome: Value = serde_json::from_str(&out).unwrap();
    let sent = stage.ends()[&0];
    assert!(0 < sent && sent < LETTERS, "{sent}");
    assert_eq!((&outcome["interrupted"], &outcome["sent"]), (&true.into(), &sent.into()), "{out}");
    assert!(err.contains(&format!("stopped by a signal: {sent} of {LETTERS} dead letters are sent")), "{err}");
}
