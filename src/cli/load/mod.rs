//! `troupe load`: the options of a run, its Kafka, its folder and its report. What is measured and judged is in [`crate::load`].

mod effective;
mod folder;
mod latency_table;
mod left;
mod lines;
mod member;
mod phase_table;
mod pipeline;
mod planning;
mod report;
mod shape;
mod stage;
mod target;
mod telling;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use jiff::Timestamp;
use kafka_troupe::ConsumerError;
use serde_json::json;

use super::connect::Connect;
use super::exit::{self, Exit, Interrupted, Misuse};
use super::shutdown::Shutdown;
use super::terminal::Terminal;
use crate::load::faults::Fault;
use crate::load::gates::Gates;
use crate::load::keys::Keys;
use crate::load::plan::{Engine, Plan};
use crate::load::report::EnginePage;
use crate::load::result::{RunResult, SCHEMA, Scene};
use crate::load::run;
use crate::load::schedule::Arrivals;
use crate::load::stops::Stops;
use crate::load::verdict::Judgement;
use folder::Folder;
use pipeline::Pipeline;
use planning::refuse_what_the_broker_cannot_keep;
use report::Report;
use shape::Shape;
use stage::{Kafka, Stage};
use target::target;
use telling::{Format, Live};

/// Why a run is invalid that a signal ended so soon.
const NOTHING: &str = "nothing was measured: a signal came before that began";

/// Put a pipeline under load, check every record, and give a verdict
///
/// Producers send at the rate that is asked for, whatever becomes of the records, and latency
/// counts from the time a record should have been sent: a broker or consumer that stalls is seen
/// as its users would see it. Every record says who sent it, when, and which of its key it is, with
/// a checksum; a ledger finds those lost, duplicated, reordered, corrupted, foreign, or committed
/// before their handler was through. All that is part of every result.
///
/// Without a Kafka of yours the broker runs in this process and nothing has to be installed. It
/// keeps 5 MiB a partition, so what is sent and not handled is bounded there; a load that meets
/// the bound is no valid measurement. Topic and group are the run's own. On a Kafka of yours they are
/// deleted in the end, unless something is wrong with the records: the report says what is left then.
///
/// With --topic IN and --verify-topic OUT an application of yours is what is judged: records go into
/// IN, and what it writes to OUT is held against them. docs/load.md says how it carries their identity.
///
/// Ctrl-C ends the load; what was sent is handled, and judged. While that lasts, Ctrl-C cuts it short,
/// and what is left is counted as unseen. One line a second goes to stderr; the report, or with --json
/// the result, to stdout and to the run's folder.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(group(ArgGroup::new("length").args(["duration", "records"])))]
#[command(after_help = exit::help_of("  troupe load                       half a minute on a broker in this process
  troupe load --kafka local         on an Apache Kafka that it starts (Java 17, Maven)
  troupe load --bootstrap-server localhost:9092 --rate 20000 --duration 5m
                                    on yours
  troupe load --order key --keys zipf:1.1:10000 --work sleep:5ms --concurrency 200
                                    handlers that wait, many at once, under skewed keys
  troupe load --assert 'lost==0 && e2e.p99<50ms && dup_rate<0.001'
                                    for a pipeline that decides by the exit code
  troupe load --in-flight 10000 --records 1000000
                                    as fast as answers come
  troupe load --work sleep:lognormal:2ms:0.5 --failure-rate 1% --record-size uniform:100:2000
                                    handlers that take their time, now and then fail, and records that differ
  troupe load --phases phases.toml  phase after phase, as the file has them
  troupe load --kafka local --backlog 1000000 --order key
                                    how fast a backlog is made good
  troupe load --engine bare --work sleep:1ms --rate 500
                                    the same load on a plain consumer loop, to compare
  troupe load --bootstrap-server localhost:9092 --topic orders --verify-topic invoices
                                    your application, which reads the one and writes the other
  troupe load --bootstrap-server localhost:9092 --topic orders --produce-only --run 1f
  troupe load --bootstrap-server localhost:9092 --verify-topic invoices --verify-only --run 1f \\
    --manifest manifest.json        the same from two hosts", "third"))]
