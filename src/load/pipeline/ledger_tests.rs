#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use proptest::prelude::*;

use super::*;

/// Record number `sequence` of producer 0, which has two keys in turn.
fn record(sequence: u64) -> Payload {
    let key = Some((sequence % 2) as u32);
    Payload { producer: 0, sequence, key, key_sequence: sequence / 2, intended: 0, warm_up: false }
}

fn ours(sequence: u64) -> Found {
    Found::Ours { payload: record(sequence), altered: false }
}

fn sent(sequences: &[u64]) -> Sent {
    Sent { sequences: sequences.to_vec(), failed: vec![BTreeSet::new(); sequences.len()] }
}

/// What is found where these came in one partition, of ten that were sent.
fn found(came: impl IntoIterator<Item = Found>) -> Findings {
    let mut ledger = Ledger::new(true);
    for (offset, found) in (0..).zip(came) {
        ledger.came(found, Place { partition: 0, offset });
    }
    ledger.findings(&sent(&[10]))
}

fn kinds(findings: &Findings) -> Vec<Kind> {
    findings.faults.iter().map(|it| it.fault).collect()
}

#[test]
fn all_that_came_once_and_in_order_leave_nothing_to_find() {
    assert_eq!(found((0..10).map(ours)), Findings { came: 10, ..Findings::default() });
}

#[test]
fn each_planted_fault_is_found_and_told_and_no_other_is() {
    let loss = found((0..10).filter(|it| *it != 4).map(ours));
    assert_eq!((loss.came, loss.missing, kinds(&loss)), (9, 1, vec![Kind::Missing]));
    assert_eq!(loss.faults[0].who, Some(Who { producer: 0, sequence: 4 }));

    let repeat = found([0, 1, 2, 3, 4, 2, 3, 2, 5, 6, 7, 8, 9].map(ours));
    assert_eq!((repeat.duplicated, repeat.times), (2, BTreeMap::from([(2, 1), (3, 1)])));
    assert_eq!((repeat.missing, repeat.reordered), (0, 0));
    assert_eq!(repeat.faults[0].place, Some(At { partition: 0, offset: 5 }));

    // 4 and 2 have one key, 4 and 3 have not.
    let swap = found([0, 1, 4, 3, 2, 5, 6, 7, 8, 9].map(ours));
    assert_eq!((swap.reordered, kinds(&swap)), (1, vec![Kind::Reordered]));
    assert_eq!(swap.faults[0].who.unwrap().sequence, 2);
    assert_eq!(found([0, 2, 1, 4, 3, 5, 6, 7, 8, 9].map(ours)).reordered, 0);

    let altered = (0..10).map(|it| Found::Ours { payload: record(it), altered: it == 3 });
    let altered = found(altered);
    assert_eq!((altered.corrupted, altered.missing, kinds(&altered)), (1, 0, vec![Kind::Corrupted]));

    // Which record a damaged identity stood for nobody knows: it is missing.
    let damaged = found((0..10).map(|it| if it == 3 { Found::Damaged } else { ours(it) }));
    assert_eq!((damaged.corrupted, damaged.missing), (1, 1));
}

#[test]
fn other_values_count_only_where_none_were_expected() {
    let mut ledger = Ledger::new(false);
    ledger.came(Found::Ours { payload: record(0), altered: true }, Place { partition: 0, offset: 0 });
    assert_eq!(ledger.findings(&sent(&[1])), Findings { came: 1, ..Findings::default() });
}

#[test]
fn records_of_others_are_counted_and_disturb_nothing() {
    let others = [Found::Foreign, Found::Nameless, Found::Foreign];
    let findings = found(others.into_iter().chain((0..10).map(ours)));
    assert_eq!(findings, Findings { came: 10, foreign: 2, nameless: 1, ..Findings::default() });
}

#[test]
fn a_key_that_is_spread_over_partitions_is_held_to_the_order_of_each() {
    let mut ledger = Ledger::new(false);
    // All even numbers have one key.
    for (sequence, partition) in [(4, 1), (0, 0), (6, 1), (2, 0), (8, 0)] {
        ledger.came(ours(sequence), Place { partition, offset: 0 });
    }
    assert_eq!(ledger.count_reordered(), 0);
}

#[test]
fn what_the_broker_did_not_confirm_is_missed_by_nobody_and_may_come_all_the_same() {
    let mut ledger = Ledger::new(false);
    for sequence in [0, 1, 3, 4] {
        ledger.came(ours(sequence), Place { partition: 0, offset: sequence });
    }
    let sent = Sent { sequences: vec![6], failed: vec![BTreeSet::from([1, 2, 9])] };
    assert_eq!((ledger.count_missing(&sent), sent.count_failed()), (1, 3));
    assert_eq!(ledger.findings(&sent).faults[0].who.unwrap().sequence, 5);
}

#[test]
fn records_that_nobody_sent_are_seen_and_what_came_tells_how_many_there_were_at_least() {
    let mut ledger = Ledger::new(false);
    for sequence in [0, 1, 2, 7] {
        ledger.came(ours(sequence), Place { partition: 0, offset: sequence });
    }
    assert_eq!(ledger.findings(&sent(&[3])).unsent, 1);
    assert_eq!(ledger.sent_at_least().sequences, [8]);
    assert_eq!(ledger.findings(&ledger.sent_at_least()).missing, 4);
    // A producer of which nothing came.
    assert_eq!(ledger.findings(&sent(&[8, 5])).missing, 4 + 5);
}

#[test]
fn of_many_faults_the_first_few_are_told() {
    let findings = found((0..10).chain(0..10).map(ours));
    assert_eq!((findings.duplicated, findings.faults.len()), (10, TOLD));
    assert_eq!(found([]).faults.len(), TOLD);
}

proptest! {
    #[test]
    fn it_counts_what_a_list_of_all_would(came in proptest::collection::vec((0_u16..3, 0_u64..40), 0..120), ends in [0_u64..50, 0..50, 0..50]) {
        let mut ledger = Ledger::new(false);
        for (offset, (producer, sequence)) in (0..).zip(&came) {
            let payload = Payload { producer: *producer, ..record(*sequence) };
            ledger.came(Found::Ours { payload, altered: false }, Place { partition: 0, offset });
        }
        let findings = ledger.findings(&sent(&ends));

        let mut times: BTreeMap<(u16, u64), u32> = BTreeMap::new();
        let mut reordered = 0;
        for (index, (producer, sequence)) in came.iter().enumerate() {
            let before = &came[..index];
            let first = !before.contains(&(*producer, *sequence));
            let later = before.iter().any(|(of, it)| of == producer && it > sequence && it % 2 == sequence % 2);
            reordered += u64::from(first && later);
            *times.entry((*producer, *sequence)).or_default() += 1;
        }
        prop_assert_eq!(findings.came, times.len() as u64);
        prop_assert_eq!(findings.duplicated, times.values().filter(|it| **it > 1).count() as u64);
        prop_assert_eq!(findings.reordered, reordered);
        let all = (0..3_u16).flat_map(|producer| (0..ends[usize::from(producer)]).map(move |it| (producer, it)));
        prop_assert_eq!(findings.missing, all.filter(|it| !times.contains_key(it)).count() as u64);
        let unsent = times.keys().filter(|(producer, it)| *it >= ends[usize::from(*producer)]).count();
        prop_assert_eq!(findings.unsent, unsent as u64);
    }
}
