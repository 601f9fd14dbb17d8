//! A verifiable tool in a process of its own, Kafka's or ours, and the broker that both speak to.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use kafka_troupe::broker::LocalKafka;
use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(60);

pub static KAFKA: LazyLock<LocalKafka> =
    LazyLock::new(|| LocalKafka::start().unwrap_or_else(|error| panic!("{error}")));

#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub fn skipped() -> bool {
    let skipped = std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip");
    if skipped {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
    }
    skipped
}

/// A topic of its own.
pub fn topic(partitions: i32) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let topic = format!("topic-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    KAFKA.create_topic(&topic, partitions).unwrap();
    topic
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Java,
    Ours,
}

impl Whose {
    /// The tool of this kind, `producer` or `consumer`: its own arguments are still to come.
    pub fn command(self, kind: &str) -> Command {
        match self {
            Self::Java => {
                let class = format!("{}{}", kind[..1].to_uppercase(), &kind[1..]);
                LocalKafka::tool(&format!("org.apache.kafka.tools.Verifiable{class}")).unwrap()
            }
            Self::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
                command.arg(format!("verifiable-{kind}"));
                command
            }
        }
    }
}

/// What a tool prints, a line of JSON for each event. It ends with this value.
pub struct Tool {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Tool {
    pub fn start(command: &mut Command) -> Self {
        let spawned = command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = spawned.spawn().unwrap();
        let (stdout, lines) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::<Mutex<Vec<_>>>::default());
        std::thread::spawn({
            let lines = Arc::clone(&lines);
            move || stdout.map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line))
        });
        Self { child, lines }
    }

    /// What it has printed by now.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// What it has told by now.
    pub fn events(&self) -> Vec<Value> {
        let event = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.lines().iter().map(event).collect()
    }

    /// Asks it to end in good order.
    pub fn terminate(&self) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &process]).status().unwrap().success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        // The reader may have some of its last lines to go.
        eventually("all is read", || Arc::strong_count(&self.lines) == 1);
        status
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
