//! The settings of a producer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::batch::MAX_BATCH_RECORDS;
use super::layer::Layers;
use super::limits::{BatchBounds, Limits, MAX_BATCH_BYTES};
use super::properties::Properties;
use super::{BuiltInPartitioner, Outgoing, Partitioner, Producer, ProducerError};

/// More arbiters than this serve nobody: each is a thread.
const MAX_ACTORS: usize = 64;
/// Whoever asks for more has a batch wait until it is full, or flushed.
const LONGEST_LINGER: Duration = Duration::from_secs(86_400);

/// Builds a [`Producer`]. Every setting but the brokers' addresses has a default to keep.
#[must_use = "it starts nothing until `start`"]
pub struct ProducerBuilder {
    pub(super) bootstrap_servers: Option<String>,
    pub(super) properties: Properties,
    pub(super) linger: Duration,
    pub(super) batch_records: usize,
    pub(super) batch_bytes: usize,
    pub(super) actors: usize,
    pub(super) buffer_records: usize,
    pub(super) buffer_bytes: usize,
    pub(super) metadata_timeout: Duration,
    pub(super) partitioner: Arc<dyn Partitioner>,
    pub(super) layers: Layers,
    pub(super) library_queue_records: Option<usize>,
}

impl ProducerBuilder {
    pub(super) fn new() -> Self {
        Self {
            bootstrap_servers: None,
            properties: Properties::default(),
            linger: Duration::from_millis(5),
            batch_records: 512,
            batch_bytes: 256 * 1024,
            actors: 1,
            buffer_records: 100_000,
            buffer_bytes: 64 * 1024 * 1024,
            metadata_timeout: Duration::from_secs(30),
            partitioner: Arc::new(BuiltInPartitioner::Murmur2),
            layers: Layers::default(),
            library_queue_records: None,
        }
    }

    /// The brokers to begin with, as `host:port`, separated by commas.
    pub fn bootstrap_servers(mut self, servers: impl Into<String>) -> Self {
        self.bootstrap_servers = Some(servers.into());
        self
    }

