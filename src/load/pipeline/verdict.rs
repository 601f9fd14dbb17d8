//! From what came out to passed, failed or invalid, with the reasons.

use std::fmt;
use std::time::Duration;

use crate::load::clock::shown;
use crate::load::figures::Figures;
use crate::load::gates::Gates;
use crate::load::of_phases::TooMuch;
use crate::load::verdict::{Verdict, in_phases, was_late, was_left};

use super::expect::Expect;

/// What is to be known of a run beside its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Circumstances {
    pub(crate) expect: Expect,
    /// Producers sent by a schedule.
    pub(crate) open_loop: bool,
    /// The application fell behind for good.
    pub(crate) saturated: bool,
    /// The broker fell behind for good. Not in a closed loop, which has as much on its way as it was told to.
    pub(crate) queued: bool,
    /// For so long of the load the application was at work on what had piled up in the warm-up.
    pub(crate) worked_off: Option<Duration>,
    /// The phases that were too much for somebody, where there are several.
    pub(crate) too_much: TooMuch,
    /// A signal ended the reading of what stood in OUT.
    pub(crate) unread: bool,
    /// Of what may be left out, a signal ended the wait for so many, so that nobody can say whether they were.
    pub(crate) undecided: u64,
    /// Somebody looked at OUT; else only sending is judged.
    pub(crate) verified: bool,
    /// It is known how many records there were: without that, one that is missing behind the last that came cannot be seen.
    pub(crate) sent_known: bool,
    /// Records of this run that nobody has sent.
    pub(crate) unsent: u64,
    /// Records of OUT without an identity.
    pub(crate) nameless: u64,
}

/// Why it was not waited any longer for what had not come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    AllCame,
    Settled(Duration),
    Stopped,
}

impl Waited {
    /// When OUT was read to its end, and so many are missing still, if that is known.
    pub(super) fn in_the_end(self, missing: Option<u64>) -> Self {
        match (self, missing) {
            (Self::Settled(_), Some(0)) => Self::AllCame,
            _ => self,
        }
    }
}

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllCame => f.write_str("all records had come out"),
            Self::Settled(settle) => write!(f, "nothing new had come out for {}", shown(*settle)),
            Self::Stopped => f.write_str("a signal ended the wait"),
        }
    }
}

/// A fault of the records comes before an invalid measurement, a gate that does not hold after it. A gate that names a count says what is right for it.
pub(crate) fn judge(figures: &Figures, around: &Circumstances, gates: &Gates) -> Verdict {
    Verdict::judged(faults(figures, around, gates), invalid(figures, around), figures, gates)
}

fn faults(figures: &Figures, around: &Circumstances, gates: &Gates) -> Vec<String> {
    let expect = around.expect;
    let rules = [
        ("lost", figures.lost, true, "were confirmed and did not come out"),
        ("unseen", figures.unseen, true, "had not come out when a signal ended the wait"),
        ("corrupted", figures.corrupted, true, "came out damaged"),
        ("reordered", figures.reordered, !expect.unordered, "came out after a later one of their key"),
        ("duplicated", figures.duplicated, !expect.at_least_once, "came out more than once"),
        ("failed", figures.failed, true, "were not confirmed by the broker"),
    ];
    let broken = rules.into_iter().filter(|(name, count, counts, _)| *count > 0 && *counts && !gates.name(name));
    let mut reasons: Vec<String> = broken.map(|(_, count, _, what)| format!("{count} records {what}")).collect();
    if figures.lost > 0 && figures.handled == 0 && around.nameless > 0 {
        reasons.push(format!(
            "{} records came out that say nothing of themselves: does the application keep headers, and does --id-pointer \
             lead to the identity?",
            around.nameless
        ));
    }
    reasons
}

