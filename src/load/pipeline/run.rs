//! A run through somebody's application, or one host's part of it.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use kafka_troupe::Producer;
use kafka_troupe::produce::ProducerBuilder;
use rdkafka::ClientConfig;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::load::account::Account;
use crate::load::clock::{Clock, nanoseconds};
use crate::load::figures::{Figures, Latency};
use crate::load::keys::KeyChooser;
use crate::load::plan::Plan;
use crate::load::producing::Generator;
use crate::load::room::Room;
use crate::load::run::apart;

use super::carrier::{Carrier, WallClock};
use super::expect::Expect;
use super::identity::Carried;
use super::ledger::{Fault, Findings, Sent};
use super::manifest::{Ends, Manifest, OfProducer, RunId, SCHEMA};
use super::moment::{Moment, Phase};
use super::out::{Out, Reader, Search, Seen};
use super::verdict::{Circumstances, Waited};
use super::watch::Watch;

/// From the producers' start to the first intended time.
const LEAD: Duration = Duration::from_millis(50);
/// How long a producer may take to end, once all is answered or the time for that is over.
const PRODUCER_END: Duration = Duration::from_secs(5);
/// How often it is looked whether all has come.
const LOOK: Duration = Duration::from_millis(20);

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
    /// Ends the load, or the wait after it.
    pub(crate) stop: &'a CancellationToken,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) figures: Figures,
    pub(crate) around: Circumstances,
    pub(crate) moments: Vec<Moment>,
    /// The first record that was not confirmed, and why.
    pub(crate) first_error: Option<String>,
    /// Somebody asked for an early end.
    pub(crate) stopped: bool,
    /// Where OUT was looked at.
    pub(crate) verified: Option<Verified>,
}

#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) waited: Waited,
    /// Whether sending and receiving were timed by two clocks.
    pub(crate) two_clocks: bool,
    pub(crate) before_sent: u64,
    pub(crate) not_timed: u64,
    pub(crate) without_identity: u64,
    pub(crate) faults: Vec<Fault>,
}

