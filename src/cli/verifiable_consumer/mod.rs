mod account;
mod events;
mod story;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use kafka_troupe::consume::Order;
use kafka_troupe::{AutoOffsetReset, ConsumerError, ConsumerHandle, Outcome, Record};
use tokio_util::sync::CancellationToken;

use super::connect::Connect;
use super::exit::{self, Exit, Misuse};
use super::shutdown::Shutdown;
use super::terminal::Terminal;
use events::Event;
use story::{Listener, Story};

/// How often it is looked at how far processing has come.
const LOOK: Duration = Duration::from_millis(50);
/// How long a stop may take.
const STOP: Duration = Duration::from_secs(20);

/// Consume, and tell each event as Kafka's VerifiableConsumer does
///
/// For Kafka's own system tests, and whatever else reads their protocol: one JSON object a line on
/// stdout, all else on stderr. It takes the options of Java's tool, and runs the engine:
/// records_consumed is told as the watermark advances, so it is about processing, not fetching.
/// Offsets are committed, and told, before partitions_revoked.
///
/// With --order key or unordered a record may have been finished by an earlier owner of its
/// partition and be skipped: there all offsets that the watermark passes count as consumed.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = exit::help("  troupe verifiable-consumer --bootstrap-server localhost:9092 --topic orders --group-id g
                     until SIGTERM, as the system tests run it
  … --group-protocol consumer --group-remote-assignor range
                     in a group of the new protocol (KIP-848)
  … --order key --concurrency 100 --max-messages 1000
                     the same story of a consumer that works on many keys at once"))]
