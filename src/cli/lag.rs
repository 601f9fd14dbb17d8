use std::fmt;

use clap::Args;
use serde::Serialize;

use super::connect::Connect;
use super::data;
use super::exit::{self, Exit};
use super::group::{self, Position, Snapshot, TopicSpec, Topics};
use super::shutdown::Shutdown;
use super::table::{Column, Table, or_dash};
use super::terminal::Terminal;

/// How many partitions the verdict names.
const NAMED: usize = 3;

/// Tell how far a group is behind, per partition and in all, and judge it
///
/// The lag of a partition is what lies between the group's commit and the log's end (the high
/// watermark), as Kafka's own tools count it. It works for the groups of any client.
///
/// Without --topic all partitions count of the topics that the group has committed anything of, or
/// that its members hold. A partition without a commit counts from its log's start: nobody has said
/// that any of it was read. Where a group reads some partitions only, say which: --topic T:0,1.
///
/// The table goes to stdout and a verdict of one line to stderr, so that it serves as a probe. Where
/// a partition's lag cannot be told, it has no leader for example, the exit code is 3.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = exit::help("  troupe lag --bootstrap-server localhost:9092 --group billing
                   the lag of each partition, and in all
  … --max 10000    and end with 1 if that is more than 10,000 in all
  … --max 0 -q     is the group through? the exit code says it
  … --topic orders:0,1 --topic payments
                   of some partitions only
  … --json | jq '.partitions[] | select(.lag > 0)'
                   for programs"))]
pub(crate) struct Lag {
    /// The group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// Only this topic, or some of its partitions; repeatable
    #[arg(long = "topic", value_name = "TOPIC[:0,1]")]
    topics: Vec<TopicSpec>,
    /// Fail, with exit code 1, if the lag is more than this in all
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Lag {
    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let connection = self.connect.resolve()?;
        let topics = Topics::of(&self.topics);
        let (_, snapshot) = group::look(&connection, &self.group, topics, shutdown.requested()).await?;
        if !snapshot.exists() {
            return Err(group::missing(&self.group));
        }
        anyhow::ensure!(
            !snapshot.partitions.is_empty(),
            "group {} has committed nothing, and no member of it holds a partition, so there is no lag to tell; \
             with --topic it counts from the log's start",
            self.group
        );
        let report = Report::new(&self.group, &snapshot, self.max);
        match self.json {
            true => data::print(serde_json::to_string(&report)?)?,
            false => data::print(report.table())?,
        }
        terminal.summarize(&report, || report.log());
        match report.verdict() {
            Verdict::Fine => Ok(Exit::Fine),
            Verdict::Above => Ok(Exit::Failed),
            // Whether it is above cannot be said.
            Verdict::NotKnown => Ok(Exit::Environment),
        }
    }
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    group: &'a str,
    state: Option<&'a str>,
    members: Option<usize>,
    /// Of all partitions whose lag is known.
    lag: u64,
    max: Option<u64>,
    /// Partitions whose lag is not known, though they exist.
    unknown: usize,
    /// Partitions without a commit whose lag therefore counts from their log's start.
    uncommitted: usize,
    partitions: Vec<Row<'a>>,
    #[serde(skip)]
    title: String,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    topic: &'a str,
    partition: i32,
    committed: Option<i64>,
    log_start: Option<i64>,
    log_end: Option<i64>,
    lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Above,
    /// Of some partition it is not known where its log ends.
    NotKnown,
}

impl<'a> Report<'a> {
    fn new(group: &'a str, snapshot: &'a Snapshot, max: Option<u64>) -> Self {
        let description = snapshot.group.as_ref();
        let row = |each: &'a Position| Row {
            topic: &each.partition.topic,
            partition: each.partition.partition.0,
            committed: each.committed,
            log_start: each.start(),
            log_end: each.end(),
            lag: each.lag(),
            note: each.note(),
        };
        Self {
            group,
            state: description.map(|group| group.state.as_str()),
            members: description.map(|group| group.members.len()),
            lag: snapshot.lag(),
            max,
            unknown: snapshot.partitions.iter().filter(|each| each.is_unknown()).count(),
            uncommitted: snapshot
                .partitions
                .iter()
                .filter(|each| each.committed.is_none() && each.lag() > Some(0))
                .count(),
            partitions: snapshot.partitions.iter().map(row).collect(),
            title: snapshot.title(group),
        }
    }

    fn verdict(&self) -> Verdict {
        match self.max {
            Some(max) if self.lag > max => Verdict::Above,
            _ if self.unknown > 0 => Verdict::NotKnown,
            _ => Verdict::Fine,
        }
    }

    fn table(&self) -> Table<6> {
        let mut table = Table::new([
            Column::Text("topic"),
            Column::Number("partition"),
            Column::Number("committed"),
            Column::Number("log_end"),
            Column::Number("lag"),
            Column::Text("note"),
        ]);
        for row in &self.partitions {
            table.row([
                row.topic.to_owned(),
                row.partition.to_string(),
                or_dash(row.committed),
                or_dash(row.log_end),
                or_dash(row.lag),
                row.note.clone().unwrap_or_default(),
            ]);
        }
        let none = String::new;
        table.row(["total".to_owned(), none(), none(), none(), self.lag.to_string(), none()]);
        table
    }

    /// The partitions that are furthest behind.
    fn worst(&self) -> Vec<String> {
        let mut behind: Vec<_> =
            self.partitions.iter().filter_map(|row| row.lag.filter(|lag| *lag > 0).map(|lag| (lag, row))).collect();
        // Of equal ones the first.
        behind.sort_by_key(|(lag, _)| std::cmp::Reverse(*lag));
        behind.iter().take(NAMED).map(|(lag, row)| format!("{}-{} ({lag})", row.topic, row.partition)).collect()
    }

    fn log(&self) {
        let (group, lag, max, unknown) = (self.group, self.lag, self.max, self.unknown);
        let worst = self.worst().join(", ");
        match self.verdict() {
            Verdict::Fine => tracing::info!(group, lag, max, unknown, worst, "lag"),
            Verdict::Above => tracing::error!(group, lag, max, unknown, worst, "lag above the most that is allowed"),
            Verdict::NotKnown => tracing::error!(group, lag, max, unknown, worst, "lag not known of all partitions"),
        }
    }
}

