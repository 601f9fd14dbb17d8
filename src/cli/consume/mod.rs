mod cluster;
mod edges;
mod exec;
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
use kafka_troupe::config::ConsumerConfig;
use kafka_troupe::config::tool::Role;
use kafka_troupe::consume::{CommitWhen, StartAt};
use kafka_troupe::{AutoOffsetReset, ConsumerError, ConsumerHandle, PartitionContext};
use rdkafka::types::RDKafkaErrorCode;

use super::apart::apart;
use super::connect::{self, Connect, Connection, PrintConfig, Said};
use super::exit::{self, Exit, Misuse};
use super::shutdown::Shutdown;
use super::terminal::Terminal;
use cluster::Cluster;
use exec::{Exec, Work};
use format::Format;
use output::Output;
use printer::Printer;
use report::{Report, What};
use until_end::UntilEnd;

/// How long a stop may take: a reader that stands still may hold up a write.
const STOP: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "  troupe consume --bootstrap-server localhost:9092 --topic orders
                     all there is, then what comes, until Ctrl-C
  … --from latest    only what comes from now on
  … --group billing --max-records 10
                     the group's next 10, committed
  … --until-end --json > orders.ndjson
                     all there is, without loss, and then end
  … --key-separator : | head -3
                     the first three, as key:value
  … --command-config client.properties -X isolation.level=read_uncommitted
                     where a login is needed; also what transactions have not committed
  … --group billing --exec ./bill.py --order key --concurrency 8 --attempt-timeout 30s
                     by eight workers, instead of printing; commits what they have done
  … --config troupe.toml --print-config
                     what it would run with, and who said so";

/// Print a topic's records or hand them to workers, and commit what is done
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
///
/// With --exec CMD records are handed to workers, programs in any language, instead of being
/// printed; one is done when its worker says so.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = exit::help(EXAMPLES))]
#[command(after_long_help = format!("{}\n{}", connect::help(Role::Consumer), exit::help(EXAMPLES)))]
pub(crate) struct Consume {
    /// The topic to read
    ///
    /// Where it is missing, the one that the settings name in consumer.topics.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Consume as a member of this group, and commit what is done
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
    /// End when this many records are done [alias: --max-messages]
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
    exec: Exec,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print_config: PrintConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    Earliest,
    Latest,
}