pub(crate) struct VerifiableConsumer {
    /// The topic to consume
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// The group to join
    #[arg(long, value_name = "GROUP_ID")]
    group_id: String,
    /// The group's protocol: classic, or consumer for the new one (KIP-848)
    #[arg(long, value_name = "PROTOCOL", default_value = "classic", ignore_case = true, value_enum)]
    group_protocol: Protocol,
    /// The broker's assignor; with the protocol consumer only
    #[arg(long, value_name = "ASSIGNOR")]
    group_remote_assignor: Option<String>,
    /// This member's name, for static membership
    #[arg(long, value_name = "ID")]
    group_instance_id: Option<String>,
    /// End after this many records; -1: never
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    max_messages: i64,
    /// The session's timeout, milliseconds; with the protocol classic only
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    session_timeout: u32,
    /// Commit from time to time and do not tell of it
    #[arg(long)]
    enable_autocommit: bool,
    /// Where to start without a commit: earliest, latest or none
    #[arg(long, value_name = "POLICY", default_value = "earliest", ignore_case = true, value_enum)]
    reset_policy: Reset,
    /// Java's assignor classes, or librdkafka's names; with the protocol classic only
    #[arg(long, value_name = "CLASSES", default_value = "org.apache.kafka.clients.consumer.RangeAssignor")]
    assignment_strategy: String,
    /// The order in which a partition's records are processed
    #[arg(long, value_name = "ORDER", default_value = "partition", value_enum)]
    order: KeptOrder,
    /// Records processed at once, in all partitions together; with the orders key and unordered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Classic,
    Consumer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reset {
    Earliest,
    Latest,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeptOrder {
    Partition,
    Key,
    Unordered,
}

impl VerifiableConsumer {
    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let order = match self.order {
            KeptOrder::Partition => Order::Partition,
            KeptOrder::Key => Order::Key,
            KeptOrder::Unordered => Order::Unordered,
        };
        let story = Arc::new(Story::new(order != Order::Partition, terminal.is_verbose(), !self.enable_autocommit));
        let enough = CancellationToken::new();
        story.tell(Event::StartupComplete);
        let ended = match self.start(order, &story, &enough) {
            Ok(consumer) => {
                story.of(consumer.clone());
                until_ended(&consumer, &story, &enough, shutdown).await.map_err(anyhow::Error::from)
            }
            Err(error) => Err(error),
        };
        // Also after a failure, as Java's tool does: its reader waits for it.
        story.tell(Event::ShutdownComplete);
        ended.map(|()| Exit::Fine)
    }

    fn start(&self, order: Order, story: &Arc<Story>, enough: &CancellationToken) -> anyhow::Result<ConsumerHandle> {
        let connection = self.connect.resolve()?;
        let mut builder = connection.consumer().topics([&self.topic]).group_id(&self.group_id).order(order);
        match self.group_protocol {
            Protocol::Consumer => {
                builder = builder.property("group.protocol", "consumer");
                if let Some(assignor) = &self.group_remote_assignor {
                    builder = builder.property("group.remote.assignor", assignor);
                }
            }
            Protocol::Classic => {
                builder = builder
                    .property("partition.assignment.strategy", assignors(&self.assignment_strategy)?)
                    .property("session.timeout.ms", self.session_timeout.to_string());
            }
        }
        // Kafka's test scripts write out what Python calls nothing.
        if let Some(id) = self.group_instance_id.as_deref().filter(|id| *id != "None") {
            builder = builder.property("group.instance.id", id);
        }
        if let Some(concurrency) = self.concurrency {
            builder = builder.concurrency(concurrency as usize);
        }
        let left = AtomicI64::new(if self.max_messages < 0 { i64::MAX } else { self.max_messages });
        if self.max_messages == 0 {
            enough.cancel();
        }
        let (tells, enough, commits) = (Arc::clone(story), enough.clone(), Arc::clone(story));
        let handler = move |record: &Record| {
            match left.fetch_sub(1, Ordering::Relaxed) {
                ..=0 => {
                    // It is not ours any more: whoever has the partition next consumes it.
                    let after = Duration::from_secs(3600);
                    return Outcome::Retry { after, cause: "as many as were asked for are consumed".into() };
                }
                1 => {
                    tells.handled(record);
                    enough.cancel();
                }
                _ => tells.handled(record),
            }
            Outcome::Done
        };
        let started = builder
            .auto_offset_reset(match self.reset_policy {
                Reset::Earliest => AutoOffsetReset::Earliest,
                Reset::Latest => AutoOffsetReset::Latest,
                Reset::None => AutoOffsetReset::None,
            })
            .handler(handler)
            .on_commit(move |report| commits.committed(report))
            .rebalance_listener(Listener(Arc::clone(story)))
            .stop_deadline(STOP)
            .start();
        started.map_err(|error| match error {
            ConsumerError::Configuration { reason } => Misuse(reason).into(),
            error => error.into(),
        })
    }
}

async fn until_ended(
    consumer: &ConsumerHandle,
    story: &Story,
    enough: &CancellationToken,
    shutdown: &Shutdown,
) -> Result<(), ConsumerError> {
    let looks = async {
        loop {
            tokio::time::sleep(LOOK).await;
            story.look();
        }
    };
    let ends = async {
        tokio::select! {
            // A signal, which the consumer's own token does not pass on: it is told first.
            () = shutdown.requested().cancelled() => {
                story.tell(Event::ShutdownRequested);
                consumer.shutdown(STOP).await
            }
            () = enough.cancelled() => consumer.shutdown(STOP).await,
            ended = consumer.wait() => ended,
        }
    };
    tokio::select! {
        ended = ends => ended.map(drop),
        () = looks => Ok(()),
    }
}

/// Java's classes as librdkafka's names.
fn assignors(classes: &str) -> Result<String, Misuse> {
    let names = classes.split(',').map(|class| {
        let class = class.trim();
        let name = class.rsplit('.').next().unwrap_or(class);
        match name.strip_suffix("Assignor").unwrap_or(name).to_ascii_lowercase().as_str() {
            "range" => Ok("range"),
            "roundrobin" => Ok("roundrobin"),
            "cooperativesticky" | "cooperative-sticky" => Ok("cooperative-sticky"),
            _ => Err(Misuse(format!(
                "--assignment-strategy {class}: there is no such assignor here; RangeAssignor, RoundRobinAssignor and \
                 CooperativeStickyAssignor are"
            ))),
        }
    });
    Ok(names.collect::<Result<Vec<_>, _>>()?.join(","))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn javas_assignors_are_known_by_their_classes() {
        let package = "org.apache.kafka.clients.consumer";
        let of = |class: &str| assignors(&format!("{package}.{class}")).unwrap();
        assert_eq!(of("RangeAssignor"), "range");
        assert_eq!(of("RoundRobinAssignor"), "roundrobin");
        assert_eq!(of("CooperativeStickyAssignor"), "cooperative-sticky");
        assert_eq!(assignors("roundrobin, range").unwrap(), "roundrobin,range");
        assert!(assignors(&format!("{package}.StickyAssignor")).is_err());
    }
}
