use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use clap::Args;
use kafka_troupe::config::tool::Role;
use kafka_troupe::produce::Confirmation;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::filter::Filter;
use super::list::passed_over;
use super::reader::{Ends, read};
use crate::cli::apart::{apart, apart_until};
use crate::cli::connect::{Connect, Connection};
use crate::cli::data;
use crate::cli::exit::{self, Exit, Interrupted, Misuse};
use crate::cli::shutdown::Shutdown;
use crate::cli::table::{Column, Table};
use crate::cli::terminal::Terminal;

/// Records that are sent and not answered, at most.
const AHEAD: usize = 10_000;
/// Failed records that are named.
const NAMED: usize = 10;
/// How long the end of the producer may take: all is answered by then.
const END: Duration = Duration::from_secs(5);

/// Send dead letters back to where they came from, or to another topic
///
/// Without --execute it only shows how many would go where. What is there when the command begins
/// is sent, in the order of each partition, as the records were: key, value, headers and timestamp,
/// without the headers of the dead letter. They go to the partition that they were read from; with
/// --to, where their keys belong.
///
/// The dead letters stay where they are: a second replay sends them again, unless --since leaves
/// them out. A signal ends it after what was sent is confirmed; that is exit code 1, for the rest
/// is not sent.
///
/// Where one came from is what its headers say, and whoever may write to the topic of dead letters
/// may write headers: look at the plan first, or name the topic by --source or --to. This command
/// writes with your permissions, not with those of who wrote the dead letter.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = exit::help("  troupe dead-letters replay --bootstrap-server localhost:9092 --topic orders.dead-letters
                  what would go where; then the same with --execute
  … --error 'no such customer' --execute
                  those with this in their error
  … --source orders:3 --to orders.mended --execute
                  those of a partition, elsewhere"))]
pub(super) struct Replay {
    /// The topic of dead letters
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Send them here, and not to the topics that they came from
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
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
    filter: Filter,
    #[command(flatten)]
    connect: Connect,
}

/// What is to go where, and up to where it was looked.
#[derive(Default)]
struct Plan {
    topics: BTreeMap<String, u64>,
    others: u64,
    ends: Ends,
}

/// What became of it.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    executed: bool,
    /// By the topics that they go to.
    records: BTreeMap<String, u64>,
    sent: u64,
    failed: u64,
    /// A signal came before all were sent.
    interrupted: bool,
    #[serde(skip)]
    named: Vec<String>,
}

impl Replay {
    pub(super) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        if self.to.as_deref() == Some(self.topic.as_str()) {
            return Err(Misuse(format!("{} is where they are: replay them to another topic", self.topic)).into());
        }
        let connection = self.connect.settings(Role::Producer, &[])?.with_brokers()?;
        let stop = shutdown.requested();
        let partitions = connection.reach_topic(&self.topic, stop)?;
        let job = Job {
            connection: connection.clone(),
            topic: self.topic.clone(),
            partitions,
            to: self.to.clone(),
            filter: self.filter.clone(),
            stop: stop.clone(),
        };
        let (plan, job) = match apart_until(stop, move || Ok((job.plan()?, job))).await {
            Err(error) if error.is::<Interrupted>() && self.execute => {
                terminal.summarize("stopped by a signal: nothing is sent", || tracing::info!(sent = 0, "replayed"));
                return Ok(Exit::Failed);
            }
            planned => planned?,
        };
        for topic in plan.topics.keys() {
            connection.reach_topic(topic, stop)?;
        }
        let others = passed_over(plan.others);
        let outcome = match self.execute {
            false => Outcome { records: plan.topics, ..Outcome::default() },
            true => apart(move || job.execute(plan)).await.flatten()?,
        };
        self.print(&outcome)?;
        for named in &outcome.named {
            tracing::error!("{named}");
        }
        let total = outcome.records.values().sum::<u64>();
        let sent = outcome.sent;
        let summary = match (outcome.executed, outcome.interrupted) {
            (false, _) => format!("{total} dead letters would go back{others}; --execute sends them"),
            (true, false) => format!("{sent} of {total} dead letters are sent{others}"),
            (true, true) => {
                format!("stopped by a signal: {sent} of {total} dead letters are sent{others}, the rest is not")
            }
        };
        terminal.summarize(summary, || {
            tracing::info!(total, sent, failed = outcome.failed, interrupted = outcome.interrupted, "replayed")
        });
        Ok(outcome.exit())
    }

    fn print(&self, outcome: &Outcome) -> anyhow::Result<()> {
        if self.json {
            return data::print(serde_json::to_string(outcome)?);
        }
        let mut table = Table::new([Column::Text("to"), Column::Number("records")]);
        for (topic, records) in &outcome.records {
            table.row([topic.clone(), records.to_string()]);
        }
        data::print(table)
    }
}