pub(crate) struct Load {
    /// Records a second, of all producers together
    #[arg(
        long,
        value_name = "RECORDS",
        default_value_t = 2_000,
        visible_alias = "throughput",
        conflicts_with = "in_flight"
    )]
    #[arg(value_parser = shape::rate, allow_negative_numbers = true)]
    rate: u64,
    /// How send times follow each other: constant, or poisson
    #[arg(long, value_name = "HOW", default_value = "constant", conflicts_with = "in_flight")]
    arrivals: Arrivals,
    /// Send as answers come, with so many records of all producers unanswered
    ///
    /// A closed loop: latency counts from the actual send, and says nothing of what users would
    /// have seen while the loop stood still.
    #[arg(long, value_name = "RECORDS", verbatim_doc_comment, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: Option<u32>,
    /// How long the load lasts, after the warm-up [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = shape::length, allow_hyphen_values = true)]
    duration: Option<Duration>,
    /// How many records the load has, instead of how long it lasts
    #[arg(long, value_name = "RECORDS", visible_aliases = ["num-records", "messages"], value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// Load that is verified like the rest, and left out of the figures
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = shape::duration, allow_hyphen_values = true)]
    warmup: Duration,
    /// How long handlers may take for what is left when the load is over
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = shape::duration, allow_hyphen_values = true)]
    drain: Duration,
    /// null, round-robin:KEYS, uniform:KEYS, zipf:EXPONENT:KEYS or hot:HOT:KEYS
    ///
    /// Of hot keys, HOT of KEYS get 90 % of the records.
    #[arg(long, value_name = "KEYS", default_value = "uniform:1000")]
    keys: Keys,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: u32,
    /// Threads that send, and producing actors
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    producers: u16,
    /// Members of the consumer group: in this process, or with --fault each in one of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    members: u16,
    /// In which order the records of a partition are handled
    #[arg(long, value_name = "ORDER", default_value = "partition", value_enum)]
    order: KeptOrder,
    /// Handler calls at once, of a member [default: 100; with the order partition one for each partition]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
    #[command(flatten)]
    shape: Shape,
    /// What is done to a member meanwhile: join@TIME, leave@TIME or kill@TIME; repeatable
    ///
    /// TIME counts from the end of the warm-up. The oldest member leaves in good order, or is
    /// killed by SIGKILL. With faults each member has a process of its own, and repeats are held
    /// to what the members lost so had handled and not committed.
    #[arg(long, value_name = "FAULT", verbatim_doc_comment)]
    fault: Vec<Fault>,
    /// This process is a member of a run
    #[arg(long, hide = true)]
    member_of: Option<member::Of>,
    /// What keys, values, Poisson times, work and failures are drawn from [default: the clock]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// What has to hold, as in 'lost==0 && e2e.p99<50ms'; repeatable
    ///
    /// A gate on a count takes the place of the rule that the count be 0, and one on dup_rate of
    /// that for duplicated. A wrong name gets you all the right ones.
    #[arg(long, value_name = "GATES", verbatim_doc_comment)]
    assert: Vec<Gates>,
    /// The run's folder, which must not hold a run [default: ./troupe-runs/TIME-SEED]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Print a JSON object a line: {"sample":...} every second, and {"result":...} in the end
    #[arg(long, conflicts_with = "json")]
    ndjson: bool,
    /// The Kafka to start: embedded, local, or local:NODES
    #[arg(long, value_name = "WHICH", conflicts_with = "bootstrap_server")]
    kafka: Option<Kafka>,
    #[command(flatten)]
    pipeline: Pipeline,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeptOrder {
    Partition,
    Key,
    Unordered,
}

