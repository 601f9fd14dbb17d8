use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use kafka_troupe::ids::NextOffset;
use kafka_troupe::offsets::FinishedRange;
use kafka_troupe::offsets::memory::{Packing, decode, holes};
use serde::Serialize;

use super::remembered::{Metadata, OfLog, count, holes_between};
use crate::cli::apart::apart_until;
use crate::cli::connect::Connect;
use crate::cli::data;
use crate::cli::exit::{self, Exit};
use crate::cli::group::{self, Identities, Position, Snapshot, TopicSpec, Topics};
use crate::cli::shutdown::Shutdown;
use crate::cli::table::{Column, Table, or_dash};
use crate::cli::terminal::Terminal;

/// Show what a group has committed, and what its commits remember
///
/// Each partition with the group's commit, where its log starts and ends, and the lag between them.
/// kafka-troupe also remembers in a commit's metadata which records above it are finished: how
/// many these are (finished_above), and how many below the last of them are not (holes), is shown
/// where the engine would believe it. Where it would not, the note says why.
///
/// Metadata: v1 is kafka-troupe's, \"other\" is another program's, - is none.
///
/// It works for the groups of any client. Without --topic all partitions are shown of the topics
/// that the group has committed anything of, or that its members hold.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = exit::help("  troupe offsets show --bootstrap-server localhost:9092 --group billing
  … --topic orders:0,1 --holes
                     which offsets of these partitions are still to be done
  … --json | jq '.partitions[] | select(.holes > 0)'
  … --json | jq -r '.partitions[0].metadata' | troupe offsets decode -
                     what a commit's metadata says"))]
pub(super) struct Show {
    /// The group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// Only this topic, or some of its partitions; repeatable
    #[arg(long = "topic", value_name = "TOPIC[:0,1]")]
    topics: Vec<TopicSpec>,
    /// Name the holes too: a second table, of their first and last offsets
    #[arg(long)]
    holes: bool,
    /// Print one JSON object
    ///
    /// With the metadata, and the leader epoch that was committed. With --holes it has the holes
    /// and the finished runs as well, each as its first and last offset.
    #[arg(long, verbatim_doc_comment)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Show {
    pub(super) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let connection = self.connect.resolve()?;
        let (topics, stop) = (Topics::of(&self.topics), shutdown.requested());
        let (observer, snapshot) = group::look(&connection, &self.group, topics, stop).await?;
        if !snapshot.exists() {
            return Err(group::missing(&self.group));
        }
        let identified = identified(&snapshot.partitions);
        let identities = apart_until(stop, move || Ok(observer.identities(&identified))).await?;
        let report = Report::new(&self.group, &snapshot, &identities, self.holes);
        match self.json {
            true => data::print(serde_json::to_string(&report)?)?,
            false => {
                data::print(report.table())?;
                if let Some(holes) = report.table_of_holes() {
                    data::print(format_args!("\n{holes}"))?;
                }
            }
        }
        terminal.summarize(&report, || report.log());
        Ok(Exit::Fine)
    }
}

/// The topics whose ids are named by what their commits remember.
fn identified(positions: &[Position]) -> Vec<Arc<str>> {
    let names_id = |position: &&Position| decode(&position.metadata).is_ok_and(|memory| memory.names_topic_id());
    let mut topics: Vec<_> = positions.iter().filter(names_id).map(|each| Arc::clone(&each.partition.topic)).collect();
    topics.dedup();
    topics
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    group: &'a str,
    state: Option<&'a str>,
    members: Option<usize>,
    lag: u64,
    finished_above: u64,
    partitions: Vec<Row<'a>>,
    #[serde(skip)]
    title: String,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    topic: &'a str,
    partition: i32,
    committed: Option<i64>,
    leader_epoch: Option<i32>,
    log_start: Option<i64>,
    log_end: Option<i64>,
    lag: Option<u64>,
    finished_above: Option<u64>,
    holes: Option<u64>,
    metadata_kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_version: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    /// Where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Vec<[i64; 2]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holes_at: Option<Vec<[i64; 2]>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// How it stands in the table.
    #[serde(skip)]
    kind: String,
}

impl<'a> Report<'a> {
    fn new(group: &'a str, snapshot: &'a Snapshot, identities: &Identities, name_holes: bool) -> Self {
        let description = snapshot.group.as_ref();
        let partitions: Vec<_> =
            snapshot.partitions.iter().map(|position| Row::new(position, identities, name_holes)).collect();
        Self {
            group,
            state: description.map(|group| group.state.as_str()),
            members: description.map(|group| group.members.len()),
            lag: snapshot.lag(),
            finished_above: partitions.iter().filter_map(|row| row.finished_above).sum(),
            partitions,
            title: snapshot.title(group),
        }
    }

    fn table(&self) -> Table<10> {
        let mut table = Table::new([
            Column::Text("topic"),
            Column::Number("partition"),
            Column::Number("committed"),
            Column::Number("log_start"),
            Column::Number("log_end"),
            Column::Number("lag"),
            Column::Number("finished_above"),
            Column::Number("holes"),
            Column::Text("metadata"),
            Column::Text("note"),
        ]);
        for row in &self.partitions {
            table.row([
                row.topic.to_owned(),
                row.partition.to_string(),
                or_dash(row.committed),
                or_dash(row.log_start),
                or_dash(row.log_end),
                or_dash(row.lag),
                or_dash(row.finished_above),
                or_dash(row.holes),
                row.kind.clone(),
                row.notes.join("; "),
            ]);
        }
        table
    }

