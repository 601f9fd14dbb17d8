//! Faults, and loads that are too much.

use super::*;

#[test]
fn a_group_gets_over_what_is_done_to_it_and_repeats_no_more_than_that_excuses() {
    let folder = tempfile::tempdir().unwrap();
    let faults = "--fault kill@4s --fault join@1s --fault leave@2500ms --assert recovery<60s";
    let (code, result) =
        measured(&format!("--rate 500 --duration 16s --warmup 1s --members 2 --partitions 6 {faults}"), folder.path());
    assert_eq!(code, 0, "{result}");
    let found = result["faults"].as_array().unwrap();
    let named: Vec<_> =
        found.iter().map(|it| (it["fault"].as_str().unwrap(), it["member"].as_u64().unwrap())).collect();
    assert_eq!(named, [("join", 3), ("leave", 1), ("kill", 2)]);
    for it in found {
        assert!(it["recovered_after_ms"].as_u64() >= it["shared_out_after_ms"].as_u64(), "{it}");
    }
    // Nobody takes the partitions of a member over that its group still believes in.
    let kill = &found[2];
    assert!(kill["recovered_after_ms"].as_u64().is_some_and(|after| after > 1_000), "{kill}");
    let figures = &result["figures"];
    assert!(figures["duplicated"].as_u64() <= figures["excused"].as_u64(), "{figures}");
    assert_eq!((&figures["lost"], &figures["unseen"], &figures["handled"]), (&0.into(), &0.into(), &figures["sent"]));
}

#[test]
fn a_group_that_cannot_keep_up_does_not_pass_for_a_fault_and_gives_no_latency() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--members 2 --fault join@0s --rate 2000 --partitions 4 --work sleep:4ms --duration 3s --warmup 1s --drain 120s";
    let (code, result) = result(&mut load(arguments, folder.path()));
    assert_eq!((code, &result["verdict"]), (4, &"invalid".into()), "{result}");
    assert!(result["reasons"].to_string().contains("the load was over before the group recovered"), "{result}");
    assert!(result["figures"]["latency"]["end_to_end"].is_null(), "{result}");
    assert_eq!((&result["plan"]["faults"][0], &result["figures"]["lost"]), (&"join@0s".into(), &0.into()));
}

#[test]
fn a_closed_loop_that_meets_the_bound_is_no_measurement_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    // Some five such records are outstanding at a time, and the handler takes a while for each.
    let arguments = "--in-flight 1000 --record-size 900000 --partitions 1 --work sleep:50ms --duration 3s --warmup 0s";
    let (code, result) = result(&mut load(arguments, folder.path()));
    assert_eq!((code, &result["verdict"]), (4, &"invalid".into()), "{result}");
    assert!(result["reasons"][0].as_str().unwrap().contains("for room on the embedded broker"), "{result}");
    let latency = &result["figures"]["latency"];
    assert!(latency["end_to_end"].is_null() && latency["residence"].is_null(), "{latency}");
    assert!(!latency["produce_ack"].is_null(), "{latency}");
}

#[test]
fn what_an_overload_leaves_is_invalid_and_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--rate 1500 --duration 3s --warmup 0s --partitions 1 --work sleep:1500us --drain 1500ms";
    let (code, result) = result(&mut load(arguments, folder.path()));
    assert_eq!((code, &result["verdict"]), (4, &"invalid".into()), "{result}");
    assert!(result["figures"]["unseen"].as_u64().unwrap() > 0, "{result}");
    assert!(result["reasons"].to_string().contains("--drain gives them more"), "{result}");
}

#[test]
fn a_phase_that_is_too_much_is_named_though_all_is_made_good_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("phases.toml");
    let phases = "[[phase]]\nkind = 'constant'\nrate = 2000\nduration = '3s'\n\n\
                  [[phase]]\nkind = 'constant'\nrate = 50\nduration = '5s'\n";
    fs::write(&file, phases).unwrap();
    let arguments = format!("--phases {} --partitions 1 --work sleep:1ms", file.display());
    let (code, result) = result(&mut load(&arguments, folder.path()));
    assert_eq!((code, &result["verdict"]), (4, &"invalid".into()), "{result}");
    assert!(result["reasons"].to_string().contains("1 constant"), "{result}");
    assert!(result["figures"]["latency"]["end_to_end"].is_null(), "{result}");
}

#[test]
fn faults_that_cannot_be_are_refused() {
    assert!(refused(&["--fault", "kill@3s"]).contains("without a member"));
    assert!(refused(&["--members", "2", "--fault", "kill@30s"]).contains("the load is over after 30s"));
    assert!(refused(&["--fault", "drown@3s"]).contains("join@TIME, leave@TIME or kill@TIME"));
}
