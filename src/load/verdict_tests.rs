#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

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
fn of_a_phase_a_hundredth_may_be_late_or_three_tenths_of_a_second() {
    let most = |lasted: f64| (0..=1_000).rfind(|late| !is_overdue(*late, 1_000, (lasted * 1e9) as u64));
    assert_eq!([0.01, 0.5, 1.0, 2.0, 30.0, 600.0].map(most), [1_000, 600, 300, 150, 10, 10].map(Some));
    assert!(!is_overdue(0, 0, 0) && !is_overdue(1, 1, 0));
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
fn of_what_is_left_of_too_much_load_nobody_says_that_it_is_to_come_where_the_log_was_not_read() {
    let left = Figures { unseen: 7, ..clean() };
    let unread = Circumstances { saturated: true, unfinished: true, unread: true, ..quiet() };
    let (judgement, reasons) = judged(&left, &unread, "");
    assert!(judgement == Judgement::Invalid && reasons.contains("7 records that no handler had"), "{reasons}");
    assert!(!reasons.contains("were still to be handled"), "{reasons}");
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
fn what_the_warm_up_left_to_the_load_makes_it_invalid_and_says_for_how_long() {
    let leaves =
        Circumstances { worked_off: Some(std::time::Duration::from_millis(7_200)), unfinished: true, ..quiet() };
    let (judgement, reasons) = judged(&clean(), &leaves, "");
    let wanted = "what the warm-up had piled up was still being worked off for 7 s of the load: ";
    assert!(judgement == Judgement::Invalid && reasons.starts_with(wanted), "{reasons}");
    assert_eq!(judged(&Figures { unseen: 7, ..clean() }, &leaves, "").0, Judgement::Invalid);
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
    let wanted = "the schedule was not held in the phases 2 constant, 3 step 1 of 2: 10 of 1000 records were sent late";
    assert_eq!(judged(&late, &overdue, ""), (Judgement::Invalid, wanted.to_owned()));
    let too_much = TooMuch { held_up: both()[..1].to_vec(), ..overdue.too_much };
    let reasons = judged(&late, &Circumstances { held_up: true, too_much, ..quiet() }, "").1;
    assert!(reasons.contains("sent late, held up in phase 2 constant by how little"), "{reasons}");
    for (unjudged, why) in [(Unjudged::NotRecovered, "before the group recovered"), (Unjudged::TooSoon, "two seconds")]
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
