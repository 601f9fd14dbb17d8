//! How it went, for people and programs.

use std::fmt::{self, Write};
use std::time::Duration;

use indicatif::HumanBytes;
use serde::Serialize;

use super::split::BadInput;
use super::tally::{Failure, Tally};

/// Why no more was read.
#[derive(Debug)]
pub(super) enum End {
    /// There was no more.
    All,
    /// A signal came.
    Signal,
    Bad(BadInput),
    /// Further records would have failed too, or the producer itself failed.
    GivenUp(String),
}

/// What became of the input.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Records that the brokers confirmed.
    sent: u64,
    failed: u64,
    /// Keys and values of those that were sent.
    bytes: u64,
    seconds: f64,
    /// Records sent per second.
    rate: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<Failure>,
    /// The first line that was not sent, where it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_line: Option<u64>,
    #[serde(skip)]
    error: Option<String>,
}

impl Report {
    pub(super) fn new(tally: &Tally, end: &End, took: Duration) -> Self {
        let seconds = took.as_secs_f64();
        let sent = tally.sent();
        let next_line = match end {
            End::All => None,
            End::Bad(bad) => Some(bad.line),
            End::Signal => Some(tally.last_line() + 1),
            // Later ones may have been sent, for partitions do not wait for each other.
            End::GivenUp(_) => {
                tally.named_failures().first().map(|failure| failure.line).or(Some(tally.last_line() + 1))
            }
        };
        let mut report = Self {
            sent,
            failed: tally.failed(),
            bytes: tally.bytes(),
            seconds,
            rate: sent as f64 / seconds.max(f64::EPSILON),
            failures: tally.named_failures(),
            next_line,
            error: None,
        };
        report.error = report.complaint(tally, end);
        report
    }

    /// What was not as it should be.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn complaint(&self, tally: &Tally, end: &End) -> Option<String> {
        let failures = self.named();
        match end {
            End::All | End::Signal => failures,
            End::Bad(bad) => {
                let (line, next) = (bad.line, bad.line + 1);
                let before = if failures.is_some() {
                    "not all of the records before it are sent"
                } else {
                    "all records before it are sent"
                };
                let go_on =
                    format!("go on with --from-line {line} once it is mended, or with --from-line {next} without it");
                Some(
                    [Some(format!("{bad}\n{before}; {go_on}")), failures]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join("\n"),
                )
            }
            // The records on their way have failed too, of which there is no more to say.
            End::GivenUp(why) => {
                let why = if why.is_empty() { tally.why_given_up().unwrap_or_default() } else { why };
                let line = self.next_line.unwrap_or(1);
                let failed = records(self.failed);
                Some(format!(
                    "{why}\n{failed} failed, the first in line {line}; once that is mended, go on with --from-line {line}"
                ))
            }
        }
    }

    /// The failures, the first of them one by one.
    fn named(&self) -> Option<String> {
        let more = self.failed.checked_sub(self.failures.len() as u64)?;
        if self.failed == 0 {
            return None;
        }
        let mut named = format!("{} failed:", records(self.failed));
        for failure in &self.failures {
            let _ = write!(named, "\n  line {}: {}", failure.line, failure.error);
        }
        if more > 0 {
            let _ = write!(named, "\n  and {more} more, in later lines");
        }
        Some(named)
    }

    /// The report as an event of the log.
    pub(super) fn log(&self) {
        tracing::info!(
            sent = self.sent,
            failed = self.failed,
            bytes = self.bytes,
            seconds = self.seconds,
            rate = self.rate,
            next_line = self.next_line,
            "produced"
        );
    }
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, bytes) = (records(self.sent), HumanBytes(self.bytes));
        write!(f, "sent {sent} ({bytes}) in {:.1} s, {:.0} records/s", self.seconds, self.rate)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        match self.next_line {
            Some(line) => write!(f, "; the rest begins at line {line}"),
            None => Ok(()),
        }
    }
}
