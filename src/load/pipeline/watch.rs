use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::load::account::Account;
use crate::load::backlog::{Backlog, Rate};
use crate::load::clock::{Clock, nanoseconds};
use crate::load::latencies::Latencies;
use crate::load::plan::Plan;

use super::moment::{Moment, Phase};
use super::out::Seen;

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
    pub(super) moments: Vec<Moment>,
    /// Confirmed in IN, and not in OUT.
    pub(super) backlog: Backlog,
    /// To be sent by then, and not confirmed.
    queue: Backlog,
    /// Of the load.
    pub(super) end_to_end: Latencies,
    /// When all was sent, and what was not confirmed by then.
    pub(super) load_end: u64,
    unconfirmed: u64,
    last: [u64; 3],
}

impl<'a, S: FnMut(&Moment)> Watch<'a, S> {
    pub(super) fn new(
        clock: Clock,
        start: u64,
        sending: Option<(&'a Plan, &'a Account)>,
        seen: Option<&'a Arc<Seen>>,
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
            moments: Vec::new(),
            backlog: Backlog::default(),
            queue: Backlog::default(),
            end_to_end: Latencies::new()?,
            load_end: 0,
            unconfirmed: 0,
            last: [0; 3],
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
        self.load_end = self.clock.now();
        self.unconfirmed = self.unconfirmed(self.load_end);
        self.look(self.sending_phase());
    }

    fn unconfirmed(&self, now: u64) -> u64 {
        let Some((plan, account)) = self.sending else { return 0 };
        account.unconfirmed(now, plan.pace.rate_at(now.saturating_sub(self.start)).unwrap_or_default())
    }

    /// Whether what waited for the broker's confirmation grew as long as the load lasted: so did each record's wait.
    pub(super) fn queued(&self, load_start: u64, rate: f64) -> bool {
        let rate = self.sending.map_or(Rate::Steady(rate), |(plan, _)| plan.pace.came_to(rate));
        self.queue.grew(load_start, self.load_end, self.unconfirmed, rate)
    }

    /// Records confirmed in IN and not in OUT.
    pub(super) fn behind(&self) -> Option<u64> {
        // OUT first: what comes meanwhile cannot make it look ahead.
        let came = self.seen?.book().ledger.count();
        self.sending.map(|(_, account)| account.acked.load(Ordering::Acquire).saturating_sub(came))
    }

    pub(super) fn look(&mut self, phase: Phase) {
        let behind = self.behind();
        let now = self.clock.now();
        self.queue.sampled(now, self.unconfirmed(now));
        if let Some(behind) = behind {
            self.backlog.sampled(now, behind);
        }
        let counts =
            self.sending.map(|(_, account)| [&account.sent, &account.acked].map(|it| it.load(Ordering::Acquire)));
        let seen = self.seen.map(|seen| {
            let book = seen.book();
            [book.ledger.count(), book.ledger.count_duplicated(), book.ledger.count_reordered()]
        });
        let [sent, acked, came] = [counts.map(|it| it[0]), counts.map(|it| it[1]), seen.map(|it| it[0])];
        let moment = Moment {
            seconds: now.saturating_sub(self.start) as f64 / 1e9,
            phase,
            sent: sent.map(|it| it - self.last[0]),
            acked: acked.map(|it| it - self.last[1]),
            came: came.map(|it| it - self.last[2]),
            behind,
            end_to_end: self.take_latencies().and_then(|it| it.summary()),
            late: self.sending.map_or(0, |(_, account)| account.sending().late),
            duplicated: seen.map_or(0, |it| it[1]),
            reordered: seen.map_or(0, |it| it[2]),
        };
        self.last = [sent, acked, came].map(Option::unwrap_or_default);
        (self.show)(&moment);
        self.moments.push(moment);
    }

    /// What came since the last look.
    pub(super) fn take_latencies(&mut self) -> Option<Latencies> {
        let taken = self.seen?.book().end_to_end.take();
        self.end_to_end.add(&taken);
        Some(taken)
    }
}