/// Sends, and verifies what comes out. `None` where a stop came before anything was sent.
///
/// # Errors
/// Where the environment fails: the producer ends, OUT cannot be read.
pub(crate) async fn whole(
    source: Source,
    verify: &Verify,
    site: Site<'_>,
    show: impl FnMut(&Moment),
) -> anyhow::Result<Option<Measured>> {
    let plan = Arc::clone(&source.plan);
    let account = Arc::new(Account::new(&plan, site.stop.child_token())?);
    let _stop = account.stop.clone().drop_guard();
    let seen = Arc::new(Seen::new(verify.expect.unchanged)?);
    let clock = WallClock::of(account.clock);
    let out = Out::new(&verify.topic, plan.run, site.client.clone(), site.timeout)?;
    let (out, ends) = apart(move || out.ends().map(|ends| (out, ends))).await??;
    let search = Search { run: plan.run, carried: site.carried.clone(), clock };
    let mut reader = Reader::start(out, Some(ends), search, Arc::clone(&seen)).await?;
    if site.stop.is_cancelled() {
        return Ok(None);
    }
    let start = account.clock.now() + nanoseconds(LEAD);
    let mut watch = Watch::new(account.clock, start, Some((&*plan, &*account)), Some(&seen), show)?;
    let sent = tokio::select! {
        sent = produce(source, &account, &site.carried, clock, start, &mut watch) => sent?,
        early = reader.ended() => return Err(early.err().unwrap_or_else(|| anyhow::anyhow!("the reader ended early"))),
    };
    let load_end = watch.load_end;
    let behind = watch.behind().unwrap_or_default();
    let waiting = Waiting { settle: verify.settle, clock, stop: Some(site.stop).filter(|stop| !stop.is_cancelled()) };
    let mut known = |_: bool| Ok(Some(sent.clone()));
    let waited = wait(&waiting, &mut reader, &seen, &mut watch, &mut known).await?;
    reader.finish().await?;
    watch.take_latencies();

    let load_start = start + nanoseconds(plan.warmup);
    let (of_sending, queued) = of_sending(&account, &plan, &sent, start, &watch);
    let saturated =
        !verify.expect.filtered && watch.backlog.grew(load_start, load_end, behind, plan.pace.came_to(of_sending.rate));
    let book = seen.book();
    let found = book.ledger.findings(&sent);
    let latency =
        Latency { end_to_end: watch.end_to_end.summary().filter(|_| !saturated && !queued), ..of_sending.latency };
    let around = Circumstances {
        expect: verify.expect,
        open_loop: plan.pace.in_flight().is_none(),
        saturated,
        queued,
        verified: true,
        sent_known: true,
        unsent: found.unsent,
        nameless: found.nameless,
    };
    Ok(Some(Measured {
        figures: Figures { latency, ..with_findings(of_sending, &found, verify.expect, waited) },
        around,
        moments: watch.moments,
        first_error: account.answers().first_error.clone(),
        stopped: site.stop.is_cancelled(),
        verified: Some(Verified {
            waited,
            two_clocks: false,
            before_sent: book.before_sent,
            not_timed: book.not_timed,
            without_identity: found.nameless,
            faults: found.faults,
        }),
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
    show: impl FnMut(&Moment),
) -> anyhow::Result<Option<(Measured, Manifest)>> {
    let plan = Arc::clone(&source.plan);
    let account = Arc::new(Account::new(&plan, site.stop.child_token())?);
    let _stop = account.stop.clone().drop_guard();
    let verify_topic = match out {
        Some(topic) => {
            let out = Out::new(topic, plan.run, site.client.clone(), site.timeout)?;
            Some(Ends { topic: topic.to_owned(), ends: apart(move || out.ends()).await?? })
        }
        None => None,
    };
    if site.stop.is_cancelled() {
        return Ok(None);
    }
    let start = account.clock.now() + nanoseconds(LEAD);
    let mut watch = Watch::new(account.clock, start, Some((&*plan, &*account)), None, show)?;
    let clock = WallClock::of(account.clock);
    let sent = produce(source, &account, &site.carried, clock, start, &mut watch).await?;
    let (figures, queued) = of_sending(&account, &plan, &sent, start, &watch);
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
    };
    let around = Circumstances {
        expect: Expect::default(),
        open_loop,
        saturated: false,
        queued,
        verified: false,
        sent_known: true,
        unsent: 0,
        nameless: 0,
    };
    let first_error = account.answers().first_error.clone();
    let stopped = site.stop.is_cancelled();
    Ok(Some((Measured { figures, around, moments: watch.moments, first_error, stopped, verified: None }, manifest)))
}

/// Verifies what another host sends, or has sent. `manifest` gives what that host has told, once it is there: it is asked again and again.
///
/// # Errors
/// Where the environment fails; those of `manifest`.
pub(crate) async fn verify_only(
    verify: &Verify,
    site: Site<'_>,
    mut manifest: impl FnMut() -> anyhow::Result<Option<Manifest>>,
    show: impl FnMut(&Moment),
) -> anyhow::Result<Measured> {
    let seen = Arc::new(Seen::new(verify.expect.unchanged)?);
    let monotonic = Clock::start();
    let clock = WallClock::of(monotonic);
    let mut told = manifest()?;
    let starts = told.as_ref().and_then(|it| it.verify_topic.clone()).map(|it| it.ends);
    let out = Out::new(&verify.topic, site.run.0, site.client.clone(), site.timeout)?;
    let search = Search { run: site.run.0, carried: site.carried.clone(), clock };
    let mut reader = Reader::start(out, starts, search, Arc::clone(&seen)).await?;
    let mut watch = Watch::new(monotonic, monotonic.now(), None, Some(&seen), show)?;
    let waiting = Waiting { settle: verify.settle, clock, stop: Some(site.stop) };
    let mut known = |look: bool| {
        if told.is_none() && look {
            told = manifest()?;
        }
        Ok(told.as_ref().map(Manifest::sent))
    };
    let waited = wait(&waiting, &mut reader, &seen, &mut watch, &mut known).await?;
    reader.finish().await?;
    watch.take_latencies();
    let sent = known(true)?;

    let book = seen.book();
    let found = book.ledger.findings(sent.as_ref().unwrap_or(&book.ledger.sent_at_least()));
    let of_sending = told.as_ref().map_or_else(Figures::default, |told| Figures {
        sent: told.producers.iter().map(|it| it.sent).sum(),
        acked: told.acked,
        failed: told.producers.iter().map(|it| it.failed.len() as u64).sum(),
        scheduled: told.scheduled,
        late: told.late,
        rate: told.rate,
        ..Figures::default()
    });
    let latency = Latency { end_to_end: watch.end_to_end.summary(), ..Latency::default() };
    Ok(Measured {
        figures: Figures { latency, ..with_findings(of_sending, &found, verify.expect, waited) },
        around: Circumstances {
            expect: verify.expect,
            open_loop: told.as_ref().is_some_and(|it| it.open_loop),
            saturated: false,
            queued: false,
            verified: true,
            sent_known: sent.is_some(),
            unsent: found.unsent,
            nameless: found.nameless,
        },
        moments: watch.moments,
        first_error: None,
        stopped: site.stop.is_cancelled(),
        verified: Some(Verified {
            waited,
            two_clocks: true,
            before_sent: book.before_sent,
            not_timed: book.not_timed,
            without_identity: found.nameless,
            faults: found.faults,
        }),
    })
}

/// Sends all, and waits until all is answered.
async fn produce<S: FnMut(&Moment)>(
    source: Source,
    account: &Arc<Account>,
    carried: &Carried,
    clock: WallClock,
    start: u64,
    watch: &mut Watch<'_, S>,
) -> anyhow::Result<Sent> {
    let Source { plan, producer } = source;
    let producer = producer.actors(usize::from(plan.producers).min(64)).start().context("the producer cannot start")?;
    let carrier = Carrier::new(&plan, clock, carried);
    let sequences = {
        let mut sending = pin!(generate(&plan, account, &producer, &carrier, start));
        loop {
            tokio::select! {
                sequences = &mut sending => break sequences?,
                () = watch.tick() => watch.look(watch.sending_phase()),
            }
        }
    };
    watch.load_is_over();
    if account.answers().fatal {
        anyhow::bail!("the producer failed: {}", account.answers().first_error.clone().unwrap_or_default());
    }
    {
        let mut flushed = pin!(producer.flush(plan.drain));
        loop {
            tokio::select! {
                // What is not answered in time is given up by the producer's end, and counted.
                _ = &mut flushed => break,
                () = watch.tick() => watch.look(Phase::Wait),
            }
        }
    }
    producer.shutdown(PRODUCER_END).await.context("the producer ended before its time")?;
    let book = account.book();
    let failed: Vec<BTreeSet<u64>> = (0..plan.producers).map(|producer| book.ledger.given_up(producer)).collect();
    Ok(Sent { sequences, failed })
}

/// Starts the producers' threads. Gives how many sequences each has given away.
async fn generate(
    plan: &Arc<Plan>,
    account: &Arc<Account>,
    producer: &Producer,
    carrier: &Carrier,
    start: u64,
) -> anyhow::Result<Vec<u64>> {
    let room = Arc::new(Room::of(plan.pace.in_flight().unwrap_or_default()));
    let mut ends = Vec::new();
    for (number, keys) in (0..).zip(KeyChooser::of_all(plan.keys, plan.producers, plan.seed)) {
        let generator = Generator::new(plan, account, producer.sender(), number, keys, start, &room);
        let generator = generator.carrying(carrier.clone());
        let (tell, told) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("load-producer-{number}"));
        let generate = move || {
            let _ = tell.send(generator.run());
        };
        thread.spawn(generate).context("a producer's thread cannot be started")?;
        ends.push(told);
    }
    let mut sequences = Vec::new();
    for end in ends {
        sequences.push(end.await.context("a producer's thread died")?);
    }
    Ok(sequences)
}

struct Waiting<'a> {
    settle: Duration,
    clock: WallClock,
    /// `None` where there was a stop before.
    stop: Option<&'a CancellationToken>,
}

