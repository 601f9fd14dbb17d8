//! Workers that do what they should not.

use std::time::{Duration, Instant};

use crate::stage::{Stage, eventually, is_alive, journal, on_both};

/// A worker that does this to the first attempt at offset 2.
fn at_2(fault: &str) -> String {
    journal(&format!(r#"case $line in *'"offset":2,'*'"attempt":1}}') {fault};; esac"#))
}

/// What it must look like from outside: the record is tried again, by another worker, and nothing else is repeated.
#[track_caller]
fn is_overcome(stage: &Stage, fault: &str, arguments: &[&str], said: &[&str]) -> String {
    let log = stage.run_well(&at_2(fault), &[&["--until-end", "--concurrency", "1"], arguments].concat());
    said.iter().for_each(|said| assert!(log.contains(said), "{said:?} is missing:\n{log}"));
    assert_eq!(stage.offsets("done"), stage.all_below(5));
    assert_eq!(stage.records("done")[2]["attempt"], 2);
    assert_eq!(stage.lines("pids").len(), 2, "it was replaced once");
    assert_eq!(stage.committed(), stage.all_at(5));
    log
}

#[test]
fn one_that_prints_garbage_is_replaced_and_the_line_named() {
    on_both(
        |stage| {
            let said = ["worker 1 broke the protocol", "it wrote \"Traceback", "which is no answer"];
            is_overcome(&stage, "echo 'Traceback (most recent call last)'; continue", &[], &said);
        },
        1,
        5,
    );
}

#[test]
fn one_that_says_more_than_one_line_is_replaced() {
    let stage = Stage::with(1, 5);
    let said = ["broke the protocol", "it wrote \"sent\", after it had answered already"];
    is_overcome(&stage, "printf 'ok\\nsent\\n'; continue", &[], &said);
}

#[test]
fn one_that_talks_without_a_record_is_replaced_and_the_record_given_to_another() {
    let stage = Stage::with(1, 1);
    // Its banner is out before the record comes, and the second worker has none.
    let exec = r#"if [ ! -e "$DIR/second" ]; then touch "$DIR/second"; echo ready; touch "$DIR/out"; fi; while read -r line; do echo ok; done"#;
    let topic = Stage::new(1);
    let member = topic
        .start(&exec.replace("$DIR", stage.path("").to_str().unwrap()), &["--max-records", "1", "--concurrency", "1"]);
    eventually("the banner is out", || stage.has("out"));
    topic.produce(0..1);
    let (code, log) = member.ends();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("it wrote \"ready\", and had no record to answer for"), "{log}");
    assert!(log.contains("1 record done in"), "no attempt was spent: {log}");
}

#[test]
fn one_that_hangs_is_killed_with_all_it_has_started_and_replaced() {
    on_both(
        |stage| {
            let fault = r#"sleep 1000 & echo $! > "$DIR/child"; wait"#;
            is_overcome(&stage, fault, &["--attempt-timeout", "500ms"], &["worker 1 took longer than 500ms"]);
            assert!(!is_alive(&stage.lines("child")[0]));
        },
        1,
        5,
    );
}

#[test]
fn one_that_dies_with_a_record_is_replaced() {
    on_both(|stage| drop(is_overcome(&stage, "exit 3", &[], &["worker 1 ended (exit status: 3)"])), 1, 5);
    is_overcome(&Stage::with(1, 5), "kill -9 $$", &[], &["worker 1 ended (signal: 9 (SIGKILL))"]);
}

#[test]
fn one_that_writes_half_a_line_and_dies_is_replaced() {
    let said = ["ended (exit status: 0) half way through its answer: it wrote \"o\""];
    is_overcome(&Stage::with(1, 5), "printf o; exit", &[], &said);
}

#[test]
fn one_that_writes_half_a_line_and_hangs_is_killed() {
    let said = ["took longer than 500ms"];
    is_overcome(&Stage::with(1, 5), "printf o; sleep 1000", &["--attempt-timeout", "500ms"], &said);
}

#[test]
fn one_that_writes_a_line_without_an_end_is_replaced() {
    let said = ["broke the protocol: it wrote \"xxx", "65536 bytes at most"];
    let log = is_overcome(&Stage::with(1, 5), "yes x | tr -d '\\n'", &[], &said);
    assert!(log.len() < 10_000, "only an excerpt of it is shown");
}

#[test]
fn one_that_closes_its_stdout_is_replaced() {
    let said = ["worker 1 closed its stdout and did not end"];
    is_overcome(&Stage::with(1, 5), "exec >&-; sleep 1000", &[], &said);
}

#[test]
fn one_that_never_reads_and_talks_all_the_time_is_found_out() {
    let stage = Stage::with(1, 1);
    let (code, log) = stage.run("yes ok", &[]);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("20 times in a row") && log.contains("had no record to answer for"), "{log}");
    assert!(stage.committed().is_empty());
}

