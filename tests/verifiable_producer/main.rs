//! `troupe verifiable-producer` beside Kafka's own VerifiableProducer: the same options, the same events, and Java's VerifiableConsumer reads both.
//!
//! On Apache Kafka, unless `TROUPE_TEST_KAFKA=skip` says not to.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod tool;
#[path = "../verifiable/mod.rs"]
mod verifiable;

use std::collections::BTreeSet;

use serde_json::Value;

use tool::{end_after, fields, java_consumer, producer};
use verifiable::{Whose, skipped, topic};

fn named<'a>(events: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["name"] == name)
}

/// Runs both tools to their ends: the events of each.
fn side_by_side(arguments: &[&str]) -> [(String, Vec<Value>); 2] {
    let run = |whose| {
        let topic = topic(3);
        let mut tool = producer(whose, &topic, arguments);
        assert!(tool.wait().success());
        (topic, tool.events(), fields(&tool))
    };
    let [ours, javas] = [run(Whose::Ours), run(Whose::Java)];
    assert_eq!(ours.2, javas.2, "the same events, with the same fields in the same order");
    [ours, javas].map(|(topic, events, _)| (topic, events))
}

#[test]
fn both_tell_the_same_of_the_same_records_and_java_reads_them_back() {
    if skipped() {
        return;
    }
    let arguments = ["--max-messages", "500", "--repeating-keys", "7", "--value-prefix", "3", "--throughput", "1000"];
    let mut told = Vec::new();
    for (topic, events) in side_by_side(&arguments) {
        assert_eq!(events[0]["name"], "startup_complete");
        let end: Vec<_> = events[events.len() - 2..].iter().map(|event| event["name"].as_str().unwrap()).collect();
        assert_eq!(end, ["shutdown_complete", "tool_data"]);
        let tool_data = events.last().unwrap();
        assert_eq!((&tool_data["sent"], &tool_data["acked"]), (&500.into(), &500.into()));
        assert_eq!(tool_data["target_throughput"], 1000);
        let sent: BTreeSet<_> = named(&events, "producer_send_success")
            .map(|event| {
                let text = |name: &str| event[name].as_str().unwrap().to_owned();
                assert_eq!(text("topic"), topic);
                // Both place keys alike.
                (text("value"), text("key"), event["partition"].as_i64().unwrap())
            })
            .collect();
        let read = read_back(&topic, 500);
        let told_of: BTreeSet<_> = named(&events, "producer_send_success").map(place).collect();
        assert_eq!(
            named(&read, "record_data").map(place).collect::<BTreeSet<_>>(),
            told_of,
            "it is where it is said to be"
        );
        told.push(sent);
    }
    assert_eq!(told[0], told[1]);
}

/// Where an event says a record is, and what it holds.
fn place(event: &Value) -> (i64, i64, String) {
    let number = |name: &str| event[name].as_i64().unwrap();
    (number("partition"), number("offset"), event["value"].as_str().unwrap().to_owned())
}

/// What Java's VerifiableConsumer says of a topic's records.
fn read_back(topic: &str, count: usize) -> Vec<Value> {
    let count = count.to_string();
    let mut consumer = java_consumer(topic, &["--verbose", "--max-messages", &count]);
    consumer.wait();
    consumer.events()
}

#[test]
fn without_acks_and_keys_and_with_a_time_of_creation_both_tell_the_same() {
    if skipped() {
        return;
    }
    let arguments = ["--max-messages", "20", "--acks", "0", "--message-create-time", "1700000000000"];
    for (_, events) in side_by_side(&arguments) {
        let sent: Vec<_> = named(&events, "producer_send_success").collect();
        assert_eq!(sent.len(), 20);
        assert!(sent.iter().all(|event| event["offset"] == -1 && event["key"].is_null()));
    }
}

#[test]
fn a_record_that_fails_is_told_by_both_with_the_same_fields_and_class() {
    if skipped() {
        return;
    }
    let run = |whose| {
        let mut tool = producer(whose, "no such name", &["--max-messages", "2", "--value-prefix", "1"]);
        tool.wait();
        (fields(&tool).remove("producer_send_error").unwrap(), tool.events())
    };
    let [ours, javas] = [run(Whose::Ours), run(Whose::Java)];
    assert_eq!(ours.0, javas.0, "the same fields in the same order");
    let without_words = |events: &[Value]| -> Vec<_> {
        let part = |event: &Value| ["topic", "key", "value", "exception"].map(|name| event[name].clone());
        named(events, "producer_send_error").map(part).collect()
    };
    assert_eq!(without_words(&ours.1), without_words(&javas.1));
    assert_eq!(ours.1.last().unwrap()["acked"], 0);
}

#[test]
fn a_sigterm_sends_what_is_on_its_way_and_prints_the_summary() {
    if skipped() {
        return;
    }
    for whose in [Whose::Ours, Whose::Java] {
        let topic = topic(2);
        let mut tool = producer(whose, &topic, &["--throughput", "2000"]);
        let status = end_after(&mut tool, |events| named(events, "producer_send_success").count() > 300);
        let events = tool.events();
        let summary = events.last().unwrap();
        assert_eq!(summary["name"], "tool_data", "{whose:?}");
        assert_eq!(named(&events, "producer_send_success").count() as u64, summary["acked"].as_u64().unwrap());
        assert_eq!(named(&events, "shutdown_complete").count(), 1);
        if whose == Whose::Ours {
            // Java's may count one that its closed producer did not take.
            assert_eq!(summary["sent"], summary["acked"], "nothing is lost");
            assert!(status.success());
        }
    }
}
