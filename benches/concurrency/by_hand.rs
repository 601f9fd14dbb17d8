//! The loops that people write by hand, as their guides show them, with the settings that they run fastest with.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedMessage};
use tokio::sync::mpsc;

use crate::arm::{PARTITIONS, fresh_group, number};
use crate::arms::{Client, Handling, Request};
use crate::drain::{Seen, Watched, watch};
use crate::measure::Mark;
use crate::settings::Settings;

/// What a partition's channel holds.
const CHANNEL: usize = 1000;

/// What a loop does with a record: told what the handler saw.
pub(crate) trait Notes: Send + Sync + 'static {
    fn handled(&self, partition: i32, message: &impl Message);
    fn begun(&self) {}
}

impl Notes for Seen {
    fn handled(&self, partition: i32, message: &impl Message) {
        self.add(partition, number(message.payload()));
    }

    fn begun(&self) {
        self.begin();
    }
}

pub(crate) fn consumer(request: &Request) -> StreamConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &request.bootstrap_servers)
        .set("group.id", fresh_group())
        .set("auto.offset.reset", "earliest");
    // Of the bench against bare clients, these are faster for every bare client.
    config.extend(Settings::OwnDefaults.properties());
    let consumer: StreamConsumer = config.create().unwrap();
    consumer.subscribe(&[&request.topic]).unwrap();
    consumer
}

/// Runs the request's loop until `records` have been taken and handled.
pub(crate) async fn run(request: &Request, consumer: &StreamConsumer, notes: &Arc<impl Notes>, records: u64) {
    let handling = request.handling;
    match request.client {
        Client::ByHand => for_each_concurrent(consumer, handling, notes, records).await,
        Client::ByHandSpawned => for_each_spawned(consumer, handling, notes, records).await,
        _ => task_per_partition(consumer, handling, notes, records).await,
    }
}

async fn for_each_concurrent(consumer: &StreamConsumer, handling: Handling, notes: &Arc<impl Notes>, records: u64) {
    let messages = consumer.stream().take(records as usize);
    let all = messages.for_each_concurrent(handling.concurrency, |message| async move {
        let message = message.unwrap();
        notes.begun();
        handling.handle(message.payload()).await;
        notes.handled(message.partition(), &message);
    });
    all.await;
}

async fn for_each_spawned(consumer: &StreamConsumer, handling: Handling, notes: &Arc<impl Notes>, records: u64) {
    let messages = consumer.stream().take(records as usize);
    let all = messages.for_each_concurrent(handling.concurrency, |message| {
        let (message, notes) = (message.unwrap().detach(), Arc::clone(notes));
        async move {
            let task = tokio::spawn(async move {
                notes.begun();
                handling.handle(message.payload()).await;
                notes.handled(message.partition(), &message);
            });
            task.await.unwrap();
        }
    });
    all.await;
}

async fn task_per_partition(consumer: &StreamConsumer, handling: Handling, notes: &Arc<impl Notes>, records: u64) {
    let mut tasks = Vec::new();
    let channels: Vec<mpsc::Sender<OwnedMessage>> = (0..PARTITIONS)
        .map(|_| {
            let (sender, mut receiver) = mpsc::channel::<OwnedMessage>(CHANNEL);
            let notes = Arc::clone(notes);
            tasks.push(tokio::spawn(async move {
                while let Some(message) = receiver.recv().await {
                    notes.begun();
                    handling.handle(message.payload()).await;
                    notes.handled(message.partition(), &message);
                }
            }));
            sender
        })
        .collect();
    let feed = consumer.stream().take(records as usize).for_each(|message| {
        let message = message.unwrap().detach();
        let channel = channels[message.partition() as usize].clone();
        async move { channel.send(message).await.unwrap() }
    });
    feed.await;
    drop(channels);
    for task in tasks {
        task.await.unwrap();
    }
}

pub(crate) fn drain(request: &Request, seen: &Arc<Seen>, records: u64) -> (Watched, Mark) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| {
        let watched = scope.spawn(|| watch(seen, records));
        let done = runtime.block_on(async {
            let consumer = consumer(request);
            run(request, &consumer, seen, records).await;
            match consumer.commit_consumer_state(CommitMode::Sync) {
                Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
                Err(error) => panic!("commit: {error}"),
            }
            Mark::now()
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
        (watched.join().unwrap(), done)
    })
}
