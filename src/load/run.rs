//! A run from the first member's start to the last look at the log.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use kafka_troupe::consume::Order;
use kafka_troupe::produce::ProducerBuilder;
use rdkafka::ClientConfig;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::calm::{Calm, Unjudged};
use super::clock::nanoseconds;
use super::crew::{Crew, MemberSettings};
use super::families::ByFamily;
use super::figures::Figures;
use super::hdr_log::HdrLogs;
use super::latencies::Latencies;
use super::ledger::Place;
use super::log::Log;
use super::of_phases::{Around, OfPhase, TooMuch, each_phase};
use super::payload::Payload;
use super::plan::{AT_HANDLERS, Engine, Plan};
use super::recovery::{Recovered, slowest};
use super::resources::Resources;
use super::sample::Sample;
use super::sampler::Sampler;
use super::standstill::Stuck;
use super::stops::Stops;
use super::striking::Striking;
use super::verdict::{Circumstances, is_held_up, is_late};

/// From the producers' start to the first intended time.
const LEAD: Duration = Duration::from_millis(50);
/// How long a producer may take to end, once all is answered or the time for that is over.
const PRODUCER_END: Duration = Duration::from_secs(5);

/// Where a run takes place.
pub(crate) struct Target<'a> {
    pub(crate) producer: ProducerBuilder,
    pub(crate) members: MemberSettings<'a>,
    /// Of a client that only looks.
    pub(crate) client: ClientConfig,
    pub(crate) timeout: Duration,
    /// Where histograms are logged.
    pub(crate) folder: PathBuf,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) figures: Figures,
    pub(crate) around: Circumstances,
    pub(crate) samples: Vec<Sample>,
    /// Percentiles of the latencies in `figures`.
    pub(crate) curves: ByFamily<Vec<(f64, u64)>>,
    pub(crate) partitions: Vec<OfPartition>,
    /// Of a load with phases, each of them.
    pub(crate) phases: Vec<OfPhase>,
    /// What came of the faults that the group was given.
    pub(crate) recovered: Vec<Recovered>,
    /// What the load alone took: processor time of this process, and records handled meanwhile.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) handled_meanwhile: u64,
    /// When the load ended.
    pub(crate) resources: Resources,
    /// The first record that was not confirmed, and why.
    pub(crate) first_error: Option<String>,
    /// Somebody asked for an early end.
    pub(crate) stopped: bool,
}

/// What became of one partition.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct OfPartition {
    /// One more than the highest offset that was confirmed.
    pub(crate) end: u64,
    /// Different offsets handled.
    pub(crate) handled: u64,
    /// Of the group, in the end.
    pub(crate) committed: u64,
}

