//! Runs of arms, on one broker, and what they answered.

use std::path::Path;
use std::process::{Command, Stdio};

use kafka_troupe::broker::LocalKafka;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arm::AS_ARM;
use crate::command_line::Common;

/// The broker of all runs.
pub(crate) struct Broker {
    _own: Option<LocalKafka>,
    pub(crate) bootstrap_servers: String,
}

impl Broker {
    /// The one that was named, or one of its own.
    pub(crate) fn of(common: &Common) -> Self {
        if let Some(given) = &common.bootstrap_server {
            return Self { _own: None, bootstrap_servers: given.clone() };
        }
        let kafka = LocalKafka::start().unwrap();
        let bootstrap_servers = kafka.bootstrap_servers().to_owned();
        Self { _own: Some(kafka), bootstrap_servers }
    }
}

/// Starts the program as an arm, and waits for its answer.
pub(crate) fn run_as_arm<A: DeserializeOwned>(program: &Path, request: &impl Serialize) -> A {
    let request = serde_json::to_string(request).unwrap();
    let output = Command::new(program).args([AS_ARM, &request]).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{request}: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[derive(Debug, Serialize)]
pub(crate) struct Run<Arm, Answer> {
    pub(crate) arm: Arm,
    pub(crate) answer: Answer,
}

/// Every run of the rounds, in the order they ran in.
#[derive(Debug, Serialize)]
pub(crate) struct Runs<Arm, Answer>(pub(crate) Vec<Run<Arm, Answer>>);

impl<Arm, Answer> Default for Runs<Arm, Answer> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<Arm: Copy + PartialEq, Answer> Runs<Arm, Answer> {
    /// A figure of an arm's runs, a round after the other.
    pub(crate) fn of(&self, arm: Arm, figure: impl Fn(&Answer) -> f64) -> Vec<f64> {
        self.0.iter().filter(|run| run.arm == arm).map(|run| figure(&run.answer)).collect()
    }

    /// Each arm once, in the order of their first runs.
    pub(crate) fn arms(&self) -> Vec<Arm> {
        let mut arms: Vec<Arm> = Vec::new();
        for run in &self.0 {
            if !arms.contains(&run.arm) {
                arms.push(run.arm);
            }
        }
        arms
    }
}

/// Writes all that was measured, where it was asked for.
pub(crate) fn write_report(common: &Common, report: &impl Serialize) {
    if let Some(path) = &common.json {
        std::fs::write(path, serde_json::to_string_pretty(report).unwrap()).unwrap();
    }
}
