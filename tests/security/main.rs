//! Brokers that demand to know who comes: who may pass passes, and who may not is told so, soon and once.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod acl;
mod dead_letters;
mod offsets;
mod secrets;
mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_troupe::broker::LocalKafka;
use kafka_troupe::consume::{Consumer, ConsumerBuilder, ConsumerError, ConsumerHandle, Record};
use kafka_troupe::produce::{ErrorClass, ProducerBuilder, SendError};
use kafka_troupe::{Producer, ProducerRecord};

use acl::{Operation, Resource, allow};
use servers::{ALICE, BOB};

const STOP: Duration = Duration::from_secs(20);
/// A refusal is told within this.
const SOON: Duration = Duration::from_secs(15);

/// A topic of one partition with a record, and what a client needs to get there.
struct Door {
    kafka: &'static LocalKafka,
    topic: String,
    properties: Vec<(&'static str, String)>,
}

impl Door {
    /// Gives Bob, who may do nothing else, this permission.
    fn allow_bob(&self, operation: Operation, resource: Resource, name: &str) {
        self.allow(BOB, operation, resource, name);
    }

    fn allow(&self, user: (&str, &str), operation: Operation, resource: Resource, name: &str) {
        allow(self.kafka.bootstrap_servers(), user.0, operation, resource, name);
    }

    fn new(kafka: &'static LocalKafka, properties: &[(&'static str, &str)]) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        if std::env::var_os("RUST_LOG").is_some() {
            let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::stderr);
            let _ = log.try_init();
        }
        let topic = format!("topic-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        kafka.create_topic(&topic, 1).unwrap();
        let inside = Producer::builder().bootstrap_servers(kafka.bootstrap_servers()).start().unwrap();
        inside.sender().send_blocking(ProducerRecord::to(&topic).value("v")).unwrap();
        inside.shutdown_blocking(STOP).unwrap();
        let properties = properties.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { kafka, topic, properties }
    }

    fn plain(user: (&str, &str)) -> Self {
        let login = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")];
        Self::new(servers::plain(), &login).of(user)
    }

    fn tls(mechanism: &'static str, user: (&str, &str)) -> Self {
        let tls = servers::tls();
        let ca = tls.right_ca().display().to_string();
        let login = [("security.protocol", "SASL_SSL"), ("sasl.mechanism", mechanism), ("ssl.ca.location", &ca)];
        Self::new(&tls.kafka, &login).of(user)
    }

    fn of(mut self, (name, password): (&str, &str)) -> Self {
        self.properties.extend([("sasl.username", name.to_owned()), ("sasl.password", password.to_owned())]);
        self
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.properties.retain(|(each, _)| *each != name);
        self.properties.push((name, value));
        self
    }

    fn group(&self) -> String {
        format!("{}-group", self.topic)
    }

    fn servers(&self) -> &str {
        self.kafka.secure_bootstrap_servers().unwrap()
    }

    fn consumer(&self) -> ConsumerBuilder {
        let builder = Consumer::builder().bootstrap_servers(self.servers()).group_id(self.group());
        let builder = builder.topics([&self.topic]);
        self.properties.iter().fold(builder, |builder, (name, value)| builder.property(*name, value))
    }

    fn producer(&self) -> ProducerBuilder {
        let builder = Producer::builder().bootstrap_servers(self.servers());
        self.properties.iter().fold(builder, |builder, (name, value)| builder.property(*name, value))
    }

    /// Consumes the record that is there, and produces another one.
    fn opens(&self) {
        let handled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&handled);
        let handler = move |_: &Record| {
            count.fetch_add(1, Ordering::SeqCst);
        };
        let consumer = self.consumer().handler(handler).start().unwrap();
        let producer = self.producer().start().unwrap();
        producer.sender().send_blocking(ProducerRecord::to(&self.topic).value("w")).unwrap();
        let until = Instant::now() + STOP;
        while handled.load(Ordering::SeqCst) < 2 {
            assert!(Instant::now() < until, "{:?}", consumer.state());
            std::thread::park_timeout(Duration::from_millis(5));
        }
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        producer.shutdown_blocking(STOP).unwrap();
    }

    /// Why a consumer ends, soon and by itself.
    fn turns_consumers_away(&self) -> ConsumerError {
        let consumer = self.consumer().handler(|_: &Record| ()).start().unwrap();
        ended(&consumer)
    }

    /// Why a record is not sent, soon.
    fn turns_records_away(&self) -> SendError {
        let producer = self.producer().start().unwrap();
        let begun = Instant::now();
        let error = producer.sender().send_blocking(ProducerRecord::to(&self.topic).value("w")).unwrap_err();
        assert!(begun.elapsed() < SOON, "{:?}: {error}", begun.elapsed());
        let _ = producer.shutdown_blocking(Duration::from_secs(2));
        error
    }
}