fn invalid(figures: &Figures, around: &Circumstances) -> Vec<String> {
    let mut reasons = Vec::new();
    if around.sent_known && figures.scheduled == 0 {
        reasons.push("nothing was measured: the run ended in its warm-up".to_owned());
    }
    if around.open_loop {
        reasons.extend(was_late(figures, &around.too_much.overdue));
    }
    if around.saturated {
        reasons.push(format!(
            "the application did not keep up with the load{}: how long a record took says how long the load had lasted, so no \
             end-to-end latency is given",
            in_phases(&around.too_much.saturated)
        ));
    }
    reasons.extend(around.worked_off.map(was_left));
    if around.queued {
        reasons.push(format!(
            "records were not confirmed as fast as they were to be sent{}: how long one took says how long the load had lasted, so \
             no latency from the intended send is given",
            in_phases(&around.too_much.queued)
        ));
    }
    if around.verified && !around.sent_known {
        reasons.push(
            "nobody said how many records there were, so that a loss behind the last that came out cannot be seen: give the \
             producing host's manifest.json with --manifest"
                .to_owned(),
        );
    }
    if around.unread {
        reasons.push("a signal came before OUT was read to its end: what stands there is not known".to_owned());
    }
    if around.undecided > 0 {
        reasons.push(format!(
            "a signal ended the wait for {} records: nobody can say whether they were left out or still to come, nor whether the application \
             kept up",
            around.undecided
        ));
    }
    if around.verified && around.expect.filtered && figures.handled == 0 {
        reasons.push("not one record came out, and nothing was verified".to_owned());
    }
    if around.sent_known && around.unsent > 0 {
        reasons.push(format!(
            "{} records came out with this run's number that it has not sent: was the number used twice?",
            around.unsent
        ));
    }
    reasons
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;
    use crate::load::verdict::Judgement;

    const QUIET: Circumstances = Circumstances {
        expect: Expect { filtered: false, at_least_once: false, unordered: false, unchanged: false },
        open_loop: true,
        saturated: false,
        queued: false,
        worked_off: None,
        too_much: TooMuch { saturated: Vec::new(), queued: Vec::new(), overdue: Vec::new(), held_up: Vec::new() },
        unread: false,
        undecided: 0,
        verified: true,
        sent_known: true,
        unsent: 0,
        nameless: 0,
    };

    fn clean() -> Figures {
        Figures { sent: 1_000, acked: 1_000, handled: 1_000, scheduled: 1_000, ..Figures::default() }
    }

    fn judged(figures: &Figures, around: Circumstances, gates: &str) -> (Judgement, String) {
        let gates = if gates.is_empty() { Gates::default() } else { gates.parse().unwrap() };
        let verdict = judge(figures, &around, &gates);
        (verdict.verdict, verdict.reasons.join("; "))
    }

    fn expecting(expect: &str) -> Circumstances {
        Circumstances { expect: expect.parse().unwrap(), ..QUIET }
    }

    #[test]
    fn each_fault_fails_and_is_named_unless_it_was_expected() {
        type Plant = fn(&mut Figures);
        let faults: [(Plant, &str, &str); 6] = [
            (|it| it.lost = 1, "1 records were confirmed and did not come out", "each"),
            (|it| it.unseen = 2, "2 records had not come out", "each"),
            (|it| it.corrupted = 3, "3 records came out damaged", "each"),
            (|it| it.failed = 4, "4 records were not confirmed", "each"),
            (|it| it.reordered = 5, "5 records came out after a later one", "unordered"),
            (|it| it.duplicated = 6, "6 records came out more than once", "at-least-once"),
        ];
        assert_eq!(judged(&clean(), QUIET, ""), (Judgement::Passed, String::new()));
        for (plant, reason, excused_by) in faults {
            let mut figures = clean();
            plant(&mut figures);
            let (judgement, reasons) = judged(&figures, QUIET, "");
            assert_eq!((judgement, reasons.starts_with(reason)), (Judgement::Failed, true), "{reasons}");
            for expect in ["filtered", "unordered", "at-least-once"] {
                let passes = judged(&figures, expecting(expect), "").0 == Judgement::Passed;
                assert_eq!(passes, expect == excused_by, "{reason} {expect}");
            }
        }
        // A gate on a count takes the place of its rule.
        let two = Figures { duplicated: 2, ..clean() };
        assert_eq!(judged(&two, QUIET, "duplicated<3").0, Judgement::Passed);
        assert_eq!(judged(&two, QUIET, "duplicated<2").0, Judgement::Failed);
    }

    #[test]
    fn records_of_others_disturb_nothing_and_explain_why_nothing_came() {
        let figures = Figures { foreign: 50, ..clean() };
        assert_eq!(judged(&figures, Circumstances { nameless: 50, ..QUIET }, "").0, Judgement::Passed);
        let figures = Figures { foreign: 50, handled: 0, lost: 1_000, ..clean() };
        let (judgement, reasons) = judged(&figures, Circumstances { nameless: 50, ..QUIET }, "");
        assert!(judgement == Judgement::Failed && reasons.contains("keep headers"), "{reasons}");
    }

    #[test]
    fn what_cannot_be_judged_is_invalid() {
        let invalid = |figures: &Figures, around, why: &str| {
            let (judgement, reasons) = judged(figures, around, "");
            assert!(judgement == Judgement::Invalid && reasons.contains(why), "{judgement:?} {reasons}");
        };
        invalid(&clean(), Circumstances { sent_known: false, ..QUIET }, "--manifest");
        invalid(&clean(), Circumstances { unsent: 1, ..QUIET }, "used twice");
        invalid(&clean(), Circumstances { saturated: true, ..QUIET }, "did not keep up");
        invalid(&clean(), Circumstances { saturated: true, open_loop: false, ..QUIET }, "did not keep up");
        let worked_off = Some(Duration::from_secs(7));
        invalid(&clean(), Circumstances { worked_off, ..QUIET }, "worked off for 7 s of the load");
        invalid(&clean(), Circumstances { unread: true, ..QUIET }, "before OUT was read to its end");
        invalid(&clean(), Circumstances { undecided: 7, ..QUIET }, "the wait for 7 records");
        invalid(&clean(), Circumstances { queued: true, ..QUIET }, "not confirmed as fast");
        invalid(&Figures { late: 11, ..clean() }, QUIET, "11 of 1000 records were sent late");
        invalid(&Figures { scheduled: 0, ..clean() }, QUIET, "nothing was measured");
        let too_much = |of: fn(&mut TooMuch) -> &mut Vec<String>| {
            let mut around = QUIET;
            of(&mut around.too_much).push("2 ramp".to_owned());
            around
        };
        invalid(&clean(), too_much(|it| &mut it.overdue), "the schedule was not held in phase 2 ramp: 0 of 1000");
        let saturated = Circumstances { saturated: true, ..too_much(|it| &mut it.saturated) };
        invalid(&clean(), saturated, "did not keep up with the load in phase 2 ramp: how");
        let queued = Circumstances { queued: true, ..too_much(|it| &mut it.queued) };
        invalid(&clean(), queued, "as they were to be sent in phase 2 ramp: how");
        // An application that lets nothing through is not called right because it may filter.
        invalid(&Figures { handled: 0, filtered: 1_000, ..clean() }, expecting("filtered"), "not one record");
        assert_eq!(
            judged(&Figures { handled: 1, filtered: 999, ..clean() }, expecting("filtered"), "").0,
            Judgement::Passed
        );
        assert_eq!(judged(&Figures { late: 11, lost: 1, ..clean() }, QUIET, "").0, Judgement::Failed);
        assert_eq!(judged(&clean(), QUIET, "e2e.p99<1s").0, Judgement::Invalid);
    }
}
