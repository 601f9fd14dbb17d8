//! The workers that stand in `examples/workers`.

use crate::stage::{Stage, on_both};

fn example(name: &str) -> String {
    format!("{}/examples/workers/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_python_worker_counts_words_and_stops_at_what_is_no_text() {
    on_both(
        |stage| {
            let texts = ["a few words", "one", "", "zwei Wörter"];
            stage.produce_values(texts.map(|text| ("k".to_owned(), text.as_bytes().to_vec())));
            let exec = format!("python3 {}", example("count.py"));
            let log = stage.run_well(&exec, &["--until-end", "--concurrency", "2"]);
            for (offset, words) in [3, 1, 0, 2].iter().enumerate() {
                let said = format!("worker 1: {}[0] offset {offset}: {words} words\n", stage.topic);
                let by_other = said.replace("worker 1", "worker 2");
                assert!(log.contains(&said) || log.contains(&by_other), "{said}{log}");
            }
            assert_eq!(stage.committed(), stage.all_at(4));
            stage.produce_values([("k".to_owned(), b"\xff".to_vec())]);
            let (code, log) = stage.run(&exec, &["--until-end", "--concurrency", "2"]);
            assert_eq!(code, Some(1), "{log}");
            assert!(log.contains("offset 4: the value is no text"), "{log}");
        },
        1,
        0,
    );
}

#[test]
fn the_shell_worker_appends_each_record_once() {
    on_both(
        |stage| {
            let exec = format!("sh {} \"$DIR\"", example("append.sh"));
            stage.run_well(&exec, &["--until-end", "--concurrency", "2"]);
            let count =
                ["worker-1.ndjson", "worker-2.ndjson"].map(|file| stage.records(file).len()).iter().sum::<usize>();
            assert_eq!(count, 40);
            assert_eq!(stage.committed(), stage.all_at(20));
        },
        2,
        20,
    );
}

#[test]
fn the_worker_for_one_record_runs_a_command_for_each() {
    let stage = Stage::with(1, 10);
    std::fs::write(stage.path("hook"), "cat >> \"$DIR/done\"; echo told").unwrap();
    let exec = format!("sh {} sh \"$DIR/hook\"", example("one.sh"));
    let log = stage.run_well(&exec, &["--until-end", "--concurrency", "1"]);
    assert_eq!(stage.offsets("done"), stage.all_below(10));
    assert!(log.contains("worker 1: told\n") && log.contains("10 records done in"), "{log}");
}