#[track_caller]
fn ended(consumer: &ConsumerHandle) -> ConsumerError {
    let until = Instant::now() + SOON;
    while !consumer.state().stopping {
        assert!(Instant::now() < until, "it goes on for ever");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    consumer.wait_blocking().unwrap_err()
}

#[track_caller]
fn says(error: &dyn std::fmt::Display, words: &[&str]) {
    let error = error.to_string();
    for word in words {
        assert!(error.to_lowercase().contains(&word.to_lowercase()), "{word} in: {error}");
    }
    for secret in [ALICE.1, BOB.1, "wr0ng-s3cret"] {
        assert!(!error.contains(secret), "{error}");
    }
}

/// On Apache Kafka, unless `TROUPE_TEST_KAFKA=skip` says not to.
fn skipped() -> bool {
    let skipped = std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip");
    if skipped {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
    }
    skipped
}

#[test]
fn who_logs_in_by_plain_passes() {
    if !skipped() {
        Door::plain(ALICE).opens();
    }
}

#[test]
fn who_logs_in_over_tls_passes_by_each_mechanism() {
    if !skipped() {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            Door::tls(mechanism, ALICE).opens();
        }
    }
}

#[test]
fn a_wrong_password_is_told_soon() {
    if skipped() {
        return;
    }
    let wrong = (ALICE.0, "wr0ng-s3cret");
    for door in [Door::plain(wrong), Door::tls("SCRAM-SHA-512", wrong)] {
        says(&door.turns_consumers_away(), &["authentication"]);
        says(&door.turns_records_away(), &["authentication"]);
    }
}

#[test]
fn a_server_that_the_ca_did_not_sign_is_told_soon() {
    if skipped() {
        return;
    }
    let wrong = servers::tls().wrong_ca().display().to_string();
    let door = Door::tls("PLAIN", ALICE).with("ssl.ca.location", wrong);
    says(&door.turns_consumers_away(), &["certificate"]);
    says(&door.turns_records_away(), &["certificate"]);
}

#[test]
fn no_permission_to_read_a_topic_is_told_with_its_name() {
    if skipped() {
        return;
    }
    let door = Door::plain(BOB);
    door.allow_bob(Operation::RD_KAFKA_ACL_OPERATION_READ, Resource::RD_KAFKA_RESOURCE_GROUP, &door.group());
    says(&door.turns_consumers_away(), &[&door.topic, "authori"]);
    // To see it is not to read it.
    door.allow_bob(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, Resource::RD_KAFKA_RESOURCE_TOPIC, &door.topic);
    says(&door.turns_consumers_away(), &[&door.topic, "authori"]);
}

#[test]
fn no_permission_for_a_group_is_told_with_its_name() {
    if skipped() {
        return;
    }
    let door = Door::plain(BOB);
    door.allow_bob(Operation::RD_KAFKA_ACL_OPERATION_READ, Resource::RD_KAFKA_RESOURCE_TOPIC, &door.topic);
    says(&door.turns_consumers_away(), &[&door.group(), "authori"]);
}

#[test]
fn no_permission_to_write_is_told_with_the_topics_name() {
    if skipped() {
        return;
    }
    let door = Door::plain(BOB);
    let error = door.turns_records_away();
    says(&error, &[&door.topic, "authori"]);
    door.allow_bob(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, Resource::RD_KAFKA_RESOURCE_TOPIC, &door.topic);
    // Kafka gives an idempotent producer no id that may write nowhere.
    let error = door.turns_records_away();
    says(&error, &[&door.topic, "authori"]);
    assert_eq!(error.class(), ErrorClass::Fatal, "{error}");
    let door = door.with("enable.idempotence", "false".to_owned());
    let error = door.turns_records_away();
    says(&error, &[&door.topic, "authori"]);
    assert_eq!(error.class(), ErrorClass::Permanent, "{error}");
}
