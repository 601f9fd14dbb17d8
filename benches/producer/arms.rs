//! What is measured: this crate's producer and rdkafka's, each by its ways to send.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kafka_troupe::produce::{Producer, ProducerRecord};
use rdkafka::ClientConfig;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, FutureProducer, FutureRecord, Producer as _, ProducerContext, ThreadedProducer,
};

use super::Task;

const VALUE: [u8; 100] = [b'x'; 100];
const PATIENCE: Duration = Duration::from_secs(120);
const LINGER: Duration = Duration::from_millis(5);
/// Answers that are waited for at once, where they are awaited; without a window, as many as the producer's buffer holds.
const WINDOW: usize = 10_000;
const BUFFER: usize = 100_000;
const BATCH: usize = 500;

/// Sends the task's records, and prints rate and processor time.
pub(super) fn run_arm(arm: &str, task: &Task) {
    let (took, sent) = match arm {
        "callback" => ours(task, LINGER, |producer| with_callbacks(producer, task)),
        "awaited" => ours(task, LINGER, |producer| runtime().block_on(awaited(producer, task, WINDOW))),
        "send_all" => ours(task, LINGER, |producer| runtime().block_on(in_batches(producer, task, WINDOW))),
        "send_all without a window" => {
            ours(task, LINGER, |producer| runtime().block_on(in_batches(producer, task, BUFFER)))
        }
        "one by one" => ours(task, Duration::ZERO, |producer| runtime().block_on(awaited(producer, task, 1))),
        "ThreadedProducer" => (threaded(task), task.records),
        "FutureProducer" => (runtime().block_on(futures(bare(&task.servers), task, WINDOW)), task.records),
        "FutureProducer one by one" => {
            let mut config = bare(&task.servers);
            config.set("linger.ms", "0");
            (runtime().block_on(futures(config, task, 1)), task.records)
        }
        other => panic!("no arm {other}"),
    };
    println!("{} {}", sent as f64 / took.as_secs_f64(), cpu_time().as_secs_f64() * 1e6 / sent as f64);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn ours(task: &Task, linger: Duration, send: impl FnOnce(&Producer) -> u64) -> (Duration, u64) {
    let producer = Producer::builder()
        .bootstrap_servers(&*task.servers)
        .linger(linger)
        .property("batch.size", "1000000")
        .start()
        .unwrap();
    // The topic is known, and the connections stand.
    producer.sender().send_blocking(ProducerRecord::to(&*task.topic).value(&VALUE)).unwrap();
    let started = Instant::now();
    let sent = send(&producer);
    producer.flush_blocking(PATIENCE).unwrap();
    let took = started.elapsed();
    assert_eq!(producer.shutdown_blocking(PATIENCE).unwrap().confirmed, sent + 1);
    (took, sent)
}

fn with_callbacks(producer: &Producer, task: &Task) -> u64 {
    let senders = task.senders;
    let records = task.records / senders * senders;
    // As `ThreadedProducer`'s context: no record costs a count of references.
    let confirmed: &'static AtomicU64 = Box::leak(Box::default());
    let send = &|who: u64| {
        let sender = producer.sender();
        runtime().block_on(async {
            for number in (who..records).step_by(senders as usize) {
                let key = number.to_be_bytes();
                let callback =
                    move |answer: Result<_, _>| _ = confirmed.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
                sender.send_with(ProducerRecord::to(&*task.topic).key(&key).value(&VALUE), callback).await.unwrap();
            }
        });
    };
    std::thread::scope(|scope| {
        for who in 0..senders {
            scope.spawn(move || send(who));
        }
    });
    producer.flush_blocking(PATIENCE).unwrap();
    assert_eq!(confirmed.load(Ordering::Relaxed), records);
    records
}

async fn awaited(producer: &Producer, task: &Task, most: usize) -> u64 {
    let (sender, mut window) = (producer.sender(), VecDeque::with_capacity(most));
    for number in 0..task.records {
        if window.len() == most {
            let oldest: kafka_troupe::produce::Confirmation = window.pop_front().unwrap();
            oldest.await.unwrap();
        }
        let key = number.to_be_bytes();
        window.push_back(sender.enqueue(ProducerRecord::to(&*task.topic).key(&key).value(&VALUE)).await.unwrap());
    }
    for confirmation in window {
        confirmation.await.unwrap();
    }
    task.records
}

async fn in_batches(producer: &Producer, task: &Task, most: usize) -> u64 {
    let (sender, keys) = (producer.sender(), (0..task.records).map(u64::to_be_bytes).collect::<Vec<_>>());
    let mut window = FuturesUnordered::new();
    for batch in keys.chunks(BATCH) {
        if window.len() == most / BATCH {
            let _: Vec<_> = window.next().await.map(Result::unwrap).unwrap();
        }
        window.push(sender.send_all(batch.iter().map(|key| ProducerRecord::to(&*task.topic).key(key).value(&VALUE))));
    }
    while let Some(batch) = window.next().await {
        batch.unwrap();
    }
    task.records
}

fn bare(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random");
    config
}

#[derive(Default)]
struct Counting(AtomicU64);

impl rdkafka::ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
    }
}

fn threaded(task: &Task) -> Duration {
    let producer: ThreadedProducer<Counting> = bare(&task.servers).create_with_context(Counting::default()).unwrap();
    let send = |number: u64| {
        let key = number.to_be_bytes();
        let mut record = BaseRecord::to(&task.topic).key(&key).payload(&VALUE);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull), "{error}");
            // It has no way to wait for room but this.
            std::thread::yield_now();
            record = back;
        }
    };
    send(0);
    producer.flush(PATIENCE).unwrap();
    let started = Instant::now();
    (0..task.records).for_each(send);
    producer.flush(PATIENCE).unwrap();
    let took = started.elapsed();
    assert_eq!(producer.context().0.load(Ordering::Relaxed), task.records + 1);
    took
}

async fn futures(config: ClientConfig, task: &Task, most: usize) -> Duration {
    let producer: FutureProducer = config.create().unwrap();
    let first = FutureRecord::to(&task.topic).key(&[0; 8]).payload(&VALUE);
    producer.send(first, PATIENCE).await.unwrap();
    let (started, mut window) = (Instant::now(), VecDeque::with_capacity(most));
    for number in 0..task.records {
        if window.len() == most {
            let oldest: rdkafka::producer::DeliveryFuture = window.pop_front().unwrap();
            oldest.await.unwrap().unwrap();
        }
        let key = number.to_be_bytes();
        let record = FutureRecord::to(&task.topic).key(&key).payload(&VALUE);
        window.push_back(producer.send_result(record).map_err(|(error, _)| error).unwrap());
    }
    for delivery in window {
        delivery.await.unwrap().unwrap();
    }
    started.elapsed()
}

/// The processor time of this process so far.
pub(super) fn cpu_time() -> Duration {
    // SAFETY: plain numbers, all zeros is a value; written by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
        usage
    };
    let span = |time: libc::timeval| Duration::from_micros(time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64);
    span(usage.ru_utime) + span(usage.ru_stime)
}
