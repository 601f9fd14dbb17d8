//! Stands in for the library's consumer and producer until they are there: the same calls, on the bare client.
//!
//! To be deleted with the switch of `job`'s imports to the library's.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext,
    ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext, Message};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub(super) struct PartitionId(pub(super) i32);
pub(super) struct Offset(pub(super) i64);

pub(super) enum Outcome {
    Done,
}

pub(super) struct Record<'a>(&'a BorrowedMessage<'a>);

impl Record<'_> {
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }
    pub(super) fn partition(&self) -> PartitionId {
        PartitionId(self.0.partition())
    }
    pub(super) fn offset(&self) -> Offset {
        Offset(self.0.offset())
    }
}

pub(super) struct Consumer;

type Handler = Box<dyn FnMut(&Record<'_>) -> Outcome + Send>;

pub(super) struct ConsumerBuilder {
    config: ClientConfig,
    topics: Vec<String>,
    handler: Option<Handler>,
}

impl Consumer {
    pub(super) fn builder() -> ConsumerBuilder {
        let mut config = ClientConfig::new();
        config
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.offset.store", "false")
            .set("auto.commit.interval.ms", "100");
        ConsumerBuilder {
            config,
            topics: Vec::new(),
            handler: None,
        }
    }
}

impl ConsumerBuilder {
    pub(super) fn bootstrap_servers(self, servers: &str) -> Self {
        self.property("bootstrap.servers", servers)
    }
    pub(super) fn group_id(self, group: &str) -> Self {
        self.property("group.id", group)
    }
    pub(super) fn topics<const N: usize>(mut self, topics: [&str; N]) -> Self {
        self.topics = topics.map(str::to_owned).to_vec();
        self
    }
    pub(super) fn property(mut self, key: &str, value: &str) -> Self {
        self.config.set(key, value);
        self
    }
    pub(super) fn handler(
        mut self,
        handler: impl FnMut(&Record<'_>) -> Outcome + Send + 'static,
    ) -> Self {
        self.handler = Some(Box::new(handler));
        self
    }
    pub(super) fn start(self) -> Result<ConsumerHandle, KafkaError> {
        let consumer: BaseConsumer = self.config.create()?;
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let stopped = CancellationToken::new();
        let when_stopped = stopped.clone();
        let mut handler = self.handler;
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Acquire) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(10))
                    && let Some(handler) = &mut handler
                {
                    let Outcome::Done = handler(&Record(&message));
                    if let Err(error) = consumer.store_offset_from_message(&message) {
                        tracing::warn!(%error, "not stored");
                    }
                }
            }
            drop(consumer);
            stopped.cancel();
        });
        Ok(ConsumerHandle {
            stop,
            when_stopped,
            _thread: thread,
        })
    }
}

pub(super) struct ConsumerHandle {
    stop: Arc<AtomicBool>,
    when_stopped: CancellationToken,
    _thread: JoinHandle<()>,
}

impl ConsumerHandle {
    pub(super) async fn shutdown(&self, deadline: Duration) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Release);
        Ok(tokio::time::timeout(deadline, self.when_stopped.cancelled()).await?)
    }
}

type Report = Result<(), KafkaError>;

struct Reports;
impl ClientContext for Reports {}
impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = Box<oneshot::Sender<Report>>;
    fn delivery(&self, result: &DeliveryResult<'_>, report: Self::DeliveryOpaque) {
        let _ = report.send(result.as_ref().map(|_| ()).map_err(|(e, _)| e.clone()));
    }
}

pub(super) struct Producer;
pub(super) struct ProducerBuilder(ClientConfig);
pub(super) struct ProducerHandle(Arc<ThreadedProducer<Reports>>);
pub(super) struct Sender(Arc<ThreadedProducer<Reports>>);
pub(super) struct Confirmation(oneshot::Receiver<Report>);
pub(super) struct ProducerRecord<'a> {
    topic: &'a str,
    key: &'a [u8],
    value: &'a [u8],
    _fields: PhantomData<()>,
}

impl Producer {
    pub(super) fn builder() -> ProducerBuilder {
        let mut config = ClientConfig::new();
        config
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random");
        ProducerBuilder(config)
    }
}

impl ProducerBuilder {
    pub(super) fn bootstrap_servers(mut self, servers: &str) -> Self {
        self.0.set("bootstrap.servers", servers);
        self
    }
    pub(super) fn start(self) -> Result<ProducerHandle, KafkaError> {
        Ok(ProducerHandle(Arc::new(
            self.0.create_with_context(Reports)?,
        )))
    }
}

impl ProducerHandle {
    pub(super) fn sender(&self) -> Sender {
        Sender(Arc::clone(&self.0))
    }
    pub(super) async fn shutdown(self, deadline: Duration) -> Result<(), KafkaError> {
        self.0.flush(deadline)
    }
}

impl Sender {
    pub(super) async fn enqueue(
        &self,
        record: ProducerRecord<'_>,
    ) -> Result<Confirmation, KafkaError> {
        let (report, confirmation) = oneshot::channel();
        self.0
            .send(
                BaseRecord::with_opaque_to(record.topic, Box::new(report))
                    .key(record.key)
                    .payload(record.value),
            )
            .map_err(|(error, _)| error)?;
        Ok(Confirmation(confirmation))
    }
}

impl Future for Confirmation {
    type Output = anyhow::Result<()>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|report| Ok(report??))
    }
}

impl<'a> ProducerRecord<'a> {
    pub(super) fn to(topic: &'a str) -> Self {
        Self {
            topic,
            key: &[],
            value: &[],
            _fields: PhantomData,
        }
    }
    pub(super) fn key(self, key: &'a [u8]) -> Self {
        Self { key, ..self }
    }
    pub(super) fn value(self, value: &'a [u8]) -> Self {
        Self { value, ..self }
    }
}