    /// Sets a property of librdkafka, such as `compression.type`; `message.timeout.ms` (five minutes) bounds how long a record is tried.
    /// Those that the producer sets itself are refused at the start. `enable.idempotence` is `true` and `acks` is `all` unless set here: without
    /// idempotence, retries may reorder and repeat records. `acks` 0 and 1 are refused with it: set `enable.idempotence` to `false` too. With `acks` 0 a
    /// record counts as confirmed when it is written to the connection, and its [`Delivery`](super::Delivery) has no offset. Where a topic's
    /// `max.message.bytes` is below Kafka's megabyte, set `batch.size` no higher: see [`SendError::TooLarge`](super::SendError::TooLarge).
    ///
    /// Without idempotence `max.in.flight` is 5 unless set here, not librdkafka's 1,000,000: what waits behind requests on their way makes the next ones
    /// larger. With retries and more than one in flight a later record may land first; set `max.in.flight` to 1 where order counts.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.set(name.into(), value.into());
        self
    }

    /// [`property`](Self::property) for each of these, in turn: of a name that comes twice the last value counts, and so it does of two names of one
    /// property (`acks`, `request.required.acks`).
    pub fn properties<N, V>(self, properties: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        properties.into_iter().fold(self, |builder, (name, value)| builder.property(name, value))
    }

    /// How long a batch that is not full waits for more records; 5 ms, with the millisecond's grain of a timer. Longer makes larger requests, and
    /// adds to the latency of each record. librdkafka adds none of its own: what comes while its requests are on their way makes the next ones larger.
    ///
    /// A batch is full by [`batch_records`](Self::batch_records) or [`batch_bytes`](Self::batch_bytes), which grow with the topic's partitions: what would
    /// fill a batch for eight of them still lingers where there are more. None waits where a record finds the [buffer](Self::buffer_records) full and at
    /// least half of what is in there only lingers: then all of that is sent at once.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// The most records in a batch, 1 to 65,536; 512. Of a topic with more than eight partitions it is as many for each eight of them, up to an eighth of
    /// an actor's [buffer](Self::buffer_records): what a record costs depends on how many of a batch go to its partition. Records that may go
    /// [anywhere](super::Placement::Any) go to another partition after as many as are said here.
    pub fn batch_records(mut self, records: usize) -> Self {
        self.batch_records = records;
        self
    }

    /// The most bytes (keys, values, headers) in a batch, at most 1 GiB; 256 KiB. It grows as [`batch_records`](Self::batch_records) does, up to an eighth of
    /// an actor's [buffer](Self::buffer_bytes). A record above that is a batch of its own.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How many `ProducerActor`s, each with its `PartitionerActor` on an arbiter (a thread) of its own, 1 to 64; 1. One serves some millions of small
    /// records a second; more help where a [`Partitioner`] is slow.
    pub fn actors(mut self, actors: usize) -> Self {
        self.actors = actors;
        self
    }

    /// The most records accepted and not yet answered; 100,000. The actors share it evenly. Each costs its bytes and some 300 more in librdkafka. Here it
    /// costs 24, or, where it is one of the last of its batch to be answered, for its partition is stuck, up to 800, and 1.5 KiB with a
    /// [`Confirmation`](super::Confirmation). Delivery callbacks that [send again](super::Sender::send_with) may exceed it: up to twice as many and two
    /// more, for each actor.
    ///
    /// A request of librdkafka carries records of one partition, so over hundreds of partitions that are all written to, more room makes larger requests,
    /// and a higher rate: with 200 for each of 512 partitions it is two thirds of what it is with 1,200.
    pub fn buffer_records(mut self, records: usize) -> Self {
        self.buffer_records = records;
        self
    }

    /// The most bytes (keys, values, headers) accepted and not yet answered; 64 MiB. The actors share it evenly, and a record above an actor's share is
    /// too large. Delivery callbacks that [send again](super::Sender::send_with) may exceed it up to twice, and by twice the record that is let in above it.
    ///
    /// Not counted: librdkafka's copies, and up to 4 emptied batches that each actor keeps to fill them again. They grew to what batches needed, to at most
    /// twice [`batch_bytes`](Self::batch_bytes) each and some 40 bytes for each of [`batch_records`](Self::batch_records): about 2 MiB for each actor by
    /// default. With batches that have grown with their topic's partitions it is at most as much as this bound.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// How long records wait for the brokers' word of their topic's partitions, 30 s, which is how long a topic that was just created may take to
    /// show everywhere. They then fail with `UnknownTopic`, or `TimedOut` where no broker answered. Other topics go on meanwhile.
    pub fn metadata_timeout(mut self, timeout: Duration) -> Self {
        self.metadata_timeout = timeout;
        self
    }

    /// Picks partitions otherwise than Java's producer does: by another rule that is [known](BuiltInPartitioner), or by one of the app's own.
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.partitioner = Arc::new(partitioner);
        self
    }

    /// Adds headers to every record on its way out: the tracing context of whoever sends, the id of a schema. Layers are called in the order in which
    /// they were added, when the record is handed over, on the thread or task of its sender and in its span; a panic is the sender's. A record that
    /// [`try_send`](super::Sender::try_send) gives back is as it was before.
    ///
    /// ```
    /// # use troupe_actors::produce::Producer;
    /// # fn schema_of(topic: &str) -> i32 { 7 }
    /// Producer::builder().layer(|record| {
    ///     let id = schema_of(record.record().topic());
    ///     record.add_header("schema-id", id.to_be_bytes());
    /// })
    /// # ;
    /// ```
    pub fn layer(mut self, layer: impl Fn(&mut Outgoing<'_, '_>) + Send + Sync + 'static) -> Self {
        self.layers.push(layer);
        self
    }

    /// Narrows librdkafka's own queue below the buffer, so that it becomes full.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn library_queue_records(mut self, records: usize) -> Self {
        self.library_queue_records = Some(records);
        self
    }

    /// Starts the producer's threads: two for the actor system, one for each actor, one each for deliveries and metadata, and librdkafka's. It connects
    /// in the background, so a broker that is away is no error here. It blocks for some milliseconds at most and needs no runtime.
    ///
    /// # Errors
    /// A setting out of bounds, a property that is refused, a thread that the system does not give.
    pub fn start(self) -> Result<Producer, ProducerError> {
        self.check()?;
        Producer::start(self)
    }

    fn check(&self) -> Result<(), ProducerError> {
        self.properties.check()?;
        let has_brokers = matches!(&self.bootstrap_servers, Some(servers) if !servers.is_empty());
        let checks = [
            (has_brokers || self.properties.mocks_brokers(), ("bootstrap_servers", "must name a broker")),
            ((1..=MAX_ACTORS).contains(&self.actors), ("actors", "must be 1 to 64")),
            ((1..=MAX_BATCH_RECORDS).contains(&self.batch_records), ("batch_records", "must be 1 to 65,536")),
            ((1..=MAX_BATCH_BYTES).contains(&self.batch_bytes), ("batch_bytes", "must be 1 to 1 GiB")),
            (
                (self.actors..=i32::MAX as usize).contains(&self.buffer_records),
                ("buffer_records", "must be one per actor to 2,147,483,647"),
            ),
            (
                self.buffer_bytes >= self.actors && self.buffer_bytes / 1024 < i32::MAX as usize,
                ("buffer_bytes", "must be one per actor to 2 TiB"),
            ),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, (setting, reason))) => Err(ProducerError::Setting { setting, reason }),
        }
    }

    /// The bounds of each actor's intake. The shares sum up to no more than the whole.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            buffer_records: self.buffer_records / self.actors,
            buffer_bytes: self.buffer_bytes / self.actors,
            batch: BatchBounds { records: self.batch_records, bytes: self.batch_bytes },
            linger: self.linger.min(LONGEST_LINGER),
        }
    }

    /// librdkafka's configuration. Its queue holds whatever the intakes accept: it counts a record's value only, where they count key and headers too.
    /// It has no linger, for the intake's is the whole of it: under load records gather behind its requests all the same.
    pub(super) fn config(&self) -> rdkafka::ClientConfig {
        let mut config = self.properties.config();
        if let Some(servers) = &self.bootstrap_servers {
            config.set("bootstrap.servers", servers);
        }
        let queue = self.library_queue_records.unwrap_or(self.buffer_records);
        config
            .set("queue.buffering.max.messages", queue.to_string())
            .set("queue.buffering.max.kbytes", (self.buffer_bytes / 1024 + 1).to_string())
            .set("linger.ms", "0");
        config
    }
}

impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("linger", &self.linger)
            .field("batch_records", &self.batch_records)
            .field("batch_bytes", &self.batch_bytes)
            .field("actors", &self.actors)
            .field("buffer_records", &self.buffer_records)
            .field("buffer_bytes", &self.buffer_bytes)
            .field("metadata_timeout", &self.metadata_timeout)
            .field("partitioner", &self.partitioner.name())
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_the_actors_stay_below_librdkafkas_queue() {
        let builder = ProducerBuilder::new()
            .bootstrap_servers("localhost:1")
            .actors(3)
            .buffer_records(1_000)
            .buffer_bytes(100_000);
        builder.check().unwrap();
        let limits = builder.limits();
        let config = builder.config();
        let queue = |name| config.get(name).unwrap().parse::<usize>().unwrap();
        assert!(limits.buffer_records * 3 <= queue("queue.buffering.max.messages"));
        assert!(limits.buffer_bytes * 3 <= queue("queue.buffering.max.kbytes") * 1024);
    }

    #[test]
    fn a_record_lingers_in_its_intake_only() {
        let builder = ProducerBuilder::new().bootstrap_servers("localhost:1").linger(Duration::from_millis(5));
        assert_eq!(builder.limits().linger, Duration::from_millis(5));
        assert_eq!(builder.config().get("linger.ms"), Some("0"));
    }

    #[test]
    fn of_properties_with_one_name_the_last_counts() {
        let ids = [("client.id", "first"), ("client.id", "last")];
        let config = ProducerBuilder::new().bootstrap_servers("localhost:1").properties(ids).config();
        assert_eq!(config.get("client.id"), Some("last"));
    }

    #[test]
    fn settings_out_of_bounds_are_named() {
        let ok = || ProducerBuilder::new().bootstrap_servers("localhost:1");
        let wrong = [
            (ProducerBuilder::new(), "bootstrap_servers"),
            (ok().actors(0), "actors"),
            (ok().batch_records(0), "batch_records"),
            (ok().batch_records(65_537), "batch_records"),
            (ok().batch_bytes(0), "batch_bytes"),
            (ok().actors(4).buffer_records(3), "buffer_records"),
            (ok().buffer_bytes(0), "buffer_bytes"),
        ];
        for (builder, name) in wrong {
            match builder.check() {
                Err(ProducerError::Setting { setting, .. }) => assert_eq!(setting, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
