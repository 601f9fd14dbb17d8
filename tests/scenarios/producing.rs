//! A producer whose brokers fail it: nothing lost, nothing stored twice, nobody left waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka_troupe::broker::LocalKafka;
use kafka_troupe::produce::{ErrorClass, Producer, ProducerBuilder, SendError};
use kafka_troupe::{ProducerRecord, Sender};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::fixture::spawning::starting;
use crate::fixture::{Broker, On, PATIENCE, Stage, eventually};

scenarios! {
    on both brokers:
        a_broker_that_is_away_for_a_while_under_load_costs_no_record_and_doubles_none,
        a_timeout_is_each_senders_own_and_nothing_is_sent_again_by_itself,
        a_full_buffer_lets_nobody_wait_for_ever_while_the_broker_is_away,
        of_a_batch_only_what_is_wrong_with_a_record_fails_it,
        a_stop_without_a_broker_gives_the_records_back_and_another_producer_stores_them;
    on Apache Kafka, "the embedded broker is not a process that can be ended":
        a_broker_that_is_killed_under_load_costs_no_record_and_doubles_none,
        a_node_of_three_that_is_restarted_moves_its_leaderships_and_costs_no_record;
    on Apache Kafka, "the embedded broker's topics do not grow":
        a_topic_that_grows_is_noticed_and_its_new_partitions_are_written_to;
    on Apache Kafka, "the embedded broker takes records of any size":
        a_record_too_large_for_its_topic_fails_alone_where_requests_are_no_larger_than_the_topic_takes;
    at length on Apache Kafka:
        a_broker_that_is_away_for_twenty_seconds_under_load_costs_no_record_and_doubles_none;
}

const STOP: Duration = Duration::from_secs(25);
const KEYS: u64 = 10;

fn producer(stage: &Stage) -> ProducerBuilder {
    Producer::builder()
        .bootstrap_servers(stage.broker.bootstrap_servers())
        .property("reconnect.backoff.ms", "20")
        .property("reconnect.backoff.max.ms", "200")
}

/// Senders that send numbers, each with keys of its own, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    confirmed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    fn start(producer: &Producer, topic: &str, senders: u64) -> Self {
        let (stop, confirmed) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let start = |number| {
            let (sender, topic) = (producer.sender(), topic.to_owned());
            let (stop, confirmed) = (Arc::clone(&stop), Arc::clone(&confirmed));
            std::thread::spawn(move || send_numbers(&sender, &topic, number, &stop, &confirmed))
        };
        let threads = (0..senders).map(start).collect();
        Self { stop, confirmed, threads }
    }

    /// How many records are stored, by their brokers' word.
    fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// How many records each sender has sent.
    fn end(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

fn send_numbers(sender: &Sender, topic: &str, who: u64, stop: &AtomicBool, confirmed: &Arc<AtomicU64>) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let (key, value) = (format!("{who}-{}", sent % KEYS), sent.to_string());
            let confirmed = Arc::clone(confirmed);
            let record = ProducerRecord::to(topic).key(&key).value(&value);
            let sending = sender.send_with(record, move |answer| {
                answer.unwrap_or_else(|error| panic!("{error}"));
                confirmed.fetch_add(1, Ordering::Relaxed);
            });
            sending.await.unwrap();
            sent += 1;
        }
        sent
    })
}