impl Load {
    /// Modules that would warn of each attempt that is to fail.
    pub(crate) fn brings_about(&self) -> &'static [&'static str] {
        if self.shape.failure_rate > 0.0 { &["troupe_actors::order::failure"] } else { &[] }
    }

    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        if let Some(of) = &self.member_of {
            return member::run(self, of).await;
        }
        match self.judged(terminal, shutdown).await {
            Err(error) if error.is::<Interrupted>() => {
                let nothing = json!({ "schema": SCHEMA, "verdict": Judgement::Invalid, "reasons": [NOTHING] });
                let kept = self.out.as_ref().map_or(Ok(()), |out| {
                    let folder = Folder::make(Some(out), Timestamp::now(), 0)?;
                    folder::write_json(&folder, folder::RESULT, &nothing)
                });
                self.format().print(&nothing, format_args!("verdict: INVALID\n  {NOTHING}"))?;
                kept.map(|()| Exit::Invalid)
            }
            judged => judged,
        }
    }

    /// # Errors
    /// [`Interrupted`] where a signal came before anything was measured.
    async fn judged(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let gates = Gates::all(&self.assert);
        let (stop, started) = (shutdown.requested(), Timestamp::now());
        let stops = Stops::by(stop, shutdown.insisted_on());
        if let Some(out) = &self.out {
            folder::refuse_if_taken(out)?;
        }
        if let Some(exit) = self.own_pipeline(terminal, &stops).await? {
            return Ok(exit);
        }
        self.refuse_what_no_bare_loop_does()?;
        let (content, phases) = (self.shape.content()?, self.shape.phases()?);
        self.refuse_what_producers_do_not_take(&content)?;
        self.refuse_what_keeps_no_order_of_a_key()?;
        let (pace, warmup, length) = self.timing(phases);
        let faults = self.faults(length)?;
        let seed = self.seed.unwrap_or_else(|| started.as_microsecond().unsigned_abs());
        let stage = Stage::set(self.kafka, &self.connect, !faults.is_empty(), stop).await?;
        let plan = self.plan(started, seed, stage.is_embedded(), content, (pace, warmup, length));
        // A bare loop has one call at a time, whatever the file says.
        let of_file = stage.connection.config().consumer.concurrency.filter(|_| plan.engine != Engine::Bare);
        let plan = Arc::new(Plan { faults, concurrency: plan.concurrency.or(of_file), ..plan });
        refuse_what_the_broker_cannot_keep(&plan)?;
        if let Some(idle) = shape::idle(self.members, self.partitions) {
            tracing::warn!("{idle}");
        }
        let members = if plan.faults.is_empty() { None } else { Some(member::command(&plan, &stage)?) };
        let folder = Folder::make(self.out.as_ref(), started, seed)?;
        let mut target = target(&stage, &folder);
        target.members.process = members;
        if let Some(most) = plan.most_outstanding {
            tracing::info!(
                "the embedded broker keeps 5 MiB a partition: at most {} records are sent and not handled at a time{}",
                most.records,
                if most.bytes.is_some() { ", and 4 MiB of them" } else { "" }
            );
        }
        let live = Live::start(terminal, self.format(), &stops.load).inspect_err(|_| folder.unmake())?;
        let left_by_exit = stage.left(&plan).map(|left| left.to_string());
        // The signal may come before they are made.
        let say = |left: &String| tracing::info!("if they were made, {left}");
        shutdown.before_exit_at_once(move || left_by_exit.iter().for_each(say));
        if let Err(error) = stage.create_topic(&plan, stop).await {
            shutdown.before_exit_at_once(|| ());
            live.end();
            folder.unmake();
            return Err(error);
        }
        let measured = match run::run(&plan, target, &stops, |sample| live.show(sample)).await {
            Ok(Some(measured)) => measured,
            nothing => {
                live.end();
                stage.clear(&plan).await;
                folder.unmake();
                nothing.map_err(explained)?;
                return Err(Interrupted.into());
            }
        };
        let scene =
            Scene { broker: stage.name(), settings: effective::of(&stage, &plan), started: folder::written(started) };
        let result = RunResult::new(&plan, scene, &gates, measured);
        let kept = folder::keep(&folder, &result, &EnginePage(&result));
        live.end();
        let left = left::is_worth_a_look(&result).then(|| stage.left(&plan)).flatten();
        let told = left.as_ref().map(ToString::to_string);
        let folder = kept.is_ok().then_some(&*folder);
        // Before anything is said on stderr: who reads that only behind stdout would wait for ever.
        let printed = self.format().print(&result, Report { result: &result, folder, left });
        match told {
            None => stage.clear(&plan).await,
            Some(left) if self.format() != Format::People => tracing::info!("{left}"),
            Some(_) => {}
        }
        shutdown.before_exit_at_once(|| ());
        printed?;
        kept.map(|()| telling::exit(result.outcome.judgement()))
    }

    fn format(&self) -> Format {
        match (self.json, self.ndjson) {
            (true, _) => Format::Json,
            (false, true) => Format::Ndjson,
            (false, false) => Format::People,
        }
    }
}

/// A setting that cannot be is the user's to change.
fn explained(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<ConsumerError>() {
        Some(ConsumerError::Configuration { reason }) => Misuse(reason.clone()).into(),
        _ => error,
    }
}
