//! `troupe produce`: an input's rows, record by record, into a topic.
//!
//! - The input is opened and decompressed: [`input`], [`zstd`].
//! - It is cut into lines: [`split`].
//! - Lines become rows, by a format each: [`lines`], [`csv`], [`json`], [`records`]; [`row`] is what they have in common.
//! - The topic is looked at, or created: [`topic`].
//! - A thread reads and hands over, answers are counted as they come: [`send`], [`tally`], [`report`].

mod csv;
mod input;
mod json;
mod lines;
mod records;
mod report;
mod row;
mod send;
mod split;
mod tally;
pub(super) mod topic;
mod zstd;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args, ValueEnum};
use kafka_troupe::Producer;
use kafka_troupe::config::tool::Role;

use super::connect::{self, Connect, Connection, PrintConfig};
use super::data;
use super::exit::{self, Exit};
use super::pace::{self, Pace};
use super::shutdown::Shutdown;
use super::terminal::Terminal;
use csv::CsvRows;
use input::Input;
use json::{JsonRows, Pointer};
use lines::LineRows;
use records::RecordRows;
use row::Rows;
use split::{BadInput, Splitter};
use topic::Layout;

const EXAMPLES: &str = "  troupe produce --bootstrap-server localhost:9092 --topic greetings greetings.txt
  tail -f log | troupe produce --topic log --command-config client.properties -
  troupe produce --topic flights --create-topic 8 --csv --key tailnum flights.csv.zst
  troupe produce --topic flights --csv --key tailnum --header origin --rate 500 flights.csv
  troupe produce --topic orders --json-key /customer/id orders.ndjson.gz
  troupe consume --topic a --until-end --json | troupe produce --topic b --input records -
  troupe produce --config troupe.toml --print-config --topic orders -";

/// Write a file or stdin to a topic, a record per line
///
/// Each record is confirmed by the broker, and those that are not are named with their line. Keys
/// go to the partitions that Java's producer picks. FILE may be compressed with zstd or gzip; -
/// is stdin, which is sent as it comes.
///
/// Where the input turns out bad, or a signal comes, all before it is sent and confirmed, and
/// the line is named from which --from-line goes on.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(group(ArgGroup::new("format").args(["key_separator", "csv", "json_key", "input"])))]
#[command(after_help = exit::help(EXAMPLES))]
#[command(after_long_help = format!("{}\n{}", connect::help(Role::Producer), exit::help(EXAMPLES)))]
pub(crate) struct Produce {
    /// What to send; - is stdin
    file: PathBuf,
    /// The topic to write to
    #[arg(long)]
    topic: String,
    /// Create the topic first, unless it exists like that
    ///
    /// Without this option the topic has to exist: none comes into being by being named.
    #[arg(long, value_name = "PARTITIONS[:REPLICATION]")]
    create_topic: Option<Layout>,
    /// Begin at this line
    #[arg(long, value_name = "LINE", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
    /// Send so many records a second at most
    #[arg(long, value_name = "RECORDS", value_parser = pace::parse)]
    rate: Option<Pace>,
    /// Which partition a record goes to, by its key
    ///
    /// murmur2: as Java's producer; consistent_random: as librdkafka's;
    /// round_robin: each the next; sticky: all of a batch the same.
    /// The last two look at no key.
    #[arg(long, value_name = "NAME", verbatim_doc_comment)]
    partitioner: Option<String>,
    /// Compress with gzip, snappy, lz4 or zstd; none: do not
    #[arg(long, value_name = "CODEC")]
    compression: Option<String>,
    /// Print what became of it as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print_config: PrintConfig,
}

