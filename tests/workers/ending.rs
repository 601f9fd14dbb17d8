//! How it ends: nothing is repeated, and nothing is left behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::stage::{Stage, eventually, is_alive, journal, on_both};

#[track_caller]
fn nobody_is_left(stage: &Stage, file: &str) {
    let pids = stage.lines(file);
    assert!(!pids.is_empty());
    eventually("all are gone", || !pids.iter().any(|pid| is_alive(pid)));
}

#[test]
fn a_signal_under_load_ends_it_in_good_order_and_nothing_is_repeated() {
    on_both(
        |stage| {
            let arguments = ["--concurrency", "4", "--order", "key"];
            let member = stage.start(&journal(":"), &arguments);
            eventually("it is at work", || stage.lines("done").len() > 100);
            member.signal(libc::SIGTERM);
            let (code, log) = member.ends();
            assert_eq!(code, Some(0), "{log}");
            assert!(log.contains("all committed") && !log.contains("WARN"), "{log}");
            let pids = stage.lines("pids");
            assert!(pids.len() == 4 && !pids.iter().any(|pid| is_alive(pid)), "they are gone when it ends");
            let first = stage.lines("done").len();
            assert!(first < 4_000, "it was in the midst of it");
            stage.run_well(&journal(":"), &[&arguments[..], &["--until-end"]].concat());
            let mut offsets = stage.offsets("done");
            offsets.values_mut().for_each(|offsets| offsets.sort_unstable());
            assert_eq!(offsets, stage.all_below(1_000), "each once");
        },
        4,
        1_000,
    );
}

#[test]
fn a_record_that_a_worker_is_at_is_finished_first() {
    let stage = Stage::with(1, 2);
    let slow = journal(r#"touch "$DIR/begun"; until [ -e "$DIR/go" ]; do sleep 0.01; done"#);
    let member = stage.start(&slow, &["--concurrency", "1"]);
    eventually("it has begun", || stage.has("begun"));
    member.signal(libc::SIGTERM);
    std::fs::write(stage.path("go"), "").unwrap();
    let (code, log) = member.ends();
    assert_eq!(code, Some(0), "{log}");
    // The signal and the word to go on are at odds, so the second may have been begun as well.
    let done = stage.offsets("done")[&0].len() as i64;
    assert!(done > 0 && log.contains("all committed"), "{log}");
    assert_eq!(stage.committed(), stage.all_at(done));
}

#[test]
fn a_worker_that_heeds_neither_the_end_of_its_input_nor_sigterm_is_killed_in_time() {
    let stage = Stage::with(1, 1);
    let stubborn = r#"trap '' TERM; echo $$ >> "$DIR/pids"; read -r line; echo ok; touch "$DIR/ready";
        sleep 1000 & echo $! >> "$DIR/pids"; while :; do wait; sleep 1; done"#;
    let member = stage.start(stubborn, &["--concurrency", "1"]);
    eventually("it is ready", || stage.has("ready") && stage.lines("pids").len() == 2);
    member.signal(libc::SIGTERM);
    let begun = Instant::now();
    let (code, log) = member.ends();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("SIGTERM") && log.contains("SIGKILL"), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(!stage.lines("pids").iter().any(|pid| is_alive(pid)), "they are gone when it ends, and not by the guard");
    assert_eq!(stage.committed(), stage.all_at(1));
}

#[test]
fn a_record_that_takes_longer_than_the_stop_is_left_to_the_next_and_its_worker_gone() {
    let stage = Stage::with(1, 1);
    let slow = r#"echo $$ >> "$DIR/pids"; read -r line; touch "$DIR/begun"; sleep 1000"#;
    let mut command = stage.command(slow, &["--concurrency", "1"]);
    let mut child = command.env("TROUPE_CONSUMER__STOP_DEADLINE", "4s").spawn().unwrap();
    eventually("it has begun", || stage.has("begun"));
    let begun = Instant::now();
    // SAFETY: the process is our child and not yet waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) }, 0);
    let code = child.wait().unwrap().code();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(code, Some(0));
    nobody_is_left(&stage, "pids");
    assert!(stage.committed().is_empty());
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_workers_with_it() {
    let stage = Stage::with(1, 1);
    let slow = r#"trap '' TERM; echo $$ >> "$DIR/pids"; read -r line; touch "$DIR/begun"; while :; do sleep 1; done"#;
    let member = stage.start(slow, &["--concurrency", "1"]);
    eventually("it has begun", || stage.has("begun"));
    member.signal(libc::SIGTERM);
    let mut member = member;
    eventually("it ends by the second", || {
        if member.is_running() {
            member.signal(libc::SIGTERM);
        }
        !member.is_running()
    });
    assert_eq!(member.ends().0, Some(143));
    let ended = Instant::now();
    nobody_is_left(&stage, "pids");
    assert!(ended.elapsed() < Duration::from_secs(1), "not only by the guard: {:?}", ended.elapsed());
}

#[test]
fn workers_do_not_outlive_a_troupe_that_is_killed() {
    let stage = Stage::with(1, 1);
    // The first notices the end of its input; the second does not, and does not heed SIGTERM either.
    let exec = r#"echo $$ >> "$DIR/pids"; [ $TROUPE_WORKER = 1 ] || { trap '' TERM; while :; do sleep 1; done; }
        while read -r line; do echo ok; done"#;
    let member = stage.start(exec, &["--concurrency", "2"]);
    eventually("both run", || stage.lines("pids").len() == 2);
    member.signal(libc::SIGKILL);
    assert_eq!(member.ends().0, None);
    nobody_is_left(&stage, "pids");
}

#[test]
fn a_partition_that_is_given_up_while_a_worker_is_at_it_is_done_by_the_next_owner() {
    on_both(is_done_by_the_next_owner, 2, 1);
}

fn is_done_by_the_next_owner(stage: Stage) {
    // The first member's workers wait for a word; the second's do not.
    let exec = r#"while IFS= read -r line; do printf '%s\n' "$line" >> "$DIR/begun-$MEMBER";
        [ $MEMBER = 2 ] || until [ -e "$DIR/go" ]; do sleep 0.01; done; echo ok; done"#;
    let member = |number: &str| {
        let mut command = stage.command(exec, &["--concurrency", "2"]);
        command.env("MEMBER", number).env("TROUPE_CONSUMER__DRAIN_DEADLINE", "100ms");
        command.spawn().unwrap()
    };
    let mut first = member("1");
    eventually("it is at both", || stage.lines("begun-1").len() == 2);
    let mut second = member("2");
    eventually("the other has one of them", || stage.lines("begun-2").len() == 1);
    std::fs::write(stage.path("go"), "").unwrap();
    eventually("both are committed", || stage.committed() == stage.all_at(1));
    for child in [&mut first, &mut second] {
        // SAFETY: the process is our child and not yet waited for.
        assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) }, 0);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let partitions: BTreeSet<_> = stage.offsets("begun-1").into_keys().collect();
    assert_eq!(partitions.len(), 2);
}