/// Runs the plan. `stops` end the load early, its drain, or the last look at the log; what was sent is judged all the same. `show` gets a sample a
/// second.
///
/// `None` where a signal came before anything was measured.
///
/// # Errors
/// Where the environment fails: a member or the producer ends, the group does not form, the log cannot be read.
pub(crate) async fn run(
    plan: &Arc<Plan>,
    target: Target<'_>,
    stops: &Stops,
    show: impl FnMut(&Sample),
) -> anyhow::Result<Option<Measured>> {
    let account = Arc::new(Account::new(plan, stops.load.child_token())?);
    // Whatever ends this, the producers' threads do not go on.
    let _stop = account.stop.clone().drop_guard();
    let backlog = plan.pace.is_backlog();
    let mut crew = None;
    if !backlog {
        crew = Crew::formed(plan, &account, &target.members, stops.first()).await?;
        if crew.is_none() {
            return Ok(None);
        }
    }
    let producer = target.producer.actors(plan.actors()).start();
    let producer = producer.context("the producer cannot start")?;

    let start = account.clock.now() + nanoseconds(LEAD);
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let logs = HdrLogs::create(&target.folder, epoch.as_secs_f64() - account.clock.now() as f64 / 1e9, |_| true)
        .with_context(|| format!("cannot write HDR logs to {}", target.folder.display()))?;
    let mut sampler = Sampler::new(plan, &account, start, logs, show)?;
    let filled = if backlog {
        let sent = sampler.during_load(&producer, None).await?;
        sampler.made_backlog(&producer).await;
        sampler.begin();
        crew = Crew::formed(plan, &account, &target.members, stops.first()).await?;
        Some(sent)
    } else {
        None
    };
    let Some(members) = crew else { return Ok(None) };
    let load_start = start + nanoseconds(plan.warmup);
    let striking = Striking::new(plan, &account, &members, load_start);
    let mut strikes = Box::pin(striking.go_on());
    let sent = match filled {
        Some(sent) => sent,
        None => tokio::select! {
            sent = sampler.during_load(&producer, Some(&members)) => sent?,
            error = &mut strikes => return Err(error),
        },
    };
    let load_end = account.clock.now();
    // All is sent that will be.
    let unconfirmed = account.unconfirmed(load_end, |_, _| 0.0);
    sampler.backlog.sampled(load_end, account.lag());
    let (mut spent, mut resources) = (sampler.spent_on_load(), Resources::now());
    // A signal that comes now is of the drain; one that has ended the load is not.
    let (cut, load_cut) = (stops.next(), stops.load.is_cancelled());
    tokio::select! {
        drained = sampler.drain(&producer, &members, &cut) => drained?,
        error = &mut strikes => return Err(error),
    }
    drop(strikes);
    let drained = account.clock.now();
    let unfinished = !cut.is_cancelled() && sampler.backlog.went_down(load_end, drained);
    if backlog {
        (spent, resources) = (sampler.spent_on_load(), Resources::now());
    }
    let (recovered, looks) = striking.found();
    // A stretch without a fault ends and begins with these, and not with what was a second before.
    looks.iter().for_each(|(at, behind)| sampler.backlog.seen(load_start.saturating_add(at * 1_000_000), *behind));
    producer.shutdown(PRODUCER_END).await.context("the producer ended before its time")?;
    members.leave().await?;
    sampler.members_left();

    let log = Log::new(plan, target.client, target.timeout)?;
    let (book, of_plan, cut) = (Arc::clone(&account), Arc::clone(plan), stops.next());
    let at_the_end = apart(move || look(&log, &of_plan, &book, &sent, &cut)).await??;

    // What piles up behind a fault is not for want of handlers.
    let calm = Calm::of(&recovered, load_start, load_end);
    // A closed loop has no rate but that which came of it.
    let came = || account.answers().rate(load_start, load_end);
    let planned = plan.pace.rate_at(nanoseconds(plan.warmup));
    let left_until = sampler.leftover.worked_off(
        &sampler.backlog,
        load_end,
        planned.map_or_else(came, |rate| rate as f64),
        longest_call(&sampler),
    );
    let at_hand = plan.at_hand(sampler.latencies.whole.handler.mean());
    let behind = sampler.backlog.beyond(|at| at_hand(at.saturating_sub(start)));
    let around = Around { start, load_end, calm: &calm, backlog: &behind, queue: &sampler.queue, left_until };
    let phases = each_phase(plan, &account, &sampler.phases, &around)?;
    let answers = account.answers();
    let rate = match (plan.verify, backlog) {
        (true, true) => account.book().handled_rate(),
        (true, false) => answers.rate(load_start, load_end),
        // Of single records nothing is noted.
        (false, _) if spent.seconds > 0.0 => spent.handled as f64 / spent.seconds,
        (false, _) => 0.0,
    };
    let sending = account.sending();
    let open_loop = plan.pace.in_flight().is_none();
    let had_to_wait = if open_loop {
        sending.held_back > 0 && is_late(sending.late, sending.scheduled)
    } else {
        !backlog && is_held_up(sending.held_back_for, plan.producers, load_end.saturating_sub(load_start))
    };
    let came_to = plan.pace.came_to(rate);
    let unjudged = calm.unjudged(&behind, came_to);
    // The partitions of a member that is gone rest until the group has noticed.
    let stuck = match unjudged {
        Some(Unjudged::NotRecovered) => Vec::new(),
        _ => stuck(plan, &account, &sampler, drained),
    };
    // Where the broker takes nothing at all, that is for no want of room.
    let held_up = (had_to_wait || phases.iter().any(|it| it.held_up)) && account.acked.load(Ordering::Acquire) > 0;
    let grew = calm.grew(&behind, load_start, load_end, came_to);
    let saturated = !backlog && (grew || phases.iter().any(|it| it.saturated));
    // A closed loop has as many unconfirmed as it was told to.
    let piled_up = sampler.queue.grew(load_start, load_end, unconfirmed, came_to) || phases.iter().any(|it| it.queued);
    let queued = open_loop && !held_up && piled_up;
    let mut latencies = sampler.latencies.whole;
    // They would say how long a backlog was, or a queue before the broker.
    if queued || (held_up && open_loop) {
        latencies.produce_ack = Latencies::new()?;
    }
    // And of a backlog, when it was made.
    if saturated || queued || held_up || backlog || left_until.is_some() || unjudged == Some(Unjudged::NotRecovered) {
        (latencies.end_to_end, latencies.residence) = (Latencies::new()?, Latencies::new()?);
    }
    let around = Circumstances {
        order_promised: plan.order != Order::Unordered,
        open_loop,
        unverified: !plan.verify,
        saturated,
        unfinished,
        stuck,
        worked_off: left_until.map(|until| Duration::from_nanos(until.saturating_sub(load_start))),
        unjudged,
        queued,
        held_up,
        too_much: TooMuch::of(&phases),
        missed_faults: plan.faults.len() - recovered.len(),
        unread: at_the_end.unread,
    };
    let figures = Figures {
        acked: account.acked.load(Ordering::Acquire),
        committed_ahead: at_the_end.committed_ahead.max(sampler.committed_ahead),
        failed_attempts: account.failed_attempts.load(Ordering::Relaxed),
        late: sending.late,
        never_sent: sending.given_up,
        scheduled: sending.scheduled,
        excused: (!plan.faults.is_empty()).then(|| account.book().excused),
        rate,
        recovery: slowest(&recovered, plan.faults.len()),
        latency: latencies.map(Latencies::summary),
        ..at_the_end.figures
    };
    Ok(Some(Measured {
        figures,
        around,
        samples: sampler.series.finish(),
        curves: latencies.map(Latencies::curve),
        partitions: at_the_end.partitions,
        phases,
        recovered,
        cpu_seconds: spent.cpu_seconds,
        handled_meanwhile: spent.handled,
        resources,
        first_error: answers.first_error.clone(),
        stopped: load_cut || stops.first().is_cancelled(),
    }))
}

