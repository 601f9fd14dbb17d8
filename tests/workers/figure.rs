//! How fast it is: `TROUPE_BIN=target/release/troupe cargo test --test workers -- --ignored --nocapture --test-threads 1 figure`.

use serde_json::Value;

use crate::stage::{Stage, on_kafka, output};

const WORKER: &str = r#"exec python3 -c '
import sys
for line in sys.stdin:
    sys.stdout.write("ok\n")
    sys.stdout.flush()
'"#;

#[test]
#[ignore = "a measurement"]
fn eight_python_workers_that_do_nothing() {
    on_kafka(
        |stage| {
            for (order, run) in [("partition", 1), ("key", 2), ("unordered", 3), ("partition", 4)] {
                let group = format!("{}-{run}", stage.topic);
                let arguments =
                    ["--group", &group, "--until-end", "--concurrency", "8", "--order", order, "--log-format", "json"];
                println!("{order}: {:.0} records/s, its start and end included", rate(&stage, &arguments));
            }
        },
        8,
        50_000,
    );
}

fn rate(stage: &Stage, arguments: &[&str]) -> f64 {
    let output = output(&mut stage.command(WORKER, arguments));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    let mut events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let summary = events.rfind(|event| event["fields"]["message"] == "consumed").unwrap()["fields"].clone();
    summary["records"].as_f64().unwrap() / summary["seconds"].as_f64().unwrap()
}
