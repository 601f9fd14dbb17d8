//! Loads whose phases differ.

use super::*;

#[test]
fn a_phase_that_an_application_does_not_keep_up_with_is_named_though_all_is_made_good_after_it() {
    let broker = broker();
    // Less than 500 records a second.
    let _app = App::start(broker.bootstrap_servers(), ("in", "out"), |entry| {
        thread::sleep(Duration::from_millis(2));
        vec![entry]
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("phases.toml");
    let phase = |rate, seconds| format!("[[phase]]\nkind = 'constant'\nrate = {rate}\nduration = '{seconds}s'\n\n");
    std::fs::write(&file, [phase(50, 1), phase(1_500, 3), phase(20, 10)].concat()).unwrap();
    let arguments = format!("--topic in --verify-topic out --settle 60s --phases {}", file.display());
    let run = folder.path().join("run");
    let Output { status, stdout, .. } = load(broker.bootstrap_servers(), &arguments, &run).output().unwrap();
    let kept = |file: &str| std::fs::read_to_string(run.join(file)).unwrap();
    let result: Value = serde_json::from_str(&kept("result.json")).unwrap();
    assert_eq!((status.code(), counts(&result, FAULTS)), (Some(4), [0; 5]), "{result}");
    let reasons = result["reasons"].to_string();
    assert!(
        reasons.contains("the application did not keep up with the load in ") && reasons.contains("2 constant"),
        "{reasons}"
    );
    let found = result["phases"].as_array().unwrap();
    assert_eq!(
        (found.len(), &found[1]["saturated"], &found[1]["scheduled"]),
        (3, &true.into(), &4_500.into()),
        "{found:?}"
    );
    assert_eq!(found[1]["latency"]["schedule_delay"]["count"], 4_500, "{found:?}");
    assert!(found[0]["latency"]["end_to_end"].is_null(), "{found:?}");
    // And so people, and readers of the logs, are told of each.
    let report = String::from_utf8(stdout).unwrap();
    assert!(report.contains("\nphase ") && report.contains("\n  phase 2 constant: "), "{report}");
    let page = kept("report.html");
    assert!(page.contains("<section id=\"phases\">") && page.contains("<th>3 constant</th>"), "{page}");
    for log in ["schedule_delay.hlog", "produce_ack.hlog"] {
        let log = kept(log);
        assert!(log.contains("\nTag=2-constant,") && log.contains("\nTag=3-constant,"), "{log}");
    }
}