    /// The holes one by one, where they were asked for and there are any.
    fn table_of_holes(&self) -> Option<Table<5>> {
        let mut table = Table::new([
            Column::Text("topic"),
            Column::Number("partition"),
            Column::Number("hole_from"),
            Column::Number("hole_to"),
            Column::Number("offsets"),
        ]);
        let mut any = false;
        for row in &self.partitions {
            for [first, last] in row.holes_at.iter().flatten() {
                any = true;
                table.row([
                    row.topic.to_owned(),
                    row.partition.to_string(),
                    first.to_string(),
                    last.to_string(),
                    (last.abs_diff(*first) + 1).to_string(),
                ]);
            }
        }
        any.then_some(table)
    }

    fn log(&self) {
        let (group, partitions, lag, finished_above) =
            (self.group, self.partitions.len(), self.lag, self.finished_above);
        tracing::info!(group, state = self.state, members = self.members, partitions, lag, finished_above, "offsets");
    }
}

impl<'a> Row<'a> {
    fn new(position: &'a Position, identities: &Identities, name_holes: bool) -> Self {
        let metadata = read(position, identities);
        let finished = metadata.finished();
        let base = position.committed.unwrap_or_default();
        let pairs = |ranges: &[FinishedRange]| ranges.iter().map(|each| [each.first.0, each.last.0]).collect();
        let named = finished.filter(|_| name_holes);
        let text = str::from_utf8(&position.metadata);
        let (metadata_kind, metadata_version, packing) = match &metadata {
            Metadata::Empty => ("none", None, None),
            Metadata::Ours { version, packing, .. } => ("troupe", Some(*version), packing.map(packing_name)),
            Metadata::Newer { version } => ("troupe", Some(*version), None),
            Metadata::Damaged { .. } => ("damaged", None, None),
            Metadata::Other => ("other", None, None),
        };
        Self {
            topic: &position.partition.topic,
            partition: position.partition.partition.0,
            committed: position.committed,
            leader_epoch: position.leader_epoch,
            log_start: position.start(),
            log_end: position.end(),
            lag: position.lag(),
            finished_above: finished.map(count),
            holes: finished.map(|runs| holes(runs, NextOffset(base))),
            metadata_kind,
            metadata_version,
            packing,
            metadata: text.ok().filter(|text| !text.is_empty()),
            metadata_base64: text.is_err().then(|| STANDARD.encode(&position.metadata)),
            finished_at: named.map(pairs),
            holes_at: named.map(|runs| pairs(&holes_between(base, runs))),
            notes: position.note().into_iter().chain(metadata.note()).collect(),
            kind: metadata.kind(),
        }
    }
}

fn read(position: &Position, identities: &Identities) -> Metadata {
    let topic = &position.partition.topic;
    let log = match (position.end(), &identities.cluster) {
        (Some(high_watermark), Some(cluster)) => Ok(OfLog {
            cluster,
            topic,
            topic_id: identities.topics.get(topic).map(|id| id.bytes()),
            partition: position.partition.partition.0,
            high_watermark,
        }),
        (None, _) => Err("it is not known where the log ends"),
        (_, None) => Err("the cluster does not tell its id"),
    };
    Metadata::read(&position.metadata, position.committed.unwrap_or_default(), log)
}

/// As JSON has it, and `troupe offsets decode`.
pub(super) fn packing_name(packing: Packing) -> &'static str {
    match packing {
        Packing::Dense => "dense",
        Packing::Base64 => "base64",
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.partitions.is_empty() {
            return write!(f, "{}: nothing committed, and no member holds a partition", self.title);
        }
        write!(f, "{}: lag {}", self.title, self.lag)?;
        match self.finished_above {
            0 => Ok(()),
            finished => write!(f, ", of which {finished} are finished above the commits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::group::position;
    use super::*;

    #[test]
    fn the_table_lines_up_and_says_what_is_odd() {
        let mut foreign = position(1, Some(12), 0, 10);
        foreign.metadata = (*b"\xff\xfe").into();
        let snapshot = Snapshot { group: None, partitions: vec![position(0, Some(7), 3, 10_000), foreign] };
        let report = Report::new("g", &snapshot, &Identities::default(), false);
        assert_eq!(
            report.table().to_string(),
            "topic  partition  committed  log_start  log_end   lag  finished_above  holes  metadata  note\n\
             t              0          7          3    10000  9993               -      -  -\n\
             t              1         12          0       10     0               -      -  other     \
             the commit is 2 beyond the log's end: the log was cut, or the topic created anew; \
             the metadata is another program's"
        );
        assert!(report.table_of_holes().is_none());
        assert_eq!(report.to_string(), "group g: lag 9993");
    }

    #[test]
    fn metadata_that_is_no_text_is_base64_in_json() {
        let mut positions = [position(0, Some(1), 0, 9), position(1, Some(1), 0, 9), position(2, None, 0, 9)];
        positions[0].metadata = (*b"\xff").into();
        positions[1].metadata = (*b"note").into();
        let snapshot = Snapshot { group: None, partitions: positions.to_vec() };
        let json = serde_json::to_value(Report::new("g", &snapshot, &Identities::default(), false)).unwrap_or_default();
        let partitions = &json["partitions"];
        assert_eq!((&partitions[0]["metadata_base64"], partitions[0].get("metadata")), (&"/w==".into(), None));
        assert_eq!((&partitions[1]["metadata"], partitions[1].get("metadata_base64")), (&"note".into(), None));
        assert_eq!(partitions[2]["metadata_kind"], "none");
        assert_eq!(partitions[2]["committed"], serde_json::Value::Null);
    }
}
