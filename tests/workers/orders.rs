//! What holds for every worker that behaves: each record once, in its order, committed when done.

use std::collections::{BTreeMap, BTreeSet};

use crate::stage::{Stage, eventually, journal, on_both};

#[test]
fn each_record_is_done_once_in_its_partitions_order_and_committed() {
    on_both(
        |stage| {
            let log = stage.run_well(&journal(":"), &["--until-end", "--concurrency", "3"]);
            assert_eq!(stage.offsets("done"), stage.all_below(200));
            assert_eq!(stage.committed(), stage.all_at(200));
            assert!(log.contains("800 records done in") && log.contains("all committed"), "{log}");
            let record = &stage.records("done")[0];
            let fields: BTreeSet<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(
                fields,
                BTreeSet::from(["attempt", "key", "offset", "partition", "timestamp", "topic", "value"])
            );
            assert_eq!(record["attempt"], 1);
            let pids: BTreeSet<_> = stage.lines("pids").into_iter().collect();
            assert_eq!(pids.len(), 3, "three workers, and none of them twice");
        },
        4,
        200,
    );
}

#[test]
fn by_key_the_records_of_a_key_follow_each_other_and_others_pass_them() {
    on_both(
        |stage| {
            // The first key's first record waits for a later one of another key.
            let wait = r#"case $line in *'"offset":0,'*) until grep -q '"offset":15,' "$DIR/done"; do sleep 0.01; done;; esac"#;
            stage.run_well(&journal(wait), &["--until-end", "--order", "key", "--concurrency", "4"]);
            let mut by_key = BTreeMap::<_, Vec<_>>::new();
            for record in stage.records("done") {
                by_key.entry(record["key"].to_string()).or_default().push(record["offset"].as_i64().unwrap());
            }
            assert_eq!(by_key.len(), 10);
            for (key, offsets) in by_key {
                assert!(offsets.len() == 10 && offsets.is_sorted(), "{key}: {offsets:?}");
            }
            assert_eq!(stage.committed(), stage.all_at(100));
        },
        1,
        100,
    );
}

#[test]
fn without_order_a_record_that_takes_long_holds_up_no_other() {
    let stage = Stage::with(1, 50);
    let wait =
        r#"case $line in *'"offset":0,'*) until [ "$(wc -l < "$DIR/done")" -eq 49 ]; do sleep 0.01; done;; esac"#;
    stage.run_well(&journal(wait), &["--until-end", "--order", "unordered", "--concurrency", "2"]);
    assert_eq!(stage.offsets("done")[&0].last(), Some(&0));
}

#[test]
fn so_many_records_as_asked_for_are_done_and_exactly_these_committed() {
    let stage = Stage::with(2, 100);
    // A record that fails gives its place to another.
    let failing = r#"case $line in *'"offset":3,'*'"attempt":1'*) echo "error not now"; continue;; esac"#;
    let arguments = ["--max-records", "57", "--concurrency", "4", "--order", "unordered"];
    let log = stage.run_well(&journal(failing), &arguments);
    assert!(log.contains("57 records done"), "{log}");
    assert_eq!(stage.lines("done").len(), 57);
    stage.run_well(&journal(failing), &["--max-records", "143"]);
    let mut offsets = stage.offsets("done");
    offsets.values_mut().for_each(|offsets| offsets.sort_unstable());
    assert_eq!(offsets, stage.all_below(100), "each once");
}

#[test]
fn two_members_share_the_work_and_repeat_nothing() {
    on_both(
        |stage| {
            let slow = journal("sleep 0.01;");
            let arguments = ["--until-end", "--concurrency", "2"];
            let first = stage.start(&slow, &arguments);
            eventually("it has begun", || !stage.lines("done").is_empty());
            let second = stage.start(&slow, &arguments);
            for member in [first, second] {
                let (code, log) = member.ends();
                assert_eq!(code, Some(0), "{log}");
            }
            assert_eq!(stage.offsets("done"), stage.all_below(100), "each once, in order, by either");
        },
        4,
        100,
    );
}
