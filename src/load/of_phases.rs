//! What each phase of a load comes to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::account::{Account, Confirmed, Due};
use super::backlog::{Backlog, Rate};
use super::by_phase::Kept;
use super::calm::Calm;
use super::families::FromIntended;
use super::latencies::Summary;
use super::phases::{Phase, Timeline};
use super::plan::{Pace, Plan};
use super::verdict::is_overdue;

/// One phase of the load. Its records are those whose intended time lies in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct OfPhase {
    pub(crate) name: String,
    /// `constant`, `poisson`, `ramp` or `step`.
    pub(crate) kind: &'static str,
    /// Records a second that the schedule wants at its start, and at its end.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Since the warm-up began.
    pub(crate) start_seconds: f64,
    /// How long it was on.
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    /// Confirmed records a second, until the last confirmation.
    pub(crate) rate: f64,
    /// Records whose time came, those included that were not sent any more.
    pub(crate) scheduled: u64,
    pub(crate) late: u64,
    /// Its schedule was not held.
    pub(crate) overdue: bool,
    /// Handlers fell behind for good in it, or had a backlog of an earlier phase to make good.
    pub(crate) saturated: bool,
    /// The same of what waited for the broker's confirmation.
    pub(crate) queued: bool,
    /// Producers came late for want of room that the broker would not have had.
    pub(crate) held_up: bool,
    /// What the warm-up had piled up was still to be made good when it began.
    pub(crate) piled_up: bool,
    /// Microseconds; `None` where there are none, or where they would say how long a backlog was.
    pub(crate) latency: FromIntended<Option<Summary>>,
}

/// What was written down of one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noted {
    pub(crate) due: Due,
    pub(crate) confirmed: Confirmed,
    pub(crate) latency: FromIntended<Option<Summary>>,
}

impl Noted {
    /// By phase; `latencies` are what was taken of them.
    ///
    /// # Errors
    /// None that can be, see [`Kept::latencies`].
    fn all(
        account: &Account,
        latencies: &FromIntended<BTreeMap<usize, Kept>>,
        phases: usize,
    ) -> anyhow::Result<Vec<Self>> {
        let (due, confirmed) = (account.sending().phases.clone(), account.answers().phases.clone());
        let of = |phase: usize| {
            Ok(Self {
                due: due.get(phase).copied().unwrap_or_default(),
                confirmed: confirmed.get(phase).copied().unwrap_or_default(),
                latency: latencies.try_map(|of| {
                    let kept = of.get(&phase).map(Kept::latencies).transpose()?;
                    anyhow::Ok(kept.and_then(|it| it.summary()))
                })?,
            })
        };
        (0..phases).map(of).collect()
    }
}

/// The names of those phases that were too much for somebody, where there are several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TooMuch {
    pub(crate) saturated: Vec<String>,
    pub(crate) queued: Vec<String>,
    pub(crate) overdue: Vec<String>,
    pub(crate) held_up: Vec<String>,
}

/// How it was around the phases, on the run's clock.
pub(crate) struct Around<'a> {
    pub(crate) start: u64,
    pub(crate) load_end: u64,
    /// Where no fault is to blame for what piles up.
    pub(crate) calm: &'a Calm,
    /// Confirmed and not handled.
    pub(crate) backlog: &'a Backlog,
    /// To be sent and not confirmed.
    pub(crate) queue: &'a Backlog,
    /// Until then handlers were at work on what had piled up in the warm-up.
    pub(crate) left_until: Option<u64>,
}

/// What the phases of a plan come to, if it has any. `latencies` are what was taken of them.
///
/// # Errors
/// None that can be, see [`Kept::latencies`].
pub(crate) fn each_phase(
    plan: &Plan,
    account: &Account,
    latencies: &FromIntended<BTreeMap<usize, Kept>>,
    around: &Around<'_>,
) -> anyhow::Result<Vec<OfPhase>> {
    let Pace::Phases(phases) = &plan.pace else { return Ok(Vec::new()) };
    let noted = Noted::all(account, latencies, phases.len())?;
    Ok(of_phases(phases, noted.into_iter(), around))
}

