use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kafka_troupe::Producer;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::backlog::Backlog;
use super::borders::Borders;
use super::by_phase::{Kept, add_by_phase};
use super::clock::nanoseconds;
use super::collected::Collected;
use super::crew::Crew;
use super::families::{ByFamily, FromIntended};
use super::hdr_log::HdrLogs;
use super::latencies::Latencies;
use super::leftover::Leftover;
use super::plan::Plan;
use super::producers::generate;
use super::resources::Resources;
use super::sample::{Phase, Sample};
use super::series::Series;
use super::standstill::Standstill;

const SECOND: Duration = Duration::from_secs(1);
/// How often it is looked whether all is handled and committed.
const LOOK: Duration = Duration::from_millis(20);

/// Carries a run through its phases and looks at it once a second meanwhile.
pub(crate) struct Sampler<'a, S> {
    plan: &'a Arc<Plan>,
    account: &'a Arc<Account>,
    /// On the run's clock.
    start: u64,
    ticks: Interval,
    show: S,
    pub(crate) series: Series,
    /// Confirmed and not handled.
    pub(crate) backlog: Backlog,
    /// To be sent by then, and not confirmed.
    pub(crate) queue: Backlog,
    /// What the warm-up has left to the load.
    pub(crate) leftover: Leftover,
    /// Where nothing is handled any more.
    pub(crate) standstill: Standstill,
    /// Of the load, as far as they were taken.
    pub(crate) latencies: Collected,
    /// The same by phase, where the schedule has phases.
    pub(crate) phases: FromIntended<BTreeMap<usize, Kept>>,
    /// What the phases are called, where more than one is measured.
    names: Vec<String>,
    /// The most that ever was.
    pub(crate) committed_ahead: u64,
    /// At the last look.
    committed_before: Vec<i64>,
    at_load: Option<Spent>,
    /// When the last sample was taken.
    looked: u64,
    last: Counts,
    cpu_seconds: Option<f64>,
}

/// What had been spent, and had come of it, at some moment; or between two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) handled: u64,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    sent: u64,
    acked: u64,
    done: u64,
}

