//! From figures to passed, failed or invalid, with the reasons.

use std::time::Duration;

use serde::Serialize;

use super::calm::Unjudged;
use super::figures::Figures;
use super::gates::{GateResult, Gates};
use super::of_phases::TooMuch;
use super::standstill::Stuck;

/// The share of records that may be late before the schedule counts as not held.
const LATE_SHARE: f64 = 0.01;

/// The share of the load that producers of a closed loop may wait for room on the embedded broker.
const HELD_UP_SHARE: f64 = 0.25;

/// So many partitions that stand still are told of, of which there may be thousands.
const STUCK_SHOWN: usize = 3;

/// Whether producers that send as answers come, and waited for room so long, had to do so for too much of the load: all in nanoseconds.
pub(crate) fn is_held_up(waited: u64, producers: u16, load: u64) -> bool {
    waited as f64 > load as f64 * f64::from(producers) * HELD_UP_SHARE
}

/// So many seconds of what a phase has may be late, as of a load of 30 s: a machine that stands still for some tenths of a second is late for no more, and of
/// a short phase that is more than a hundredth. One that is no longer than that is judged with the whole alone.
const LATE_SECONDS: f64 = 0.3;

/// Whether the schedule of a phase was not held that was on for so many nanoseconds.
pub(crate) fn is_overdue(late: u64, scheduled: u64, lasted: u64) -> bool {
    let share = LATE_SECONDS / (lasted as f64 / 1e9);
    late as f64 > scheduled as f64 * share.max(LATE_SHARE)
}

/// Whether the schedule was not held.
pub(crate) fn is_late(late: u64, scheduled: u64) -> bool {
    late as f64 > scheduled as f64 * LATE_SHARE
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Judgement {
    Passed,
    Failed,
    /// What was measured is not what was asked for.
    Invalid,
}

/// What is to be known of a run beside its figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Circumstances {
    /// The handlers' order is that of keys or partitions.
    pub(crate) order_promised: bool,
    /// Producers sent by a schedule, and not as answers came.
    pub(crate) open_loop: bool,
    /// Nobody looked at the records.
    pub(crate) unverified: bool,
    /// Handlers fell behind for good: how long a record took says how long the load had been on.
    pub(crate) saturated: bool,
    /// They were still at work on what had piled up when the time for that was over, and no signal had made it shorter.
    pub(crate) unfinished: bool,
    /// Partitions of which nothing was handled any more, whatever became of others.
    pub(crate) stuck: Vec<Stuck>,
    /// For so long of the load handlers were at work on what had piled up in the warm-up.
    pub(crate) worked_off: Option<Duration>,
    /// Whether the faults leave a load to judge.
    pub(crate) unjudged: Option<Unjudged>,
    /// What was to be sent waited for the broker's confirmation, and more of it the longer the load lasted: so did each record.
    pub(crate) queued: bool,
    /// Producers had to wait for room that the broker would not have had, and came late for it, or did little else. What is outstanding was always as
    /// much as may be, and how long a record took says no more than that.
    pub(crate) held_up: bool,
    /// The phases that were too much for somebody, where there are several.
    pub(crate) too_much: TooMuch,
    /// Faults that the load did not last for.
    pub(crate) missed_faults: usize,
    /// A signal ended the last look at the log, so that what is missing may be in it or not.
    pub(crate) unread: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) verdict: Judgement,
    pub(crate) reasons: Vec<String>,
    pub(crate) gates: Vec<GateResult>,
}

impl Verdict {
    /// A fault of the records comes before an invalid measurement, for it is one whatever the load was; a gate that does not hold comes after it.
    ///
    /// A gate that names a count says what is right for it, in place of the rule that would have.
    pub(crate) fn of(figures: &Figures, around: &Circumstances, gates: &Gates) -> Self {
        Self::judged(faults(figures, around, gates), invalid(figures, around), figures, gates)
    }

    /// From what is wrong with the records, and with the measurement.
    pub(crate) fn judged(faults: Vec<String>, invalid: Vec<String>, figures: &Figures, gates: &Gates) -> Self {
        let gates = gates.of(figures);
        let broken = gates
            .iter()
            .filter(|gate| gate.held == Some(false))
            .map(|gate| format!("the gate {} does not hold: it is {}", gate.gate, gate.shown()));
        let broken: Vec<String> = broken.collect();
        let open = gates.iter().filter(|gate| gate.held.is_none());
        let open: Vec<String> = open.map(|gate| format!("the gate {} has nothing to compare", gate.gate)).collect();
        let verdict = if !faults.is_empty() {
            Judgement::Failed
        } else if !invalid.is_empty() || !open.is_empty() {
            Judgement::Invalid
        } else if !broken.is_empty() {
            Judgement::Failed
        } else {
            Judgement::Passed
        };
        Self { verdict, reasons: [faults, invalid, open, broken].concat(), gates }
    }
}

