//! The producer against librdkafka's mock cluster: what senders are told, and what is then in the log.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, Offset as ReadFrom, TopicPartitionList};
use troupe_actors::ids::PartitionId;
use troupe_actors::produce::{
    Confirmation, Delivery, ErrorClass, Partitioner, Producer, ProducerBuilder, ProducerError, ProducerRecord,
    SendError, Sender, TryEnqueueError, Unplaced, partition_of_key,
};

/// No wait of these tests is to come near it.
const LONG: Duration = Duration::from_secs(30);
/// A linger or timeout that no test outlives.
const AGES: Duration = Duration::from_secs(3600);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(topics: &[(&str, i32)]) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 1).unwrap();
    }
    cluster
}

fn producer(cluster: &Cluster) -> ProducerBuilder {
    Producer::builder().bootstrap_servers(cluster.bootstrap_servers())
}

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("ends in time")
}

/// Waits for a condition, polling it.
async fn until(mut condition: impl FnMut() -> bool) {
    in_time(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn is_pending(confirmation: &mut Confirmation) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(pin!(confirmation).poll(&mut context), Poll::Pending)
}

/// A record as a consumer finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    partition: i32,
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: Option<i64>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Reads `count` records of a topic from the beginning, in the order of each partition.
fn read(cluster: &Cluster, topic: &str, partitions: i32, count: usize) -> Vec<Found> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .set("fetch.wait.max.ms", "5")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, ReadFrom::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let deadline = Instant::now() + LONG;
    let mut found = Vec::new();
    while found.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records read", found.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.unwrap();
        found.push(Found {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            timestamp: message.timestamp().to_millis(),
            headers: message.headers().map_or(Vec::new(), |headers| {
                headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
            }),
        });
    }
    found
}

fn number(found: &Found) -> u32 {
    u32::from_be_bytes(found.value.as_deref().unwrap().try_into().unwrap())
}