/// The verdict, on one line.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: lag {}", self.title, self.lag)?;
        match (self.verdict(), self.max) {
            (Verdict::Above, Some(max)) => write!(f, ", above {max}: FAILED")?,
            (Verdict::NotKnown, _) => {
                write!(f, " and more, for that of {} is NOT KNOWN", partitions(self.unknown))?;
            }
            (_, Some(max)) => write!(f, ", within {max}")?,
            (_, None) => {}
        }
        let worst = self.worst();
        if !worst.is_empty() {
            write!(f, "; furthest behind: {}", worst.join(", "))?;
        }
        if self.uncommitted > 0 {
            let count = if self.uncommitted == 1 { "counts" } else { "count" };
            write!(f, "; {} without a commit {count} from the log's start", partitions(self.uncommitted))?;
        }
        Ok(())
    }
}

fn partitions(count: usize) -> String {
    if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") }
}

#[cfg(test)]
mod tests {
    use super::group::position;
    use super::*;

    fn snapshot(partitions: Vec<Position>) -> Snapshot {
        Snapshot { group: None, partitions }
    }

    fn unknown(partition: i32) -> Position {
        position(partition, Some(5), 0, 10).unknown("no leader")
    }

    #[test]
    fn the_gate_is_on_the_sum_and_lets_pass_what_is_just_as_much() {
        let behind = snapshot(vec![position(0, Some(7), 0, 10), position(1, None, 2, 10), position(2, Some(9), 0, 9)]);
        let verdict = |max| Report::new("g", &behind, max).verdict();
        assert_eq!(verdict(None), Verdict::Fine);
        assert_eq!(verdict(Some(11)), Verdict::Fine);
        assert_eq!(verdict(Some(10)), Verdict::Above);
    }

    #[test]
    fn what_is_not_known_is_never_fine_and_what_is_known_may_be_too_much_already() {
        let dark = snapshot(vec![position(0, Some(7), 0, 10), unknown(1)]);
        let verdict = |max| Report::new("g", &dark, max).verdict();
        assert_eq!(verdict(None), Verdict::NotKnown);
        assert_eq!(verdict(Some(1000)), Verdict::NotKnown);
        assert_eq!(verdict(Some(2)), Verdict::Above);
        let text = Report::new("g", &dark, Some(1000)).to_string();
        assert_eq!(text, "group g: lag 3 and more, for that of 1 partition is NOT KNOWN; furthest behind: t-0 (3)");
    }

    #[test]
    fn the_verdict_names_the_worst_three_on_one_line() {
        let ends = [3, 9, 1, 9, 0];
        let positions = ends.iter().zip(0..).map(|(end, partition)| position(partition, Some(0), 0, *end));
        let behind = snapshot(positions.chain([position(5, None, 0, 2)]).collect());
        assert_eq!(
            Report::new("g", &behind, Some(23)).to_string(),
            "group g: lag 24, above 23: FAILED; furthest behind: t-1 (9), t-3 (9), t-0 (3); \
             1 partition without a commit counts from the log's start"
        );
        let through = snapshot(vec![position(0, Some(3), 0, 3)]);
        assert_eq!(Report::new("g", &through, Some(0)).to_string(), "group g: lag 0, within 0");
    }

    #[test]
    fn the_table_lines_up_and_ends_with_the_total() {
        let behind = snapshot(vec![position(0, Some(7), 0, 1000), position(1, None, 2, 10)]);
        assert_eq!(
            Report::new("g", &behind, None).table().to_string(),
            "topic  partition  committed  log_end   lag\n\
             t              0          7     1000   993\n\
             t              1          -       10     8\n\
             total                                 1001"
        );
    }
}
