mod file;
mod plan;
mod report;
pub(super) mod time;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{ArgGroup, Args};
use jiff::Timestamp;
use rdkafka::error::RDKafkaErrorCode;

use crate::cli::apart::{apart, apart_until};
use crate::cli::connect::Connect;
use crate::cli::data;
use crate::cli::exit::{self, Exit, Misuse};
use crate::cli::group::{self, Log, Member, Observer, Offsets, Position, TopicSpec, Topics};
use crate::cli::shutdown::Shutdown;
use crate::cli::terminal::Terminal;
use plan::{Planned, Target};
use report::{Report, Row};

/// How many members are named.
const NAMED: usize = 10;

/// Set what a group has committed, in the words of Kafka's own tool
///
/// Without --execute it only shows what it would do. An offset outside the log is moved to the
/// log's start or end, and the table says so.
///
/// The group must have no members: they would go on where they are and commit over it. If it has,
/// nothing is changed and they are named. All partitions are reset or none, unless the broker
/// refuses some.
///
/// The new commits have no metadata: what the group remembered as finished above its commits is
/// forgotten, also with --to-current, and records above the new offset are processed again. A
/// group that does not exist comes into being by its commits.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(override_usage = "troupe offsets reset [OPTIONS] --group <GROUP> --topic <TOPIC[:0,1]> <WHERE TO>
       troupe offsets reset [OPTIONS] --group <GROUP> --all-topics <WHERE TO>
       troupe offsets reset [OPTIONS] --group <GROUP> --from-file <FILE>")]
#[command(group(ArgGroup::new("to").required(true).args([
    "to_earliest", "to_latest", "to_current", "to_offset", "shift_by", "to_datetime", "by_duration", "from_file",
])))]
#[command(group(ArgGroup::new("of").required(true).args(["topics", "all_topics", "from_file"])))]
#[command(after_help = exit::help("  troupe offsets reset --bootstrap-server kafka:9092 --group billing --topic orders --to-latest
                     what it would do; then the same with --execute
  … --topic orders:0,1 --shift-by -100 --execute
                     two partitions 100 back
  … --all-topics --to-datetime 2024-06-30T18:00:00+02:00 --execute
                     to the first records from then on, in all topics of the group
  … --topic orders --by-duration PT1H30M --execute
                     an hour and a half back from now"))]
pub(super) struct Reset {
    /// The group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// This topic, or some of its partitions; repeatable
    #[arg(long = "topic", value_name = "TOPIC[:0,1]")]
    topics: Vec<TopicSpec>,
    /// Every partition that the group has a commit of
    #[arg(long)]
    all_topics: bool,
    /// Only show what would be done; the default
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    execute: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    to: To,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Where to")]
struct To {
    /// To the log's start
    #[arg(long)]
    to_earliest: bool,
    /// To the log's end
    #[arg(long)]
    to_latest: bool,
    /// Where it is; without a commit, to the log's end
    #[arg(long)]
    to_current: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// So many offsets forward, or back with a minus
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To the first record of this time or later; UTC without a zone
    ///
    /// As in 2024-06-30T18:00:00.000, with Z or an offset such as +02:00 behind it or not. By the
    /// records' timestamps; where no record is as late, to the log's end.
    #[arg(long, value_name = "DATETIME", value_parser = time::parse_datetime, verbatim_doc_comment)]
    to_datetime: Option<i64>,
    /// The same, so long before now: PT30M, P1DT12H
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    by_duration: Option<Millis>,
    /// To what a file says: topic,partition,offset a line
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
}

type Millis = i64;

impl To {
    fn target(&self) -> anyhow::Result<Target> {
        Ok(if self.to_earliest {
            Target::Earliest
        } else if self.to_latest {
            Target::Latest
        } else if let Some(offset) = self.to_offset {
            Target::Offset(offset)
        } else if let Some(by) = self.shift_by {
            Target::Shift(by)
        } else if let Some(time) = self.to_datetime {
            Target::Time(time)
        } else if let Some(duration) = self.by_duration {
            Target::Time(time::before(Timestamp::now(), duration))
        } else if let Some(path) = &self.from_file {
            let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Target::Given(file::parse(&file).map_err(|why| Misuse(format!("{}: {why}", path.display())))?)
        } else {
            Target::Current
        })
    }
}

impl Reset {
    pub(super) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let target = self.to.target()?;
        let connection = self.connect.resolve()?;
        let topics = match &target {
            Target::Given(offsets) => {
                Topics::of_partitions(offsets.keys().map(|each| (&*each.topic, each.partition.0)))
            }
            _ => Topics::of(&self.topics),
        };
        let stop = shutdown.requested();
        let (observer, mut snapshot) = group::look(&connection, &self.group, topics, stop).await?;
        if self.all_topics {
            snapshot.partitions.retain(|position| position.committed.is_some() && !told_gone(position));
            anyhow::ensure!(!snapshot.partitions.is_empty(), "group {} has committed nothing", self.group);
        }
        let members = snapshot.group.as_ref().map_or(&[][..], |group| &group.members);
        match members {
            [] if snapshot.exists() => {}
            [] => tracing::warn!("group {} does not exist, and comes into being by this", self.group),
            members if self.execute => return Err(self.refused(members)),
            members => tracing::warn!("{:#}", self.refused(members)),
        }
        let by_time = by_time(&target, &observer, &snapshot.partitions, shutdown).await?;
        let planned = plan::plan(&target, &snapshot.partitions, &by_time)
            .map_err(|against| anyhow::anyhow!("nothing is reset:\n  {}", against.join("\n  ")))?;
        let refused = match self.execute {
            true => self.execute(&observer, &planned).await?,
            false => Vec::new(),
        };
        let mut rows: Vec<_> = planned.iter().map(Row::new).collect();
        for (row, planned) in rows.iter_mut().zip(&planned) {
            let refused = refused.iter().find(|(partition, _)| *partition == planned.partition);
            row.error = refused.map(|(_, code)| code.to_string());
        }
        let report = Report {
            group: &self.group,
            executed: self.execute,
            metadata_dropped: snapshot.partitions.iter().filter(|each| !each.metadata.is_empty()).count(),
            partitions: rows,
            title: snapshot.title(&self.group),
        };
        match self.json {
            true => data::print(serde_json::to_string(&report)?)?,
            false => data::print(report.table())?,
        }
        terminal.summarize(&report, || report.log());
        Ok(if report.failed() == 0 { Exit::Fine } else { Exit::Environment })
    }