/// What the phases come to that began before the load ended, without the warm-up.
///
/// Each is judged for itself, as the whole load is. One that begins more than a second behind, in the wake of one that was not kept up with, has
/// that one's backlog in its latencies: these are refused as well.
fn of_phases(phases: &[Phase], noted: impl Iterator<Item = Noted>, around: &Around<'_>) -> Vec<OfPhase> {
    let timeline = Timeline::of(phases);
    let (mut begin, mut found) = (0, Vec::new());
    let (mut saturated, mut queued, mut held_up) = (false, false, false);
    for ((phase, end), Noted { due, confirmed, mut latency }) in phases.iter().zip(timeline.ends()).zip(noted) {
        let from = around.start.saturating_add(begin);
        let until = around.start.saturating_add(*end).min(around.load_end);
        if from >= around.load_end {
            break;
        }
        let rate = confirmed.rate(from, until);
        // Where nothing is verified, nobody notes what came of each.
        let judged_by = if rate > 0.0 { rate } else { phase.from.midpoint(phase.to) as f64 };
        let came_to = if phase.from == phase.to { Rate::Steady(judged_by) } else { Rate::Varying(judged_by) };
        saturated = around.calm.grew(around.backlog, from, until, came_to)
            || (saturated && around.backlog.is_deep(from, judged_by));
        let overdue = is_overdue(due.late, due.scheduled, until - from);
        // Who waited long is late for what follows as well.
        held_up = overdue && (due.held_back > 0 || held_up);
        let waiting = around.queue.grew(from, until, around.queue.at(until), came_to)
            || (queued && around.queue.is_deep(from, judged_by));
        queued = !held_up && waiting;
        if queued || held_up {
            latency.produce_ack = None;
        }
        let piled_up = around.left_until.is_some_and(|until| from < until);
        if saturated || queued || held_up || piled_up {
            latency.end_to_end = None;
        }
        if !phase.warmup {
            found.push(OfPhase {
                name: phase.name(),
                kind: phase.kind(),
                from: phase.from,
                to: phase.to,
                start_seconds: begin as f64 / 1e9,
                seconds: (until - from) as f64 / 1e9,
                sent: due.scheduled - due.given_up,
                acked: confirmed.acked,
                rate,
                scheduled: due.scheduled,
                late: due.late,
                overdue,
                saturated,
                queued,
                held_up,
                piled_up,
                latency,
            });
        }
        begin = *end;
    }
    found
}

impl TooMuch {
    pub(crate) fn of(phases: &[OfPhase]) -> Self {
        if phases.len() < 2 {
            return Self::default();
        }
        let names =
            |which: fn(&OfPhase) -> bool| phases.iter().filter(|it| which(it)).map(|it| it.name.clone()).collect();
        Self {
            saturated: names(|it| it.saturated),
            queued: names(|it| it.queued),
            overdue: names(|it| it.overdue),
            held_up: names(|it| it.held_up),
        }
    }
}

impl OfPhase {
    /// The rate that the schedule wants, for people: `1000`, or `1000 to 5000`.
    pub(crate) fn target(&self) -> String {
        if self.from == self.to { self.from.to_string() } else { format!("{} to {}", self.from, self.to) }
    }

