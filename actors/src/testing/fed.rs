//! A record between its first call and its end.

use std::time::Duration;

use tokio::time::Instant;

use crate::consume::failing::{FailurePolicy, Verdict};
use crate::consume::handler::{Failure, Outcome};
use crate::consume::record::Record;
use crate::order::attempt::Attempt;
use crate::testing::{Tested, TestedAttempt, TestedEnd};

pub(super) struct Fed {
    pub(super) record: Record,
    began: Option<Instant>,
    attempts: Vec<TestedAttempt>,
}

/// What follows an attempt.
pub(super) enum Next {
    /// Another, after this pause.
    Again(Duration),
    End(TestedEnd),
}

impl Fed {
    pub(super) fn new(record: Record) -> Self {
        Self { record, began: None, attempts: Vec::new() }
    }

    /// A call with it begins.
    pub(super) fn begin(&mut self, now: Instant) -> Record {
        self.began.get_or_insert(now);
        self.record.clone()
    }

    /// An attempt has ended so. `counts`: not as a failure that others share.
    pub(super) fn answered(&mut self, attempt: TestedAttempt, counts: bool, policy: &FailurePolicy) -> Next {
        let outcome: Result<Outcome, Failure> = attempt.outcome.clone();
        self.attempts.push(attempt);
        let Attempt::NotDone(not_done) = Attempt::from(outcome) else {
            return Next::End(TestedEnd::Done);
        };
        let (pause, failures) = match policy.judge(&self.record, counts.then_some(self.record.failed), *not_done, || 0)
        {
            Verdict::Again { pause, .. } => (pause, u32::from(counts)),
            Verdict::Asked { after, .. } => (after, 0),
            Verdict::PassedOver { .. } => return Next::End(TestedEnd::PassedOver),
            Verdict::Exhausted { cause, .. } => return Next::End(TestedEnd::Exhausted { cause }),
            Verdict::DeadLetter { cause } => return Next::End(TestedEnd::DeadLettered { cause }),
            Verdict::Stop { cause } => return Next::End(TestedEnd::Stopped { cause }),
        };
        self.record.attempt = self.record.attempt.saturating_add(1);
        self.record.failed = self.record.failed.saturating_add(failures);
        Next::Again(pause)
    }

    pub(super) fn ended(self, end: TestedEnd) -> Tested {
        let took = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        Tested { attempts: self.attempts, end, took }
    }
}