#[tokio::test]
async fn every_record_is_confirmed_with_the_offset_at_which_it_is_then_read() {
    let cluster = cluster(&[("t", 4)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let mut confirmations = Vec::new();
    for n in 0..2_000_u32 {
        let key = (n % 37).to_be_bytes();
        let value = n.to_be_bytes();
        let record = ProducerRecord::to("t").key(&key).value(&value);
        confirmations.push(sender.enqueue(record).await.unwrap());
    }
    let mut confirmed = HashMap::new();
    for (n, confirmation) in confirmations.into_iter().enumerate() {
        let delivery = in_time(confirmation).await.unwrap();
        assert_eq!(&*delivery.topic, "t");
        assert!(delivery.timestamp.is_some());
        confirmed.insert((delivery.partition.0, delivery.offset.0), n as u32);
    }
    for found in read(&cluster, "t", 4, 2_000) {
        let n = confirmed.remove(&(found.partition, found.offset));
        assert_eq!(n, Some(number(&found)));
        let partition = partition_of_key(found.key.as_deref().unwrap(), four());
        assert_eq!(partition, PartitionId(found.partition), "where Java puts it");
    }
    assert!(confirmed.is_empty());
    let state = producer.state();
    assert_eq!((state.accepted, state.confirmed, state.failed), (2_000, 2_000, 0));
    assert_eq!(state.partitions, BTreeMap::from([("t".to_owned(), 4)]));
    assert_eq!(serde_json::to_value(&state).unwrap()["confirmed"], 2_000);
    in_time(producer.shutdown(LONG)).await.unwrap();
}

fn four() -> NonZeroU32 {
    NonZeroU32::new(4).unwrap()
}

/// Each key's numbers in the order of the log.
fn by_key(found: &[Found]) -> BTreeMap<Vec<u8>, Vec<u32>> {
    let mut keys = BTreeMap::<_, Vec<u32>>::new();
    for record in found {
        let key = record.key.clone().unwrap();
        keys.entry(key).or_default().push(number(record));
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_order_of_each_sender_is_kept_for_each_key() {
    let cluster = cluster(&[("t", 3)]);
    // Little batches and a small buffer, so that senders wait for room and batches follow each other.
    let producer = producer(&cluster).actors(3).batch_records(7).buffer_records(90).start().unwrap();
    let tasks: Vec<_> = (0..6_u8)
        .map(|task| {
            let sender = producer.sender();
            tokio::spawn(async move {
                for n in 0..500_u32 {
                    let key = [task, (n % 3) as u8];
                    let value = n.to_be_bytes();
                    let record = ProducerRecord::to("t").key(&key).value(&value);
                    drop(sender.enqueue(record).await.unwrap());
                }
            })
        })
        .collect();
    for task in tasks {
        in_time(task).await.unwrap();
    }
    let report = in_time(producer.shutdown(LONG)).await.unwrap();
    assert_eq!((report.accepted, report.confirmed), (3_000, 3_000));
    let keys = by_key(&read(&cluster, "t", 3, 3_000));
    assert_eq!(keys.len(), 18);
    for (key, numbers) in keys {
        assert!(numbers.is_sorted(), "{key:?}: {numbers:?}");
    }
}

#[tokio::test]
async fn clones_of_a_sender_share_its_order() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).actors(4).start().unwrap();
    let senders = {
        let sender = producer.sender();
        [sender.clone(), sender.clone(), sender]
    };
    for n in 0..300_u32 {
        let value = n.to_be_bytes();
        let record = ProducerRecord::to("t").value(&value);
        drop(senders[n as usize % 3].enqueue(record).await.unwrap());
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
    let numbers: Vec<_> = read(&cluster, "t", 1, 300).iter().map(number).collect();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
}

/// Enqueues records of `bytes` bytes and says how many leave without a flush; the one after them stays.
async fn sent_unasked(builder: ProducerBuilder, bytes: usize, count: usize, expected: usize) {
    let producer = builder.linger(AGES).start().unwrap();
    let sender = producer.sender();
    let value = vec![b'x'; bytes];
    let mut confirmations = Vec::new();
    for _ in 0..count {
        let record = ProducerRecord::to("t").value(&value);
        confirmations.push(sender.enqueue(record).await.unwrap());
    }
    let mut rest = confirmations.split_off(expected);
    for confirmation in confirmations {
        in_time(confirmation).await.unwrap();
    }
    assert!(rest.iter_mut().all(is_pending), "they linger");
    producer.flush(LONG).await.unwrap();
    for confirmation in rest {
        in_time(confirmation).await.unwrap();
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_batch_leaves_when_its_count_is_full() {
    let cluster = cluster(&[("t", 1)]);
    sent_unasked(producer(&cluster).batch_records(10), 1, 25, 20).await;
}

#[tokio::test]
async fn a_batch_leaves_when_its_bytes_are_full() {
    let cluster = cluster(&[("t", 1)]);
    sent_unasked(producer(&cluster).batch_bytes(1_000), 300, 8, 6).await;
}

#[tokio::test]
async fn a_batch_leaves_when_it_has_lingered() {
    let cluster = cluster(&[("t", 1)]);
    let linger = Duration::from_millis(50);
    let producer = producer(&cluster).linger(linger).start().unwrap();
    let sender = producer.sender();
    let begun = Instant::now();
    in_time(sender.send(ProducerRecord::to("t").value("x"))).await.unwrap();
    assert!(begun.elapsed() >= linger);
    in_time(producer.shutdown(LONG)).await.unwrap();
}

/// A topic that the brokers deny, until told otherwise.
fn deny(cluster: &Cluster, topic: &str) {
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error(topic, unknown).unwrap();
}

#[tokio::test]
async fn records_of_an_unknown_topic_fail_after_the_metadata_timeout() {
    let cluster = cluster(&[]);
    deny(&cluster, "unknown");
    let timeout = Duration::from_millis(300);
    let producer = producer(&cluster).metadata_timeout(timeout).start().unwrap();
    let sender = producer.sender();
    let begun = Instant::now();
    let error = in_time(sender.send(ProducerRecord::to("unknown").key("k"))).await.unwrap_err();
    assert!(matches!(error, SendError::UnknownTopic { .. }), "{error}");
    assert_eq!((&**error.topic(), error.class()), ("unknown", ErrorClass::Retriable));
    assert!(begun.elapsed() >= timeout);
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn records_that_wait_for_their_topic_hold_up_no_other_topic() {
    let cluster = cluster(&[("known", 1)]);
    deny(&cluster, "unknown");
    let producer = producer(&cluster).metadata_timeout(AGES).start().unwrap();
    let sender = producer.sender();
    let mut waits = sender.enqueue(ProducerRecord::to("unknown").key("k")).await.unwrap();
    for _ in 0..10 {
        in_time(sender.send(ProducerRecord::to("known").key("k"))).await.unwrap();
    }
    assert!(is_pending(&mut waits));
    in_time(producer.shutdown(Duration::ZERO)).await.unwrap();
    let error = in_time(waits).await.unwrap_err();
    assert!(matches!(error, SendError::Abandoned { .. }), "{error}");
}

#[tokio::test]
async fn records_wait_for_a_topic_that_is_created_after_them() {
    let cluster = cluster(&[]);
    deny(&cluster, "late");
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let mut waiting = Vec::new();
    for n in 0..20_u32 {
        let value = n.to_be_bytes();
        let record = ProducerRecord::to("late").partition(0).value(&value);
        waiting.push(sender.enqueue(record).await.unwrap());
    }
    assert!(waiting.iter_mut().all(is_pending));
    cluster.topic_error("late", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    for (offset, confirmation) in waiting.into_iter().enumerate() {
        let delivery = in_time(confirmation).await.unwrap();
        assert_eq!(delivery.offset.0, offset as i64);
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

/// A producer that knows its topic, and a sender of it, with the broker then gone.
async fn cut_off(cluster: &Cluster, builder: ProducerBuilder) -> (Producer, Sender) {
    let producer = builder.start().unwrap();
    let sender = producer.sender();
    in_time(sender.send(ProducerRecord::to("t").value("before"))).await.unwrap();
    // The credit comes back a moment after the confirmation.
    in_time(producer.flush(LONG)).await.unwrap();
    cluster.broker_down(-1).unwrap();
    (producer, sender)
}

async fn enqueue_many(sender: &Sender, count: usize) -> Vec<Confirmation> {
    let mut confirmations = Vec::new();
    for _ in 0..count {
        let record = ProducerRecord::to("t").key("k").value("v");
        confirmations.push(sender.enqueue(record).await.unwrap());
    }
    confirmations
}

#[tokio::test]
async fn records_outlive_a_broker_that_goes_away_and_comes_back() {
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster)).await;
    let confirmations = enqueue_many(&sender, 1_000).await;
    assert_eq!(producer.state().in_flight_records, 1_000);
    cluster.broker_up(-1).unwrap();
    for (n, confirmation) in confirmations.into_iter().enumerate() {
        let delivery = in_time(confirmation).await.unwrap();
        assert_eq!(delivery.offset.0, 1 + n as i64);
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn records_for_a_broker_that_stays_away_time_out_each_once() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).property("message.timeout.ms", "300");
    let (producer, sender) = cut_off(&cluster, builder).await;
    let answers = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let answers = answers.clone();
        sender
            .enqueue_with(ProducerRecord::to("t").value("v"), move |answer| {
                assert!(matches!(answer, Err(SendError::TimedOut { .. })), "{answer:?}");
                answers.fetch_add(1, Ordering::Relaxed);
            })
            .await
            .unwrap();
    }
    in_time(producer.flush(LONG)).await.unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), 100);
    let state = producer.state();
    assert_eq!((state.failed, state.callback_panics), (100, 0));
    in_time(producer.shutdown(LONG)).await.unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), 100);
}

#[tokio::test]
async fn a_shutdown_whose_deadline_passes_answers_everything_and_returns() {
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster)).await;
    let confirmations = enqueue_many(&sender, 500).await;
    let unknown = sender.enqueue(ProducerRecord::to("nobody-knows")).await.unwrap();
    let report = in_time(producer.shutdown(Duration::from_millis(100))).await.unwrap();
    assert_eq!((report.accepted, report.confirmed), (502, 1));
    assert_eq!((report.failed, report.abandoned), (501, 501));
    for confirmation in confirmations.into_iter().chain([unknown]) {
        let error = in_time(confirmation).await.unwrap_err();
        assert!(matches!(error, SendError::Abandoned { .. }), "{error}");
    }
    let error = in_time(sender.send(ProducerRecord::to("t"))).await.unwrap_err();
    assert!(matches!(error, SendError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_producer_that_is_dropped_answers_everything() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).buffer_records(501);
    let (producer, sender) = cut_off(&cluster, builder).await;
    let confirmations = enqueue_many(&sender, 501).await;
    let waiting = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(ProducerRecord::to("t")).await })
    };
    until(|| producer.state().waiting_senders == 1).await;
    drop(producer);
    for confirmation in confirmations {
        let error = in_time(confirmation).await.unwrap_err();
        assert!(matches!(error, SendError::Abandoned { .. }), "{error}");
    }
    let error = in_time(waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, SendError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_flush_whose_deadline_passes_says_how_many_are_left_and_gives_nothing_up() {
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster)).await;
    let confirmations = enqueue_many(&sender, 3).await;
    let error = in_time(producer.flush(Duration::from_millis(20))).await.unwrap_err();
    assert!(matches!(error, ProducerError::DeadlinePassed { unanswered: 3, .. }), "{error}");
    cluster.broker_up(-1).unwrap();
    for confirmation in confirmations {
        in_time(confirmation).await.unwrap();
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_partition_that_is_named_is_taken_and_one_that_does_not_exist_is_an_error() {
    let cluster = cluster(&[("t", 4)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    for partition in [3, 0, 3] {
        let record = ProducerRecord::to("t").key("k").partition(partition);
        let delivery = in_time(sender.send(record)).await.unwrap();
        assert_eq!(delivery.partition, PartitionId(partition));
    }
    for partition in [4, -1] {
        let record = ProducerRecord::to("t").partition(partition);
        let error = in_time(sender.send(record)).await.unwrap_err();
        assert_eq!(
            error,
            SendError::UnknownPartition { topic: "t".into(), partition: PartitionId(partition), partitions: 4 }
        );
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn records_without_key_share_a_partition_within_a_batch_and_move_on_with_the_next() {
    let cluster = cluster(&[("t", 4)]);
    let producer = producer(&cluster).batch_records(5).linger(AGES).start().unwrap();
    let sender = producer.sender();
    let mut confirmations = Vec::new();
    for _ in 0..20 {
        let record = ProducerRecord::to("t").value("v");
        confirmations.push(sender.enqueue(record).await.unwrap());
    }
    let mut partitions = Vec::new();
    for confirmation in confirmations {
        partitions.push(in_time(confirmation).await.unwrap().partition.0);
    }
    let mut batches: Vec<_> = partitions.chunks(5).map(<[i32]>::to_vec).collect();
    assert!(batches.iter().all(|b| b.iter().all(|p| *p == b[0])));
    batches.sort();
    batches.dedup();
    assert_eq!(batches.len(), 4, "{partitions:?}");
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn headers_timestamps_and_null_values_arrive_as_they_were_sent_and_in_order() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let records = [
        ProducerRecord::to("t").key("a").value("plain"),
        ProducerRecord::to("t").key("b").value("dated").timestamp(1_357_034_400_000),
        ProducerRecord::to("t").key("c").header("h", b"1").header("h", b""),
        ProducerRecord::to("t").key("d"),
        ProducerRecord::to("t").key("").value(""),
    ];
    let mut confirmations = Vec::new();
    for record in &records {
        confirmations.push(sender.enqueue(record.clone()).await.unwrap());
    }
    let mut deliveries: Vec<Delivery> = Vec::new();
    for confirmation in confirmations {
        deliveries.push(in_time(confirmation).await.unwrap());
    }
    let offsets: Vec<_> = deliveries.iter().map(|d| d.offset.0).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    let found = read(&cluster, "t", 1, 5);
    let values: Vec<_> = found.iter().map(|f| f.value.as_deref()).collect();
    assert_eq!(values, [Some(&b"plain"[..]), Some(b"dated"), None, None, Some(b"")]);
    assert_eq!(found[1].timestamp, Some(1_357_034_400_000));
    assert_eq!(found[2].headers, [("h".to_owned(), Some(b"1".to_vec())), ("h".to_owned(), Some(Vec::new()))]);
    assert_eq!(found[4].key.as_deref(), Some(&b""[..]));
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_callback_that_panics_harms_no_other_record() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let (tell, told) = mpsc::channel();
    for n in 0..9 {
        let tell = tell.clone();
        sender
            .enqueue_with(ProducerRecord::to("t").value("v"), move |answer| {
                assert!(n % 3 != 0, "on purpose");
                tell.send(answer.unwrap().offset.0).unwrap();
            })
            .await
            .unwrap();
    }
    in_time(producer.flush(LONG)).await.unwrap();
    let offsets: Vec<_> = told.try_iter().collect();
    assert_eq!(offsets, [1, 2, 4, 5, 7, 8]);
    assert_eq!(producer.state().callback_panics, 3);
    in_time(sender.send(ProducerRecord::to("t"))).await.unwrap();
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_full_buffer_holds_senders_back_until_records_are_confirmed() {
    let cluster = cluster(&[("t", 1)]);
    let (producer, sender) = cut_off(&cluster, producer(&cluster).buffer_records(10)).await;
    let confirmations = enqueue_many(&sender, 10).await;
    match sender.try_enqueue(ProducerRecord::to("t").value("eleventh")) {
        Err(TryEnqueueError::Full(record)) => {
            assert!(format!("{record:?}").contains("value_bytes: Some(8)"));
        }
        other => panic!("{other:?}"),
    }
    let waiting = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(ProducerRecord::to("t").value("twelfth")).await })
    };
    let cancelled = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(ProducerRecord::to("t").value("never")).await })
    };
    until(|| producer.state().waiting_senders == 2).await;
    cancelled.abort();
    until(|| producer.state().waiting_senders == 1).await;
    assert_eq!(producer.state().in_flight_records, 10);
    cluster.broker_up(-1).unwrap();
    for confirmation in confirmations {
        in_time(confirmation).await.unwrap();
    }
    assert_eq!(in_time(waiting).await.unwrap().unwrap().offset.0, 11);
    let report = in_time(producer.shutdown(LONG)).await.unwrap();
    assert_eq!(report.accepted, 12);
}

