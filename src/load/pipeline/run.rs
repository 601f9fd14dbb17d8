//! A run through somebody's application, or one host's part of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kafka_troupe::produce::ProducerBuilder;
use rdkafka::ClientConfig;

use crate::load::account::Account;
use crate::load::backlog::Backlog;
use crate::load::clock::{Clock, nanoseconds};
use crate::load::figures::Figures;
use crate::load::hdr_log::HdrLogs;
use crate::load::latencies::Latencies;
use crate::load::of_phases::TooMuch;
use crate::load::plan::Plan;
use crate::load::resources::Resources;
use crate::load::run::apart;
use crate::load::sample::Sample;
use crate::load::stops::Stops;

use super::carrier::WallClock;
use super::expect::Expect;
use super::identity::Carried;
use super::manifest::{Ends, Manifest, OfProducer, RunId, SCHEMA};
use super::measured::{Measured, Verified, meant, undecided, with_findings};
use super::out::{Out, Reader, Search, Seen};
use super::part::Part;
use super::progress::Counts;
use super::sending::{self, produce};
use super::verdict::Circumstances;
use super::wait::{Waiting, read_to_the_end, wait};
use super::watch::{AtLoadEnd, Watch};

/// From the producers' start to the first intended time.
const LEAD: Duration = Duration::from_millis(50);

/// What is verified, and how.
#[derive(Clone, Debug)]
pub(crate) struct Verify {
    /// OUT.
    pub(crate) topic: String,
    pub(crate) expect: Expect,
    /// How long nothing new may come before the wait ends.
    pub(crate) settle: Duration,
}

/// What is sent.
pub(crate) struct Source {
    pub(crate) plan: Arc<Plan>,
    pub(crate) producer: ProducerBuilder,
}

/// Where a run takes place.
pub(crate) struct Site<'a> {
    pub(crate) run: RunId,
    pub(crate) carried: Carried,
    /// Of a client that reads.
    pub(crate) client: ClientConfig,
    pub(crate) timeout: Duration,
    /// Where histograms are logged.
    pub(crate) folder: &'a Path,
    pub(crate) stops: &'a Stops,
}

impl Site<'_> {
    /// Of the latencies that this part of a run measures.
    fn logs(&self, clock: WallClock, part: Part) -> anyhow::Result<HdrLogs> {
        let logs = HdrLogs::create(self.folder, clock.epoch_seconds(), |family| part.measures(family));
        logs.with_context(|| format!("cannot write HDR logs to {}", self.folder.display()))
    }
}

