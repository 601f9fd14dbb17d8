//! A member in a process of its own, and its story.

use std::process::ExitStatus;

use crate::story::Story;
use crate::verifiable::{KAFKA, Tool, Whose, eventually};

/// It ends with this value.
pub struct Member(Tool);

impl Member {
    pub fn start(whose: Whose, topic: &str, group: &str, arguments: &[&str]) -> Self {
        Self::of(whose, KAFKA.bootstrap_servers(), topic, group, arguments)
    }

    /// Ours, with no broker to speak to.
    pub fn refused(arguments: &[&str]) -> Self {
        Self::of(Whose::Ours, "localhost:1", "t", "g", arguments)
    }

    fn of(whose: Whose, servers: &str, topic: &str, group: &str, arguments: &[&str]) -> Self {
        let mut command = whose.command("consumer");
        command.args(["--bootstrap-server", servers, "--topic", topic, "--group-id", group]);
        Self(Tool::start(command.args(arguments)))
    }

    /// What it has told by now.
    pub fn story(&self) -> Story {
        Story(self.0.events())
    }

    /// Ends it in good order, and waits until it says so.
    pub fn end(&mut self) {
        self.0.terminate();
        eventually("it ends", || self.story().named("shutdown_complete").next().is_some());
        self.wait();
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait()
    }
}
