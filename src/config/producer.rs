use std::time::Duration;

use serde::{Deserialize, Serialize};
use troupe_actors::produce::{BuiltInPartitioner, Producer, ProducerBuilder};

use super::properties::Properties;
use super::settings::{SettingDoc, settings};
use super::value::{duration, number, size};

settings! {
    /// What a producer is told from outside its code: the table `[producer]`. Each field is the [`ProducerBuilder`]'s method of its name.
    ProducerConfig;

    /// How long a batch that is not full waits for more records; a batch of many partitions is full later. A full buffer does not wait for it. Java's
    /// default: larger requests, for no delay that anybody notices.
    #[serde(with = "duration")]
    linger: Duration = Duration::from_millis(5), "5ms", "a duration, as in `250ms`";

    /// Records in a batch, which travels between actors as one message; for each eight partitions of its topic. As a consumer's chunk: larger
    /// ones fall out of the processor's cache, and ones with few records for a partition cost more.
    #[serde(deserialize_with = "number::within::<1, 65536, _, _>")]
    batch_records: usize = 512, "512", "a number of records, 1 to 65536";

    /// Bytes of keys, values and headers in a batch, for each eight partitions. As `batch_records`, for larger ones.
    #[serde(serialize_with = "size::serialize", deserialize_with = "size::up_to_1_gib")]
    batch_bytes: usize = 256 << 10, "256KiB", "a size, as in `128KiB`, up to 1 GiB";

    /// Producing actors, each with a thread. One serves some millions of small records a second; more help where a partitioner is slow.
    #[serde(deserialize_with = "number::within::<1, 64, _, _>")]
    actors: usize = 1, "1", "a number, 1 to 64";

    /// Records accepted and not answered yet; senders wait beyond. librdkafka's own number; each costs its bytes and some
    /// 300 more. Over hundreds of partitions a larger one makes larger requests.
    #[serde(deserialize_with = "number::within::<1, 2147483647, _, _>")]
    buffer_records: usize = 100_000, "100000", "a number of records";

    /// Bytes of keys, values and headers accepted and not answered yet, shared by the actors: a record above a share is too large. Up to four
    /// emptied batches per actor are kept beside it. Twice Java's `buffer.memory`.
    #[serde(with = "size")]
    buffer_bytes: usize = 64 << 20, "64MiB", "a size, as in `128MiB`";

    /// How long records wait for the brokers' word of their topic's partitions. As long as a topic that was just created may take to show
    /// everywhere.
    #[serde(with = "duration")]
    metadata_timeout: Duration = Duration::from_secs(30), "30s", "a duration, as in `250ms`";

    /// Which partition a record goes to that names none: as Java's producer has it, or librdkafka's; or each the next; or all of a batch the
    /// same. The last two keep no order of a key. Java's is what most others that write to a topic use.
    partitioner: BuiltInPartitioner = BuiltInPartitioner::Murmur2, "murmur2", "`murmur2`, `consistent_random`, `round_robin`, `sticky`";
}

impl ProducerConfig {
    /// A builder with these settings, to which code adds what only code can say. What it sets wins.
    pub fn builder(&self) -> ProducerBuilder {
        self.apply(Producer::builder())
    }

    /// Sets on `builder` all that is set here.
    pub fn apply(&self, builder: ProducerBuilder) -> ProducerBuilder {
        let builder = builder
            .linger(self.linger)
            .batch_records(self.batch_records)
            .batch_bytes(self.batch_bytes)
            .actors(self.actors)
            .buffer_records(self.buffer_records)
            .buffer_bytes(self.buffer_bytes)
            .metadata_timeout(self.metadata_timeout)
            .partitioner(self.partitioner);
        self.kafka.iter().fold(builder, |builder, (name, value)| match name {
            "bootstrap.servers" => builder.bootstrap_servers(value),
            _ => builder.property(name, value),
        })
    }
}