/// Sends, and verifies what comes out. `None` where a stop came before anything was sent.
///
/// # Errors
/// Where the environment fails: the producer ends, OUT cannot be read.
pub(crate) async fn whole(
    source: Source,
    verify: &Verify,
    site: Site<'_>,
    show: impl FnMut(&Sample),
) -> anyhow::Result<Option<Measured>> {
    let plan = Arc::clone(&source.plan);
    let account = Arc::new(Account::new(&plan, site.stops.load.child_token())?);
    let _stop = account.stop.clone().drop_guard();
    let seen = Arc::new(Seen::new(verify.expect.unchanged)?);
    let clock = WallClock::of(account.clock);
    let out = Out::new(&verify.topic, plan.run, site.client.clone(), site.timeout)?;
    let (out, ends) = apart(move || out.ends().map(|ends| (out, ends))).await??;
    let search = Search { run: plan.run, carried: site.carried.clone(), clock };
    let mut reader = Reader::start(out, Some(ends), search, Arc::clone(&seen)).await?;
    if site.stops.first().is_cancelled() {
        return Ok(None);
    }
    let start = account.clock.now() + nanoseconds(LEAD);
    let mut watch =
        Watch::new(account.clock, start, Some((&*plan, &*account)), Some(&seen), site.logs(clock, Part::Whole)?, show)?;
    let (sent, stop) = tokio::select! {
        sent = produce(source, &account, &site.carried, (clock, start), site.stops, &mut watch) => sent?,
        early = reader.ended() => return Err(early.err().unwrap_or_else(|| anyhow::anyhow!("the reader ended early"))),
    };
    let waiting = Waiting { settle: verify.settle, clock, stops: site.stops, stop };
    let mut known = |_: bool| Ok(Some(sent.clone()));
    let waited = wait(&waiting, &mut reader, &seen, &mut watch, &mut known).await?;
    let (waited, all_read) = read_to_the_end(&waiting, reader, waited).await?;
    watch.all_is_read();

    let (of_sending, queued) = sending::figures(&account, &plan, &sent, start, &watch);
    let (load_start, none) = (start + nanoseconds(plan.warmup), Backlog::default());
    let book = seen.book();
    let found = book.ledger.findings(&sent);
    let waited = waited.in_the_end(Some(found.missing));
    // Of what may be left out it is known only now how much that was.
    let in_the_end = Counts { acked: of_sending.acked, came: found.came };
    let share = if verify.expect.filtered { in_the_end.share() } else { 1.0 };
    let AtLoadEnd { at: load_end, cut, counts, resources, .. } = watch.at_load_end;
    let behind = counts.behind(share);
    let came = plan.pace.came_to(of_sending.rate * share);
    let backlog = watch.progress.backlog(share);
    // What is left out need not be the same share in each phase, so that nobody knows how much was behind in one.
    let (each, left_until) = if verify.expect.filtered {
        (&none, None)
    } else {
        // A closed loop has no rate but that which came of it.
        let rate = plan.pace.rate_at(nanoseconds(plan.warmup)).map_or(of_sending.rate, |rate| rate as f64);
        (&backlog, watch.progress.left_until(load_start, load_end, rate))
    };
    let phases = watch.of_phases(each, left_until)?;
    let saturated = backlog.grew(load_start, load_end, behind, came) || phases.iter().any(|it| it.saturated);
    let queued = queued || phases.iter().any(|it| it.queued);
    let latencies = meant(&watch.latencies.whole, queued, saturated || left_until.is_some())?;
    let around = Circumstances {
        expect: verify.expect,
        open_loop: plan.pace.in_flight().is_none(),
        saturated,
        queued,
        worked_off: left_until.map(|until| Duration::from_nanos(until.saturating_sub(load_start))),
        too_much: TooMuch::of(&phases),
        unread: !all_read,
        undecided: undecided(&found, verify.expect, waited),
        verified: true,
        sent_known: true,
        unsent: found.unsent,
        nameless: found.nameless,
    };
    Ok(Some(Measured {
        figures: Figures {
            latency: latencies.map(Latencies::summary),
            ..with_findings(of_sending, &found, verify.expect, waited)
        },
        around,
        phases,
        samples: watch.series.finish(),
        curves: latencies.map(Latencies::curve),
        resources,
        first_error: account.answers().first_error.clone(),
        stopped: cut || site.stops.first().is_cancelled(),
        verified: Some(Verified::of(&book, found, verify.expect, waited, false)),
    }))
}

/// Sends, and tells the verifying host how much. `out` is OUT, where this host can see it. `None` where a stop came before anything was sent.
///
/// # Errors
/// Where the environment fails.
pub(crate) async fn produce_only(
    source: Source,
    out: Option<&str>,
    site: Site<'_>,
    show: impl FnMut(&Sample),
) -> anyhow::Result<Option<(Measured, Manifest)>> {
    let plan = Arc::clone(&source.plan);
    let account = Arc::new(Account::new(&plan, site.stops.load.child_token())?);
    let _stop = account.stop.clone().drop_guard();
    let verify_topic = match out {
        Some(topic) => {
            let out = Out::new(topic, plan.run, site.client.clone(), site.timeout)?;
            Some(Ends { topic: topic.to_owned(), ends: apart(move || out.ends()).await?? })
        }
        None => None,
    };
    if site.stops.first().is_cancelled() {
        return Ok(None);
    }
    let start = account.clock.now() + nanoseconds(LEAD);
    let clock = WallClock::of(account.clock);
    let logs = site.logs(clock, Part::ProduceOnly)?;
    let mut watch = Watch::new(account.clock, start, Some((&*plan, &*account)), None, logs, show)?;
    let (sent, _) = produce(source, &account, &site.carried, (clock, start), site.stops, &mut watch).await?;
    watch.take_latencies();
    let (figures, queued) = sending::figures(&account, &plan, &sent, start, &watch);
    let phases = watch.of_phases(&Backlog::default(), None)?;
    let (queued, too_much) = (queued || phases.iter().any(|it| it.queued), TooMuch::of(&phases));
    let latencies = meant(&watch.latencies.whole, queued, false)?;
    let open_loop = plan.pace.in_flight().is_none();
    let producers = sent.sequences.iter().zip(&sent.failed);
    let manifest = Manifest {
        schema: SCHEMA,
        run: site.run,
        seed: plan.seed,
        keys: plan.keys.to_string(),
        topic: plan.topic.clone(),
        verify_topic,
        id_pointer: site.carried.pointer(),
        producers: producers.map(|(sent, failed)| OfProducer { sent: *sent, failed: failed.clone() }).collect(),
        acked: figures.acked,
        scheduled: figures.scheduled,
        late: figures.late,
        open_loop,
        rate: figures.rate,
        queued,
        queued_phases: too_much.queued.clone(),
        overdue_phases: too_much.overdue.clone(),
    };
    let around = Circumstances {
        expect: Expect::default(),
        open_loop,
        saturated: false,
        queued,
        worked_off: None,
        too_much,
        unread: false,
        undecided: 0,
        verified: false,
        sent_known: true,
        unsent: 0,
        nameless: 0,
    };
    let measured = Measured {
        figures: Figures { latency: latencies.map(Latencies::summary), ..figures },
        around,
        phases,
        samples: watch.series.finish(),
        curves: latencies.map(Latencies::curve),
        resources: watch.at_load_end.resources,
        first_error: account.answers().first_error.clone(),
        stopped: watch.at_load_end.cut || site.stops.first().is_cancelled(),
        verified: None,
    };
    Ok(Some((measured, manifest)))
}

