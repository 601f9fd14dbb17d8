//! The embedded broker keeps what its documentation says, seen by plain librdkafka clients.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kafka_troupe::broker::{BrokerError, EmbeddedBroker, RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn a_second_member_takes_its_share_without_waiting_out_kafkas_usual_timeouts() {
    for properties in [EmbeddedBroker::CONSUMER_PROPERTIES, EmbeddedBroker::CONSUMER_PROTOCOL_PROPERTIES] {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic("t", 4).unwrap();
        let started = Instant::now();
        let first = member(&broker, properties);
        poll_until(&[&first], |counts| counts == [4]);
        let alone = started.elapsed();
        let second = member(&broker, properties);
        poll_until(&[&first, &second], |counts| counts == [2, 2]);
        let shared = started.elapsed() - alone;
        println!("alone after {alone:?}, shared after {shared:?}: {properties:?}");
        // At most 0.1 s and 1.1 s when nothing else runs; with the defaults 3 s and 44 s.
        assert!(alone + shared < Duration::from_secs(10));
    }
}

#[test]
fn threads_share_one_broker() {
    let broker = EmbeddedBroker::start().unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let broker = &broker;
            scope.spawn(move || {
                for i in 0..25 {
                    broker.create_topic(&format!("t-{thread}-{i}"), 1).unwrap();
                    broker.fail_requests(RDKafkaApiKey::AlterConfigs, &[]);
                }
            });
        }
    });
    let metadata = consumer(&broker).fetch_metadata(None, DEADLINE).unwrap();
    assert_eq!(metadata.topics().len(), 100);
}

#[test]
fn another_process_reads_what_this_one_wrote() {
    const SERVERS: &str = "TROUPE_TEST_BOOTSTRAP_SERVERS";
    if let Ok(servers) = std::env::var(SERVERS) {
        return assert_eq!(read_one(&servers), b"across");
    }
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    send(&broker, "across").unwrap();
    let reader = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process_reads_what_this_one_wrote"])
        .env(SERVERS, broker.bootstrap_servers())
        .output()
        .unwrap();
    assert!(reader.status.success(), "{reader:?}");
}

#[test]
fn the_ports_close_with_the_broker() {
    let broker = EmbeddedBroker::builder().brokers(3).start().unwrap();
    let servers = broker.bootstrap_servers().to_owned();
    assert_eq!(servers.split(',').count(), 3);
    for server in servers.split(',') {
        assert!(TcpStream::connect(server).is_ok());
    }
    drop(broker);
    for server in servers.split(',') {
        assert!(TcpStream::connect(server).is_err());
    }
}

#[test]
fn a_broker_that_was_down_comes_back_with_its_records() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    send(&broker, "before").unwrap();
    broker.take_down(1).unwrap();
    assert!(TcpStream::connect(broker.bootstrap_servers()).is_err());
    broker.bring_up(1).unwrap();
    assert_eq!(read_one(broker.bootstrap_servers()), b"before");
}

#[test]
fn requests_fail_as_often_as_asked_for_and_then_succeed() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.fail_requests(RDKafkaApiKey::Produce, &[denied, denied]);
    let refusal = KafkaError::MessageProduction(RDKafkaErrorCode::TopicAuthorizationFailed);
    assert_eq!(send(&broker, "first"), Err(refusal.clone()));
    assert_eq!(send(&broker, "second"), Err(refusal));
    assert_eq!(send(&broker, "third"), Ok(()));

    broker.fail_requests(RDKafkaApiKey::Produce, &[denied]);
    broker.stop_failing_requests(RDKafkaApiKey::Produce);
    assert_eq!(send(&broker, "fourth"), Ok(()));
}

#[test]
fn answers_are_held_back_for_the_round_trip_time() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let consumer = consumer(&broker);
    consumer.fetch_watermarks("t", 0, DEADLINE).unwrap();
    let rtt = Duration::from_millis(200);
    broker.set_rtt(1, rtt).unwrap();
    let asked = Instant::now();
    consumer.fetch_watermarks("t", 0, DEADLINE).unwrap();
    assert!(asked.elapsed() >= rtt);
}

