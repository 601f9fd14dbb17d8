mod flights;
mod job;
mod report;
mod verdict;

use std::time::{Duration, Instant};

use clap::Args;
use kafka_troupe::config::tool::parse_duration;

use super::data;
use super::exit::{self, Exit};
use super::shutdown::Shutdown;
use super::terminal::Terminal;
use job::End;
use report::Report;
use verdict::Expected;

/// Process a month of flights, and judge whether it was done exactly
///
/// Nothing has to be installed: the broker runs in this process, and the data are compiled in.
/// The 27,004 flights that left New York City in January 2013 are produced to a topic of 8
/// partitions, with the aircraft as the key. One member of a consumer group starts to work; half
/// way a second joins and takes its share of the partitions, and it leaves before the end. A third
/// comes when all is done, and must find nothing left to do.
///
/// Then everything the handlers saw is judged against results computed without Kafka. No record
/// may be lost, handled twice, or handled before an earlier one of its key: a hash chain over each
/// key's records must come out as expected. The verdict goes to stderr, and the job's own result,
/// the delays per carrier, to stdout.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = exit::help("  troupe demo                    the verdict on stderr, the carriers on stdout
  troupe demo --json | jq .lost  both as one JSON object on stdout
  troupe -q demo > carriers.txt  the carriers only; the exit code says if all was exact
  troupe -v demo                 with the members' comings and goings"))]
pub(crate) struct Demo {
    /// Print the verdict and the carriers as one JSON object
    #[arg(long)]
    json: bool,
    /// Give up after this long, and judge what was handled
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    deadline: Duration,
}

impl Demo {
    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let flights = flights::january_2013()?;
        let expected = Expected::january_2013()?;
        let bar = terminal.progress(flights.len() as u64);
        let started = Instant::now();
        let end = job::run(flights, &bar, self.deadline, shutdown.requested()).await;
        bar.finish_and_clear();
        let judge = match end? {
            End::Over(judge) => judge,
            End::Stopped => {
                tracing::info!("stopped before the end, so there is no verdict");
                return Ok(Exit::Fine);
            }
        };
        let report = Report::new(judge.verdict(&expected), started.elapsed());
        terminal.summarize(&report, || report.log());
        if self.json {
            data::print(serde_json::to_string(&report)?)?;
        } else {
            data::print(report.carriers())?;
        }
        Ok(if report.verdict.clean { Exit::Fine } else { Exit::Failed })
    }
}
