//! A member in a process of its own, to be killed or frozen.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::fixture::Stage;
use crate::fixture::spawning::{output, spawn};

/// An example, built with the tests.
pub fn built(example: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    Command::new(tests.ancestors().nth(2).unwrap().join("examples").join(example))
}

/// An example as a member of the group, with a pipe for its input: it ends with that.
pub fn example(stage: &Stage, name: &str, before: &[&str], group: &str) -> Command {
    let properties = stage.broker.consumer_properties().iter().map(|(name, value)| format!("{name}={value}"));
    let mut command = built(name);
    command
        .args(before)
        .args([stage.broker.bootstrap_servers(), &stage.group(group), &stage.topic])
        .args(properties)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// An example that takes the tool's options, as a member of the group, with these arguments behind them.
pub fn tool_like(stage: &Stage, name: &str, group: &str, behind: &[&str]) -> Child {
    let properties = stage.broker.consumer_properties().iter();
    let mut command = built(name);
    command
        .args(["--bootstrap-server", stage.broker.bootstrap_servers(), "--topic", &stage.topic])
        .args(["--group", &stage.group(group)])
        .args(behind)
        .args(properties.flat_map(|(name, value)| ["-X".to_owned(), format!("{name}={value}")]));
    spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// A member in a process of its own: the example that prints what it handles. It dies with the test.
pub struct Process {
    pub child: Child,
    printed: Arc<Mutex<Vec<(i32, i64)>>>,
}

impl Process {
    pub fn start(stage: &Stage, group: &str) -> Self {
        Self::working(stage, group, 1)
    }

    /// A member whose handler takes so many milliseconds for each record.
    pub fn working(stage: &Stage, group: &str, millis: u32) -> Self {
        Self::of("print_records", stage, group, millis)
    }

    /// The same, of another example that prints what it handles.
    pub fn of(example: &str, stage: &Stage, group: &str, millis: u32) -> Self {
        let mut member = self::example(stage, example, &[], group);
        let mut child = spawn(member.env("WORK_MS", millis.to_string()).stdout(Stdio::piped()));
        let (lines, printed) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::<Mutex<Vec<_>>>::default());
        std::thread::spawn({
            let printed = Arc::clone(&printed);
            move || {
                for line in lines.map_while(Result::ok) {
                    let (partition, offset) = line.split_once(' ').unwrap();
                    printed.lock().unwrap().push((partition.parse().unwrap(), offset.parse().unwrap()));
                }
            }
        });
        Self { child, printed }
    }

    /// Writes a line to its input.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn printed(&self) -> Vec<(i32, i64)> {
        self.printed.lock().unwrap().clone()
    }
}

impl Process {
    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        assert!(output(Command::new("kill").args(["-s", name, &self.child.id().to_string()])).status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
