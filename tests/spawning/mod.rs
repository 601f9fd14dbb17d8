//! Processes that are started beside embedded brokers that are taken down.
//!
//! librdkafka's mock cluster closes a broker's listener then, binds its port anew, and aborts the process where it cannot: as long as a process that
//! another thread starts has its copy of the listener, until its program begins. So the one waits for the other.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock};

use kafka_troupe::broker::EmbeddedBroker;

static STARTING: RwLock<()> = RwLock::new(());

/// Starts something that starts processes.
pub fn starting<T>(start: impl FnOnce() -> T) -> T {
    let _while_it_starts = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    start()
}

pub fn spawn(command: &mut Command) -> Child {
    starting(|| command.spawn()).unwrap()
}

pub fn output(command: &mut Command) -> Output {
    spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).wait_with_output().unwrap()
}

/// Takes a broker down while nothing is started.
pub fn take_down(broker: &EmbeddedBroker, number: i32) {
    let _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    broker.take_down(number).unwrap();
}
