//! What is run here, and how what it tells is looked at.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitStatus;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::verifiable::{KAFKA, Tool, Whose, eventually};

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

pub fn producer(whose: Whose, topic: &str, arguments: &[&str]) -> Tool {
    let mut command = whose.command("producer");
    command.args(["--bootstrap-server", KAFKA.bootstrap_servers(), "--topic", topic]);
    Tool::start(command.args(arguments))
}

pub fn java_consumer(topic: &str, arguments: &[&str]) -> Tool {
    let mut command = Whose::Java.command("consumer");
    command.args(["--bootstrap-server", KAFKA.bootstrap_servers(), "--topic", topic, "--group-id", topic]);
    Tool::start(command.args(arguments))
}

/// The names of the fields of each event, in their order, by its name.
pub fn fields(tool: &Tool) -> BTreeMap<String, Vec<String>> {
    let lines = tool.lines();
    let names = lines.iter().map(|line| serde_json::from_str::<Fields>(line).unwrap().0);
    tool.events().iter().map(|event| event["name"].as_str().unwrap().to_owned()).zip(names).collect()
}

/// Ends it in good order once it has told this.
pub fn end_after(tool: &mut Tool, told: impl Fn(&[Value]) -> bool) -> ExitStatus {
    eventually("it tells", || told(&tool.events()));
    tool.terminate();
    tool.wait()
}