    /// What is given back was refused. A signal does not cut it short: it would leave open whether it was done.
    async fn execute(
        &self,
        observer: &Arc<Observer>,
        planned: &[Planned],
    ) -> anyhow::Result<Vec<(kafka_troupe::ids::TopicPartition, RDKafkaErrorCode)>> {
        let offsets: Vec<_> = planned.iter().map(|planned| (planned.partition.clone(), planned.new)).collect();
        let (asked, group) = (Arc::clone(observer), self.group.clone());
        if let Ok(refused) = apart(move || asked.alter(&group, &offsets)).await?? {
            return Ok(refused);
        }
        // Somebody joined after it was looked at.
        let (asked, group) = (Arc::clone(observer), self.group.clone());
        let description = apart(move || asked.describe(&group)).await??;
        Err(self.refused(description.as_ref().map_or(&[], |group| &group.members)))
    }

    /// Who keeps the group from being reset, and what to do.
    fn refused(&self, members: &[Member]) -> anyhow::Error {
        let mut text = format!("group {} has members, and cannot be reset while they run", self.group);
        for Member { id, client_id, host, instance, partitions } in members.iter().take(NAMED) {
            let (client_id, host) = (client_id.escape_debug(), host.trim_start_matches('/').escape_debug());
            let _ = write!(text, "\n  client {client_id} at {host}, member {}", id.escape_debug());
            if let Some(instance) = instance {
                let _ = write!(text, ", static as {}", instance.escape_debug());
            }
            let _ = write!(text, ", with {} partitions", partitions.len());
        }
        if members.len() > NAMED {
            let _ = write!(text, "\n  and {} more", members.len() - NAMED);
        }
        text.push_str(
            "\nstop them and try again; one that died without a word, or is static, goes when its session times out",
        );
        anyhow::anyhow!(text)
    }
}

/// Where the target is a time, what offsets it comes to.
async fn by_time(
    target: &Target,
    observer: &Arc<Observer>,
    positions: &[Position],
    shutdown: &Shutdown,
) -> anyhow::Result<Offsets> {
    let Target::Time(millis) = *target else { return Ok(Offsets::new()) };
    tracing::info!("to the first records from {} on", time::shown(millis));
    let partitions: Vec<_> =
        positions.iter().filter(|each| each.end().is_some()).map(|each| each.partition.clone()).collect();
    let observer = Arc::clone(observer);
    apart_until(shutdown.requested(), move || observer.offsets_from(&partitions, millis)).await
}

/// Whether the partition is gone, which is told: a commit that is left of it keeps no other from being reset.
fn told_gone(position: &Position) -> bool {
    if let Log::Gone(why) = &position.log {
        tracing::warn!("the commit of {} is left as it is: {why}", position.partition);
        return true;
    }
    false
}