impl<'a, S: FnMut(&Sample)> Sampler<'a, S> {
    pub(crate) fn new(
        plan: &'a Arc<Plan>,
        account: &'a Arc<Account>,
        start: u64,
        logs: HdrLogs,
        show: S,
    ) -> anyhow::Result<Self> {
        let mut ticks = interval_at(Instant::now() + SECOND, SECOND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            phases: FromIntended::default(),
            names: plan.names_of_phases(),
            plan,
            account,
            start,
            ticks,
            show,
            series: Series::default(),
            backlog: Backlog::default(),
            queue: Backlog::default(),
            leftover: Leftover::default(),
            standstill: Standstill::default(),
            committed_before: vec![0; plan.partitions as usize],
            latencies: Collected::new(start, logs)?,
            committed_ahead: 0,
            at_load: None,
            looked: start,
            last: Counts::default(),
            cpu_seconds: Resources::now().cpu_seconds,
        })
    }

    /// Starts the producers' threads and waits until they have sent all. Says how many sequences each has given away.
    pub(crate) async fn during_load(
        &mut self,
        producer: &Producer,
        members: Option<&Crew>,
    ) -> anyhow::Result<Vec<u64>> {
        let mut ended = pin!(generate(self.plan, self.account, producer, self.start, None));
        let to_load = nanoseconds(self.plan.warmup) + self.start.saturating_sub(self.account.clock.now());
        let mut load = pin!(sleep_until(Instant::now() + Duration::from_nanos(to_load)));
        let mut borders = Borders::new(&self.account.timeline, self.account.clock, self.start);
        loop {
            tokio::select! {
                sent = &mut ended => {
                    self.look(self.sending_phase(), members);
                    if self.account.answers().fatal {
                        anyhow::bail!("the producer failed: {}", self.account.answers().first_error.clone().unwrap_or_default());
                    }
                    return sent;
                }
                () = &mut load, if self.at_load.is_none() => self.load_begins(),
                border = borders.passed() => self.note_behind(border),
                _ = self.ticks.tick() => {
                    if let Some(members) = members
                        && let Err(error) = members.check().await
                    {
                        self.account.stop.cancel();
                        return Err(error);
                    }
                    self.look(self.sending_phase(), members);
                }
            }
        }
    }

    /// The warm-up is over.
    fn load_begins(&mut self) {
        self.at_load = Some(self.spent());
        let begin = self.start + nanoseconds(self.plan.warmup);
        self.leftover.load_begins(begin, self.account.acked.load(Ordering::Acquire));
        self.backlog.seen(begin, self.account.lag());
    }

    /// How far behind handlers and broker are at the border of two phases.
    fn note_behind(&mut self, border: u64) {
        self.backlog.sampled(border, self.account.lag());
        self.queue.sampled(border, self.unconfirmed(border));
    }

    fn unconfirmed(&self, now: u64) -> u64 {
        self.account.unconfirmed(now, |from, to| self.plan.pace.due_between(from, to))
    }

    /// Waits until all is answered, handled and committed, as long as the plan allows, or until `cut`.
    pub(crate) async fn drain(
        &mut self,
        producer: &Producer,
        members: &Crew,
        cut: &CancellationToken,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + self.plan.drain;
        let mut flushed = pin!(producer.flush(self.plan.drain));
        let mut answered = false;
        while Instant::now() < until && !cut.is_cancelled() && !(answered && self.is_over(members)) {
            tokio::select! {
                // What is not answered in time is given up by the producer's end, and counted.
                _ = &mut flushed, if !answered => answered = true,
                () = sleep(LOOK) => {}
                () = cut.cancelled() => {}
                _ = self.ticks.tick() => {
                    members.check().await?;
                    self.look(Phase::Drain, Some(members));
                }
            }
        }
        self.look(Phase::Drain, Some(members));
        Ok(())
    }

    /// The backlog is made: waits for its last confirmations, as long as handlers may take too. What follows is measured.
    pub(crate) async fn made_backlog(&mut self, producer: &Producer) {
        // What is not answered in time is given up by the producer's end, and counted.
        let _ = producer.flush(self.plan.drain).await;
        self.look(Phase::Fill, None);
    }

    /// What is measured begins.
    pub(crate) fn begin(&mut self) {
        self.at_load = Some(self.spent());
    }

    /// What the load has taken since its warm-up.
    pub(crate) fn spent_on_load(&self) -> Spent {
        let (now, Some(before)) = (self.spent(), self.at_load) else { return Spent::default() };
        Spent {
            seconds: now.seconds - before.seconds,
            cpu_seconds: now.cpu_seconds.zip(before.cpu_seconds).map(|(now, before)| now - before),
            handled: now.handled - before.handled,
        }
    }

    fn spent(&self) -> Spent {
        Spent {
            seconds: self.account.clock.now() as f64 / 1e9,
            cpu_seconds: Resources::now().cpu_seconds,
            handled: self.account.handled.load(Ordering::Acquire),
        }
    }

    fn is_over(&self, members: &Crew) -> bool {
        self.account.lag() == 0
            && members
                .committed(self.plan)
                .into_iter()
                .zip(self.account.ends())
                .all(|(committed, end)| committed >= end)
    }

    fn sending_phase(&self) -> Phase {
        let warm = self.start + nanoseconds(self.plan.warmup);
        if self.plan.pace.is_backlog() {
            return Phase::Fill;
        }
        if self.account.clock.now() < warm { Phase::Warmup } else { Phase::Load }
    }

    fn look(&mut self, phase: Phase, members: Option<&Crew>) {
        // Commits first: what is handled in between cannot make them look early.
        let committed = members.filter(|_| self.plan.verify).map(|it| it.committed(self.plan));
        // Members that have left said it before.
        let committed = committed.unwrap_or_else(|| self.committed_before.clone());
        let uncommitted = self.account.ends().zip(&committed).map(|(end, next)| (end - next).max(0) as u64).sum();
        let (ahead, lost, duplicated, reordered) = {
            let ledger = &self.account.book().ledger;
            let unhandled = |committed: &[i64]| -> u64 {
                let unhandled = (0..).zip(committed).map(|(partition, committed)| {
                    ledger.unhandled_below(partition, u64::try_from(*committed).unwrap_or_default())
                });
                unhandled.sum()
            };
            (
                unhandled(&committed),
                unhandled(&self.committed_before),
                ledger.count_duplicated(),
                ledger.count_reordered(),
            )
        };
        self.committed_before = committed;
        self.committed_ahead = self.committed_ahead.max(ahead);
        let now = self.account.clock.now();
        // Where nobody is to handle anything yet, nothing stands still.
        if phase != Phase::Fill && self.plan.verify {
            self.standstill.looked(now, self.account.by_partition().into_iter());
        }
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Acquire);
        let failed = count(&self.account.failed);
        let counts = Counts {
            done: count(&self.account.handled),
            acked: count(&self.account.acked),
            sent: count(&self.account.sent),
        };
        let lag = counts.acked.saturating_sub(counts.done);
        self.backlog.sampled(now, lag);
        self.leftover.looked(now, counts.done);
        self.queue.sampled(now, self.unconfirmed(now));
        // What was wanted on average since the last sample: of a ramp, half way.
        let wanted = self.plan.pace.rate_at(self.latencies.until.midpoint(now).saturating_sub(self.start));
        let (latencies, resources) = (self.take_latencies(), Resources::now());
        let sample = Sample {
            seconds: now.saturating_sub(self.start) as f64 / 1e9,
            interval_seconds: now.saturating_sub(self.looked) as f64 / 1e9,
            phase,
            target: wanted.filter(|_| phase != Phase::Drain),
            sent: Some(counts.sent - self.last.sent),
            acked: Some(counts.acked - self.last.acked),
            done: Some(counts.done - self.last.done),
            lag: Some(lag),
            uncommitted: Some(uncommitted),
            in_flight: Some(counts.sent.saturating_sub(counts.acked + failed)),
            // Of a backlog it would say when the records were made.
            end_to_end: latencies.end_to_end.summary().filter(|_| !self.plan.pace.is_backlog()),
            produce_ack: latencies.produce_ack.summary(),
            failed_attempts: Some(self.account.failed_attempts.load(Ordering::Relaxed)),
            late: Some(self.account.sending().late),
            duplicated: Some(duplicated),
            reordered: Some(reordered),
            committed_ahead: Some(ahead),
            lost: Some(lost),
            cpu_seconds: resources.cpu_seconds.zip(self.cpu_seconds).map(|(now, before)| now - before),
            rss_bytes: resources.rss_bytes,
        };
        (self.looked, self.last, self.cpu_seconds) = (now, counts, resources.cpu_seconds);
        (self.show)(&sample);
        self.series.push(sample);
    }

    /// The members have left: a last sample of what they have handled meanwhile, if anything.
    pub(crate) fn members_left(&mut self) {
        if self.account.handled.load(Ordering::Acquire) > self.last.done {
            self.look(Phase::Drain, None);
        }
        self.take_latencies();
    }

    /// What came since the last sample.
    fn take_latencies(&mut self) -> ByFamily<Latencies> {
        let ((taken, by_phase), now) = (self.account.take_latencies(), self.account.clock.now());
        let from = self.latencies.until;
        self.latencies.add(now, &taken);
        add_by_phase(&mut self.phases, &by_phase);
        self.latencies.add_phases(from, &self.names, &by_phase);
        taken
    }
}