/// Waits for what has not come out yet. `sent` says what there is to come, if that is known, and looks again where it is asked to.
async fn wait<S: FnMut(&Moment)>(
    waiting: &Waiting<'_>,
    reader: &mut Reader,
    seen: &Seen,
    watch: &mut Watch<'_, S>,
    sent: &mut impl FnMut(bool) -> anyhow::Result<Option<Sent>>,
) -> anyhow::Result<Waited> {
    let since = waiting.clock.now();
    let mut known = sent(true)?;
    loop {
        {
            let book = seen.book();
            if known.as_ref().is_some_and(|sent| book.ledger.count_missing(sent) == 0) {
                return Ok(Waited::AllCame);
            }
            if waiting.clock.now() > since.max(book.last_new) + nanoseconds(waiting.settle) {
                return Ok(Waited::Settled(waiting.settle));
            }
        }
        if waiting.stop.is_some_and(CancellationToken::is_cancelled) {
            return Ok(Waited::Stopped);
        }
        tokio::select! {
            early = reader.ended() => return Err(early.err().unwrap_or_else(|| anyhow::anyhow!("the reader ended early"))),
            () = watch.tick() => {
                watch.look(Phase::Wait);
                known = sent(true)?;
            }
            () = sleep(LOOK) => {}
        }
    }
}

/// What the producers' side comes to, and whether the broker fell behind for good.
fn of_sending<S: FnMut(&Moment)>(
    account: &Account,
    plan: &Plan,
    sent: &Sent,
    start: u64,
    watch: &Watch<'_, S>,
) -> (Figures, bool) {
    let (answers, sending) = (account.answers(), account.sending());
    let load_start = start + nanoseconds(plan.warmup);
    let rate = answers.rate(load_start, watch.load_end);
    let queued = watch.queued(load_start, rate);
    let figures = Figures {
        sent: sent.sequences.iter().sum(),
        acked: account.acked.load(Ordering::Acquire),
        failed: sent.count_failed(),
        late: sending.late,
        never_sent: sending.given_up,
        scheduled: sending.scheduled,
        rate,
        latency: Latency {
            schedule_delay: sending.schedule_delay.summary(),
            produce_ack: answers.produce_ack.summary().filter(|_| !queued),
            ..Latency::default()
        },
        ..Figures::default()
    };
    (figures, queued)
}

/// What is missing is lost where it was waited for, left out where that was expected, and else only not seen.
fn with_findings(figures: Figures, found: &Findings, expect: Expect, waited: Waited) -> Figures {
    let [mut lost, mut unseen, mut filtered] = [0; 3];
    match waited {
        _ if expect.filtered => filtered = found.missing,
        Waited::Stopped => unseen = found.missing,
        Waited::AllCame | Waited::Settled(_) => lost = found.missing,
    }
    Figures {
        handled: found.came,
        lost,
        unseen,
        filtered,
        duplicated: found.duplicated,
        times_handled: found.times.clone(),
        reordered: found.reordered,
        corrupted: found.corrupted,
        foreign: found.foreign + found.nameless,
        ..figures
    }
}
