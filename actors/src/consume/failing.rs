//! What becomes of records whose handler failed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::error;

#[allow(unused_imports)]
use crate::consume::error::ConsumerError;
use crate::consume::handler::{Cause, Failure, FailureKind, Outcome};
use crate::consume::record::Record;
use crate::consume::retry::RetrySchedule;
use crate::order::attempt::{NotDone, guarded};

/// What becomes of a record that has failed as often as it may, where neither a [retry topic](crate::consume::ConsumerBuilder::retry_topics) nor a
/// [dead-letter topic](crate::consume::ConsumerBuilder::dead_letters)
/// takes it. Whatever it is, the record is not committed and not lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnExhausted {
    /// The engine drains, commits, and ends with [`ConsumerError::Exhausted`], which names the record.
    #[default]
    Stop,
    /// Its partition stops: it stays assigned, starts no record, and is shown in the state with the record, until
    /// [`resume`](crate::consume::ConsumerHandle::resume) has it tried again, its attempts at 1. Other partitions go on. Another owner of the
    /// partition tries it too.
    StopPartition,
}

/// A record whose handler failed, for [`on_failure`](crate::consume::ConsumerBuilder::on_failure).
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedRecord<'a> {
    /// The record, with the number of the attempt that failed.
    pub record: &'a Record,
    /// How it failed.
    pub kind: FailureKind,
    /// Why.
    pub cause: &'a Cause,
}

type Decide = Arc<dyn Fn(&FailedRecord<'_>) -> Option<Outcome> + Send + Sync>;

/// A consumer's policy for failures.
#[derive(Clone)]
pub(crate) struct FailurePolicy {
    pub(crate) pause: RetrySchedule,
    pub(crate) attempts: u32,
    pub(crate) on_exhausted: OnExhausted,
    pub(crate) decide: Option<Decide>,
}

/// What the policy makes of an attempt that did not finish its record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A failure: another attempt after this pause.
    Again { pause: Duration, cause: Cause },
    /// Another attempt was asked for, after this pause.
    Asked { after: Duration, cause: Cause },
    /// The app passes it over.
    PassedOver { cause: Cause },
    /// It failed as often as it may. `later`: what a later time may change.
    Exhausted { cause: Cause, later: bool },
    /// It is given up.
    DeadLetter { cause: Cause },
    /// The engine is to stop.
    Stop { cause: Cause },
}

impl FailurePolicy {
    /// Judges one attempt at a record that has failed so often before; `None`: it failed together with others, and cannot be exhausted by
    /// that. `random` gives 64 random bits, for the pause.
    pub(crate) fn judge(
        &self,
        record: &Record,
        failures: Option<u32>,
        not_done: NotDone,
        random: impl FnOnce() -> u64,
    ) -> Verdict {
        let Failure { kind, cause } = match not_done {
            NotDone::Retry { after, cause } => return Verdict::Asked { after, cause },
            NotDone::DeadLetter { cause } => return Verdict::DeadLetter { cause },
            NotDone::Stop { cause } => return Verdict::Stop { cause },
            NotDone::Failed(failure) => failure,
        };
        let failed = FailedRecord { record, kind, cause: &cause };
        let decided = self.decide.as_ref().and_then(|decide| {
            guarded(|| decide(&failed)).unwrap_or_else(|panic| {
                error!(%panic, "the app's policy for failures panicked: the usual follows");
                None
            })
        });
        match decided {
            Some(Outcome::Done) => Verdict::PassedOver { cause },
            Some(Outcome::Retry { after, cause }) => Verdict::Asked { after, cause },
            Some(Outcome::DeadLetter { cause }) => Verdict::DeadLetter { cause },
            Some(Outcome::Stop { cause }) => Verdict::Stop { cause },
            None => {
                let count = failures.unwrap_or(0).saturating_add(1);
                // The same bytes decode no better the next time.
                let exhausted = kind == FailureKind::Undecodable || count >= self.attempts;
                match failures.is_some() && exhausted {
                    true => Verdict::Exhausted { cause, later: kind != FailureKind::Undecodable },
                    false => Verdict::Again { pause: self.pause.pause(count, random()), cause },
                }
            }
        }
    }
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self { pause: RetrySchedule::default(), attempts: 10, on_exhausted: OnExhausted::default(), decide: None }
    }
}

impl fmt::Debug for FailurePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailurePolicy")
            .field("pause", &self.pause)
            .field("attempts", &self.attempts)
            .field("on_exhausted", &self.on_exhausted)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::record::tests::record;

    fn policy(
        attempts: u32,
        decide: impl Fn(&FailedRecord<'_>) -> Option<Outcome> + Send + Sync + 'static,
    ) -> FailurePolicy {
        FailurePolicy { attempts, decide: Some(Arc::new(decide)), ..FailurePolicy::default() }
    }

    fn judge(policy: &FailurePolicy, kind: FailureKind, attempt: u32) -> Verdict {
        let record = Record { attempt, ..record(None, None) };
        policy.judge(&record, Some(attempt - 1), NotDone::Failed(Failure::new(kind, "why")), || 0)
    }

    #[test]
    fn what_failed_together_with_others_is_not_exhausted_by_that() {
        let policy = policy(1, |_| None);
        for kind in [FailureKind::Error, FailureKind::Undecodable] {
            let not_done = NotDone::Failed(Failure::new(kind, "why"));
            let verdict = policy.judge(&record(None, None), None, not_done, || 0);
            assert_eq!(verdict, Verdict::Again { pause: Duration::from_millis(100), cause: "why".into() });
        }
    }

    #[test]
    fn a_failure_is_tried_again_until_its_attempts_are_exhausted() {
        let policy = policy(3, |_| None);
        for kind in [FailureKind::Error, FailureKind::Panic, FailureKind::Timeout] {
            let cause = Cause::new("why");
            let pause = Duration::from_millis(200);
            assert_eq!(judge(&policy, kind, 2), Verdict::Again { pause, cause: cause.clone() });
            assert_eq!(judge(&policy, kind, 3), Verdict::Exhausted { cause, later: true });
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_exhausted_at_once() {
        let exhausted = Verdict::Exhausted { cause: "why".into(), later: false };
        assert_eq!(judge(&policy(u32::MAX, |_| None), FailureKind::Undecodable, 1), exhausted);
    }

    #[test]
    fn the_app_decides_first_and_sees_what_failed() {
        let by_kind = |failed: &FailedRecord<'_>| match failed.kind {
            FailureKind::Undecodable => Some(Outcome::Done),
            FailureKind::Timeout => Some(Outcome::Retry { after: Duration::ZERO, cause: "later".into() }),
            FailureKind::Panic => Some(Outcome::Stop { cause: failed.cause.clone() }),
            FailureKind::Error if failed.record.attempt() == 3 => {
                Some(Outcome::DeadLetter { cause: "hopeless".into() })
            }
            FailureKind::Error => panic!("no opinion"),
        };
        let policy = policy(1, by_kind);
        let (why, later) = (|| Cause::new("why"), Cause::new("later"));
        assert_eq!(judge(&policy, FailureKind::Undecodable, 1), Verdict::PassedOver { cause: why() });
        assert_eq!(judge(&policy, FailureKind::Timeout, 9), Verdict::Asked { after: Duration::ZERO, cause: later });
        assert_eq!(judge(&policy, FailureKind::Panic, 1), Verdict::Stop { cause: why() });
        assert_eq!(judge(&policy, FailureKind::Error, 1), Verdict::Exhausted { cause: why(), later: true });
        assert_eq!(judge(&policy, FailureKind::Error, 3), Verdict::DeadLetter { cause: "hopeless".into() });
    }
}
