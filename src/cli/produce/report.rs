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
    /// Further records would have failed too.
    Hopeless,
    Bad(BadInput),
    /// The producer failed, or its thread.
    Broken(String),
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
            End::Signal | End::Hopeless | End::Broken(_) => Some(tally.last_line() + 1),
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
        report.error = report.complaint(end);
        report
    }

    /// What was not as it should be.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn complaint(&self, end: &End) -> Option<String> {
        let mut complaint = String::new();
        let all_before =
            if self.failed == 0 { "all records before it are sent" } else { "the records before it are not all sent" };
        let _ = match end {
            End::All | End::Signal if self.failed == 0 => return None,
            End::All | End::Signal => Ok(()),
            End::Bad(bad) => {
                let next = bad.line + 1;
                write!(
                    complaint,
                    "{bad}\n{all_before}; go on with --from-line {} once it is mended, or with --from-line {next} without it",
                    bad.line
                )
            }
            End::Hopeless => write!(complaint, "given up: further records would fail too"),
            End::Broken(why) => write!(complaint, "given up: {why}"),
        };
        if self.failed > 0 {
            if !complaint.is_empty() {
                complaint.push('\n');
            }
            let _ = write!(complaint, "{} failed:", records(self.failed));
            for failure in &self.failures {
                let _ = write!(complaint, "\n  line {}: {}", failure.line, failure.error);
            }
            let more = self.failed - self.failures.len() as u64;
            if more > 0 {
                let _ = write!(complaint, "\n  and {more} more, in later lines");
            }
        }
        Some(complaint)
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
