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