#[tokio::test]
async fn a_full_library_queue_keeps_the_order_of_each_partition() {
    let cluster = cluster(&[("t", 3)]);
    let producer = producer(&cluster).library_queue_records(50).batch_records(64).start().unwrap();
    let sender = producer.sender();
    for n in 0..5_000_u32 {
        let key = [(n % 11) as u8];
        let value = n.to_be_bytes();
        let record = ProducerRecord::to("t").key(&key).value(&value);
        // Every tenth takes the way of records with headers.
        let record = if n % 10 == 0 { record.header("h", b"") } else { record };
        drop(sender.enqueue(record).await.unwrap());
    }
    in_time(producer.flush(LONG)).await.unwrap();
    let state = producer.state();
    assert!(state.queue_full_events > 0);
    assert_eq!((state.confirmed, state.failed), (5_000, 0));
    for (key, numbers) in by_key(&read(&cluster, "t", 3, 5_000)) {
        assert!(numbers.is_sorted(), "{key:?}: {numbers:?}");
    }
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn what_a_full_library_queue_kept_out_is_given_up_as_never_sent() {
    let cluster = cluster(&[("t", 1)]);
    let builder = producer(&cluster).library_queue_records(50);
    let (producer, sender) = cut_off(&cluster, builder).await;
    let confirmations = enqueue_many(&sender, 500).await;
    until(|| producer.state().queue_full_events > 0).await;
    in_time(producer.shutdown(Duration::ZERO)).await.unwrap();
    for confirmation in confirmations {
        let error = in_time(confirmation).await.unwrap_err();
        assert!(matches!(error, SendError::Abandoned { .. }), "{error}");
        assert!(!error.possibly_persisted());
    }
}

#[tokio::test]
async fn a_record_that_is_too_large_fails_alone() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).property("message.max.bytes", "2000").start().unwrap();
    let sender = producer.sender();
    let large = vec![0; 3_000];
    let before = sender.enqueue(ProducerRecord::to("t").value("1")).await.unwrap();
    let between = sender.enqueue(ProducerRecord::to("t").value(&large)).await.unwrap();
    let after = sender.enqueue(ProducerRecord::to("t").value("2")).await.unwrap();
    assert_eq!(in_time(before).await.unwrap().offset.0, 0);
    assert_eq!(in_time(after).await.unwrap().offset.0, 1);
    let error = in_time(between).await.unwrap_err();
    assert!(matches!(error, SendError::TooLarge { bytes: 3_000, .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Permanent);
    in_time(producer.shutdown(LONG)).await.unwrap();
}

struct Whimsical;

impl Partitioner for Whimsical {
    fn partition(&self, record: Unplaced<'_>, partitions: NonZeroU32) -> Option<PartitionId> {
        match record.value {
            Some(b"panic") => panic!("on purpose"),
            Some(b"beyond") => Some(PartitionId(partitions.get() as i32)),
            _ => Some(PartitionId(partitions.get() as i32 - 1)),
        }
    }
}

#[tokio::test]
async fn a_partitioner_that_panics_or_errs_fails_that_record_only() {
    let cluster = cluster(&[("t", 4)]);
    let producer = producer(&cluster).partitioner(Whimsical).start().unwrap();
    let sender = producer.sender();
    let mut confirmations = Vec::new();
    for value in ["fine", "panic", "beyond", "fine"] {
        let record = ProducerRecord::to("t").value(value);
        confirmations.push(sender.enqueue(record).await.unwrap());
    }
    let mut answers = Vec::new();
    for confirmation in confirmations {
        answers.push(in_time(confirmation).await);
    }
    assert_eq!(answers[0].as_ref().unwrap().partition, PartitionId(3));
    assert!(matches!(answers[1], Err(SendError::PartitionerPanicked { .. })));
    assert!(matches!(answers[2], Err(SendError::UnknownPartition { .. })));
    assert_eq!(answers[3].as_ref().unwrap().partition, PartitionId(3));
    in_time(producer.shutdown(LONG)).await.unwrap();
}

#[test]
fn it_needs_no_runtime() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let first = sender.send_blocking(ProducerRecord::to("t").value("1")).unwrap();
    assert_eq!(first.offset.0, 0);
    let second = sender.enqueue_blocking(ProducerRecord::to("t").value("2")).unwrap();
    producer.flush_blocking(LONG).unwrap();
    assert_eq!(second.wait_blocking().unwrap().offset.0, 1);
    let report = producer.shutdown_blocking(LONG).unwrap();
    assert_eq!((report.accepted, report.confirmed), (2, 2));
}

