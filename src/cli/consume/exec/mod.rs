//! `troupe consume --exec CMD`: records go to workers in any language instead of to stdout.
//!
//! - What is said between them: [`protocol`]. When a worker is started again: [`restarts`]. Both are pure.
//! - A worker's process, and all of them: [`process`], [`processes`]; nothing of them is left behind, by [`guard`].
//! - A worker and its record: [`worker`]; its stderr: [`stderr`].
//! - Who is idle, who is replaced: [`pool`]; whom a partition waits for: [`left_behind`].
//! - A record's way through, as the engine sees it: [`handler`].
//!
//! The workers' pipes and the engine's pumps share a runtime on a thread of its own. So a record costs a write, a read and no hand-over
//! between threads, and what a worker holds up is no thread of the engine's.

mod guard;
mod handler;
mod left_behind;
mod pool;
mod process;
mod processes;
mod protocol;
mod restarts;
mod stderr;
mod worker;

use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use kafka_troupe::config::tool::parse_duration;
use kafka_troupe::{ConsumerError, ConsumerHandle, Record};
use rustix::process::Signal;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use super::report::{Report, What};
use super::until_end::UntilEnd;
use super::{end_reached, explained, group};
use crate::cli::connect::Connection;
use crate::cli::exit::{Exit, Misuse};
use crate::cli::shutdown::Shutdown;
use crate::cli::terminal::Terminal;
use handler::Handler;
use pool::Pool;
use processes::Processes;

/// What a stop leaves to the closed input, and again to SIGTERM: this part of its deadline, and no more than they need who are idle.
const GRACE_SHARE: u32 = 8;
const MOST_GRACE: Duration = Duration::from_secs(2);
/// What the end of the workers takes beside that.
const REST: Duration = Duration::from_millis(500);

/// The options that go with workers.
#[derive(Args, Debug)]
#[command(next_help_heading = "Workers")]
pub(super) struct Exec {
    /// Hand the records to workers that run CMD, instead of printing them
    ///
    /// CMD is run by sh -c, as many times as --concurrency says, each in a process group of its
    /// own and with its number in TROUPE_WORKER. A worker reads lines from stdin, each a record
    /// as --json prints it with the number of the attempt, and answers each by a line on stdout:
    ///
    ///   ok                                      the record is done, and may be committed
    ///   error TEXT                              the attempt failed; another after a pause
    ///   {"outcome":"done"}                      as ok
    ///   {"outcome":"retry","after_ms":250}      again in so long (else 1 s); no failure
    ///   {"outcome":"dead_letter","cause":TEXT}  give it up: see --dead-letter-topic
    ///   {"outcome":"stop","cause":TEXT}         end the run, without this record
    ///
    /// Anything else ends the worker and fails the attempt. A worker that dies is replaced and
    /// its record tried again. It should flush after each line, and end when its stdin does.
    /// What it writes to stderr is passed on with its number. docs/workers.md has all of it.
    #[arg(long, value_name = "CMD", conflicts_with_all = ["json", "key_separator"], verbatim_doc_comment)]
    pub(super) exec: Option<String>,
    /// Which records wait for each other [default: partition]
    ///
    /// In partition order one of a partition is under way at a time, by key one of a key.
    #[arg(long, value_name = "partition|key|unordered", requires = "exec", hide_possible_values = true)]
    #[arg(value_parser = ["partition", "key", "unordered"])]
    order: Option<String>,
    /// Workers, each with one record at a time [default: one per processor]
    #[arg(long, value_name = "N", requires = "exec", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
    /// How often a record is tried before it goes to the dead letters [default: 10]
    ///
    /// Without --dead-letter-topic the run ends with it.
    #[arg(long, value_name = "N", requires = "exec", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// Where records go whose attempts are used up, or that a worker gives up
    ///
    /// The topic has to exist. A record is committed when it is stored there. After a hundred in
    /// a row, or when half of a partition's last thousand fail, the run ends instead.
    #[arg(long, value_name = "TOPIC", requires = "exec", verbatim_doc_comment)]
    dead_letter_topic: Option<String>,
    /// Where records wait whose attempts are used up, and for how long
    ///
    /// As in orders.retry-10s=10s. Then they are tried as often again. Given more than once, one
    /// after the other, and after the last come the dead letters. The topics have to exist, and
    /// need a --group. What waits is overtaken: in partition or key order this takes
    /// --allow-reordering.
    #[arg(long = "retry-topic", value_name = "TOPIC=DELAY", requires_all = ["exec", "group"], conflicts_with = "max_records")]
    #[arg(verbatim_doc_comment)]
    retry_topics: Vec<String>,
    /// Let what waits in a --retry-topic be overtaken by what comes behind it
    #[arg(long, requires = "retry_topics")]
    allow_reordering: bool,
    /// How long an attempt may take [default: for ever]
    ///
    /// Then the worker is killed and replaced, and the attempt has failed.
    #[arg(long, value_name = "DURATION", requires = "exec", value_parser = parse_duration)]
    attempt_timeout: Option<Duration>,
}

