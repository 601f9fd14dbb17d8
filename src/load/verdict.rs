//! From figures to passed, failed or invalid, with the reasons.

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
/// a short phase that is more than a hundredth.
const LATE_SECONDS: f64 = 0.3;
/// Of a phase that is hardly longer than that, this share.
const LATE_MOST: f64 = 0.5;

/// Whether the schedule of a phase was not held that was on for so many nanoseconds.
pub(crate) fn is_overdue(late: u64, scheduled: u64, lasted: u64) -> bool {
    let share = LATE_SECONDS / (lasted as f64 / 1e9);
    late as f64 > scheduled as f64 * share.clamp(LATE_SHARE, LATE_MOST)
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
    let was_too_much = around.saturated || around.held_up || around.unjudged == Some(Unjudged::NotRecovered);
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
    // Those of a partition that stands still are not on their way.
    let on_their_way = figures.unseen.saturating_sub(around.stuck.iter().map(|it| it.waiting).sum());
    if is_overload(around) && on_their_way > 0 {
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

/// As it stands in a reason.
pub(crate) fn in_phases(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [phase] => format!(" in phase {phase}"),
        phases => format!(" in the phases {}", phases.join(", ")),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    fn quiet() -> Circumstances {
        Circumstances { order_promised: true, open_loop: true, ..Circumstances::default() }
    }

    fn clean() -> Figures {
        Figures { sent: 1_000, acked: 1_000, handled: 1_000, scheduled: 1_000, ..Figures::default() }
    }

    fn judged(figures: &Figures, around: &Circumstances, gates: &str) -> (Judgement, String) {
        let gates = if gates.is_empty() { Gates::default() } else { gates.parse().unwrap() };
        let verdict = Verdict::of(figures, around, &gates);
        (verdict.verdict, verdict.reasons.join("; "))
    }

    #[test]
    fn a_clean_run_passes_without_a_reason() {
        assert_eq!(judged(&clean(), &quiet(), ""), (Judgement::Passed, String::new()));
    }

    #[test]
    fn each_fault_of_the_records_fails_and_is_named() {
        type Plant = fn(&mut Figures);
        let faults: [(Plant, &str); 9] = [
            (|it| it.lost = 1, "1 records were confirmed and lost"),
            (|it| it.unseen = 2, "2 records were not handled in the time"),
            (|it| it.corrupted = 3, "3 records do not fit"),
            (|it| it.foreign = 4, "4 records are not of this run"),
            (|it| it.reordered = 5, "5 records were handled after a later one"),
            (|it| it.duplicated = 6, "6 records were handled more than once"),
            (|it| it.committed_ahead = 7, "7 records were committed before"),
            (|it| it.failed = 8, "8 records were not confirmed"),
            (|it| it.redelivered_after_commit = 9, "9 records were handled again though they had been committed"),
        ];
        for (plant, reason) in faults {
            let mut figures = clean();
            plant(&mut figures);
            let (judgement, reasons) = judged(&figures, &quiet(), "");
            assert_eq!(judgement, Judgement::Failed, "{reason}");
            assert!(reasons.starts_with(reason), "{reasons}");
        }
    }

    #[test]
    fn repeats_in_a_run_with_faults_are_held_to_what_those_excuse() {
        let repeats = |duplicated| Figures { duplicated, excused: Some(5), ..clean() };
        assert_eq!(judged(&repeats(5), &quiet(), "").0, Judgement::Passed);
        assert_eq!(
            judged(&repeats(6), &quiet(), ""),
            (Judgement::Failed, "6 records were handled more than once, and the faults excuse 5".to_owned())
        );
        assert_eq!(judged(&repeats(6), &quiet(), "duplicated<10").0, Judgement::Passed);
        let missed = Circumstances { missed_faults: 1, ..quiet() };
        assert_eq!(judged(&clean(), &missed, "").0, Judgement::Invalid);
    }

    #[test]
    fn order_counts_where_it_is_promised() {
        let figures = Figures { reordered: 5, ..clean() };
        let unordered = Circumstances { order_promised: false, ..quiet() };
        assert_eq!(judged(&figures, &unordered, "").0, Judgement::Passed);
    }

    #[test]
    fn a_gate_on_a_count_takes_the_place_of_its_rule_and_of_no_other() {
        let figures = Figures { duplicated: 5, ..clean() };
        assert_eq!(judged(&figures, &quiet(), "duplicated<10").0, Judgement::Passed);
        assert_eq!(judged(&figures, &quiet(), "duplicated<5").0, Judgement::Failed);
        // Of 1,000. A share that is allowed would mean nothing where the count had to be 0.
        assert_eq!(judged(&figures, &quiet(), "dup_rate<0.01").0, Judgement::Passed);
        assert_eq!(judged(&figures, &quiet(), "dup_rate<0.001").0, Judgement::Failed);
        assert_eq!(judged(&figures, &quiet(), "late_rate<0.01").0, Judgement::Failed);
        assert_eq!(judged(&figures, &quiet(), "lost==0").0, Judgement::Failed);
    }

    #[test]
    fn a_schedule_that_was_not_held_makes_the_run_invalid_unless_there_was_none() {
        let late = |late| Figures { late, ..clean() };
        assert_eq!(judged(&late(10), &quiet(), "").0, Judgement::Passed);
        let (judgement, reasons) = judged(&late(11), &quiet(), "");
        assert_eq!(
            (judgement, reasons.as_str()),
            (Judgement::Invalid, "the schedule was not held: 11 of 1000 records were sent late")
        );
        let held_up = Circumstances { held_up: true, ..quiet() };
        assert!(judged(&late(11), &held_up, "").1.contains("held up by how little the embedded broker can keep"));
        let closed_loop = Circumstances { open_loop: false, ..quiet() };
        assert_eq!(judged(&late(11), &closed_loop, "").0, Judgement::Passed);
    }

    #[test]
    fn of_a_phase_a_hundredth_may_be_late_or_three_tenths_of_a_second_or_half_of_it() {
        let most = |lasted: f64| (0..=1_000).rfind(|late| !is_overdue(*late, 1_000, (lasted * 1e9) as u64));
        assert_eq!([0.01, 0.5, 1.0, 2.0, 30.0, 600.0].map(most), [500, 500, 300, 150, 10, 10].map(Some));
        assert!(!is_overdue(0, 0, 0) && is_overdue(1, 1, 0));
    }

    #[test]
    fn what_is_left_over_of_too_much_load_is_no_failure_unless_handlers_stood_still() {
        let left = Figures { unseen: 7, ..clean() };
        let saturated = Circumstances { saturated: true, unfinished: true, ..quiet() };
        let (judgement, reasons) = judged(&left, &saturated, "");
        assert!(judgement == Judgement::Invalid && reasons.contains("7 records were still to be handled"), "{reasons}");
        let held_up = Circumstances { held_up: true, saturated: false, open_loop: false, ..saturated.clone() };
        assert_eq!(judged(&left, &held_up, "").0, Judgement::Invalid);
        // A gate has its own word, and a fault of other records counts.
        assert_eq!(judged(&Figures { lost: 1, ..left.clone() }, &saturated, "").0, Judgement::Failed);
        let stuck = Circumstances { unfinished: false, ..saturated };
        assert_eq!(judged(&left, &stuck, "").0, Judgement::Failed);
        let not_over = Circumstances { unjudged: Some(Unjudged::NotRecovered), unfinished: true, ..quiet() };
        assert_eq!(judged(&left, &not_over, "").0, Judgement::Invalid);
        assert_eq!(judged(&left, &Circumstances { unfinished: true, ..quiet() }, "").0, Judgement::Failed);
    }

    #[test]
    fn a_log_that_a_signal_left_unread_is_told_of_and_passes_by_no_gate() {
        let (figures, unread) = (Figures { unseen: 7, ..clean() }, Circumstances { unread: true, ..quiet() });
        let (judgement, reasons) = judged(&figures, &unread, "");
        assert!(judgement == Judgement::Failed && reasons.contains("7 records that no handler had"), "{reasons}");
        assert_eq!(judged(&figures, &unread, "unseen<10 && lost==0").0, Judgement::Invalid);
    }

    #[test]
    fn a_partition_that_stands_still_is_not_excused_by_a_load_that_was_too_much_for_the_others() {
        let stuck = |partition| Stuck {
            topic: "orders".to_owned(),
            partition,
            idle: std::time::Duration::from_millis(28_400),
            waiting: 7,
        };
        let saturated = Circumstances { saturated: true, unfinished: true, stuck: vec![stuck(2)], ..quiet() };
        let left = Figures { unseen: 9, ..clean() };
        let (judgement, reasons) = judged(&left, &saturated, "");
        assert_eq!(judgement, Judgement::Failed);
        let wanted = "9 records were not handled in the time there was for it; of partition 2 of orders nothing was handled for the last 28.4 s, \
                      and 7 records were waiting there; the handlers did not keep up";
        assert!(reasons.starts_with(wanted) && reasons.contains("; 2 records were still to be handled"), "{reasons}");
        let all = Circumstances { stuck: (0..100).map(stuck).collect(), ..saturated.clone() };
        assert_eq!(judged(&left, &all, "").1.matches("were waiting there").count(), STUCK_SHOWN);
        // What was handled in the last moment, and what a gate allows.
        assert_eq!(judged(&clean(), &saturated, "").0, Judgement::Invalid);
        assert_eq!(judged(&left, &saturated, "unseen<10").0, Judgement::Invalid);
    }

    #[test]
    fn a_closed_loop_that_outran_the_handlers_or_met_the_bound_is_invalid_and_says_which() {
        let closed = Circumstances { open_loop: false, ..quiet() };
        let (judgement, reasons) = judged(&clean(), &Circumstances { held_up: true, ..closed.clone() }, "");
        assert!(judgement == Judgement::Invalid && reasons.contains("room on the embedded broker"), "{reasons}");
        let (judgement, reasons) = judged(&clean(), &Circumstances { saturated: true, ..closed }, "");
        assert!(judgement == Judgement::Invalid && reasons.contains("which wait for no handler"), "{reasons}");
        // Of ten seconds two producers waited for six in all, or for four.
        assert!(is_held_up(6_000, 2, 10_000) && !is_held_up(4_000, 2, 10_000));
        assert!(!is_held_up(0, 1, 0));
    }

    #[test]
    fn phases_that_were_too_much_are_named_and_a_group_that_did_not_recover_is_not_judged() {
        let both = || vec!["2 constant".to_owned(), "3 step 1 of 2".to_owned()];
        let too_much = TooMuch { saturated: both(), ..TooMuch::default() };
        let reasons = judged(&clean(), &Circumstances { saturated: true, too_much, ..quiet() }, "").1;
        assert!(reasons.contains("with the load in the phases 2 constant, 3 step 1 of 2: how long"), "{reasons}");
        let too_much = TooMuch { queued: vec!["2 ramp".to_owned()], ..TooMuch::default() };
        let reasons = judged(&clean(), &Circumstances { queued: true, too_much, ..quiet() }, "").1;
        assert!(reasons.contains("as they were to be sent in phase 2 ramp: how long"), "{reasons}");
        // Of the whole, one in a hundred is none too many.
        let late = Figures { late: 10, ..clean() };
        let too_much = TooMuch { overdue: both(), ..TooMuch::default() };
        let overdue = Circumstances { too_much, ..quiet() };
        let wanted =
            "the schedule was not held in the phases 2 constant, 3 step 1 of 2: 10 of 1000 records were sent late";
        assert_eq!(judged(&late, &overdue, ""), (Judgement::Invalid, wanted.to_owned()));
        let too_much = TooMuch { held_up: both()[..1].to_vec(), ..overdue.too_much };
        let reasons = judged(&late, &Circumstances { held_up: true, too_much, ..quiet() }, "").1;
        assert!(reasons.contains("sent late, held up in phase 2 constant by how little"), "{reasons}");
        for (unjudged, why) in
            [(Unjudged::NotRecovered, "before the group recovered"), (Unjudged::TooSoon, "two seconds")]
        {
            let around = Circumstances { unjudged: Some(unjudged), ..quiet() };
            let (judgement, reasons) = judged(&clean(), &around, "");
            assert!(judgement == Judgement::Invalid && reasons.contains(why), "{reasons}");
        }
    }

    #[test]
    fn a_loss_fails_also_where_the_measurement_is_invalid_and_a_gate_does_not() {
        let figures = Figures { late: 500, lost: 1, ..clean() };
        let (judgement, reasons) = judged(&figures, &quiet(), "");
        assert_eq!(judgement, Judgement::Failed);
        assert!(reasons.contains("lost") && reasons.contains("schedule"), "{reasons}");
        let figures = Figures { late: 500, ..clean() };
        assert_eq!(judged(&figures, &quiet(), "rate>10").0, Judgement::Invalid);
    }

    #[test]
    fn a_gate_without_a_figure_and_a_run_without_a_load_are_invalid() {
        let (judgement, reasons) = judged(&clean(), &quiet(), "e2e.p99<50ms");
        assert_eq!((judgement, reasons.as_str()), (Judgement::Invalid, "the gate e2e.p99<50ms has nothing to compare"));
        assert_eq!(judged(&Figures { scheduled: 0, ..clean() }, &quiet(), "").0, Judgement::Invalid);
        let saturated = Circumstances { saturated: true, ..quiet() };
        assert_eq!(judged(&clean(), &saturated, "").0, Judgement::Invalid);
        let unverified = Circumstances { unverified: true, ..quiet() };
        let (judgement, reasons) = judged(&clean(), &unverified, "");
        assert!(judgement == Judgement::Invalid && reasons.contains("nothing was verified"), "{reasons}");
        let queued = Circumstances { queued: true, ..quiet() };
        let (judgement, reasons) = judged(&clean(), &queued, "");
        assert!(judgement == Judgement::Invalid && reasons.contains("not confirmed as fast"), "{reasons}");
        assert_eq!(
            judged(&clean(), &quiet(), "rate>10"),
            (Judgement::Failed, "the gate rate>10 does not hold: it is 0".to_owned())
        );
    }
}
