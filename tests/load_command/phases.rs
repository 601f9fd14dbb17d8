//! Loads whose phases differ.

use super::*;

/// The result of a run with these phases.
fn of_phases(phases: &str, arguments: &str) -> (i32, Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("phases.toml");
    fs::write(&file, phases).unwrap();
    result(&mut load(&format!("--phases {} {arguments}", file.display()), folder.path()))
}

#[test]
fn phases_come_one_after_the_other_and_those_of_the_warm_up_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("phases.toml");
    let phases = "[[phase]]\nkind = 'constant'\nrate = 200\nduration = '1s'\nwarmup = true\n\n\
                  [[phase]]\nkind = 'ramp'\nfrom = 200\nto = 400\nduration = '1s'\n\n\
                  [[phase]]\nkind = 'step'\nfrom = 100\nto = 300\nsteps = 2\nduration = '1s'\n";
    fs::write(&file, phases).unwrap();
    let (code, result) = measured(&format!("--phases {} --producers 2", file.display()), folder.path());
    assert_eq!(code, 0, "{result}");
    // 200 of the warm-up, 300 of the ramp, 50 and 150 of the steps.
    assert_eq!((&result["figures"]["sent"], &result["figures"]["scheduled"]), (&700.into(), &500.into()), "{result}");
    assert_eq!(result["plan"]["warmup_seconds"], 1.0);
    // Each of them with its own.
    let found = result["phases"].as_array().unwrap();
    let wanted = [("2 ramp", 300), ("3 step 1 of 2", 50), ("3 step 2 of 2", 150)];
    assert_eq!(found.iter().map(|it| it["name"].as_str().unwrap()).collect::<Vec<_>>(), wanted.map(|it| it.0));
    for (phase, (name, count)) in found.iter().zip(wanted) {
        assert_eq!(
            (&phase["sent"], &phase["acked"], &phase["scheduled"]),
            (&count.into(), &count.into(), &count.into())
        );
        for latency in ["schedule_delay", "produce_ack", "end_to_end"] {
            assert_eq!(phase["latency"][latency]["count"], count, "{latency} of {phase}");
            let log = fs::read_to_string(folder.path().join(format!("{latency}.hlog"))).unwrap();
            let tag = format!("\nTag={},", name.replace(' ', "-"));
            assert!(log.contains(&tag) && log.contains("\n1"), "{tag} in {log}");
        }
    }
    assert_eq!((&found[1]["start_seconds"], &found[1]["seconds"]), (&2.0.into(), &0.5.into()), "{result}");
    let report = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(report.contains("<section id=\"phases\">") && report.contains("3 step 2 of 2"), "{report}");

    fs::write(&file, phases.replace("to = 400", "till = 400")).unwrap();
    let told = refused(&["--phases", file.to_str().unwrap()]);
    assert!(told.contains("phases.toml: line 10: phase 2: till: "), "{told}");
    refused(&["--phases", file.to_str().unwrap(), "--rate", "10"]);
    fs::write(&file, b"[[phase]]\n\xff").unwrap();
    assert!(refused(&["--phases", file.to_str().unwrap()]).contains("no text in UTF-8, from byte 10 on"));
}

#[test]
fn a_phase_that_is_not_kept_up_with_has_no_end_to_end_latency_and_the_one_before_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("phases.toml");
    let phases = "[[phase]]\nkind = 'poisson'\nrate = 50\nduration = '2s'\n\n\
                  [[phase]]\nkind = 'constant'\nrate = 1500\nduration = '3s'\n";
    fs::write(&file, phases).unwrap();
    let arguments = format!("--phases {} --partitions 1 --work sleep:1ms --drain 120s", file.display());
    let Output { stdout, stderr, status } = load(&arguments, folder.path()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(4), "{stdout}{stderr}");
    let result: Value = serde_json::from_slice(&fs::read(folder.path().join("result.json")).unwrap()).unwrap();
    let found = result["phases"].as_array().unwrap();
    let has = |phase: &Value, latency: &str| !phase["latency"][latency].is_null();
    assert!(has(&found[0], "end_to_end") && !found[0]["saturated"].as_bool().unwrap(), "{}", result["phases"]);
    assert!(!has(&found[1], "end_to_end") && has(&found[1], "schedule_delay"), "{}", result["phases"]);
    // And a person reads the same.
    assert!(stdout.contains("\nphase "), "{stdout}");
    assert!(stdout.contains("\n  phase 2 constant: handlers did not keep up"), "{stdout}");
}

