//! What the log tells, what it must not, and that it holds nobody up. Alone in its process, for it captures all that the process logs, at the finest level.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[allow(dead_code, unreachable_pub)]
#[path = "scenarios/fixture.rs"]
mod fixture;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use kafka_troupe::consume::{Cause, Outcome, Record};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use fixture::{Journal, PATIENCE, Stage, eventually};

/// In every key, value and header, and in nothing else.
const MARKER: &str = "zanzibar";

/// Everything that was logged: one line an event, `LEVEL target: field=value ...`.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<String>>>);

impl Captured {
    /// The process's subscriber.
    fn installed() -> &'static Self {
        static INSTALLED: OnceLock<Captured> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            let captured = Self::default();
            tracing::subscriber::set_global_default(captured.clone()).unwrap();
            captured
        })
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// A line that has all of these in it.
    #[track_caller]
    fn assert_line(&self, parts: &[&str]) {
        let lines = self.lines();
        let found = lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "no line with {parts:?} among {}:\n{}", lines.len(), lines.join("\n"));
    }
}

struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {field}={value}").unwrap();
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Captured {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut line = Line(format!("SPAN {}:", span.metadata().target()));
        span.record(&mut line);
        self.0.lock().unwrap().push(line.0);
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut line = Line("SPAN".to_owned());
        values.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} {}:", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Ten records, with the marker in key, value, header name and header value.
fn produce(stage: &Stage) {
    let servers = stage.broker.bootstrap_servers();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    for number in 0..10 {
        let text = format!("{MARKER}-{number}");
        let header = Header { key: MARKER, value: Some(&text) };
        let record = BaseRecord::to(&stage.topic).partition(0).key(&text).payload(&text);
        let record = record.headers(OwnedHeaders::new().insert(header));
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

#[test]
fn keys_values_and_headers_are_in_no_log_line_and_positions_are() {
    let captured = Captured::installed();
    let stage = Stage::new(fixture::On::Embedded, 1);
    produce(&stage);
    let journal = Journal::default();
    let notes = journal.clone();
    let handler = move |record: &Record| {
        assert!(record.value().unwrap().starts_with(MARKER.as_bytes()));
        tracing::info!(?record, "the app logs a record as it is");
        match (record.offset().0, record.attempt()) {
            (2, 1) => return Err("a handler's error"),
            (3, 1) => panic!("a handler's panic"),
            (4, 1) => {
                let (after, cause) = (Duration::from_millis(1), Cause::new("a handler's wish"));
                return Ok(Outcome::Retry { after, cause });
            }
            (9, _) => {
                let cause = Cause::new("a handler's stop");
                return Ok(Outcome::Stop { cause });
            }
            _ => notes.note("a", record),
        }
        Ok(Outcome::Done)
    };
    let pause = Duration::from_millis(1);
    let consumer = stage
        .consumer("g")
        .handler(handler)
        .retry_pause(pause, pause)
        // Its log lines on records themselves.
        .property("debug", "msg,fetch")
        .start()
        .unwrap();
    eventually("a handler stops the consumer", || consumer.cancellation_token().is_cancelled());
    let ended = consumer.shutdown_blocking(PATIENCE).unwrap_err().to_string();
    assert_eq!(journal.len(), 9);
    let told = format!("{ended} {consumer:?} {}", serde_json::to_string(&consumer.state()).unwrap());
    assert!(!told.contains(MARKER), "{told}");

    // As text, and as `Debug` writes bytes.
    let bytes = format!("{:?}", MARKER.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    let leaks: Vec<_> =
        captured.lines().into_iter().filter(|line| line.contains(MARKER) || line.contains(bytes)).collect();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    let (topic, engine) = (format!("topic={}", stage.topic), " troupe_actors::");
    for (offset, cause) in [(2, "a handler's error"), (3, "a handler's panic"), (4, "a handler's wish")] {
        let offset = format!("offset={offset} ");
        captured.assert_line(&["WARN", engine, &topic, "partition=0 ", &offset, "epoch=1 ", "attempt=1 ", cause]);
    }
    captured.assert_line(&["ERROR", engine, "offset 9", "a handler's stop"]);
    captured.assert_line(&["INFO", engine, &topic, "partition=0 ", "epoch=1 ", "offset=0", "a partition starts"]);
    captured.assert_line(&["DEBUG librdkafka:", "facility="]);
    captured.assert_line(&["the app logs a record", "offset: 5", "value_len: Some(10)"]);
}

#[test]
fn a_librdkafka_that_logs_much_does_not_hold_up_the_group() {
    Captured::installed();
    let stage = Stage::new(fixture::On::Embedded, 2);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let handler = move |record: &Record| notes.note("a", record);
    let builder = stage.consumer("g").handler(handler).property("debug", "all");
    let consumer = builder.start().unwrap();
    eventually("all is handled", || journal.len() == 200);
    consumer.shutdown_blocking(PATIENCE).unwrap();
}

#[test]
fn a_static_member_that_stops_tells_how_long_its_partitions_wait_for_it() {
    let captured = Captured::installed();
    let stage = Stage::new(fixture::On::Embedded, 1);
    let builder = stage.consumer("g").property("group.instance.id", "member-7").handler(|_: &Record| ());
    let consumer = builder.start().unwrap();
    eventually("it has its partition", || consumer.state().partitions.len() == 1);
    consumer.shutdown_blocking(PATIENCE).unwrap();
    let told: Vec<_> = captured.lines().into_iter().filter(|line| line.contains("instance=member-7")).collect();
    assert_eq!(told.len(), 1, "once: {told:?}");
    let wanted = ["INFO", "a static member stops", "session_timeout_ms=1500"];
    assert!(wanted.iter().all(|part| told[0].contains(part)), "{}", told[0]);
}

#[test]
fn a_member_of_the_new_protocol_tells_once_that_it_is_experimental() {
    let captured = Captured::installed();
    let stage = Stage::new(fixture::On::Embedded, 1);
    let consumer = stage.new_protocol_consumer("g").handler(|_: &Record| ()).start().unwrap();
    eventually("it has its partition", || consumer.state().partitions.len() == 1);
    consumer.shutdown_blocking(PATIENCE).unwrap();
    let told: Vec<_> = captured.lines().into_iter().filter(|line| line.contains("is experimental")).collect();
    assert!(told.len() == 1 && told[0].starts_with("INFO"), "{told:?}");
}
