//! Who reads the lines of `--ndjson` late, or goes away.

use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::process::ChildStdout;

use super::*;

/// What a pipe is to hold: a few lines.
const SMALL: libc::c_int = 4096;

fn small(pipe: &ChildStdout) {
    // SAFETY: the descriptor is open, and the call takes a number.
    let size = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, SMALL) };
    assert!((1..=16_384).contains(&size), "{size}: {}", std::io::Error::last_os_error());
}

fn kept(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("result.json")).unwrap()).unwrap()
}

#[test]
fn lines_that_nobody_reads_hold_up_neither_the_samples_nor_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = load("--rate 200 --duration 12s --warmup 0s --ndjson", folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    small(&stdout);
    let until = Instant::now() + Duration::from_secs(60);
    while !folder.path().join("report.html").exists() {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "it waits for its reader");
        std::thread::sleep(Duration::from_millis(50));
    }
    let result = kept(folder.path());
    let samples = result["samples"].as_array().unwrap();
    let sum = |field: &str| samples.iter().map(|it| it[field].as_u64().unwrap()).sum::<u64>();
    let [sent, handled, never_sent] =
        ["sent", "handled", "never_sent"].map(|name| result["figures"][name].as_u64().unwrap());
    assert_eq!((sum("sent"), sum("done")), (sent, handled), "{result}");
    // A machine that stands still at the end of the load may have kept some of them from being sent.
    assert_eq!((handled, sent + never_sent), (sent, 2_400), "{result}");
    // One a second, as always.
    assert!(samples.len() >= 12, "{}", samples.len());

    // Late is not never: what was written comes first, and the result last; what was not is counted.
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let dropped = stderr.find(|line| line.contains("live lines were dropped")).unwrap();
    let mut told = String::new();
    stdout.read_to_string(&mut told).unwrap();
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, shown) = lines.split_last().unwrap();
    assert_eq!(last["result"], result);
    assert!(!shown.is_empty() && shown.len() < samples.len(), "{} of {}", shown.len(), samples.len());
    for (line, sample) in shown.iter().zip(samples) {
        assert_eq!(&line["sample"], sample);
    }
    let count = format!(" {} live lines were dropped", samples.len() - shown.len());
    assert!(dropped.contains(&count) && !stderr.any(|line| line.contains("dropped")), "{count}: {dropped}");
    child.wait().unwrap();
}

#[test]
fn a_reader_that_goes_away_ends_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = load("--rate 200 --duration 2m --warmup 0s --ndjson", folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    // A busy machine may not have held the schedule.
    assert!(matches!(child.wait().unwrap().code(), Some(0 | 4)), "{first}");
    let result = kept(folder.path());
    assert_eq!(result["stopped_early"], true, "{result}");
    assert_eq!(result["figures"]["handled"], result["figures"]["sent"]);
}

#[test]
fn a_reader_that_goes_away_while_it_is_waited_for_the_handlers_cuts_nothing_short() {
    let folder = tempfile::tempdir().unwrap();
    // Five seconds of work, of which the load lasts for one.
    let arguments = "--rate 10 --duration 1s --warmup 0s --partitions 1 --work sleep:500ms --drain 60s --ndjson";
    let mut child = load(arguments, folder.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.contains(r#""phase":"drain""#)).unwrap();
    drop(lines);
    // A busy machine may not have held the schedule.
    let code = child.wait().unwrap().code();
    let result = kept(folder.path());
    assert!(matches!(code, Some(0 | 4)), "{result}");
    let figures = &result["figures"];
    assert_eq!((&figures["handled"], &figures["unseen"]), (&figures["sent"], &0.into()), "{result}");
    assert_eq!(result["stopped_early"], false, "{result}");
}
