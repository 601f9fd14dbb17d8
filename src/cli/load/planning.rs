//! From the options to what a run does.

use std::time::Duration;

use jiff::Timestamp;
use kafka_troupe::config::tool::Role;
use kafka_troupe::consume::Order;
use kafka_troupe::produce::BuiltInPartitioner;

use super::{KeptOrder, Load};
use crate::cli::connect::Connection;
use crate::cli::exit::Misuse;
use crate::cli::produce::topic;
use crate::load::faults::{self, Fault};
use crate::load::keys::Keys;
use crate::load::limits::Largest;
use crate::load::phases::Phase;
use crate::load::pipeline::carrier;
use crate::load::plan::{Engine, Length, Outstanding, Pace, Plan};
use crate::load::sizes::Content;

/// Bytes that may be outstanding on the embedded broker, whose partitions keep the newest 5 MiB each: all might go to one of them.
const EMBEDDED_BYTES: u64 = 4 << 20;
/// And batches, of which it keeps 100,000.
const EMBEDDED_BATCHES: u64 = 90_000;
/// How long the load lasts, unless told otherwise.
const DURATION: Duration = Duration::from_secs(30);
const LIMIT: &str = "message.max.bytes";

impl Load {
    pub(super) fn plan(
        &self,
        started: Timestamp,
        seed: u64,
        embedded: bool,
        content: Content,
        (pace, warmup, length): (Pace, Duration, Length),
    ) -> Plan {
        // Two runs that begin in the same microsecond, with the same seed, would have to share a cluster to be mixed up.
        let run = (started.as_microsecond().unsigned_abs() << 12) ^ (u64::from(std::process::id()) << 44) ^ seed;
        let name = format!("troupe-load-{run:016x}");
        let (smallest, largest) = content.bounds();
        let most_outstanding = embedded.then(|| Outstanding {
            records: (EMBEDDED_BYTES / Plan::bytes_in_log(smallest)).clamp(1, EMBEDDED_BATCHES),
            bytes: (smallest < largest).then_some(EMBEDDED_BYTES),
        });
        Plan {
            run,
            seed,
            topic: name.clone(),
            group: name,
            partitions: self.partitions,
            producers: self.producers,
            members: self.members,
            pace,
            warmup,
            length,
            drain: self.drain,
            content,
            keys: self.keys,
            order: match self.order {
                KeptOrder::Partition => Order::Partition,
                KeptOrder::Key => Order::Key,
                KeptOrder::Unordered => Order::Unordered,
            },
            concurrency: self.concurrency.map(|calls| calls as usize),
            engine: self.shape.engine,
            work: self.shape.work,
            failure_rate: self.shape.failure_rate,
            verify: !self.shape.no_verify,
            faults: Vec::new(),
            most_outstanding,
        }
    }

    /// When records are sent, how long the warm-up lasts, and the load.
    pub(super) fn timing(&self, phases: Option<Vec<Phase>>) -> (Pace, Duration, Length) {
        if let Some(phases) = phases {
            let lasts = |warmup| phases.iter().filter(|it| it.warmup == warmup).map(|it| it.duration).sum();
            let (warmup, length) = (lasts(true), Length::Seconds(lasts(false)));
            return (Pace::Phases(phases), warmup, length);
        }
        if let Some(records) = self.shape.backlog {
            return (Pace::Backlog, Duration::ZERO, Length::Records(records));
        }
        let pace = match self.in_flight {
            Some(in_flight) => Pace::ClosedLoop { in_flight },
            None => Pace::OpenLoop { rate: self.rate, arrivals: self.arrivals },
        };
        let length = match (self.records, self.duration) {
            (Some(records), _) => Length::Records(records),
            (None, duration) => Length::Seconds(duration.unwrap_or(DURATION)),
        };
        (pace, self.warmup, length)
    }

    /// What is done to members, in the order of time.
    pub(super) fn faults(&self, length: Length) -> anyhow::Result<Vec<Fault>> {
        let load = match length {
            Length::Seconds(duration) => Some(duration),
            Length::Records(_) => None,
        };
        Ok(faults::planned(self.fault.clone(), self.members, load).map_err(Misuse)?)
    }

    pub(super) fn refuse_what_producers_do_not_take(&self, content: &Content) -> anyhow::Result<()> {
        let given = self.connect.settings(Role::Neither, &[])?;
        let largest = Largest::of(content.bounds().1, self.keys != Keys::Null);
        Ok(largest.fits_producer(limit(&given)).map_err(Misuse)?)
    }

    /// Handlers keep the order of a key within a partition.
    pub(super) fn refuse_what_keeps_no_order_of_a_key(&self) -> anyhow::Result<()> {
        use BuiltInPartitioner::{RoundRobin, Sticky};
        let partitioner = self.connect.settings(Role::Neither, &[])?.config().producer.partitioner;
        if self.order == KeptOrder::Key && matches!(partitioner, RoundRobin | Sticky) {
            let why = "producer.partitioner sends the records of a key to several partitions, where no order of it is kept: leave it out, or \
                       take --order unordered";
            return Err(Misuse(why.to_owned()).into());
        }
        Ok(())
    }

    /// The same of what is sent to a topic of somebody's, which has a limit of its own. Unless the producer is told one, that is its limit too: its
    /// batches are no larger than the topic takes, and its records may be as large; where it compresses them, larger.
    pub(super) async fn fit_to_topic(
        &self,
        connection: &mut Connection,
        topic: &str,
        content: &Content,
        within: Duration,
    ) -> anyhow::Result<()> {
        let largest = Largest::of(carrier::largest(content, &self.pipeline.carried()), self.keys != Keys::Null);
        let (given, of_topic) = (limit(connection), topic::most_bytes(connection, topic, within).await);
        let producer = &mut connection.config_mut().producer.kafka;
        // How much compression makes of it nobody knows before.
        let compressed = producer.get("compression.type").is_some_and(|codec| codec != "none");
        if let Some(limit) = of_topic.filter(|_| !compressed) {
            largest.fits_topic(topic, usize::try_from(limit)?).map_err(Misuse)?;
        }
        if let (None, Some(limit)) = (given, of_topic) {
            producer.set(LIMIT, topic::as_producers_limit(largest.producers_limit(limit, compressed)));
        }
        Ok(largest.fits_producer(limit(connection)).map_err(Misuse)?)
    }

    pub(super) fn refuse_what_no_bare_loop_does(&self) -> anyhow::Result<()> {
        if self.shape.engine == Engine::Bare && (self.order != KeptOrder::Partition || self.concurrency.is_some()) {
            let why = "--engine bare handles one record after the other, in the order of its partition: leave --order and --concurrency out";
            return Err(Misuse(why.to_owned()).into());
        }
        Ok(())
    }
}

/// The producer's limit, if it is told one.
fn limit(connection: &Connection) -> Option<usize> {
    connection.config().producer.kafka.get(LIMIT)?.parse().ok()
}

/// A backlog is outstanding as a whole.
pub(super) fn refuse_what_the_broker_cannot_keep(plan: &Plan) -> anyhow::Result<()> {
    if let (Pace::Backlog, Length::Records(records), Some(most)) = (&plan.pace, plan.length, plan.most_outstanding) {
        let fits = most.bytes.map_or(most.records, |bytes| bytes / Plan::bytes_in_log(plan.content.bounds().1));
        if records > fits {
            let why = format!(
                "the embedded broker keeps 5 MiB a partition: a backlog of such records may have {fits} there; take --kafka local, or \
                 --bootstrap-server"
            );
            return Err(Misuse(why).into());
        }
    }
    Ok(())
}