#[test]
fn a_groups_offsets_outlive_the_move_of_its_coordinator() {
    let broker = EmbeddedBroker::builder().brokers(3).start().unwrap();
    broker.create_topic("t", 1).unwrap();
    broker.move_coordinator("g", 2).unwrap();
    let consumer = consumer(&broker);
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("t", 0, Offset::Offset(7)).unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();

    broker.take_down(2).unwrap();
    let without_coordinator = consumer.committed_offsets(offsets.clone(), Duration::from_millis(300));
    assert!(without_coordinator.is_err());
    broker.move_coordinator("g", 3).unwrap();
    let committed = consumer.committed_offsets(offsets, DEADLINE).unwrap();
    assert_eq!(committed.find_partition("t", 0).unwrap().offset(), Offset::Offset(7));
}

#[test]
fn a_leader_moves() {
    let broker = EmbeddedBroker::builder().brokers(2).start().unwrap();
    broker.create_topic("t", 1).unwrap();
    for leader in [2, 1] {
        broker.move_leader("t", 0, leader).unwrap();
        let metadata = consumer(&broker).fetch_metadata(Some("t"), DEADLINE).unwrap();
        assert_eq!(metadata.topics()[0].partitions()[0].leader(), leader);
    }
}

#[test]
fn what_cannot_be_is_an_error_that_names_it() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    for (topic, partitions) in [("t", 1), ("empty", 0), ("nul\0", 1)] {
        let error = broker.create_topic(topic, partitions).unwrap_err();
        assert!(matches!(error, BrokerError::CreateTopic { .. }));
        assert!(error.to_string().contains(topic));
    }
    for absent in [-1, 0, 2] {
        for refused in [
            broker.take_down(absent),
            broker.bring_up(absent),
            broker.set_rtt(absent, Duration::ZERO),
            broker.move_coordinator("g", absent),
            broker.move_leader("t", 0, absent),
        ] {
            let error = refused.unwrap_err();
            assert!(error.to_string().contains(&format!("broker {absent}")));
        }
    }
    let error = EmbeddedBroker::builder().brokers(0).start().unwrap_err();
    assert!(matches!(error, BrokerError::Start { brokers: 0, .. }));
}

fn config(bootstrap_servers: &str, properties: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", "g")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    if properties == EmbeddedBroker::CONSUMER_PROPERTIES {
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    for (key, value) in properties {
        config.set(*key, *value);
    }
    config
}

fn consumer(broker: &EmbeddedBroker) -> BaseConsumer {
    config(broker.bootstrap_servers(), EmbeddedBroker::CONSUMER_PROPERTIES).create().unwrap()
}

fn member(broker: &EmbeddedBroker, properties: &[(&str, &str)]) -> BaseConsumer {
    let member: BaseConsumer = config(broker.bootstrap_servers(), properties).create().unwrap();
    member.subscribe(&["t"]).unwrap();
    member
}

/// Polls the members in turn until their assignments have the wanted sizes.
fn poll_until(members: &[&BaseConsumer], wanted: impl Fn(&[usize]) -> bool) {
    let started = Instant::now();
    loop {
        let counts: Vec<usize> = members.iter().map(|member| member.assignment().unwrap().count()).collect();
        if wanted(&counts) {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "assigned {counts:?}");
        for member in members {
            let _ = member.poll(Duration::from_millis(5));
        }
    }
}

fn read_one(bootstrap_servers: &str) -> Vec<u8> {
    let consumer: BaseConsumer = config(bootstrap_servers, EmbeddedBroker::CONSUMER_PROPERTIES).create().unwrap();
    let mut start = TopicPartitionList::new();
    start.add_partition_offset("t", 0, Offset::Beginning).unwrap();
    consumer.assign(&start).unwrap();
    let started = Instant::now();
    while started.elapsed() < DEADLINE {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            return message.payload().unwrap().to_vec();
        }
    }
    panic!("nothing to read after {DEADLINE:?}");
}

/// Hands delivery reports to whoever waits for them.
struct Reports(mpsc::Sender<Result<(), KafkaError>>);

impl ClientContext for Reports {}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        let report = delivery.as_ref().map(|_| ()).map_err(|(e, _)| e.clone());
        self.0.send(report).unwrap();
    }
}

/// Sends one record to partition 0 of `t` and says what became of it.
fn send(broker: &EmbeddedBroker, value: &str) -> Result<(), KafkaError> {
    let (reports, report) = mpsc::channel();
    let producer: BaseProducer<Reports> = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("message.timeout.ms", "20000")
        .create_with_context(Reports(reports))
        .unwrap();
    producer.send(BaseRecord::<(), str>::to("t").partition(0).payload(value)).unwrap();
    producer.flush(DEADLINE).unwrap();
    report.recv().unwrap()
}