    /// Why it has no latencies, where they are refused.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if self.held_up {
            Some("producers had to wait for what the broker can keep")
        } else if self.queued {
            Some("records were not confirmed as fast as they were to be sent")
        } else if self.saturated {
            Some("handlers did not keep up, or had the backlog of an earlier phase to make good")
        } else if self.piled_up {
            Some("handlers had what the warm-up had piled up to make good")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::schedule::Arrivals;
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const RATE: u64 = 1_000;

    fn phase(number: u32, seconds: u64) -> Phase {
        let duration = Duration::from_secs(seconds);
        Phase { number, step: None, from: RATE, to: RATE, arrivals: Arrivals::Constant, duration, warmup: number == 1 }
    }

    fn noted(end: u64) -> Noted {
        let summary = Summary { min: 1, p50: 2, p90: 3, p99: 4, p99_9: 5, p99_99: 6, max: 7, count: 8 };
        let latency = Some(summary);
        Noted {
            due: Due { scheduled: 4_000, ..Due::default() },
            confirmed: Confirmed { acked: 4_000, last: end },
            latency: FromIntended { schedule_delay: latency, produce_ack: latency, end_to_end: latency },
        }
    }

    /// A warm-up and four phases of 4 s each, with so many records behind at each second.
    fn found(load_end: u64, backlog: impl Fn(u64) -> u64, queue: impl Fn(u64) -> u64) -> Vec<OfPhase> {
        found_of((1..=5).map(|number| noted(number * 4 * SECOND)), load_end, false, backlog, queue)
    }

    fn found_of(
        noted: impl Iterator<Item = Noted>,
        load_end: u64,
        leaves: bool,
        backlog: impl Fn(u64) -> u64,
        queue: impl Fn(u64) -> u64,
    ) -> Vec<OfPhase> {
        let (mut behind, mut waiting) = (Backlog::default(), Backlog::default());
        for second in 0..=load_end {
            behind.sampled(second * SECOND, backlog(second));
            waiting.sampled(second * SECOND, queue(second));
        }
        let load_end = load_end * SECOND;
        let calm = Calm::of(&[], 0, load_end);
        let around = Around {
            start: 0,
            load_end,
            calm: &calm,
            backlog: &behind,
            queue: &waiting,
            left_until: Some(9 * SECOND).filter(|_| leaves),
        };
        let phases: Vec<Phase> = (1..=5).map(|number| phase(number, 4)).collect();
        of_phases(&phases, noted, &around)
    }

    fn names(phases: &[OfPhase], which: impl Fn(&OfPhase) -> bool) -> Vec<&str> {
        phases.iter().filter(|it| which(it)).map(|it| it.name.as_str()).collect()
    }

    #[test]
    fn a_calm_load_has_the_latencies_of_each_phase_but_the_warm_up() {
        let phases = found(20, |_| 5, |_| 5);
        let all = ["2 constant", "3 constant", "4 constant", "5 constant"];
        assert_eq!(names(&phases, |it| it.latency.each().all(|(_, summary)| summary.is_some())), all);
        assert_eq!((phases[1].start_seconds, phases[1].seconds, phases[1].rate), (8.0, 4.0, 1_000.0));
        assert!(phases.iter().all(|it| it.refusal().is_none()));
    }

    #[test]
    fn a_backlog_is_no_latency_in_the_phase_in_which_it_grows_nor_where_it_is_made_good() {
        // It grows from the 8th second to the 12th, and is gone by the 17th.
        let backlog = |second: u64| match second {
            0..=8 => 0,
            9..=12 => (second - 8) * 1_000,
            _ => 4_000_u64.saturating_sub((second - 12) * 800),
        };
        let phases = found(20, backlog, |_| 0);
        assert_eq!(names(&phases, |it| it.saturated), ["3 constant", "4 constant"]);
        assert_eq!(names(&phases, |it| it.latency.end_to_end.is_none()), ["3 constant", "4 constant"]);
        // What the broker did has nothing to do with it.
        assert!(phases.iter().all(|it| it.latency.produce_ack.is_some() && !it.queued));

        let phases = found(20, |_| 0, backlog);
        assert_eq!(names(&phases, |it| it.queued), ["3 constant", "4 constant"]);
        assert_eq!(names(&phases, |it| it.latency.produce_ack.is_none()), ["3 constant", "4 constant"]);
        assert!(phases.iter().all(|it| it.latency.schedule_delay.is_some() && !it.saturated));
    }

    #[test]
    fn what_a_warm_up_had_piled_up_is_no_latency_of_a_phase_that_begins_with_it() {
        let noted = (1..=5).map(|number| noted(number * 4 * SECOND));
        let phases = found_of(noted, 20, true, |_| 0, |_| 0);
        assert_eq!(names(&phases, |it| it.piled_up), ["2 constant", "3 constant"]);
        assert_eq!(names(&phases, |it| it.latency.end_to_end.is_none()), ["2 constant", "3 constant"]);
        assert_eq!(names(&phases, |it| it.refusal().is_some()), ["2 constant", "3 constant"]);
        assert!(phases.iter().all(|it| it.latency.produce_ack.is_some() && !it.saturated));
    }

    #[test]
    fn handlers_that_take_seconds_and_keep_up_are_no_backlog_in_any_phase() {
        let phases = found(20, |second| (second * 1_000).min(2_000), |_| 0);
        assert_eq!(names(&phases, |it| it.saturated), Vec::<&str>::new());
    }

    #[test]
    fn where_nothing_was_noted_of_a_phase_it_is_judged_by_the_rate_that_it_was_to_have() {
        let noted = || (0..5).map(|_| Noted { confirmed: Confirmed::default(), ..noted(0) });
        let some = |second: u64| second.saturating_sub(8).min(4) * 40;
        let phases = found_of(noted(), 20, false, some, some);
        assert_eq!(names(&phases, |it| it.saturated || it.queued), Vec::<&str>::new());
        let phases = found_of(noted(), 20, false, |second| some(second) * 20, |_| 0);
        assert_eq!(names(&phases, |it| it.saturated), ["3 constant", "4 constant", "5 constant"]);
    }

    #[test]
    fn what_began_after_the_end_of_a_load_is_not_there_and_what_was_cut_is_as_long_as_it_was() {
        let phases = found(10, |_| 0, |_| 0);
        assert_eq!(names(&phases, |_| true), ["2 constant", "3 constant"]);
        assert_eq!(phases[1].seconds, 2.0);
    }

    #[test]
    fn a_phase_whose_schedule_was_not_held_is_named_and_one_that_had_to_wait_for_room_is_held_up_and_so_are_those_that_caught_up()
     {
        // Of 4,000 in 4 s, what 0.3 s had may be late: a stall of some tenths of a second is none of the schedule.
        let late = [0, 300, 301, 2_000, 301];
        let due = |number: usize| Due { late: late[number], held_back: u64::from(number == 3), ..noted(0).due };
        let found = |due: &dyn Fn(usize) -> Due| {
            let noted = (0..5).map(|number| Noted { due: due(number), ..noted((number as u64 + 1) * 4 * SECOND) });
            found_of(noted, 20, false, |_| 0, |_| 0)
        };
        let phases = found(&due);
        let too_much = TooMuch::of(&phases);
        assert_eq!(too_much.overdue, ["3 constant", "4 constant", "5 constant"]);
        assert_eq!(too_much.held_up, ["4 constant", "5 constant"]);
        assert_eq!(names(&phases, |it| it.latency.produce_ack.is_none()), ["4 constant", "5 constant"]);
        assert!(phases.iter().all(|it| it.latency.schedule_delay.is_some()));
        // Who waited for room, and was not late for it, is not held up.
        let phases = found(&|_| Due { held_back: 9, ..noted(0).due });
        assert_eq!(TooMuch::of(&phases), TooMuch::default());
        // A load with one phase has no need of its name.
        assert_eq!(TooMuch::of(&found(&due)[1..2]), TooMuch::default());
    }
}