/// The work, on a thread that may wait.
struct Job {
    connection: Connection,
    topic: String,
    partitions: usize,
    to: Option<String>,
    filter: Filter,
    stop: CancellationToken,
}

impl Job {
    fn plan(&self) -> anyhow::Result<Plan> {
        let mut plan = Plan::default();
        plan.ends = read(&self.connection, &self.topic, self.partitions, None, &self.stop, |letter| {
            match letter.story() {
                Some(story) if self.filter.takes(&letter, &story) => {
                    *plan.topics.entry(self.to.clone().unwrap_or(story.topic)).or_default() += 1;
                }
                Some(_) => {}
                None => plan.others += 1,
            }
            Ok(())
        })?;
        Ok(plan)
    }

    /// Sends up to where the plan goes.
    fn execute(&self, plan: Plan) -> anyhow::Result<Outcome> {
        let producer = self.connection.producer().property("allow.auto.create.topics", "false").start()?;
        let sender = producer.sender();
        let mut outcome = Outcome { executed: true, records: plan.topics, ..Outcome::default() };
        let mut waiting = VecDeque::new();
        let ran = read(&self.connection, &self.topic, self.partitions, Some(&plan.ends), &self.stop, |letter| {
            let Some(story) = letter.story().filter(|story| self.filter.takes(&letter, story)) else { return Ok(()) };
            let what = format!("{}:{} of {story}", letter.partition, letter.offset);
            match sender.enqueue_blocking(letter.original(&story, self.to.as_deref())) {
                Ok(confirmation) => waiting.push_back((what, confirmation)),
                Err(error) => outcome.failed(&what, &error),
            }
            if waiting.len() > AHEAD {
                outcome.take_up(waiting.pop_front());
            }
            Ok(())
        });
        for each in waiting {
            outcome.take_up(Some(each));
        }
        if let Err(error) = producer.shutdown_blocking(END) {
            // What it means for the records is in their answers.
            tracing::warn!(%error, "the producer has not ended well");
        }
        match ran {
            // A signal: the summary tells how far it came.
            Err(error) if error.is::<Interrupted>() => {
                outcome.interrupted = true;
                Ok(outcome)
            }
            Err(error) => Err(outcome.cut_short(error)),
            Ok(_) => Ok(outcome),
        }
    }
}

impl Outcome {
    /// A replay that is not all there is one that failed, also where somebody wanted it to end.
    fn exit(&self) -> Exit {
        if self.failed > 0 || self.interrupted { Exit::Failed } else { Exit::Fine }
    }

    fn take_up(&mut self, sent: Option<(String, Confirmation)>) {
        let Some((what, confirmation)) = sent else { return };
        match confirmation.wait_blocking() {
            Ok(_) => self.sent += 1,
            Err(error) => self.failed(&what, &error),
        }
    }

    /// Some are sent, and are sent again by whoever repeats the command: that has to be known.
    fn cut_short(&self, error: anyhow::Error) -> anyhow::Error {
        let Self { sent, failed, records, .. } = self;
        let total = records.values().sum::<u64>();
        error.context(format!("the replay ends with {sent} of {total} dead letters sent, {failed} not sent"))
    }

    fn failed(&mut self, what: &str, error: &kafka_troupe::produce::SendError) {
        self.failed += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("the dead letter {what} is not sent: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_that_fails_half_way_tells_what_is_sent() {
        let records = BTreeMap::from([("orders".to_owned(), 5), ("bills".to_owned(), 3)]);
        let outcome = Outcome { executed: true, records, sent: 6, failed: 1, ..Outcome::default() };
        let told = format!("{:#}", outcome.cut_short(anyhow::anyhow!("cannot read the topic dead")));
        assert_eq!(told, "the replay ends with 6 of 8 dead letters sent, 1 not sent: cannot read the topic dead");
    }
}