/// How long a handler has taken, in nanoseconds.
fn longest_call<S>(sampler: &Sampler<'_, S>) -> u64 {
    sampler.latencies.whole.handler.summary().map_or(0, |it| it.max.saturating_mul(1_000))
}

/// Partitions of which nothing was handled any more when the drain was over. Of a bare loop nothing is said: it is through with all that it has fetched of
/// one partition before it takes the next.
fn stuck<S>(plan: &Plan, account: &Account, sampler: &Sampler<'_, S>, drained: u64) -> Vec<Stuck> {
    if plan.engine == Engine::Bare {
        return Vec::new();
    }
    let (counts, tasks) = (account.by_partition(), plan.tasks());
    let seen = longest_call(sampler);
    let at_handlers = if plan.order == Order::Partition { 1 } else { plan.concurrency.unwrap_or(AT_HANDLERS) };
    let handler = |partition: u32| {
        let (confirmed, _) = counts.get(partition as usize).copied().unwrap_or_default();
        let book = account.book();
        let waiting = book.ledger.unhandled(partition, confirmed).take(at_handlers);
        let times = waiting.map(|offset| nanoseconds(tasks.takes(Place { partition, offset })));
        times.max().unwrap_or_default().max(seen)
    };
    let stuck = sampler.standstill.stuck(drained, handler).into_iter().map(|(partition, idle)| {
        let (confirmed, handled) = counts.get(partition as usize).copied().unwrap_or_default();
        let (topic, idle) = (plan.topic.clone(), Duration::from_nanos(idle));
        Stuck { topic, partition, idle, waiting: confirmed.saturating_sub(handled) }
    });
    stuck.collect()
}

/// What the ledger, the group's commits and the log say when all is over.
struct AtTheEnd {
    figures: Figures,
    committed_ahead: u64,
    partitions: Vec<OfPartition>,
    /// The log was not read to its end.
    unread: bool,
}

/// A signal cancels `cut`: then the log is not read to its end.
fn look(log: &Log, plan: &Plan, account: &Account, sent: &[u64], cut: &CancellationToken) -> anyhow::Result<AtTheEnd> {
    if !plan.verify {
        let handled = account.handled.load(Ordering::Acquire);
        let failed = account.failed.load(Ordering::Acquire);
        let figures = Figures { sent: sent.iter().sum(), failed, handled, ..Figures::default() };
        return Ok(AtTheEnd { figures, committed_ahead: 0, partitions: Vec::new(), unread: false });
    }
    let committed = log.committed()?;
    let mut book = account.book();
    let ahead = (0..).zip(&committed).map(|(partition, committed)| book.ledger.unhandled_below(partition, *committed));
    let committed_ahead = ahead.sum();
    let ends = account.ends().map(|end| u64::try_from(end).unwrap_or_default());
    let partitions = (0..).zip(ends).zip(&committed);
    let partitions = partitions.map(|((partition, end), committed)| {
        let handled = book.ledger.count_in(partition);
        OfPartition { end, handled, committed: *committed }
    });
    let partitions = partitions.collect();
    let found = book.ledger.findings(sent);
    let (mut unseen, mut all_read) = (0, true);
    if found.missing > 0 {
        // What stands before the group is to come; what is nowhere, or was passed over, is lost.
        all_read = log.read(cut, |place, value| {
            if let Ok(payload) = Payload::read(plan.run, value)
                && place.offset >= committed.get(place.partition as usize).copied().unwrap_or_default()
                && sent.get(usize::from(payload.producer)).is_some_and(|sent| payload.sequence < *sent)
                && book.ledger.found_in_log(payload.producer, payload.sequence)
            {
                unseen += 1;
            }
        })?;
    }
    // What might still have been found is not called lost.
    let unseen = if all_read { unseen } else { found.missing };
    let figures = Figures {
        sent: found.sent,
        failed: found.failed,
        handled: found.handled,
        lost: found.missing - unseen,
        unseen,
        duplicated: found.duplicated,
        times_handled: found.times_handled,
        redelivered: found.redelivered,
        reordered: found.reordered,
        corrupted: found.corrupted,
        foreign: found.foreign,
        redelivered_after_commit: book.redelivered_after_commit,
        ..Figures::default()
    };
    Ok(AtTheEnd { figures, committed_ahead, partitions, unread: !all_read })
}

/// A call that waits, on a thread of its own.
pub(super) async fn apart<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    let (tell, told) = oneshot::channel();
    let thread = thread::Builder::new().name("load".to_owned());
    thread.spawn(move || drop(tell.send(call()))).context("a thread cannot be started")?;
    told.await.context("a thread of the load died")
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