#[test]
fn a_property_of_the_producers_own_is_refused_and_one_that_librdkafka_does_not_know_too() {
    let with =
        |name, value| Producer::builder().bootstrap_servers("localhost:1").property(name, value).start().unwrap_err();
    let own = with("queue.buffering.max.messages", "1");
    assert!(matches!(own, ProducerError::Property { .. }), "{own}");
    let unknown = with("no.such.property", "1");
    assert!(matches!(unknown, ProducerError::Library { .. }), "{unknown}");
}

#[test]
fn fifty_starts_and_stops_leave_no_thread_behind() {
    // In a process of its own, for the tests beside this one start threads too.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fifty_starts_and_stops", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
}

#[test]
#[ignore = "counts the threads of its process; run by the test above"]
fn fifty_starts_and_stops() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let cluster = cluster(&[("t", 1)]);
    let start_and_stop = || {
        let producer = producer(&cluster).start().unwrap();
        let sender = producer.sender();
        sender.send_blocking(ProducerRecord::to("t").value("v")).unwrap();
        drop(sender.enqueue_blocking(ProducerRecord::to("t")).unwrap());
        producer.shutdown_blocking(LONG).unwrap();
    };
    start_and_stop();
    let before = threads();
    for _ in 0..50 {
        start_and_stop();
    }
    assert_eq!(threads(), before);
}
