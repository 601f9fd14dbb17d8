//! Apache Kafka in processes of its own: it comes, takes records, and leaves nothing behind.

#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kafka_troupe::broker::LocalKafka;

/// The tests' own process, started again, is one that is killed: it starts a node, tells of it, and waits.
///
/// A node also ends by itself when its folder goes. So the folder is kept for as long as the node is there: only a kill ends it.
#[test]
fn nothing_outlives_a_process_that_is_killed() {
    if std::env::var_os("TROUPE_TEST_VICTIM").is_some() {
        let kafka = LocalKafka::start().unwrap();
        println!("\nserves {}", kafka.bootstrap_servers());
        loop {
            std::thread::park();
        }
    }
    if skipped() {
        return;
    }
    let (folder, hold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_outlives_a_process_that_is_killed", "--nocapture"])
        .env("TROUPE_TEST_VICTIM", "1")
        .env("TMPDIR", folder.path())
        .env("PATH", format!("{}:{}", patient_rm(hold.path()), std::env::var("PATH").unwrap()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let servers = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("serves ").map(str::to_owned)).unwrap();
    let entries = || std::fs::read_dir(folder.path()).unwrap().count();
    let listens = || std::net::TcpStream::connect(&servers).is_ok();
    assert!(listens() && entries() == 1);
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("the node is killed", || !listens());
    assert_eq!(entries(), 1, "its folder is there");
    hold.close().unwrap();
    eventually("its folder goes", || entries() == 0);
}

/// A folder for the search path, with an `rm` that waits until that folder is gone.
fn patient_rm(hold: &Path) -> &str {
    let folder = hold.to_str().unwrap();
    let rm = hold.join("rm");
    std::fs::write(&rm, format!("#!/bin/sh\nwhile [ -e '{folder}' ]; do sleep 0.05; done\nexec /bin/rm \"$@\"\n"))
        .unwrap();
    std::fs::set_permissions(&rm, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_node_that_cannot_start_says_what_its_log_says() {
    if skipped() {
        return;
    }
    let error = LocalKafka::builder().property("log.retention.hours", "soon").start().unwrap_err().to_string();
    assert!(error.contains("log.retention.hours"), "{error}");
}

fn skipped() -> bool {
    let skipped = std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip");
    if skipped {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
    }
    skipped
}