/// What no pipeline may do to its records.
fn faults(figures: &Figures, around: &Circumstances, gates: &Gates) -> Vec<String> {
    let rules = [
        ("lost", figures.lost, true, "were confirmed and lost"),
        // Of a load that was too much, some are left over: that says nothing against the records, unless they are those of a partition that stands still.
        (
            "unseen",
            figures.unseen,
            !is_overload(around) || !around.stuck.is_empty(),
            "were not handled in the time there was for it",
        ),
        ("corrupted", figures.corrupted, true, "do not fit their checksum or key"),
        ("foreign", figures.foreign, true, "are not of this run"),
        (
            "reordered",
            figures.reordered,
            around.order_promised,
            "were handled after a later one of their partition or key",
        ),
        (
            "duplicated",
            figures.duplicated,
            figures.excused.is_none(),
            "were handled more than once, and there was no fault to excuse it",
        ),
        ("committed_ahead", figures.committed_ahead, true, "were committed before their handler was through"),
        (
            "redelivered_after_commit",
            figures.redelivered_after_commit,
            true,
            "were handled again though they had been committed",
        ),
        ("failed", figures.failed, true, "were not confirmed by the broker"),
    ];
    let excused = figures.excused.unwrap_or_default();
    let too_often =
        (figures.duplicated > excused && figures.excused.is_some() && !gates.name("duplicated")).then(|| {
            format!("{} records were handled more than once, and the faults excuse {excused}", figures.duplicated)
        });
    let broken = rules.into_iter().filter(|(name, count, counts, _)| *count > 0 && *counts && !gates.name(name));
    let standing = around.stuck.iter().take(STUCK_SHOWN).map(Stuck::to_string);
    let standing = standing.filter(|_| figures.unseen > 0 && !gates.name("unseen"));
    broken.map(|(_, count, _, what)| format!("{count} records {what}")).chain(standing).chain(too_often).collect()
}

/// The load was more than handlers could do, and that alone is why records are left.
fn is_overload(around: &Circumstances) -> bool {
    let was_too_much = around.saturated
        || around.held_up
        || around.worked_off.is_some()
        || around.unjudged == Some(Unjudged::NotRecovered);
    was_too_much && around.unfinished
}

fn invalid(figures: &Figures, around: &Circumstances) -> Vec<String> {
    let mut reasons = Vec::new();
    if around.unverified {
        reasons.push("nothing was verified, so nothing is known of what became of the records".to_owned());
    }
    if figures.scheduled == 0 {
        reasons.push("nothing was measured: the run ended in its warm-up".to_owned());
    }
    if around.missed_faults > 0 {
        reasons.push(format!("the load was over before {} of the faults", around.missed_faults));
    }
    if around.open_loop
        && let Some(late) = was_late(figures, &around.too_much.overdue)
    {
        let held_up = if around.held_up {
            format!(
                ", held up{} by how little the embedded broker can keep, so neither produce-ack nor end-to-end latency is given",
                in_phases(&around.too_much.held_up)
            )
        } else {
            String::new()
        };
        reasons.push(late + &held_up);
    }
    if !around.open_loop && around.held_up {
        reasons.push(
            "producers waited for more than a quarter of the load for room on the embedded broker, which keeps little: how long a record took says how \
             much that is, so no end-to-end latency is given"
                .to_owned(),
        );
    }
    if around.saturated {
        let phases = in_phases(&around.too_much.saturated);
        let what = if around.open_loop {
            "the load"
        } else {
            "what was sent as the broker's answers came, which wait for no handler"
        };
        reasons.push(format!(
            "the handlers did not keep up with {what}{phases}: how long a record took says how long the load had lasted, so no \
             end-to-end latency is given"
        ));
    }
    if let Some(worked_off) = around.worked_off {
        reasons.push(was_left(worked_off));
    }
    // Those of a partition that stands still are not on their way.
    let on_their_way = figures.unseen.saturating_sub(around.stuck.iter().map(|it| it.waiting).sum());
    if is_overload(around) && on_their_way > 0 && !around.unread {
        reasons.push(format!(
            "{on_their_way} records were still to be handled when the time for it was over: --drain gives them more"
        ));
    }
    if around.unread {
        reasons.push(format!(
            "a signal came before the log was read to its end: whether the {} records that no handler had are in it or lost is not known",
            figures.unseen
        ));
    }
    match around.unjudged {
        Some(Unjudged::NotRecovered) => reasons.push(
            "the load was over before the group recovered: nobody can say whether the handlers keep up, and no end-to-end latency is given"
                .to_owned(),
        ),
        Some(Unjudged::TooSoon) => reasons.push(
            "the load was over so soon after the group had recovered that nobody can say whether the handlers keep up: two seconds are the least"
                .to_owned(),
        ),
        None => {}
    }
    if around.open_loop && around.queued {
        reasons.push(format!(
            "records were not confirmed as fast as they were to be sent{}: how long one took says how long the load had lasted, so neither \
             produce-ack nor end-to-end latency is given",
            in_phases(&around.too_much.queued)
        ));
    }
    reasons
}

/// That the schedule was not held, of the whole or in these phases.
pub(crate) fn was_late(figures: &Figures, overdue: &[String]) -> Option<String> {
    (is_late(figures.late, figures.scheduled) || !overdue.is_empty()).then(|| {
        let (late, scheduled) = (figures.late, figures.scheduled);
        format!("the schedule was not held{}: {late} of {scheduled} records were sent late", in_phases(overdue))
    })
}

/// That what the warm-up had piled up was worked off for so long of the load.
pub(crate) fn was_left(worked_off: Duration) -> String {
    format!(
        "what the warm-up had piled up was still being worked off for {:.0} s of the load: how long a record took says how much that was, so no \
         end-to-end latency is given",
        worked_off.as_secs_f64()
    )
}

/// As it stands in a reason.
pub(crate) fn in_phases(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [phase] => format!(" in phase {phase}"),
        phases => format!(" in the phases {}", phases.join(", ")),
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
