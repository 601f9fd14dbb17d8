//! What a worker may answer, and what its stderr is good for.

use serde_json::Value;

use crate::stage::{Stage, eventually, journal, on_both, output};

#[test]
fn an_attempt_that_failed_is_followed_by_another_and_does_not_bring_the_worker_down() {
    let stage = Stage::with(1, 5);
    let failing = r#"case $line in *'"offset":2,'*'"attempt":1}') echo "error no such customer"; continue;; esac"#;
    let log = stage.run_well(&journal(failing), &["--until-end", "--concurrency", "1"]);
    assert!(log.contains("no such customer"), "{log}");
    assert!(log.contains("5 records done, attempts repeated: 1, in"), "{log}");
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
fn a_worker_that_wants_dead_letters_without_a_topic_for_them_ends_the_run_with_1() {
    let stage = Stage::with(1, 1);
    let exec = r#"read -r line; echo '{"outcome":"dead_letter","cause":"no date"}'; read -r line"#;
    let (code, log) = stage.run(exec, &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("there is no --dead-letter-topic") && log.contains("because: no date"), "{log}");
    assert!(stage.committed().is_empty());
}

#[test]
fn what_is_given_up_or_fails_too_often_goes_to_the_dead_letters_and_the_rest_goes_on() {
    on_both(
        |stage| {
            let letters = stage.another_topic();
            let failing = r#"case $line in
                *'"offset":2,'*) echo '{"outcome":"dead_letter","cause":"no date"}'; continue;;
                *'"offset":5,'*) echo 'error no such customer'; continue;;
                *'"offset":7,'*) exit 1;;
            esac"#;
            let arguments = ["--dead-letter-topic", &letters, "--max-attempts", "2"];
            let log = stage.run_well(&journal(failing), &[&arguments[..], &["--until-end"]].concat());
            assert!(log.contains("7 records done, 3 to the dead letters, attempts repeated: 2, in"), "{log}");
            assert_eq!(stage.offsets("done")[&0], [0, 1, 3, 4, 6, 8, 9]);
            assert_eq!(stage.committed(), stage.all_at(10));
            let written = stage.read(&letters);
            let of = |header: &str| -> Vec<String> {
                let value = |record: &Value| {
                    let headers = record["headers"].as_array().unwrap().clone();
                    let found = headers.into_iter().find(|each| each["name"] == header).unwrap();
                    found["value"].as_str().unwrap().to_owned()
                };
                written.iter().map(value).collect()
            };
            assert_eq!(of("__troupe.errors.offset"), ["2", "5", "7"]);
            assert_eq!(of("__troupe.errors.attempts"), ["1", "2", "2"]);
            let messages = of("__troupe.errors.message");
            assert!(messages[0] == "no date" && messages[1] == "no such customer", "{messages:?}");
            assert!(messages[2].contains("ended (exit status: 1)"), "{messages:?}");
        },
        1,
        10,
    );
}

#[test]
fn so_many_records_as_asked_for_count_dead_letters_too() {
    let stage = Stage::with(1, 10);
    let letters = stage.another_topic();
    let failing = r#"case $line in *'"offset":1,'*) echo 'error no such customer'; continue;; esac"#;
    let arguments = ["--dead-letter-topic", &letters, "--max-attempts", "2", "--max-records", "3"];
    let log = stage.run_well(&journal(failing), &arguments);
    assert!(log.contains("2 records done, 1 to the dead letters"), "{log}");
    assert_eq!(stage.committed(), stage.all_at(3));
}

#[test]
fn attempts_that_a_worker_asked_for_are_not_taken_for_the_end_of_a_record_that_was_asked_for() {
    let stage = Stage::with(1, 3);
    let letters = stage.another_topic();
    let asking = r#"case $line in
        *'"offset":0,'*'"attempt":'[12]'}') echo '{"outcome":"retry","after_ms":1}'; continue;;
        *'"offset":0,'*'"attempt":3}') echo 'error not now'; continue;;
    esac"#;
    let arguments = ["--dead-letter-topic", &letters, "--max-attempts", "2", "--max-records", "1"];
    let log = stage.run_well(&journal(asking), &arguments);
    assert!(log.contains("1 record done"), "{log}");
    assert_eq!(stage.records("done")[0]["attempt"], 4);
    assert_eq!(stage.committed(), stage.all_at(1));
}

#[test]
fn a_topic_for_dead_letters_that_is_not_there_ends_the_run_with_3_before_the_first_record() {
    let stage = Stage::with(1, 1);
    let (code, log) = stage.run(&journal(":"), &["--dead-letter-topic", "nowhere"]);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("the dead-letter topic nowhere does not exist"), "{log}");
    assert!(stage.lines("done").is_empty());
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
    let of_workers = [
        &["--order", "key"],
        &["--concurrency", "2"],
        &["--max-attempts", "2"],
        &["--attempt-timeout", "1s"],
        &["--dead-letter-topic", "t"],
    ];
    for option in of_workers {
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

#[test]
fn what_fails_too_often_waits_in_a_retry_topic_and_is_tried_again() {
    on_both(
        |stage| {
            let retries = stage.another_topic();
            let failing = format!(
                r#"case $line in *'"topic":"{}",'*'"offset":2,'*) echo "error not yet"; continue;; esac"#,
                stage.topic
            );
            let step = format!("{retries}=300ms");
            let arguments = ["--retry-topic", &step, "--allow-reordering", "--max-attempts", "2"];
            let member = stage.start(&journal(&failing), &arguments);
            eventually("all are done", || stage.records("done").len() == 5);
            eventually("all is committed", || stage.committed() == stage.all_at(5));
            member.signal(libc::SIGTERM);
            let (code, log) = member.ends();
            assert_eq!(code, Some(0), "{log}");
            let last = stage.records("done").pop().unwrap();
            assert_eq!((&last["topic"], &last["attempt"], &last["value"]), (&retries.into(), &3.into(), &"2".into()));
        },
        1,
        5,
    );
    let stage = Stage::with(1, 1);
    let (code, log) = stage.run(&journal(":"), &["--retry-topic", "nowhere=10s", "--order", "key"]);
    assert!(code == Some(2) && log.contains("allow_reordering"), "{log}");
    let (code, log) = stage.run(&journal(":"), &["--retry-topic", "nowhere=10", "--allow-reordering"]);
    assert!(code == Some(2) && log.contains("a duration carries its unit"), "{log}");
    let (code, log) = stage.run(&journal(":"), &["--retry-topic", "nowhere=10s", "--allow-reordering"]);
    assert!(code == Some(3) && log.contains("--create --topic nowhere --partitions 1"), "{log}");
}