impl Consume {
    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let connection = self.settings()?;
        if self.print_config.print(&connection, self.json)? {
            return Ok(Exit::Fine);
        }
        let connection = connection.with_brokers()?;
        let topic = topic(&connection)?;
        let partitions = connection.reach_topic(topic, shutdown.requested())?;
        let until_end = match self.until_end {
            true => Some(until_end(&connection, topic, partitions).await?),
            false => None,
        };
        match &self.exec.exec {
            Some(command) => {
                let (options, most) = (&self.exec, self.max_records);
                let work = Work { options, command, connection: &connection, topic, most };
                work.run(until_end, terminal, shutdown).await
            }
            None => self.print(&connection, topic, until_end, terminal, shutdown).await,
        }
    }

    async fn print(
        &self,
        connection: &Connection,
        topic: &str,
        until_end: Option<UntilEnd>,
        terminal: &Terminal,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Exit> {
        let group = group(connection);
        let output = Arc::new(Output::stdout(self.max_records).context("there is no stdout")?);
        let started = Instant::now();
        let consumer = self.start(connection, &output, shutdown)?;
        let ended = tokio::select! {
            // By a signal, or by what went wrong.
            ended = consumer.wait() => ended,
            () = output.over().cancelled() => consumer.shutdown(STOP).await,
            () = end_reached(until_end, &consumer, group.is_some()) => consumer.shutdown(STOP).await,
        };
        let what = What::Printed(output.printed());
        let report = Report::new(what, group.is_some(), &consumer, &ended, started.elapsed());
        terminal.summarize(&report, || report.log());
        match ended {
            Ok(_) => Ok(Exit::Fine),
            Err(error) => Err(explained(error, topic, group)),
        }
    }

    /// What the sources say, the options over them, and over all what the command promises.
    fn settings(&self) -> anyhow::Result<Connection> {
        let mut options: Vec<Said<'_>> = Vec::new();
        options.extend(self.topic.iter().map(|topic| ("consumer.topics", topic.as_str(), "--topic")));
        options.extend(self.group.iter().map(|group| ("consumer.group_id", group.as_str(), "--group")));
        // Where a partition starts that the group has committed nothing of.
        let from = |from, option| ("consumer.auto_offset_reset", from, option);
        options.extend(match self.from {
            _ if self.from_beginning => Some(from("earliest", "--from-beginning")),
            Some(From::Earliest) => Some(from("earliest", "--from")),
            Some(From::Latest) => Some(from("latest", "--from")),
            None => None,
        });
        let of_workers = self.exec.said();
        options.extend(of_workers.iter().map(|(name, value, option)| (*name, value.as_str(), *option)));
        let mut connection = self.connect.settings(Role::Consumer, &options)?;
        let consumer = &mut connection.config_mut().consumer;
        consumer.standalone = consumer.group_id.is_none();
        // A file may have been made for another consumer: this one commits what is printed, or done, and prints in the partitions' order.
        match &self.exec.exec {
            Some(command) if command.trim().is_empty() => {
                return Err(Misuse("--exec takes a command for the shell, and this one is empty".to_owned()).into());
            }
            Some(_) => consumer.concurrency = consumer.concurrency.or_else(|| Some(exec::workers())),
            None => {
                consumer.order = None;
                // What is printed does not fail.
                let none = ConsumerConfig::default();
                consumer.dead_letter_topic = none.dead_letter_topic;
                consumer.on_dead_letter_failure = none.on_dead_letter_failure;
                consumer.max_dead_letters_in_a_row = none.max_dead_letters_in_a_row;
                consumer.max_dead_letter_ratio = none.max_dead_letter_ratio;
                consumer.dead_letter_window = none.dead_letter_window;
                consumer.retry_topics = none.retry_topics;
                consumer.allow_reordering = none.allow_reordering;
                consumer.stop_deadline = STOP;
            }
        }
        consumer.client_auto_commit = false;
        if consumer.commit_when == CommitWhen::Manual || consumer.standalone {
            consumer.commit_when = CommitWhen::default();
        }
        consumer.await_commits &= !consumer.standalone;
        Ok(connection)
    }

    fn start(
        &self,
        connection: &Connection,
        output: &Arc<Output>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<ConsumerHandle> {
        let (output, format) = (Arc::clone(output), self.format());
        let started = connection
            .consumer()
            .cancellation_token(shutdown.requested().child_token())
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

/// The one topic to read.
fn topic(connection: &Connection) -> anyhow::Result<&str> {
    match connection.config().consumer.topics.as_slice() {
        [topic] => Ok(topic),
        [] => Err(Misuse("which topic? Give --topic TOPIC, or consumer.topics in --config FILE".to_owned()).into()),
        topics => {
            let topics = topics.join(", ");
            Err(Misuse(format!("one topic is read, and consumer.topics names {topics}: say which with --topic")).into())
        }
    }
}

fn group(connection: &Connection) -> Option<&str> {
    connection.config().consumer.group_id.as_deref()
}

async fn until_end(connection: &Connection, topic: &str, partitions: usize) -> anyhow::Result<UntilEnd> {
    let cluster = Arc::new(Cluster::new(connection, topic, group(connection))?);
    let partitions: Vec<_> = (0..).take(partitions).collect();
    let edges = apart({
        let cluster = Arc::clone(&cluster);
        move || cluster.edges(&partitions)
    });
    let edges = edges.await?.with_context(|| format!("cannot see where the topic {topic} ends"))?;
    let consumer = &connection.config().consumer;
    let from_latest =
        consumer.auto_offset_reset == Some(AutoOffsetReset::Latest) || consumer.start_at == StartAt::Latest;
    Ok(UntilEnd::new(cluster, edges, from_latest))
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
