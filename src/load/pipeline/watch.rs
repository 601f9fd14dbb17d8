use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::load::account::Account;
use crate::load::backlog::{Backlog, Rate};
use crate::load::by_phase::{Kept, add_by_phase};
use crate::load::calm::Calm;
use crate::load::clock::{Clock, nanoseconds};
use crate::load::collected::Collected;
use crate::load::families::{ByFamily, FromIntended};
use crate::load::hdr_log::HdrLogs;
use crate::load::latencies::Latencies;
use crate::load::of_phases::{Around, OfPhase, each_phase};
use crate::load::plan::Plan;
use crate::load::resources::Resources;
use crate::load::sample::{Phase, Sample};
use crate::load::series::Series;

use super::out::Seen;
use super::progress::{Counts, Progress};

const SECOND: Duration = Duration::from_secs(1);

/// Looks at a run once a second.
pub(super) struct Watch<'a, S> {
    clock: Clock,
    /// On the run's clock.
    start: u64,
    /// Where this host sends.
    sending: Option<(&'a Plan, &'a Account)>,
    /// Where it looks at OUT.
    seen: Option<&'a Arc<Seen>>,
    ticks: Interval,
    show: S,
    pub(super) series: Series,
    /// Where this host both sends and looks at OUT.
    pub(super) progress: Progress,
    /// To be sent by then, and not confirmed.
    queue: Backlog,
    /// Of the load, as far as they were taken.
    pub(super) latencies: Collected,
    /// Of what this host sends, by phase: when a record comes out of an application, nobody looks up its phase.
    phases: FromIntended<BTreeMap<usize, Kept>>,
    /// What the phases are called, where more than one is measured.
    names: Vec<String>,
    /// What came of those that this host does not measure.
    none: ByFamily<Latencies>,
    pub(super) at_load_end: AtLoadEnd,
    /// When the last sample was taken.
    looked: u64,
    last: [u64; 3],
    cpu_seconds: Option<f64>,
}

/// What was when all had been given to the producers: what comes while they wait for the last answers belongs to no load any more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AtLoadEnd {
    /// On the run's clock.
    pub(super) at: u64,
    /// It was ended before its time.
    pub(super) cut: bool,
    /// To be sent by then, and not confirmed.
    unconfirmed: u64,
    /// Of a host that both sends and looks at OUT.
    pub(super) counts: Counts,
    pub(super) resources: Resources,
}