/// They have at hand what comes while they take one: 200 in the end, more than a second's worth.
#[test]
fn slow_handlers_that_keep_up_with_a_rate_that_rises_have_not_fallen_behind() {
    let phases = "[[phase]]\nkind = 'ramp'\nfrom = 1\nto = 150\nduration = '6s'\n";
    let (code, result) = of_phases(phases, "--order unordered --concurrency 1000 --work sleep:1500ms");
    assert_eq!((code, &result["verdict"]), (0, &"passed".into()), "{result}");
    // As many calls at once as the file says.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("troupe.toml");
    fs::write(&file, "[consumer]\nconcurrency = 1000\n").unwrap();
    let of_file = format!("--order unordered --work sleep:1500ms --config {}", file.display());
    let (code, result) = of_phases(phases, &of_file);
    assert_eq!(
        (code, &result["verdict"], &result["plan"]["concurrency"]),
        (0, &"passed".into(), &1000.into()),
        "{result}"
    );
    let (code, result) = of_phases(phases, "--order unordered --concurrency 100 --work sleep:1500ms");
    assert_eq!((code, &result["phases"][0]["saturated"]), (4, &true.into()), "{result}");
}

#[test]
fn a_phase_that_meets_the_bound_of_the_embedded_broker_is_named() {
    let phases = "[[phase]]\nkind = 'constant'\nrate = 5\nduration = '2s'\n\n\
                  [[phase]]\nkind = 'constant'\nrate = 1000\nduration = '2s'\n";
    // A record is a quarter of what may be outstanding.
    let (code, result) = of_phases(phases, "--record-size 900000 --work sleep:20ms --partitions 2");
    assert_eq!((code, &result["verdict"]), (4, &"invalid".into()), "{result}");
    let reason = result["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("the schedule was not held in ") && reason.contains("2 constant: "), "{reason}");
    assert!(reason.contains("2 constant by how little the embedded broker can keep"), "{reason}");
    let found = &result["phases"][1];
    assert_eq!((&found["overdue"], &found["held_up"]), (&true.into(), &true.into()), "{found}");
    assert_eq!((&result["figures"]["lost"], &result["figures"]["unseen"]), (&0.into(), &0.into()));
}

#[test]
fn what_the_warm_up_piled_up_is_no_latency_of_the_load_that_follows() {
    // Less than 500 records a second can be done.
    let phases = "[[phase]]\nkind = 'constant'\nrate = 1500\nduration = '4s'\nwarmup = true\n\n\
                  [[phase]]\nkind = 'constant'\nrate = 20\nduration = '5s'\n\n\
                  [[phase]]\nkind = 'constant'\nrate = 20\nduration = '15s'\n";
    let (code, result) = of_phases(phases, "--work sleep:2ms --partitions 1 --drain 120s");
    assert_eq!((code, &result["verdict"]), (4, &"invalid".into()), "{result}");
    assert!(
        result["reasons"].to_string().contains("what the warm-up had piled up was still being worked off for "),
        "{result}"
    );
    assert!(result["figures"]["latency"]["end_to_end"].is_null(), "{}", result["figures"]);
    let found = &result["phases"];
    assert_eq!((&found[0]["piled_up"], &found[0]["saturated"]), (&true.into(), &false.into()), "{found}");
    assert!(found[0]["latency"]["end_to_end"].is_null() && !found[0]["latency"]["produce_ack"].is_null(), "{found}");
}
