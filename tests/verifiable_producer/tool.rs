//! A tool in a process of its own: Kafka's or ours.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use kafka_troupe::broker::LocalKafka;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::{KAFKA, eventually};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Java,
    Ours,
}

/// The names of an object's fields, in their order.
struct Fields(Vec<String>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                    names.push(name);
                }
                Ok(Fields(names))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// It ends with this value.
pub struct Tool {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Tool {
    pub fn producer(whose: Whose, topic: &str, arguments: &[&str]) -> Self {
        let mut command = match whose {
            Whose::Java => LocalKafka::tool("org.apache.kafka.tools.VerifiableProducer").unwrap(),
            Whose::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_troupe"));
                command.arg("verifiable-producer");
                command
            }
        };
        command.args(["--bootstrap-server", KAFKA.bootstrap_servers(), "--topic", topic]);
        Self::of(command.args(arguments))
    }

    pub fn java_consumer(topic: &str, arguments: &[&str]) -> Self {
        let mut command = LocalKafka::tool("org.apache.kafka.tools.VerifiableConsumer").unwrap();
        command.args(["--bootstrap-server", KAFKA.bootstrap_servers(), "--topic", topic, "--group-id", topic]);
        Self::of(command.args(arguments))
    }

    fn of(command: &mut Command) -> Self {
        let spawned = command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = spawned.spawn().unwrap();
        let (stdout, lines) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::<Mutex<Vec<_>>>::default());
        std::thread::spawn({
            let lines = Arc::clone(&lines);
            move || stdout.map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line))
        });
        Self { child, lines }
    }

    /// What it has told by now.
    pub fn events(&self) -> Vec<Value> {
        let event = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.lines.lock().unwrap().iter().map(event).collect()
    }

    /// The names of the fields of each event, in their order, by its name.
    pub fn fields(&self) -> BTreeMap<String, Vec<String>> {
        let lines = self.lines.lock().unwrap().clone();
        let names = lines.iter().map(|line| serde_json::from_str::<Fields>(line).unwrap().0);
        self.events().iter().map(|event| event["name"].as_str().unwrap().to_owned()).zip(names).collect()
    }

    /// Ends it in good order once it has told this.
    pub fn end_after(&mut self, told: impl Fn(&[Value]) -> bool) -> ExitStatus {
        eventually("it tells", || told(&self.events()));
        let process = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &process]).status().unwrap();
        self.wait()
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