/// Verifies what another host sends, or has sent. `manifest` gives what that host has told, once it is there: it is asked again and again.
///
/// # Errors
/// Where the environment fails; those of `manifest`.
pub(crate) async fn verify_only(
    verify: &Verify,
    site: Site<'_>,
    mut manifest: impl FnMut() -> anyhow::Result<Option<Manifest>>,
    show: impl FnMut(&Sample),
) -> anyhow::Result<Measured> {
    let seen = Arc::new(Seen::new(verify.expect.unchanged)?);
    let monotonic = Clock::start();
    let clock = WallClock::of(monotonic);
    let mut told = manifest()?;
    let starts = told.as_ref().and_then(|it| it.verify_topic.clone()).map(|it| it.ends);
    let out = Out::new(&verify.topic, site.run.0, site.client.clone(), site.timeout)?;
    let search = Search { run: site.run.0, carried: site.carried.clone(), clock };
    // There is no load that the first signal could have ended.
    let stop = site.stops.first().clone();
    let mut reader = Reader::start(out, starts, search, Arc::clone(&seen)).await?;
    let logs = site.logs(clock, Part::VerifyOnly)?;
    let mut watch = Watch::new(monotonic, monotonic.now(), None, Some(&seen), logs, show)?;
    let waiting = Waiting { settle: verify.settle, clock, stops: site.stops, stop };
    let mut known = |look: bool| {
        if told.is_none() && look {
            told = manifest()?;
        }
        Ok(told.as_ref().map(Manifest::sent))
    };
    let waited = wait(&waiting, &mut reader, &seen, &mut watch, &mut known).await?;
    let (waited, all_read) = read_to_the_end(&waiting, reader, waited).await?;
    watch.all_is_read();
    let sent = known(true)?;

    let book = seen.book();
    let found = book.ledger.findings(sent.as_ref().unwrap_or(&book.ledger.sent_at_least()));
    let waited = waited.in_the_end(sent.as_ref().map(|_| found.missing));
    let of_sending = told.as_ref().map_or_else(Figures::default, |told| Figures {
        sent: told.producers.iter().map(|it| it.sent).sum(),
        acked: told.acked,
        failed: told.producers.iter().map(|it| it.failed.len() as u64).sum(),
        scheduled: told.scheduled,
        late: told.late,
        rate: told.rate,
        ..Figures::default()
    });
    let queued = told.as_ref().is_some_and(|it| it.queued);
    let too_much = told.as_ref().map_or_else(TooMuch::default, |told| TooMuch {
        queued: told.queued_phases.clone(),
        overdue: told.overdue_phases.clone(),
        ..TooMuch::default()
    });
    let latencies = meant(&watch.latencies.whole, queued, false)?;
    Ok(Measured {
        figures: Figures {
            latency: latencies.map(Latencies::summary),
            ..with_findings(of_sending, &found, verify.expect, waited)
        },
        around: Circumstances {
            expect: verify.expect,
            open_loop: told.as_ref().is_some_and(|it| it.open_loop),
            saturated: false,
            queued,
            worked_off: None,
            too_much,
            unread: !all_read,
            undecided: undecided(&found, verify.expect, waited),
            verified: true,
            sent_known: sent.is_some(),
            unsent: found.unsent,
            nameless: found.nameless,
        },
        phases: Vec::new(),
        samples: watch.series.finish(),
        curves: latencies.map(Latencies::curve),
        resources: Resources::now(),
        first_error: None,
        stopped: site.stops.first().is_cancelled(),
        verified: Some(Verified::of(&book, found, verify.expect, waited, true)),
    })
}
