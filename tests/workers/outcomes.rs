//! What a worker may answer, and what its stderr is good for.

use serde_json::Value;

use crate::stage::{Stage, journal, output};

#[test]
fn an_attempt_that_failed_is_followed_by_another_and_does_not_bring_the_worker_down() {
    let stage = Stage::with(1, 5);
    let failing = r#"case $line in *'"offset":2,'*'"attempt":1}') echo "error no such customer"; continue;; esac"#;
    let log = stage.run_well(&journal(failing), &["--until-end", "--concurrency", "1"]);
    assert!(log.contains("no such customer"), "{log}");
    assert!(log.contains("5 records done, 1 attempts repeated"), "{log}");
    assert_eq!(stage.records("done")[2]["attempt"], 2);
    assert_eq!(stage.lines("pids").len(), 1);
}

#[test]
fn a_worker_may_ask_for_another_attempt_which_is_no_failure() {
    let stage = Stage::with(1, 3);
    let asking = r#"case $line in *'"offset":1,'*'"attempt":'[123]'}') echo '{"outcome":"retry","after_ms":1,"cause":"busy"}'; continue;; esac"#;
    stage.run_well(&journal(asking), &["--until-end", "--max-attempts", "1"]);
    assert_eq!(stage.records("done")[1]["attempt"], 4);
}

#[test]
fn one_that_fails_as_often_as_it_may_ends_the_run_with_1_and_all_before_it_is_committed() {
    let stage = Stage::with(1, 10);
    let failing = r#"case $line in *'"offset":7,'*) echo "error no such customer"; continue;; esac"#;
    let (code, log) = stage.run(&journal(failing), &["--max-attempts", "2"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("error: ") && log.contains("offset 7 failed 2 times"), "{log}");
    assert_eq!(stage.committed(), stage.all_at(7));
}

#[test]
fn a_worker_may_stop_the_run_with_1() {
    let stage = Stage::with(1, 10);
    let stopping = r#"case $line in *'"offset":7,'*) echo '{"outcome":"stop","cause":"disk full"}'; continue;; esac"#;
    let (code, log) = stage.run(&journal(stopping), &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("offset 7: disk full"), "{log}");
    assert_eq!(stage.committed(), stage.all_at(7));
}

#[test]
fn a_worker_that_wants_dead_letters_without_a_topic_for_them_stops_the_run() {
    let stage = Stage::with(1, 1);
    let (code, log) =
        stage.run("read -r line; echo '{\"outcome\":\"dead_letter\",\"cause\":\"no date\"}'; read -r line", &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("no date") && log.contains("dead letters"), "{log}");
    assert!(stage.committed().is_empty());
}

#[test]
fn what_a_worker_writes_to_stderr_is_passed_on_with_its_number() {
    let stage = Stage::with(1, 1);
    let talking = "echo \"I am $TROUPE_WORKER\" >&2; read -r line; printf 'not a whole line' >&2; echo ok";
    let log = stage.run_well(talking, &["--until-end", "--concurrency", "1", "-q"]);
    assert!(log.contains("worker 1: I am 1\n") && log.contains("worker 1: not a whole line\n"), "{log}");
    let log = stage.run_well(talking, &["--group", "another", "--until-end", "-q", "--log-format", "json"]);
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["fields"]["message"] == "not a whole line"), "{log}");
}

#[test]
fn a_summary_for_programs_tells_what_was_done() {
    let stage = Stage::with(2, 10);
    let log = stage.run_well(&journal(":"), &["--until-end", "--log-format", "json"]);
    let mut events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let summary = events.rfind(|event| event["fields"]["message"] == "consumed").unwrap();
    assert_eq!((&summary["fields"]["records"], &summary["fields"]["committed"]), (&20.into(), &"all".into()));
}

#[test]
fn options_that_mean_nothing_together_are_refused_with_2() {
    let stage = Stage::new(1);
    for arguments in [&["--json"][..], &["--key-separator", ":"], &["--order", "random"], &["--concurrency", "0"]] {
        assert_eq!(stage.run("cat", arguments).0, Some(2), "{arguments:?}");
    }
    assert_eq!(stage.run(" ", &[]).0, Some(2));
    for option in [&["--order", "key"], &["--concurrency", "2"], &["--max-attempts", "2"], &["--attempt-timeout", "1s"]]
    {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_troupe"));
        let output =
            output(command.args(["consume", "--topic", "t", "--bootstrap-server", "localhost:1"]).args(option));
        assert_eq!(output.status.code(), Some(2), "{option:?} without --exec");
    }
}

#[test]
fn without_a_group_all_is_done_and_nothing_committed_and_it_is_said() {
    let stage = Stage::with(2, 10);
    let output = output(&mut stage.without_group(&journal(":"), &["--until-end"]));
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("without --group nothing is committed"), "{log}");
    assert_eq!(stage.offsets("done"), stage.all_below(10));
    assert!(stage.committed().is_empty());
}