/// How the input is to be read: as lines, unless one of these says otherwise.
#[derive(Args, Debug)]
#[command(next_help_heading = "Input")]
struct Format {
    /// Lines: the key ends at the first TEXT, \t for a tab
    #[arg(long, value_name = "TEXT", value_parser = separator)]
    key_separator: Option<String>,
    /// CSV with a header; a row as it stands is a value
    #[arg(long)]
    csv: bool,
    /// CSV: the column that holds the key
    #[arg(long, value_name = "COLUMN", requires = "csv")]
    key: Option<String>,
    /// CSV: a column that goes into a header of its name; repeatable
    #[arg(long = "header", value_name = "COLUMN", requires = "csv")]
    headers: Vec<String>,
    /// NDJSON: a line is a value, with the key in there
    ///
    /// POINTER is a JSON pointer (RFC 6901), such as /customer/id.
    #[arg(long, value_name = "POINTER", value_parser = Pointer::parse)]
    json_key: Option<Pointer>,
    /// Records as troupe consume --json prints them
    ///
    /// Key, value, headers and timestamp are restored.
    #[arg(long, value_enum, value_name = "records", hide_possible_values = true)]
    input: Option<InputKind>,
    /// Records: keep the partition that each names
    #[arg(long, requires = "input")]
    keep_partitions: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InputKind {
    Records,
}

fn separator(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("nothing separates nothing".to_owned());
    }
    Ok(text.replace("\\t", "\t"))
}

impl Produce {
    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let options = [
            ("producer.partitioner", self.partitioner.as_deref(), "--partitioner"),
            ("producer.kafka.compression.type", self.compression.as_deref(), "--compression"),
        ];
        let said: Vec<_> =
            options.into_iter().filter_map(|(name, value, option)| Some((name, value?, option))).collect();
        let mut connection = self.connect.settings(Role::Producer, &said)?;
        // A topic that is gone by the first record must not come back with whatever the broker thinks fit.
        connection.config_mut().producer.kafka.set("allow.auto.create.topics", "false");
        if self.print_config.print(&connection, self.json)? {
            return Ok(Exit::Fine);
        }
        let connection = connection.with_brokers()?;
        // First what costs nothing: nobody wants a topic for a file that is not there.
        let input = input::open(&self.file)?;
        let (read_so_far, size) = (input.read_so_far.clone(), input.size);
        let rows = match self.rows(input) {
            Err(error) if error.is::<BadInput>() => {
                terminal.report(&error);
                return Ok(Exit::Failed);
            }
            rows => rows?,
        };
        let stop = shutdown.requested();
        let asked = Instant::now();
        topic::ensure(&connection, &self.topic, self.create_topic, stop).await?;
        let producer = self.producer(&connection, topic::about_as_long(asked.elapsed())).await?;
        let bar = terminal.transfer(size);
        let show = |tally: &tally::Tally| {
            bar.set_position(read_so_far.bytes());
            let per_second = tally.sent() as f64 / bar.elapsed().as_secs_f64().max(f64::EPSILON);
            bar.set_message(format!("{} sent, {per_second:.0}/s, {} failed", tally.sent(), tally.failed()));
        };
        let report = send::all(rows, &self.topic, producer, self.rate, stop, show).await;
        bar.finish_and_clear();
        let report = report?;
        terminal.summarize(&report, || report.log());
        if self.json {
            data::print(serde_json::to_string(&report)?)?;
        }
        Ok(match report.error() {
            Some(error) => {
                terminal.report(&anyhow::anyhow!("{error}"));
                Exit::Failed
            }
            None => Exit::Fine,
        })
    }

    fn rows(&self, input: Input) -> anyhow::Result<Rows> {
        let splitter = Splitter::new(input.content);
        let format = &self.format;
        Ok(if format.csv {
            Rows::Csv(CsvRows::new(splitter, format.key.as_deref(), &format.headers, self.from_line)?)
        } else if let Some(pointer) = &format.json_key {
            Rows::Json(JsonRows::new(splitter, pointer.clone(), self.from_line))
        } else if format.input == Some(InputKind::Records) {
            Rows::Records(RecordRows::new(splitter, format.keep_partitions, self.from_line))
        } else {
            Rows::Lines(LineRows::new(splitter, format.key_separator.as_deref(), self.from_line))
        })
    }

    async fn producer(&self, connection: &Connection, within: Duration) -> anyhow::Result<Producer> {
        const LIMIT: &str = "message.max.bytes";
        let mut builder = connection.producer();
        if connection.get(LIMIT).is_none() {
            let told = topic::most_bytes(connection, &self.topic, within).await;
            if let Some(bytes) = told {
                builder = builder.property(LIMIT, topic::as_producers_limit(bytes));
            }
        }
        connect::started(builder)
    }
}
