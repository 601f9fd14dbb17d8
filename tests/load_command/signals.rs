//! What a signal ends, and what is said of what was not handled by then.

use std::io::{ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use super::*;

#[test]
fn a_signal_before_the_group_has_formed_makes_the_run_invalid() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..TRIES {
        let mut command = load("--json", folder.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        // Said before the topic is made.
        stderr.find(|line| line.contains("records are sent and not handled at a time")).unwrap();
        // SAFETY: it sends a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
        stderr.for_each(drop);
        let output = child.wait_with_output().unwrap();
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        let kept = folder.path().join("result.json");
        assert_eq!(serde_json::from_slice::<Value>(&fs::read(&kept).unwrap()).unwrap(), result);
        fs::remove_file(kept).unwrap();
        if !result["figures"].is_null() {
            eprintln!("once more: the load had begun");
            continue;
        }
        assert_eq!(result["schema"], 1);
        assert_eq!((output.status.code(), &result["verdict"]), (Some(4), &"invalid".into()), "{result}");
        assert!(result["reasons"][0].as_str().unwrap().starts_with("nothing was measured"), "{result}");
        return;
    }
    panic!("a signal always came too late");
}

#[test]
fn what_is_not_handled_in_time_is_unseen_and_not_called_lost() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--rate 50 --duration 1s --warmup 0s --partitions 1 --work sleep:10m --drain 1s";
    let (code, result) = result(&mut load(arguments, folder.path()));
    assert_eq!((code, &result["verdict"]), (1, &"failed".into()), "{result}");
    assert_eq!((&result["figures"]["unseen"], &result["figures"]["lost"]), (&50.into(), &0.into()), "{result}");
    assert_eq!(result["figures"]["committed_ahead"], 0);
}

#[test]
fn a_signal_ends_the_load_and_what_was_sent_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = load("--rate 200 --duration 10m --warmup 0s --json", folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    stderr.find(|line| line.contains("s  load ")).unwrap();
    // SAFETY: it sends a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
    stderr.for_each(drop);
    let output = child.wait_with_output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    // A busy machine may not have held the schedule.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{result}");
    let figures = &result["figures"];
    assert!(figures["sent"].as_u64().unwrap() > 0);
    assert_eq!((&figures["handled"], &figures["lost"]), (&figures["sent"], &0.into()));
    assert_eq!(result["stopped_early"], true);
}

/// Sends SIGINT to a load as each of these shows on its stderr, one after the other. Gives its exit code and its result.
fn interrupted(arguments: &str, folder: &Path, at: &[&str]) -> (Option<i32>, Value) {
    let mut command = load(arguments, folder);
    let mut child = command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    for shown in at {
        stderr.find(|line| line.contains(shown)).unwrap();
        // SAFETY: it sends a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
    }
    stderr.for_each(drop);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Its drain was cut short, and what was left is before the group.
fn assert_cut((code, result): (Option<i32>, Value)) {
    assert_eq!(
        (code, &result["verdict"], &result["stopped_early"]),
        (Some(1), &"failed".into(), &true.into()),
        "{result}"
    );
    let figures = &result["figures"];
    let count = |name: &str| figures[name].as_u64().unwrap();
    assert!(count("unseen") > 0 && count("unseen") + count("handled") == count("sent"), "{figures}");
    for name in ["lost", "duplicated", "committed_ahead", "failed"] {
        assert_eq!(count(name), 0, "{name}");
    }
    // It would have gone on for a minute.
    let ended = result["samples"].as_array().unwrap().last().unwrap()["seconds"].as_f64().unwrap();
    assert!(ended < 50.0, "{ended}");
}

#[test]
fn a_signal_while_a_backlog_is_handled_ends_that_and_what_is_left_is_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--backlog 2000 --partitions 1 --work sleep:1s --drain 60s";
    assert_cut(interrupted(arguments, folder.path(), &["s  drain "]));
}

#[test]
fn the_signal_after_the_one_that_ended_a_load_ends_the_wait_for_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--rate 50 --duration 10m --warmup 0s --partitions 1 --work sleep:10m --drain 60s";
    assert_cut(interrupted(arguments, folder.path(), &["s  load ", "s  drain "]));
}

#[test]
fn the_third_signal_ends_the_process_though_nobody_reads_its_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--rate 50 --duration 10m --warmup 0s --partitions 1 --work sleep:10m --drain 10m";
    let mut child = load(arguments, folder.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("s  load ") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
    }
    // The pipe once more, so that it can be filled up: what the load writes next has no room.
    let path = format!("/proc/self/fd/{}", stderr.get_ref().as_raw_fd());
    let mut pipe = fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
    while pipe.write(b".").is_ok() {}
    assert_eq!(pipe.write(b".").unwrap_err().kind(), ErrorKind::WouldBlock);
    let until = Instant::now() + Duration::from_secs(30);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("it does not end: {:?}", child.wait());
        }
        // SAFETY: it sends a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(status.code(), Some(130));
}
