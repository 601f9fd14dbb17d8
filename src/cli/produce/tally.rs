//! What became of the records: counted as their answers come, on the producer's threads.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use kafka_troupe::produce::{Delivery, ErrorClass, SendError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// How many of the failed records are named.
const NAMED: usize = 10;

/// A record that is not stored, as far as anybody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    pub(super) line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<i32>,
    pub(super) error: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sent: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    /// The last line that was answered. Lines are accepted in order, so once all are answered it is the last that was accepted.
    last_line: AtomicU64,
    failures: Mutex<Vec<Failure>>,
    /// Cancelled when it makes no sense to go on.
    pub(super) given_up: CancellationToken,
    hopeless: OnceLock<String>,
}

impl Tally {
    /// The answer for the record of a line.
    pub(super) fn answer(&self, line: u64, bytes: usize, answer: Result<Delivery, SendError>) {
        self.last_line.fetch_max(line, Ordering::Relaxed);
        match answer {
            Ok(_) => {
                self.sent.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(error) => self.fail(line, &error),
        }
    }

    /// The record of a line failed.
    pub(super) fn fail(&self, line: u64, error: &SendError) {
        self.last_line.fetch_max(line, Ordering::Relaxed);
        self.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(why) = hopeless(error)
            && self.hopeless.set(why).is_ok()
        {
            self.given_up.cancel();
        }
        let mut failures = self.failures();
        // The lowest lines are named, in whatever order the answers come.
        let at = failures.partition_point(|failure| failure.line <= line);
        if at < NAMED {
            failures.insert(at, Failure { line, partition: partition_of(error), error: error.to_string() });
            failures.truncate(NAMED);
        }
    }

    fn failures(&self) -> MutexGuard<'_, Vec<Failure>> {
        // Any content is valid.
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn last_line(&self) -> u64 {
        self.last_line.load(Ordering::Relaxed)
    }

    /// Why it made no sense to go on.
    pub(super) fn why_given_up(&self) -> Option<&str> {
        self.hopeless.get().map(String::as_str)
    }

    /// Those of the lowest lines, some at most.
    pub(super) fn named_failures(&self) -> Vec<Failure> {
        self.failures().clone()
    }
}

/// Why the next record would fare no better, if so.
fn hopeless(error: &SendError) -> Option<String> {
    match error {
        SendError::Rejected { topic, error, .. } | SendError::Fatal { topic, error, .. }
            if [TOPIC_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED].contains(&error.code()) =>
        {
            Some(no_permission(topic, error))
        }
        SendError::UnknownTopic { topic } => Some(format!("topic {topic} does not exist any more")),
        SendError::InvalidTopic { .. } => Some(error.to_string()),
        _ => (error.class() == ErrorClass::Fatal).then(|| error.to_string()),
    }
}

/// What is said where an ACL is missing.
pub(super) fn no_permission(topic: &str, error: impl Display) -> String {
    format!("no permission to write to topic {topic}, an ACL must allow Write: {error}")
}

/// Kafka's numbers for having no permission. An idempotent producer gets the latter where it may write to no topic at all.
const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
const CLUSTER_AUTHORIZATION_FAILED: i32 = 31;

fn partition_of(error: &SendError) -> Option<i32> {
    match error {
        SendError::UnknownPartition { partition, .. } => Some(partition.0),
        SendError::Rejected { partition, .. }
        | SendError::TooLarge { partition, .. }
        | SendError::TimedOut { partition, .. }
        | SendError::Abandoned { partition, .. }
        | SendError::Fatal { partition, .. } => partition.map(|partition| partition.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_large() -> SendError {
        SendError::TooLarge { topic: "t".into(), partition: None, bytes: 9, by_broker: false }
    }

    #[test]
    fn the_lowest_lines_are_named_whatever_the_order_of_the_answers() {
        let tally = Tally::default();
        for line in [30, 7, 12, 8, 100, 3, 41, 5, 6, 9, 10, 11, 4] {
            tally.fail(line, &too_large());
        }
        let named: Vec<_> = tally.named_failures().iter().map(|failure| failure.line).collect();
        assert_eq!(named, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!((tally.failed(), tally.last_line()), (13, 100));
        assert!(!tally.given_up.is_cancelled());
    }

    #[test]
    fn what_every_further_record_would_suffer_too_ends_it() {
        let tally = Tally::default();
        tally.fail(1, &SendError::UnknownTopic { topic: "t".into() });
        tally.fail(2, &too_large());
        assert!(tally.given_up.is_cancelled());
        assert_eq!(tally.why_given_up(), Some("topic t does not exist any more"));
    }
}
