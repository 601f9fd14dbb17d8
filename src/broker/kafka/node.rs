//! One node: a JVM, its folder, and the signals it gets.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::error::BrokerError;
use crate::warden::Warden;

/// Kafka's own default cluster id would do; any will.
const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: usize,
    folder: PathBuf,
    jars: PathBuf,
    jvm: Option<Child>,
}

impl Node {
    /// A node with its folder, its properties written and its log directory formatted.
    pub(super) fn format(
        id: usize,
        folder: PathBuf,
        jars: &Path,
        properties: &str,
        scram: &[(String, String)],
    ) -> Result<Self, BrokerError> {
        let node = Self { id, folder, jars: jars.to_owned(), jvm: None };
        let io = |source| node.io_error(source);
        std::fs::create_dir_all(&node.folder).map_err(io)?;
        std::fs::write(node.properties(), properties).map_err(io)?;
        let mut format = node.java("kafka.tools.StorageTool");
        format.args(["format", "-t", CLUSTER_ID, "-c"]).arg(node.properties());
        for (user, password) in scram {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                format.args(["--add-scram", &format!("{mechanism}=[name={user},password={password}]")]);
            }
        }
        let formatted = format.output().map_err(missing_java)?;
        if formatted.status.success() { Ok(node) } else { Err(node.error(&String::from_utf8_lossy(&formatted.stderr))) }
    }

    fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn java(&self, class: &str) -> Command {
        java(&self.jars, class)
    }

    pub(super) fn start(&mut self, warden: &mut Warden) -> Result<(), BrokerError> {
        let log = File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.and_then(|log| Ok((log.try_clone()?, log))).map_err(|source| self.io_error(source))?;
        let jvm = self.java("kafka.Kafka").arg(self.properties()).stdout(log.0).stderr(log.1).spawn();
        let jvm = jvm.map_err(missing_java)?;
        warden.begun(jvm.id());
        self.jvm = Some(jvm);
        Ok(())
    }

    /// An error if the node is not running.
    pub(super) fn check(&mut self) -> Result<(), BrokerError> {
        if self.jvm.as_mut().is_some_and(|jvm| matches!(jvm.try_wait(), Ok(None))) {
            return Ok(());
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let tail: Vec<_> = log.lines().rev().take(15).collect();
        Err(self.error(&tail.into_iter().rev().collect::<Vec<_>>().join("\n")))
    }

    /// Sends a signal by its name, `TERM` for example. A node that is down gets none.
    #[cfg(feature = "testing")]
    pub(super) fn signal(&self, name: &str) -> Result<(), BrokerError> {
        let Some(jvm) = &self.jvm else {
            return Ok(());
        };
        // The child has not been waited for, so the id is its own.
        let sent = Command::new("kill").args(["-s", name, &jvm.id().to_string()]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.error(&format!("kill -s {name} ended with {status}"))),
            Err(source) => Err(self.io_error(source)),
        }
    }

    /// Waits until the node has ended by itself.
    pub(super) fn wait(&mut self, warden: &mut Warden) {
        if let Some(mut jvm) = self.jvm.take() {
            let _ = jvm.wait();
            warden.ended(jvm.id());
        }
    }

    /// Ends the node at once, as `SIGKILL` does. Does nothing when it is down.
    pub(super) fn kill(&mut self, warden: &mut Warden) {
        if let Some(jvm) = &mut self.jvm {
            let _ = jvm.kill();
            self.wait(warden);
        }
    }

    fn error(&self, detail: &str) -> BrokerError {
        BrokerError::Node { node: self.id, detail: detail.trim().to_owned() }
    }

    fn io_error(&self, source: std::io::Error) -> BrokerError {
        self.error(&format!("{}: {source}", self.folder.display()))
    }
}

/// A class of Kafka's, in a JVM of its own.
pub(super) fn java(jars: &Path, class: &str) -> Command {
    let java = std::env::var_os("JAVA_HOME").map_or_else(|| "java".into(), |home| Path::new(&home).join("bin/java"));
    let mut command = Command::new(java);
    command
        .args(["-Xmx384m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
        .arg(jars.join("*"))
        .arg(class)
        .stdin(Stdio::null())
        // Out of reach of a terminal's Ctrl-C.
        .process_group(0);
    command
}

fn missing_java(source: std::io::Error) -> BrokerError {
    BrokerError::MissingTool { tool: "java", install: "Java 17 or later (package openjdk-17-jre-headless)", source }
}
