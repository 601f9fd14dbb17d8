mod cluster;
mod edges;
mod format;
mod output;
mod printer;
mod report;
mod until_end;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use kafka_troupe::{AutoOffsetReset, ConsumerError, ConsumerHandle, PartitionContext};
use rdkafka::types::RDKafkaErrorCode;

use super::apart::apart;
use super::connect::{Connect, Connection};
use super::exit::{self, Exit, Misuse};
use super::shutdown::Shutdown;
use super::terminal::Terminal;
use cluster::Cluster;
use format::Format;
use output::Output;
use printer::Printer;
use report::Report;
use until_end::UntilEnd;

/// How long a stop may take: a reader that stands still may hold up a write.
const STOP: Duration = Duration::from_secs(10);

/// Print a topic's records, and commit exactly what is printed
///
/// A record counts as done when all of its line is written to stdout, and only then may its offset
/// be committed. So whatever ends the command, a signal, a reader that goes away, a limit, the
/// group goes on with the first record that was not printed. After a crash it gets again what was
/// printed since the last commit, a tenth of a second ago at most.
///
/// Without a group it stands alone: it prints all partitions and commits nothing.
///
/// Each partition's records are printed in the order of their offsets; between partitions there is
/// none.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = exit::help("  troupe consume --bootstrap-server localhost:9092 --topic orders
                     all there is, then what comes, until Ctrl-C
  … --from latest    only what comes from now on
  … --group billing --max-records 10
                     the group's next 10, committed
  … --until-end --json > orders.ndjson
                     all there is, without loss, and then end
  … --key-separator : | head -3
                     the first three, as key:value
  … --command-config client.properties -X isolation.level=read_uncommitted
                     where a login is needed; also what transactions have not committed"))]
pub(crate) struct Consume {
    /// The topic to print
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Consume as a member of this group, and commit what is printed
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Where to start if the group has no commit [default: earliest]
    ///
    /// If it has, it goes on from there: this never rewinds. Without a group, where to start.
    #[arg(long, value_enum, value_name = "earliest|latest", hide_possible_values = true)]
    #[arg(verbatim_doc_comment)]
    from: Option<From>,
    /// The same as --from earliest
    #[arg(long, conflicts_with = "from")]
    from_beginning: bool,
    /// End when this many records are printed [alias: --max-messages]
    ///
    /// Exactly these are committed. In a group each member counts for itself.
    #[arg(long, value_name = "N", alias = "max-messages", value_parser = clap::value_parser!(u64).range(1..))]
    max_records: Option<u64>,
    /// End when all is printed that the topic holds at the start
    ///
    /// In a group: when the group has committed it, whichever member printed it, so that all
    /// members with this option end together.
    #[arg(long, verbatim_doc_comment)]
    until_end: bool,
    /// Print one JSON object a line, without loss
    ///
    /// With topic, partition, offset, timestamp, key, value and headers. Bytes that are not UTF-8
    /// stand as base64 in key_base64 and value_base64. `troupe produce --input records` reads it.
    #[arg(long, verbatim_doc_comment)]
    json: bool,
    /// Print the key too, and this between key and value
    #[arg(long, value_name = "SEPARATOR", conflicts_with = "json")]
    key_separator: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    Earliest,
    Latest,
}

impl Consume {
    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let connection = self.connect.resolve()?;
        let partitions = connection.reach_topic(&self.topic, shutdown.requested())?;
        let until_end = match self.until_end {
            true => Some(self.until_end(&connection, partitions).await?),
            false => None,
        };
        let group = self.group(&connection);
        let output = Arc::new(Output::stdout(self.max_records).context("there is no stdout")?);
        let started = Instant::now();
        let consumer = self.start(&connection, &output, shutdown)?;
        let ended = tokio::select! {
            // By a signal, or by what went wrong.
            ended = consumer.wait() => ended,
            () = output.over().cancelled() => consumer.shutdown(STOP).await,
            () = end_reached(until_end, &consumer, group.is_some()) => consumer.shutdown(STOP).await,
        };
        let report = Report::new(output.printed(), group.is_some(), &consumer, &ended, started.elapsed());
        terminal.summarize(&report, || report.log());
        match ended {
            Ok(_) => Ok(Exit::Fine),
            Err(error) => Err(explained(error, &self.topic, group)),
        }
    }

    fn group<'a>(&'a self, connection: &'a Connection) -> Option<&'a str> {
        self.group.as_deref().or_else(|| connection.get("group.id"))
    }

    /// Where a partition starts that the group has committed nothing of; `None` leaves it to the properties, and these to the default.
    fn from(&self) -> Option<AutoOffsetReset> {
        match self.from {
            _ if self.from_beginning => Some(AutoOffsetReset::Earliest),
            Some(From::Earliest) => Some(AutoOffsetReset::Earliest),
            Some(From::Latest) => Some(AutoOffsetReset::Latest),
            None => None,
        }
    }

    async fn until_end(&self, connection: &Connection, partitions: usize) -> anyhow::Result<UntilEnd> {
        let group = self.group(connection);
        let cluster = Arc::new(Cluster::new(connection, &self.topic, group)?);
        let partitions: Vec<_> = (0..).take(partitions).collect();
        let edges = apart({
            let cluster = Arc::clone(&cluster);
            move || cluster.edges(&partitions)
        });
        let edges = edges.await?.with_context(|| format!("cannot see where the topic {} ends", self.topic))?;
        // librdkafka's names for it.
        let property = matches!(connection.get("auto.offset.reset"), Some("latest" | "largest" | "end"));
        let from_latest = self.from().map_or(property, |from| from == AutoOffsetReset::Latest);
        Ok(UntilEnd::new(cluster, edges, from_latest))
    }

    fn start(
        &self,
        connection: &Connection,
        output: &Arc<Output>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<ConsumerHandle> {
        let mut builder = connection.consumer().topics([&self.topic]);
        builder = match self.group(connection) {
            Some(group) => builder.group_id(group),
            None => builder.standalone(),
        };
        if let Some(from) = self.from() {
            builder = builder.auto_offset_reset(from);
        }
        let (output, format) = (Arc::clone(output), self.format());
        let started = builder
            .cancellation_token(shutdown.requested().child_token())
            .stop_deadline(STOP)
            .partition_handler(move |context: &PartitionContext| Printer::new(&output, &format, context))
            .start();
        started.map_err(|error| match error {
            ConsumerError::Configuration { reason } => Misuse(reason).into(),
            error => error.into(),
        })
    }

    fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text { key_separator: self.key_separator.clone() } }
    }
}

/// What went wrong, and what to do where the error alone does not say it.
fn explained(error: ConsumerError, topic: &str, group: Option<&str>) -> anyhow::Error {
    use RDKafkaErrorCode as E;
    let denied = match (&error, group) {
        (ConsumerError::Kafka { code: E::GroupAuthorizationFailed, .. }, Some(group)) => format!("group {group}"),
        (ConsumerError::Kafka { code: E::TopicAuthorizationFailed, .. }, _) => format!("topic {topic}"),
        _ => return error.into(),
    };
    anyhow::Error::from(error).context(format!("no permission to use the {denied}: an ACL must allow READ"))
}

/// Waits until the end is reached that was asked for, if one was.
async fn end_reached(until_end: Option<UntilEnd>, consumer: &ConsumerHandle, in_group: bool) {
    match until_end {
        None => pending().await,
        Some(until_end) if in_group => until_end.committed().await,
        Some(until_end) => until_end.printed(consumer).await,
    }
}
