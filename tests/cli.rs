//! The manners of the command line, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::FromRawFd;
use std::process::{Child, Command, Output, Stdio};
use std::ptr;

use serde_json::Value;

/// The binary, in an environment that says nothing about logs.
fn troupe(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    troupe(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn json_lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

#[test]
fn help_goes_to_stdout_with_examples_and_the_exit_codes() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["demo", "--help"],
        &["demo", "-h"],
        &["produce", "--help"],
        &["produce", "-h"],
        &["consume", "--help"],
        &["consume", "-h"],
        &["lag", "--help"],
        &["lag", "-h"],
        &["offsets", "--help"],
        &["offsets", "-h"],
        &["offsets", "show", "--help"],
        &["offsets", "show", "-h"],
        &["offsets", "decode", "--help"],
        &["offsets", "decode", "-h"],
        &["offsets", "reset", "--help"],
        &["offsets", "reset", "-h"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0));
        let help = text(&output.stdout);
        for part in [
            "Examples:\n  troupe ",
            "Exit codes:\n    0  ",
            "\n    1  a verdict or a gate failed",
            "\n    2  ",
            "\n    3  ",
            "\n    4  ",
            "\n  130  ",
            "\n  143  ",
            "--log-format",
        ] {
            assert!(help.contains(part), "{arguments:?} lacks {part:?}:\n{help}");
        }
        let longest = help.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{arguments:?}: a line of {longest:?}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn what_is_not_understood_ends_with_2_and_nothing_on_stdout() {
    for arguments in [
        &[][..],
        &["encore"],
        &["demo", "--encore"],
        &["demo", "-q", "-v"],
        &["demo", "--log-format", "xml"],
        &["demo", "--deadline", "10"],
        &["demo", "--deadline", "10parsecs"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let complaint = run(&["demo", "--deadline", "10"]).stderr;
    assert!(text(&complaint).contains("a duration carries its unit"));
}

#[test]
fn a_rust_log_that_is_not_understood_ends_with_2_and_is_shown() {
    let output = troupe(&["demo"]).env("RUST_LOG", "troupe=loud").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("RUST_LOG=troupe=loud"));
}

#[test]
fn stdout_carries_the_carriers_and_stderr_the_verdict() {
    let output = run(&["demo"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rows: Vec<Vec<&str>> = text(&output.stdout).lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 17);
    assert_eq!(rows[0], ["carrier", "flights", "arrived", "arr_delay_minutes"]);
    assert_eq!(rows[5], ["DL", "3690", "3655", "-16099"]);

    let verdict = text(&output.stderr);
    assert!(verdict.ends_with("verdict: clean\n"));
    let row = |name: &str| {
        let line = verdict.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap()
    };
    assert_eq!(row("records"), "27004");
    for name in ["lost", "duplicated", "out of order", "foreign"] {
        assert_eq!(row(name), "0", "{name}");
    }
    // Four partitions to the second member, and four back.
    assert_eq!(row("partitions moved"), "8");
    assert!(!verdict.contains(['\r', '\x1b']), "a bar without a terminal");
}

#[test]
fn json_is_one_object_on_stdout() {
    let output = run(&["-q", "demo", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let objects = json_lines(&output.stdout);
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["clean"], true);
    assert_eq!(objects[0]["records"], 27_004);
    assert_eq!(objects[0]["lost"], 0);
    assert_eq!(objects[0]["carriers"]["DL"]["arr_delay_minutes"], -16_099);
    assert!(objects[0]["seconds"].as_f64().unwrap() < 20.0);
}

#[test]
fn a_verdict_that_is_not_clean_ends_with_1_and_names_what_is_missing() {
    let output = run(&["demo", "--json", "--deadline", "0s"]);
    assert_eq!(output.status.code(), Some(1));
    let verdict = &json_lines(&output.stdout)[0];
    assert_eq!(verdict["clean"], false);
    assert!(verdict["lost"].as_u64().unwrap() > 0);
    assert_eq!(verdict["faults"][0]["kind"], "lost");
    assert!(text(&output.stderr).ends_with("verdict: FAILED\n"));
}

#[test]
fn the_log_is_json_on_stderr_when_asked_for() {
    let output = run(&["demo", "-v", "--log-format", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let events = json_lines(&output.stderr);
    let said = |message: &str| events.iter().find(|event| event["fields"]["message"] == message);
    assert!(said("a second member joins").is_some());
    let verdict = said("verdict").unwrap();
    assert_eq!(verdict["level"], "INFO");
    assert_eq!(verdict["fields"]["clean"], true);
    assert_eq!(verdict["fields"]["lost"], 0);
}

#[test]
fn rust_log_decides_what_is_logged() {
    let log = |directives: &str, arguments: &[&str]| {
        let output = troupe(arguments).env("RUST_LOG", directives).output().unwrap();
        text(&output.stderr).to_owned()
    };
    let joins = "a second member joins";
    assert!(log("troupe=debug", &["demo"]).contains(joins));
    assert!(!log("troupe=info", &["demo", "-vv"]).contains(joins));
    assert!(!log("", &["demo"]).contains(joins));
}

#[test]
fn a_terminal_gets_a_bar_and_colours_unless_it_wants_none() {
    let bar = "a second member joins";
    let coloured = "\x1b[34mDEBUG";
    let shown = |arguments: &[&str], no_color: &str| {
        let mut command = troupe(arguments);
        command.env("TERM", "xterm").env("NO_COLOR", no_color);
        on_terminal(command)
    };
    let usual = shown(&["-v", "demo"], "");
    assert!(usual.contains(bar) && usual.contains(coloured), "{usual}");
    let plain = shown(&["-v", "demo"], "1");
    assert!(plain.contains(bar) && plain.contains("DEBUG"), "{plain}");
    assert!(!plain.contains(coloured), "{plain}");
    assert_eq!(shown(&["-q", "demo"], ""), "");
    let json = shown(&["demo", "--log-format", "json"], "");
    assert!(!json_lines(json.as_bytes()).is_empty() && !json.contains('\x1b'));
}

/// Runs a command whose stderr is a terminal, and says what was shown there.
fn on_terminal(mut command: Command) -> String {
    let (mut screen, mut terminal) = (-1, -1);
    let (name, modes, size) = (ptr::null_mut(), ptr::null(), ptr::null());
    // SAFETY: both numbers are ours to write, and the null pointers ask for defaults.
    let opened = unsafe { libc::openpty(&mut screen, &mut terminal, name, modes, size) };
    assert_eq!(opened, 0);
    // SAFETY: both were just opened, and nobody else knows them.
    let (screen, terminal) = unsafe { (File::from_raw_fd(screen), File::from_raw_fd(terminal)) };
    let mut child = command.stdout(Stdio::null()).stderr(terminal).spawn().unwrap();
    // It holds this process's handle of the terminal, which would keep the screen open.
    drop(command);
    let mut shown = Vec::new();
    // The end of a terminal is an error, and what was shown before it is kept.
    let _ = { screen }.read_to_end(&mut shown);
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap()
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for arguments in [&["demo"][..], &["demo", "--json"], &["--help"]] {
        let mut child = troupe(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let log = text(&output.stderr);
        assert!(!log.contains("panicked") && !log.contains("error:"), "{log}");
    }
}

#[test]
fn a_closed_stderr_does_not_stop_the_work() {
    let mut child = troupe(&["demo", "-vv"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout).lines().count(), 17);
}

#[test]
fn the_first_signal_stops_in_good_order_and_ends_with_0() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut demo = Demo::at_work();
        demo.send(signal);
        let (code, stdout, log) = demo.end();
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(stdout, "", "a stopped job has no result");
        assert!(log.contains("stopping"), "{log}");
        assert!(log.contains("there is no verdict"), "{log}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut demo = Demo::at_work();
    // Both arrive while the process stands still, so that the first cannot have done its work when the second comes.
    for signal in [libc::SIGSTOP, libc::SIGINT, libc::SIGTERM, libc::SIGCONT] {
        demo.send(signal);
    }
    let (code, stdout, log) = demo.end();
    // The system may deliver them in either order.
    assert!(matches!(code, Some(130 | 143)), "{code:?} {log}");
    assert_eq!(stdout, "");
}

/// A demo that is in the middle of its work.
struct Demo {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Demo {
    fn at_work() -> Self {
        let mut child = troupe(&["demo", "-v"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("a second member joins") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before");
        }
        Self { child, log }
    }

    fn send(&self, signal: i32) {
        let process = i32::try_from(self.child.id()).unwrap();
        // SAFETY: the process is our child and not yet waited for, so the number is still its own.
        assert_eq!(unsafe { libc::kill(process, signal) }, 0);
    }

    fn end(&mut self) -> (Option<i32>, String, String) {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        let mut stdout = String::new();
        let mut pipe = self.child.stdout.take().unwrap();
        pipe.read_to_string(&mut stdout).unwrap();
        (self.child.wait().unwrap().code(), stdout, log)
    }
}