#[test]
fn a_record_that_brings_its_worker_down_uses_up_its_attempts() {
    let stage = Stage::with(1, 5);
    let poison = journal(r#"case $line in *'"offset":2,'*) exit 1;; esac"#);
    let (code, log) = stage.run(&poison, &["--concurrency", "1", "--max-attempts", "3"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("offset 2 failed 3 times") && log.contains("worker 1 ended (exit status: 1)"), "{log}");
    assert_eq!(stage.committed(), stage.all_at(2));
}

#[test]
fn a_command_that_dies_at_start_ends_the_run_with_3_also_without_a_record() {
    for stage in [Stage::new(1), Stage::with(1, 5)] {
        let arguments = ["--concurrency", "4", "--max-attempts", "1000"];
        let (code, log) = stage.run("echo no module named bill >&2; exit 1", &arguments);
        assert_eq!(code, Some(3), "{log}");
        assert!(log.contains("error: 20 times in a row a worker ended"), "{log}");
        assert!(log.contains("(exit status: 1)") && log.contains(": no module named bill\n"), "{log}");
        assert!(stage.committed().is_empty());
    }
}

#[test]
fn a_command_that_cannot_be_run_ends_the_run_at_once() {
    let stage = Stage::with(1, 5);
    let begun = Instant::now();
    let (code, log) = stage.run("./no-such-worker", &["--concurrency", "1"]);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("the shell cannot run the command") && log.contains("exit status: 127"), "{log}");
    assert!(log.contains("worker 1: ") && log.contains("no-such-worker: not found"), "what the shell says: {log}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn one_that_ends_in_good_order_after_each_record_is_replaced_at_once_and_no_attempt_is_lost() {
    let stage = Stage::with(2, 50);
    let one = r#"IFS= read -r line || exit 0; printf '%s\n' "$line" >> "$DIR/done"; echo ok"#;
    let log = stage.run_well(one, &["--until-end", "--concurrency", "2"]);
    assert_eq!(stage.offsets("done"), stage.all_below(50));
    assert!(log.contains("100 records done in"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn records_of_a_megabyte_go_through() {
    on_both(
        |stage| {
            let value = |number: u8| [b'a' + number, b'\\', b'"', 0xff][usize::from(number) % 4..].repeat(1_000_000);
            stage.produce_values((0..4).map(|number| ("k".to_owned(), value(number)[..1_000_000].to_vec())));
            let worker = r#"python3 -c '
import base64, hashlib, json, os, sys
for line in sys.stdin:
    record = json.loads(line)
    value = base64.b64decode(record["value_base64"]) if "value_base64" in record else record["value"].encode()
    with open(os.environ["DIR"] + "/sizes", "a") as file:
        print(len(value), value[-1], file=file)
    print("ok", flush=True)
'"#;
            stage.run_well(worker, &["--until-end", "--concurrency", "1", "-X", "fetch.message.max.bytes=4000000"]);
            let expected: Vec<_> = (0..4).map(|number| format!("1000000 {}", value(number)[999_999])).collect();
            assert_eq!(stage.lines("sizes"), expected);
        },
        1,
        0,
    );
}

#[test]
fn one_that_does_not_read_a_large_record_is_killed_in_time() {
    let stage = Stage::new(1);
    stage.produce_values([("k".to_owned(), vec![b'x'; 1_000_000])]);
    let deaf =
        r#"if [ -e "$DIR/deaf" ]; then cat | head -c 1 > /dev/null; read -r rest; fi; touch "$DIR/deaf"; sleep 1000"#;
    let (code, log) = stage.run(deaf, &["--attempt-timeout", "300ms", "--max-attempts", "2", "--concurrency", "1"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("offset 0 failed 2 times") && log.contains("took longer than 300ms"), "{log}");
}
