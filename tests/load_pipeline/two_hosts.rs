//! One host sends, another verifies.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;

#[test]
fn two_hosts_share_a_run_and_its_last_record_is_missed_by_who_knows_how_many_there_were() {
    let broker = broker();
    let servers = broker.bootstrap_servers();
    let last = Arc::new(AtomicBool::new(false));
    let lost = Arc::clone(&last);
    let app = App::start(servers, ("in", "out"), move |entry: Entry| {
        // Its sequence, as it stands in its identity.
        if &entry.headers[0].1[32..48] == format!("{:016x}", 299).as_bytes() {
            lost.store(true, Ordering::Relaxed);
            vec![]
        } else {
            vec![entry]
        }
    });
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let manifest = folders[0].path().join("manifest.json");

    // The verifying host begins first, and the manifest comes later.
    let arguments = format!("--verify-only --run 1f --verify-topic out --settle 15s --manifest {}", manifest.display());
    let mut early = load(servers, &arguments, folders[1].path());
    let mut early = early.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(early.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.contains("  wait  ")).unwrap();

    let sending = LOAD
        .replace("--in IN", "--topic in --verify-topic out --produce-only --run 1f --in-flight 50")
        .replace("--rate 300", "");
    let (code, sent) = result(&mut load(servers, &sending, folders[0].path()));
    assert_eq!(
        (code, &sent["part"], counts(&sent, ["sent", "acked"])),
        (0, &"produce_only".into(), [300, 300]),
        "{sent}"
    );
    lines.for_each(drop);
    let verified: Value = serde_json::from_slice(&early.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!((&verified["verdict"], counts(&verified, FAULTS)), (&"failed".into(), [1, 0, 0, 0, 0]), "{verified}");
    assert_eq!(verified["figures"]["latency"]["end_to_end"]["count"], 299);
    assert_eq!(verified["verification"]["two_clocks"], true);
    assert!(last.load(Ordering::Relaxed));
    drop(app);

    // Without the manifest nobody can say that nothing is missing, and nobody does.
    let arguments = "--verify-only --run 1f --verify-topic out --settle 1s";
    let (code, result_without) = result(&mut load(servers, arguments, folders[2].path()));
    assert_eq!((code, counts(&result_without, ["handled", "lost"])), (4, [299, 0]), "{result_without}");
    assert!(result_without["reasons"].to_string().contains("--manifest"), "{result_without}");

    // What was there before the look began has no latency.
    let arguments = format!(
        "--verify-only --run 1f --verify-topic out --settle 1s --manifest {} --expect filtered",
        manifest.display()
    );
    let (code, late) = result(&mut load(servers, &arguments, folders[3].path()));
    assert_eq!((code, counts(&late, ["handled", "filtered"])), (0, [299, 1]), "{late}");
    assert!(late["figures"]["latency"]["end_to_end"].is_null());
    assert_eq!(late["verification"]["not_timed"], 299);
    // What may be left out is no fault.
    assert_eq!(late["verification"]["faults"], json!([]));

    for (arguments, why) in [
        ("--run 2f --verify-topic out", "is of run 000000000000001f"),
        ("--run 1f --verify-topic out --id-pointer /id", "no --id-pointer"),
        ("--run 1f --verify-topic in", "--verify-topic out"),
    ] {
        let arguments = format!("--verify-only {arguments} --manifest {}", manifest.display());
        refused(&arguments, why);
    }
}

#[test]
fn a_manifest_that_cannot_be_written_is_told_and_the_run_can_be_verified_by_that() {
    let broker = broker();
    let servers = broker.bootstrap_servers();
    let _app = App::start(servers, ("in", "out"), |entry| vec![entry]);
    let folders = tempfile::tempdir().unwrap();
    let [sent, seen] = ["sent", "seen"].map(|name| folders.path().join(name));
    // In the way of the file, also for root.
    std::fs::create_dir_all(sent.join("manifest.json.unfinished")).unwrap();
    let arguments = "--topic in --verify-topic out --produce-only --run 1f --in-flight 50 --records 100 --warmup 0s";
    let output = load(servers, arguments, &sent).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{stdout}{stderr}");
    assert!(stdout.starts_with("verdict: passed, for what was sent") && !stdout.contains("\nmanifest: "), "{stdout}");
    assert!(stdout.contains("\nreport: "), "{stdout}");

    let manifest = folders.path().join("told.json");
    std::fs::write(&manifest, stderr.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    let arguments = format!("--verify-only --run 1f --verify-topic out --settle 60s --manifest {}", manifest.display());
    let (code, verified) = result(&mut load(servers, &arguments, &seen));
    assert_eq!((code, counts(&verified, ["handled", "lost"])), (0, [100, 0]), "{verified}");

    // Where nothing is waited for, all that is there counts as come all the same.
    let (code, verified) = result(&mut load(servers, &arguments.replace("60s", "0s"), &folders.path().join("at once")));
    let waited_until = &verified["verification"]["waited_until"];
    assert_eq!((code, waited_until), (0, &"all records had come out".into()), "{verified}");
    let done = verified["samples"].as_array().unwrap().iter().map(|it| it["done"].as_u64().unwrap());
    assert_eq!(done.sum::<u64>(), 100, "{verified}");
}

#[test]
fn what_was_wrong_with_the_sending_of_a_phase_the_verifying_host_says_too() {
    let broker = broker();
    let servers = broker.bootstrap_servers();
    let _app = App::start(servers, ("in", "out"), |entry| vec![entry]);
    let folders = tempfile::tempdir().unwrap();
    let [config, phases, sent, seen] =
        ["slow.toml", "phases.toml", "sent", "seen"].map(|name| folders.path().join(name));
    // The producers take all at once, and the broker hears of it when the load is over.
    std::fs::write(&config, "[producer]\nlinger = '10m'\nbatch_records = 65536\n").unwrap();
    let phase = "[[phase]]\nkind = 'constant'\nrate = 300\nduration = '3s'\n\n";
    std::fs::write(&phases, phase.repeat(2)).unwrap();
    let arguments = format!(
        "--topic in --verify-topic out --produce-only --run 1f --phases {} --config {}",
        phases.display(),
        config.display()
    );
    let (code, sending) = result(&mut load(servers, &arguments, &sent));
    let queued: Vec<&Value> = sending["phases"].as_array().unwrap().iter().filter(|it| it["queued"] == true).collect();
    assert!(code == 4 && !queued.is_empty(), "{sending}");

    let verifying =
        format!("--verify-only --run 1f --verify-topic out --settle 60s --manifest {}/manifest.json", sent.display());
    let (code, verified) = result(&mut load(servers, &verifying, &seen));
    assert_eq!((code, counts(&verified, ["handled", "lost"])), (4, [1_800, 0]), "{verified}");
    let reasons = verified["reasons"].as_array().unwrap();
    let reason = reasons.iter().filter_map(Value::as_str).find(|it| it.contains("were not confirmed as fast")).unwrap();
    for phase in queued {
        assert!(reason.contains(phase["name"].as_str().unwrap()), "{reason}");
    }
    assert!(verified["figures"]["latency"]["end_to_end"].is_null(), "{verified}");
}