impl Exec {
    /// What the options say of settings.
    pub(super) fn said(&self) -> Vec<(&'static str, String, &'static str)> {
        let number = |number: u32| number.to_string();
        [
            self.order.clone().map(|order| ("consumer.order", order, "--order")),
            self.concurrency.map(|it| ("consumer.concurrency", number(it), "--concurrency")),
            self.max_attempts.map(|it| ("consumer.max_attempts", number(it), "--max-attempts")),
            self.dead_letter_topic.clone().map(|it| ("consumer.dead_letter_topic", it, "--dead-letter-topic")),
            (!self.retry_topics.is_empty())
                .then(|| ("consumer.retry_topics", self.retry_topics.join(","), "--retry-topic")),
            self.allow_reordering.then(|| ("consumer.allow_reordering", "true".to_owned(), "--allow-reordering")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// As many workers as there are processors, unless somebody says another number.
pub(super) fn workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// What to work with, and until when.
pub(super) struct Work<'a> {
    pub(super) options: &'a Exec,
    pub(super) command: &'a str,
    pub(super) connection: &'a Connection,
    pub(super) topic: &'a str,
    /// Records to do at most.
    pub(super) most: Option<u64>,
}

impl Work<'_> {
    pub(super) async fn run(
        &self,
        until_end: Option<UntilEnd>,
        terminal: &Terminal,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Exit> {
        let group = group(self.connection);
        if group.is_none() {
            tracing::warn!("without --group nothing is committed, and the next start does all of it again");
        }
        let config = &self.connection.config().consumer;
        let within = config.stop_deadline;
        let grace = (within / GRACE_SHARE).min(MOST_GRACE);
        let for_engine = within.saturating_sub(2 * grace + REST);
        let over = CancellationToken::new();
        let _over = over.clone().drop_guard();
        let runtime = runtime(over)?;
        let processes = Arc::new(Processes::of(self.command.to_owned()));
        shutdown.before_exit_at_once({
            let processes = Arc::clone(&processes);
            move || {
                processes.close();
                processes.signal(Signal::KILL);
            }
        });
        let started = Instant::now();
        let workers = config.concurrency.unwrap_or_else(workers);
        let pool = Pool::start(processes, workers, self.options.attempt_timeout, runtime.clone(), terminal.pass_on());
        let gives_up = config.dead_letter_topic.is_some().then_some(config.max_attempts);
        let handler = Arc::new(Handler::new(Arc::clone(&pool), self.most, gives_up));
        let consumer = match self.start(&handler, runtime, for_engine, shutdown) {
            Ok(consumer) => consumer,
            Err(error) => {
                pool.close(grace).await;
                return Err(error);
            }
        };
        let mut broken = None;
        let ended = tokio::select! {
            // By a signal, or by what went wrong.
            ended = consumer.wait() => ended,
            () = handler.enough() => consumer.shutdown(for_engine).await,
            () = end_reached(until_end, &consumer, group.is_some()) => consumer.shutdown(for_engine).await,
            why = pool.broken() => {
                broken = Some(anyhow!("{why}"));
                consumer.shutdown(for_engine).await
            }
        };
        pool.close(grace).await;
        let state = consumer.state();
        let dead_letters = state.dead_letters.map_or(0, |letters| letters.written);
        let what = What::Worked { records: handler.done(), dead_letters, repeated: state.counters.retries };
        let report = Report::new(what, group.is_some(), &consumer, &ended, started.elapsed());
        terminal.summarize(&report, || report.log());
        match (broken, ended) {
            (Some(broken), _) => Err(broken),
            (None, Ok(_)) => Ok(Exit::Fine),
            (None, Err(error)) if is_about_a_record(&error) => {
                terminal.report(&with_what_to_do(error));
                Ok(Exit::Failed)
            }
            (None, Err(error)) => Err(explained(error, self.topic, group)),
        }
    }

    fn start(
        &self,
        handler: &Arc<Handler>,
        runtime: Handle,
        deadline: Duration,
        shutdown: &Shutdown,
    ) -> anyhow::Result<ConsumerHandle> {
        let handler = Arc::clone(handler);
        let started = self
            .connection
            .consumer()
            .stop_deadline(deadline)
            .cancellation_token(shutdown.requested().child_token())
            .runtime(runtime)
            .async_handler(move |record: Record| {
                let handler = Arc::clone(&handler);
                async move { handler.handle(record).await }
            })
            .start();
        started.map_err(|error| match error {
            ConsumerError::Configuration { reason } => Misuse(reason).into(),
            error => error.into(),
        })
    }
}

/// A record was not done, and neither the brokers nor the machine are to blame.
fn is_about_a_record(error: &ConsumerError) -> bool {
    use ConsumerError as E;
    matches!(
        error,
        E::StoppedByHandler { .. } | E::Exhausted { .. } | E::NoDeadLetterTopic { .. } | E::DeadLetterLimit { .. }
    )
}

fn with_what_to_do(error: ConsumerError) -> anyhow::Error {
    let has_no_topic = matches!(error, ConsumerError::NoDeadLetterTopic { .. });
    let error = anyhow::Error::from(error);
    if has_no_topic { error.context("a worker gave a record up, and there is no --dead-letter-topic") } else { error }
}

/// A runtime on a thread of its own, until it is over.
fn runtime(over: CancellationToken) -> anyhow::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build().context("there is no runtime")?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("workers".to_owned())
        .spawn(move || runtime.block_on(over.cancelled()))
        .context("there is no thread for the workers")?;
    Ok(handle)
}