impl<'a, S: FnMut(&Sample)> Watch<'a, S> {
    pub(super) fn new(
        clock: Clock,
        start: u64,
        sending: Option<(&'a Plan, &'a Account)>,
        seen: Option<&'a Arc<Seen>>,
        logs: HdrLogs,
        show: S,
    ) -> anyhow::Result<Self> {
        let mut ticks = interval_at(Instant::now() + SECOND, SECOND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            clock,
            start,
            sending,
            seen,
            ticks,
            show,
            series: Series::default(),
            progress: Progress::default(),
            queue: Backlog::default(),
            latencies: Collected::new(start, logs)?,
            phases: FromIntended::default(),
            names: sending.map(|(plan, _)| plan.names_of_phases()).unwrap_or_default(),
            none: ByFamily::try_new(|_| Latencies::new())?,
            at_load_end: AtLoadEnd::default(),
            looked: start,
            last: [0; 3],
            cpu_seconds: Resources::now().cpu_seconds,
        })
    }

    /// Waits for the next second.
    pub(super) async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    pub(super) fn sending_phase(&self) -> Phase {
        let warm_up = self.sending.map_or(Duration::ZERO, |(plan, _)| plan.warmup);
        if self.clock.now() < self.start + nanoseconds(warm_up) { Phase::Warmup } else { Phase::Load }
    }

    pub(super) fn load_is_over(&mut self) {
        let (at, counts) = (self.clock.now(), self.counts().unwrap_or_default());
        let cut = self.sending.is_some_and(|(_, account)| account.stop.is_cancelled());
        let (unconfirmed, resources) = (self.unconfirmed(at), Resources::now());
        self.at_load_end = AtLoadEnd { at, cut, unconfirmed, counts, resources };
        self.note_behind(at);
        self.look(self.sending_phase());
    }

    fn unconfirmed(&self, now: u64) -> u64 {
        let Some((plan, account)) = self.sending else { return 0 };
        account.unconfirmed(now, |from, to| plan.pace.due_between(from, to))
    }

    /// How far behind application and broker are at the border of two phases.
    pub(super) fn note_behind(&mut self, border: u64) {
        self.queue.seen(border, self.unconfirmed(border));
        if let Some(counts) = self.counts() {
            self.progress.sampled(border, counts);
        }
    }

    /// What the phases of the load come to, each judged for itself. `backlog` is what the application was behind, and `left_until` until when that was
    /// of the warm-up.
    pub(super) fn of_phases(&self, backlog: &Backlog, left_until: Option<u64>) -> anyhow::Result<Vec<OfPhase>> {
        let Some((plan, account)) = self.sending else { return Ok(Vec::new()) };
        let (start, load_end) = (self.start, self.at_load_end.at);
        let calm = Calm::of(&[], start + nanoseconds(plan.warmup), load_end);
        let around = Around { start, load_end, calm: &calm, backlog, queue: &self.queue, left_until };
        each_phase(plan, account, &self.phases, &around)
    }

    /// Whether what waited for the broker's confirmation grew as long as the load lasted: so did each record's wait.
    pub(super) fn queued(&self, load_start: u64, rate: f64) -> bool {
        let rate = self.sending.map_or(Rate::Steady(rate), |(plan, _)| plan.pace.came_to(rate));
        self.queue.grew(load_start, self.at_load_end.at, self.at_load_end.unconfirmed, rate)
    }

    /// Records confirmed in IN, and come out.
    pub(super) fn counts(&self) -> Option<Counts> {
        // OUT first: what comes meanwhile cannot make it look ahead.
        let came = self.seen?.book().ledger.count();
        self.sending.map(|(_, account)| Counts { acked: account.acked.load(Ordering::Acquire), came })
    }

    pub(super) fn look(&mut self, phase: Phase) {
        let progress = self.counts();
        let now = self.clock.now();
        self.queue.sampled(now, self.unconfirmed(now));
        if let Some(counts) = progress {
            self.progress.sampled(now, counts);
        }
        let counts = self
            .sending
            .map(|(_, account)| [&account.sent, &account.acked, &account.failed].map(|it| it.load(Ordering::Acquire)));
        let seen = self.seen.map(|seen| {
            let book = seen.book();
            [book.ledger.count(), book.ledger.count_duplicated(), book.ledger.count_reordered()]
        });
        let [sent, acked, came] = [counts.map(|it| it[0]), counts.map(|it| it[1]), seen.map(|it| it[0])];
        let target = self.sending.and_then(|(plan, _)| plan.pace.rate_at(now.saturating_sub(self.start)));
        let (latencies, resources) = (self.take_latencies(), Resources::now());
        let sample = Sample {
            seconds: now.saturating_sub(self.start) as f64 / 1e9,
            interval_seconds: now.saturating_sub(self.looked) as f64 / 1e9,
            phase,
            target: target.filter(|_| phase != Phase::Wait),
            sent: sent.map(|it| it - self.last[0]),
            acked: acked.map(|it| it - self.last[1]),
            done: came.map(|it| it - self.last[2]),
            lag: progress.map(|it| it.behind(1.0)),
            in_flight: counts.map(|[sent, acked, failed]| sent.saturating_sub(acked + failed)),
            end_to_end: latencies.end_to_end.summary(),
            produce_ack: latencies.produce_ack.summary(),
            late: self.sending.map(|(_, account)| account.sending().late),
            duplicated: seen.map(|it| it[1]),
            reordered: seen.map(|it| it[2]),
            cpu_seconds: resources.cpu_seconds.zip(self.cpu_seconds).map(|(now, before)| now - before),
            rss_bytes: resources.rss_bytes,
            ..Sample::default()
        };
        self.last = [sent, acked, came].map(Option::unwrap_or_default);
        (self.looked, self.cpu_seconds) = (now, resources.cpu_seconds);
        (self.show)(&sample);
        self.series.push(sample);
    }

    /// OUT is read to its end: a last sample of what that has brought, if anything.
    pub(super) fn all_is_read(&mut self) {
        if self.seen.is_some_and(|seen| seen.book().ledger.count() > self.last[2]) {
            self.look(Phase::Wait);
        }
        self.take_latencies();
    }

    /// What came since the last look.
    pub(super) fn take_latencies(&mut self) -> ByFamily<Latencies> {
        let (from, mut taken, mut by_phase) = (self.latencies.until, self.none.clone(), FromIntended::default());
        if let Some((_, account)) = self.sending {
            (taken, by_phase) = account.take_latencies();
            add_by_phase(&mut self.phases, &by_phase);
        }
        if let Some(seen) = self.seen {
            taken.end_to_end = seen.book().end_to_end.take();
        }
        self.latencies.add(self.clock.now(), &taken);
        self.latencies.add_phases(from, &self.names, &by_phase);
        taken
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::load::ledger::Place;
    use crate::load::payload::Payload;
    use crate::load::pipeline::identity::Found;
    use crate::load::plan::Pace;

    #[tokio::test]
    async fn what_comes_while_the_last_answers_are_waited_for_is_not_of_the_load() {
        let plan = Plan::small(1, Pace::ClosedLoop { in_flight: 10 });
        let account = Account::new(&plan, CancellationToken::new()).unwrap();
        let seen = Arc::new(Seen::new(false).unwrap());
        let come = |sequence| {
            let payload =
                Payload { producer: 0, sequence, key: None, key_sequence: sequence, intended: 0, warm_up: false };
            let found = Found::Ours { payload, altered: false };
            seen.book().ledger.came(found, Place { partition: 0, offset: sequence })
        };
        let folder = tempfile::tempdir().unwrap();
        let logs = HdrLogs::create(folder.path(), 0.0, |_| true).unwrap();
        let sending = Some((&plan, &account));
        let mut watch = Watch::new(account.clock, account.clock.now(), sending, Some(&seen), logs, |_| {}).unwrap();
        account.acked.store(100, Ordering::Release);
        come(0).unwrap();
        watch.load_is_over();
        let (after, threads) = (account.clock.now(), Resources::now().threads);

        account.acked.store(200, Ordering::Release);
        account.stop.cancel();
        come(1).unwrap();
        watch.look(Phase::Wait);
        let AtLoadEnd { at, cut, counts, resources, .. } = watch.at_load_end;
        assert_eq!((counts, cut), (Counts { acked: 100, came: 1 }, false));
        assert!((1..=after).contains(&at) && resources.threads.is_some() == threads.is_some(), "{resources:?}");
    }
}
