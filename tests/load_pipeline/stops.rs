//! What a signal ends, and a reader that goes away.

use std::io::Lines;
use std::process::{Child, ChildStdout};

use super::*;

/// A run without an application between `in` and `out`, and what it tells line by line.
fn told(servers: &str, arguments: &str, folder: &Path) -> (Child, Lines<BufReader<ChildStdout>>) {
    let arguments = format!("--topic in --verify-topic out --warmup 0s --settle 10m --ndjson {arguments}");
    let mut command = load(servers, &arguments, folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// Waits for a line of that phase.
fn comes_to(phase: &str, lines: &mut Lines<BufReader<ChildStdout>>) {
    let phase = format!(r#""phase":"{phase}""#);
    lines.map_while(Result::ok).find(|line| line.contains(&phase)).unwrap();
}

fn interrupt(child: &Child) {
    // SAFETY: it sends a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
}

#[test]
fn a_signal_ends_the_wait_and_what_is_not_there_is_unseen_and_not_called_lost() {
    let (broker, folder) = (broker(), tempfile::tempdir().unwrap());
    let (mut child, mut lines) = told(broker.bootstrap_servers(), "--in-flight 10 --records 20", folder.path());
    comes_to("wait", &mut lines);
    interrupt(&child);
    let last: Value = serde_json::from_str(&lines.last().unwrap().unwrap()).unwrap();
    let (status, result) = (child.wait().unwrap(), last["result"].clone());
    assert_eq!((status.code(), counts(&result, FAULTS)), (Some(1), [0, 0, 0, 0, 20]), "{result}");
    assert_eq!(result["verification"]["waited_until"], "a signal ended the wait");
}

#[test]
fn the_signal_after_the_one_that_ended_the_load_ends_the_wait_and_there_is_a_verdict() {
    let (broker, folder) = (broker(), tempfile::tempdir().unwrap());
    let (mut child, mut lines) = told(broker.bootstrap_servers(), "--rate 100 --duration 10m", folder.path());
    for phase in ["load", "wait"] {
        comes_to(phase, &mut lines);
        interrupt(&child);
    }
    let last: Value = serde_json::from_str(&lines.last().unwrap().unwrap()).unwrap();
    let (status, result) = (child.wait().unwrap(), last["result"].clone());
    assert_eq!((status.code(), &result["verdict"]), (Some(1), &"failed".into()), "{result}");
    let [acked, unseen, lost] = counts(&result, ["acked", "unseen", "lost"]);
    assert!(unseen > 0 && (unseen, lost) == (acked, 0), "{result}");
    assert_eq!(result["verification"]["waited_until"], "a signal ended the wait");
}

#[test]
fn a_signal_while_the_last_answers_are_awaited_ends_the_wait_for_what_comes_out_too() {
    let (broker, folder) = (broker(), tempfile::tempdir().unwrap());
    let (mut child, mut lines) = told(broker.bootstrap_servers(), "--rate 100 --duration 10m", folder.path());
    comes_to("load", &mut lines);
    broker.set_rtt(1, Duration::from_secs(4)).unwrap();
    // By then there are records whose answers take so long.
    comes_to("load", &mut lines);
    interrupt(&child);
    comes_to("wait", &mut lines);
    interrupt(&child);
    broker.set_rtt(1, Duration::ZERO).unwrap();
    let last: Value = serde_json::from_str(&lines.last().unwrap().unwrap()).unwrap();
    let (status, result) = (child.wait().unwrap(), last["result"].clone());
    assert_eq!((status.code(), &result["verdict"]), (Some(1), &"failed".into()), "{result}");
    assert_eq!(result["verification"]["waited_until"], "a signal ended the wait");
}

#[test]
fn a_reader_that_goes_away_ends_the_load_and_no_wait() {
    for (phase, length) in [("load", "--duration 10m"), ("wait", "--records 20")] {
        let (broker, folder) = (broker(), tempfile::tempdir().unwrap());
        let arguments = format!("--rate 20 {length}");
        let (mut child, mut lines) = told(broker.bootstrap_servers(), &arguments, folder.path());
        comes_to(phase, &mut lines);
        drop(lines);
        // It takes some seconds, in which lines would have come.
        let slow = |entry| {
            thread::sleep(Duration::from_millis(150));
            vec![entry]
        };
        let _app = App::start(broker.bootstrap_servers(), ("in", "out"), slow);
        let code = child.wait().unwrap().code();
        let result = std::fs::read(folder.path().join("result.json")).unwrap();
        let result: Value = serde_json::from_slice(&result).unwrap();
        // A busy machine may not have held the schedule, and the application does not keep up with it.
        assert!(matches!(code, Some(0 | 4)), "{phase}: {result}");
        let [sent, handled, unseen] = counts(&result, ["sent", "handled", "unseen"]);
        assert!(sent == handled && unseen == 0, "{phase}: {result}");
        assert_eq!(result["stopped_early"], phase == "load", "{phase}");
    }
}
