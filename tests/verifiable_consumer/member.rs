//! A member in a process of its own: Kafka's tool or ours.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use kafka_troupe::broker::LocalKafka;
use serde_json::Value;

use crate::story::Story;
use crate::{KAFKA, eventually};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Java,
    Ours,
}

/// It ends with this value.
pub struct Member {
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Member {
    pub fn start(tool: Tool, topic: &str, group: &str, arguments: &[&str]) -> Self {
        let mut command = match tool {
            Tool::Java => LocalKafka::tool("org.apache.kafka.tools.VerifiableConsumer").unwrap(),
            Tool::Ours => ours(),
        };
        command.args(["--bootstrap-server", KAFKA.bootstrap_servers(), "--topic", topic, "--group-id", group]);
        Self::of(command.args(arguments))
    }

    /// Ours, with no broker to speak to.
    pub fn refused(arguments: &[&str]) -> Self {
        let mut command = ours();
        command.args(["--bootstrap-server", "localhost:1", "--topic", "t", "--group-id", "g"]);
        Self::of(command.args(arguments))
    }

    fn of(command: &mut Command) -> Self {
        let spawned = command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = spawned.spawn().unwrap();
        let (lines, events) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::<Mutex<Vec<_>>>::default());
        std::thread::spawn({
            let events = Arc::clone(&events);
            move || {
                for line in lines.map_while(Result::ok) {
                    let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                    events.lock().unwrap().push(event);
                }
            }
        });
        Self { child, events }
    }

    /// What it has told by now.
    pub fn story(&self) -> Story {
        Story(self.events.lock().unwrap().clone())
    }

    /// Ends it in good order, and waits until it says so.
    pub fn end(&mut self) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &process]).status().unwrap().success());
        eventually("it ends", || self.story().named("shutdown_complete").next().is_some());
        self.wait();
    }

    pub fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        // The reader may have some of its last lines to go.
        eventually("all is read", || Arc::strong_count(&self.events) == 1);
        status
    }
}

fn ours() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
    command.arg("verifiable-consumer");
    command
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
