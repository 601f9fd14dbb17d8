//! What every example needs and none is about: its arguments and, where they name no broker, one in this process with orders in a topic.
#![allow(dead_code)] // Each example uses a part of it.

use std::error::Error;
use std::io;
use std::time::Duration;

use kafka_troupe::broker::EmbeddedBroker;
use kafka_troupe::consume::{ConsumerHandle, ConsumerState};
use kafka_troupe::produce::{Producer, ProducerRecord, SendError};

const PARTITIONS: i32 = 4;
const CUSTOMERS: usize = 10;

/// Where an example plays: on a broker of its own, or by these arguments on another, whose topics must exist.
///
/// - `--bootstrap-server HOST:PORT`
/// - `--topic NAME`, unless it is `orders`
/// - `--group NAME`, unless it is called like the example
/// - `-X NAME=VALUE`, a property of librdkafka's, for producer and consumer
///
/// What remains is the example's own.
pub(crate) struct Stage {
    pub(crate) servers: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) arguments: Vec<String>,
    /// Ends with the example.
    embedded: Option<EmbeddedBroker>,
}

impl Stage {
    /// An empty topic; on another broker it is as it is.
    pub(crate) fn empty() -> Result<Self, Box<dyn Error>> {
        let mut stage = Self::from_arguments(std::env::args())?;
        if stage.servers.is_empty() {
            let broker = EmbeddedBroker::start()?;
            stage.servers = broker.bootstrap_servers().to_owned();
            // With these, members of a group share partitions out in no time there.
            let quick = EmbeddedBroker::CONSUMER_PROTOCOL_PROPERTIES;
            stage.properties.extend(quick.iter().map(|(name, value)| (name.to_string(), value.to_string())));
            stage.embedded = Some(broker);
            stage.create_topic(&stage.topic)?;
        }
        Ok(stage)
    }

    /// A topic with `count` orders of ten customers, who are the keys; on another broker it is as it is. It takes a moment, and the thread.
    pub(crate) fn with_orders(count: usize) -> Result<Self, Box<dyn Error>> {
        let stage = Self::empty()?;
        if stage.embedded.is_some() {
            let producer = Producer::builder().bootstrap_servers(&stage.servers).start()?;
            // A thread that may wait: an example's own may be a runtime's.
            let sent = std::thread::scope(|scope| scope.spawn(|| send_orders(&producer, &stage.topic, count)).join());
            sent.map_err(|_| "the orders were not sent")??;
        }
        Ok(stage)
    }

    /// Whether it is on a broker of its own.
    pub(crate) fn is_own(&self) -> bool {
        self.embedded.is_some()
    }

    /// Another topic; on another broker it must be there.
    pub(crate) fn create_topic(&self, topic: &str) -> Result<(), Box<dyn Error>> {
        if let Some(broker) = &self.embedded {
            broker.create_topic(topic, PARTITIONS)?;
        }
        Ok(())
    }

    fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let program = arguments.next().unwrap_or_default();
        let mut stage = Self {
            servers: String::new(),
            topic: "orders".to_owned(),
            group: program.rsplit(['/', '\\']).next().unwrap_or_default().replace('_', "-"),
            properties: Vec::new(),
            arguments: Vec::new(),
            embedded: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--bootstrap-server" => stage.servers = value()?,
                "--topic" => stage.topic = value()?,
                "--group" => stage.group = value()?,
                "-X" => {
                    let property = value()?;
                    let (name, value) = property.split_once('=').ok_or("a property is NAME=VALUE")?;
                    stage.properties.push((name.to_owned(), value.to_owned()));
                }
                unknown if unknown.starts_with('-') => {
                    let options = "--bootstrap-server HOST:PORT, --topic NAME, --group NAME, -X NAME=VALUE";
                    return Err(format!("unknown option {unknown}; there are {options}"));
                }
                _ => stage.arguments.push(argument),
            }
        }
        Ok(stage)
    }
}

/// Whether all that the topic holds is processed.
pub(crate) fn is_caught_up(state: &ConsumerState) -> bool {
    let mut partitions = state.partitions.iter();
    !state.partitions.is_empty() && partitions.all(|each| each.end_offset == Some(each.watermark))
}

/// Waits until all that the topic holds is processed, or the consumer ends by itself: to shut it down tells why.
pub(crate) async fn until_caught_up(consumer: &ConsumerHandle) {
    let token = consumer.cancellation_token();
    while !is_caught_up(&consumer.state()) && !token.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same, or until Ctrl-C is pressed.
pub(crate) async fn until_done(consumer: &ConsumerHandle) -> io::Result<()> {
    tokio::select! {
        () = until_caught_up(consumer) => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

fn send_orders(producer: &Producer, topic: &str, count: usize) -> Result<(), SendError> {
    let sender = producer.sender();
    let sent = (0..count).map(|number| {
        let (customer, order) = (format!("customer-{}", number % CUSTOMERS), format!("order {number}"));
        sender.enqueue_blocking(ProducerRecord::to(topic).key(&customer).value(&order))
    });
    sent.collect::<Result<Vec<_>, _>>()?.into_iter().try_for_each(|confirmation| confirmation.wait_blocking().map(drop))
}