/// The values of each key in the order of the log, read until the end of all partitions.
fn stored(stage: &Stage) -> BTreeMap<String, Vec<u64>> {
    let consumer: BaseConsumer =
        stage.client().set("group.id", "reader").set("fetch.wait.max.ms", "10").create().unwrap();
    let ends = stage.ends();
    let mut list = TopicPartitionList::new();
    for partition in 0..stage.partitions {
        list.add_partition_offset(&stage.topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut left: i64 = ends.values().sum();
    let mut stored = BTreeMap::<String, Vec<u64>>::new();
    while left > 0 {
        // A poll may end without a record before its time.
        let (mut polled, asked) = (None, Instant::now());
        while polled.is_none() {
            assert!(asked.elapsed() < PATIENCE, "{left} records of {ends:?} are not to be read");
            polled = consumer.poll(PATIENCE);
        }
        let record = polled.unwrap().unwrap();
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        stored.entry(text(record.key())).or_default().push(text(record.payload()).parse().unwrap());
        left -= 1;
    }
    stored
}

/// Does something to the brokers while four senders send, and sees each record stored once and in its key's order.
fn unharmed(stage: &Stage, builder: ProducerBuilder, harm: impl FnOnce(&Load)) {
    let producer = builder.buffer_records(20_000).start().unwrap();
    let load = Load::start(&producer, &stage.topic, 4);
    eventually("records are stored", || load.confirmed() > 1_000);
    harm(&load);
    let before = load.confirmed();
    eventually("records are stored again", || load.confirmed() > before + 1_000);
    let sent = load.end();
    let report = producer.shutdown_blocking(STOP).unwrap();
    let all: u64 = sent.iter().sum();
    assert_eq!((report.accepted, report.confirmed, report.failed), (all, all, 0));
    let stored = stored(stage);
    for (who, sent) in sent.into_iter().enumerate() {
        for key in 0..KEYS {
            let expected: Vec<_> = (0..sent).filter(|number| number % KEYS == key).collect();
            let found = stored.get(&format!("{who}-{key}")).cloned().unwrap_or_default();
            let odd = found.iter().zip(&expected).find(|(found, expected)| found != expected);
            assert!(
                odd.is_none() && found.len() == expected.len(),
                "{who}-{key}: {} stored, {} sent; first odd one (stored, sent): {odd:?}",
                found.len(),
                expected.len()
            );
        }
    }
}

fn away(stage: &Stage, load: &Load, span: Duration) {
    stage.broker.take_down();
    let until = Instant::now() + span;
    eventually("it has been away", || Instant::now() > until);
    let _ = load.confirmed();
    stage.broker.bring_up();
}

fn a_broker_that_is_away_for_a_while_under_load_costs_no_record_and_doubles_none(on: On) {
    let stage = Stage::alone(on, 4);
    unharmed(&stage, producer(&stage), |load| away(&stage, load, Duration::from_secs(3)));
}

fn a_broker_that_is_away_for_twenty_seconds_under_load_costs_no_record_and_doubles_none(on: On) {
    let stage = Stage::alone(on, 4);
    unharmed(&stage, producer(&stage), |load| away(&stage, load, Duration::from_secs(20)));
}

fn a_broker_that_is_killed_under_load_costs_no_record_and_doubles_none(on: On) {
    let stage = Stage::alone(on, 4);
    unharmed(&stage, producer(&stage), |_| {
        stage.broker.own_kafka().kill(1);
        stage.broker.own_kafka().restart(1).unwrap();
    });
}

fn a_node_of_three_that_is_restarted_moves_its_leaderships_and_costs_no_record(on: On) {
    assert_eq!(on, On::Kafka);
    let stage = Stage::on(Broker::Own(starting(|| LocalKafka::builder().nodes(3).start()).unwrap().into()), 6, &[]);
    unharmed(&stage, producer(&stage), |load| {
        stage.broker.own_kafka().terminate(2).unwrap();
        let before = load.confirmed();
        eventually("the others go on", || load.confirmed() > before + 1_000);
        stage.broker.own_kafka().restart(2).unwrap();
    });
}

fn a_topic_that_grows_is_noticed_and_its_new_partitions_are_written_to(on: On) {
    let mut stage = Stage::new(on, 2);
    let producer = producer(&stage).property("topic.metadata.refresh.interval.ms", "1000").start().unwrap();
    let sender = producer.sender();
    let spread = |sender: &Sender| {
        let keys: Vec<_> = (0..50_i64).collect();
        let sent: Vec<_> = keys
            .iter()
            .map(|key| sender.enqueue_blocking(ProducerRecord::to(&stage.topic).key(key)).unwrap())
            .collect();
        sent.into_iter().map(|each| each.wait_blocking().unwrap().partition.0).max().unwrap()
    };
    assert_eq!(spread(&sender), 1);
    let error = sender.send_blocking(ProducerRecord::to(&stage.topic).partition(5)).unwrap_err();
    assert!(matches!(error, SendError::UnknownPartition { partitions: 2, .. }), "{error}");
    let topic = stage.topic.clone();
    stage.grow(6);
    let count = || producer.state().partitions.get(&topic).copied();
    eventually("the producer knows", || count() == Some(6));
    let delivery = sender.send_blocking(ProducerRecord::to(&topic).partition(5)).unwrap();
    assert_eq!(delivery.partition.0, 5);
    producer.shutdown_blocking(STOP).unwrap();
}

/// A producer that has written to its topic, whose broker then goes.
fn cut_off(stage: &Stage, builder: ProducerBuilder) -> (Producer, Sender) {
    let producer = builder.start().unwrap();
    let sender = producer.sender();
    // On a busy machine the first contact may take longer than a record's time, where that is short.
    eventually("it writes", || match sender.send_blocking(ProducerRecord::to(&stage.topic).key("k").value("0")) {
        Ok(_) => true,
        Err(error) => {
            assert!(!error.possibly_persisted(), "{error}");
            false
        }
    });
    producer.flush_blocking(STOP).unwrap();
    stage.broker.take_down();
    (producer, sender)
}

fn a_timeout_is_each_senders_own_and_nothing_is_sent_again_by_itself(on: On) {
    let stage = Stage::alone(on, 1);
    let (producer, sender) = cut_off(&stage, producer(&stage).property("message.timeout.ms", "1000"));
    let sent: Vec<_> = (1..=50_u32)
        .map(|number| {
            let value = number.to_string();
            sender.enqueue_blocking(ProducerRecord::to(&stage.topic).key("k").value(&value)).unwrap()
        })
        .collect();
    for each in sent {
        let error = each.wait_blocking().unwrap_err();
        assert!(matches!(error, SendError::TimedOut { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Retriable);
        assert_eq!(error.possibly_persisted(), error.to_string().contains("it may be stored all the same"));
    }
    stage.broker.bring_up();
    // What it stores from here on is in order behind: the producer lives.
    let last = sender.send_blocking(ProducerRecord::to(&stage.topic).key("k").value("99"));
    producer.shutdown_blocking(STOP).unwrap();
    let found = &stored(&stage)["k"];
    assert_eq!(found.first(), Some(&0));
    assert!(found.is_sorted() && found.len() <= 2, "{found:?}: {last:?}");
}

fn a_full_buffer_lets_nobody_wait_for_ever_while_the_broker_is_away(on: On) {
    let stage = Stage::alone(on, 1);
    let builder = producer(&stage).buffer_records(4).property("message.timeout.ms", "1000");
    let (producer, sender) = cut_off(&stage, builder);
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (sender, topic) = (sender.clone(), stage.topic.clone());
            std::thread::spawn(move || {
                (0..3).filter(|_| sender.send_blocking(ProducerRecord::to(&topic).key("k").value("1")).is_err()).count()
            })
        })
        .collect();
    eventually("all that were sent have timed out", || senders.iter().all(JoinHandle::is_finished));
    assert_eq!(senders.into_iter().map(|sender| sender.join().unwrap()).sum::<usize>(), 24);
    producer.shutdown_blocking(Duration::from_secs(1)).unwrap();
}

fn of_a_batch_only_what_is_wrong_with_a_record_fails_it(on: On) {
    let stage = Stage::new(on, 2);
    let builder = producer(&stage)
        .property("message.max.bytes", "10000")
        .property("allow.auto.create.topics", "false")
        .metadata_timeout(Duration::from_secs(1));
    let producer = builder.start().unwrap();
    let large = vec![b'x'; 20_000];
    let fine = || ProducerRecord::to(&stage.topic).key("k").value("1");
    let mut batch = vec![fine(), fine().value(&large), fine(), fine().partition(7), fine()];
    if on == On::Kafka {
        batch.push(ProducerRecord::to("nobody-made-this"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(producer.sender().send_all(batch)).unwrap_err();
    let stored: Vec<_> = error.deliveries.iter().take(5).map(Option::is_some).collect();
    assert_eq!(stored, [true, false, true, false, true]);
    let failures: BTreeMap<_, _> = error.failures.into_iter().collect();
    assert!(matches!(failures[&1], SendError::TooLarge { .. }), "{}", failures[&1]);
    assert!(matches!(failures[&3], SendError::UnknownPartition { .. }), "{}", failures[&3]);
    if on == On::Kafka {
        assert!(matches!(failures[&5], SendError::UnknownTopic { .. }), "{}", failures[&5]);
    }
    producer.shutdown_blocking(STOP).unwrap();
}

fn a_record_too_large_for_its_topic_fails_alone_where_requests_are_no_larger_than_the_topic_takes(on: On) {
    let most = "10000";
    let stage = Stage::on(Stage::new(on, 1).broker.clone(), 1, &[("max.message.bytes", most)]);
    let producer = producer(&stage).property("batch.size", most).start().unwrap();
    let large = [b'x'; 20_000];
    let small = || ProducerRecord::to(&stage.topic).key("k").value(&large[..100]);
    let (before, after) = (std::iter::repeat_with(small).take(300), std::iter::repeat_with(small).take(300));
    let batch: Vec<_> = before.chain([small().value(&large)]).chain(after).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(producer.sender().send_all(batch)).unwrap_err();
    assert_eq!(error.failures.len(), 1, "{error}");
    assert!(matches!(error.failures[0], (300, SendError::TooLarge { bytes: 20_001, .. })), "{error}");
    let offsets: Vec<_> = error.deliveries.iter().flatten().filter_map(|delivery| delivery.offset).collect();
    assert!(offsets.len() == 600 && offsets.is_sorted(), "{offsets:?}");
    producer.shutdown_blocking(STOP).unwrap();
}

fn a_stop_without_a_broker_gives_the_records_back_and_another_producer_stores_them(on: On) {
    let stage = Stage::alone(on, 1);
    let (first, sender) = cut_off(&stage, producer(&stage));
    for number in 1..=300_u32 {
        let value = number.to_string();
        drop(sender.enqueue_blocking(ProducerRecord::to(&stage.topic).key("k").value(&value)).unwrap());
    }
    let report = first.shutdown_blocking(Duration::from_millis(200)).unwrap();
    assert_eq!(report.undelivered.len(), 300);
    stage.broker.bring_up();
    let second = producer(&stage).start().unwrap();
    let again =
        report.undelivered.into_iter().inspect(|each| assert!(!each.possibly_persisted)).map(|each| each.record);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(second.sender().send_all(again)).unwrap();
    second.shutdown_blocking(STOP).unwrap();
    assert_eq!(stored(&stage)["k"], (0..=300).collect::<Vec<_>>());
}
