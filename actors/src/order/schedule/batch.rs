//! What a [`Schedule`] does for batches.

use std::sync::atomic::Ordering;

use crate::consume::batch::Outcomes;
use crate::consume::handler::{Failure, FailureKind, Outcome};
use crate::order::attempt::Attempt;
use crate::order::failure::Next;
use crate::order::schedule::{Job, Schedule};

impl Schedule {
    /// The next record of the key of `holder`, for its batch.
    pub(crate) fn follow(&mut self, holder: &Job) -> Option<Job> {
        self.lanes.as_mut()?.follow(holder.lane?, |job| !job.alone)
    }

    /// As [`holder`](Self::holder), of a batch.
    pub(crate) fn batch_holder(&mut self) -> impl FnOnce(&mut Vec<Job>) {
        let lanes = self.lanes.as_mut();
        move |batch| {
            if let Some(lanes) = lanes {
                for job in batch.iter_mut().filter(|job| job.lane.is_none()) {
                    job.lane = lanes.join(job);
                }
            }
        }
    }

    /// A call with these records has ended so.
    pub(crate) fn batch_ended(&mut self, mut batch: Vec<Job>, outcomes: Outcomes) {
        if outcomes == Outcomes::All(Outcome::Done) {
            return batch.into_iter().for_each(|job| self.finish(job));
        }
        let (mut answers, together) = match outcomes.of_each(batch.len()) {
            Ok(answers) => (answers, false),
            Err(failure) => {
                let panicked = u64::from(failure.kind == FailureKind::Panic);
                self.io.board.counters.panics.fetch_add(panicked, Ordering::Relaxed);
                batch.iter_mut().for_each(|job| job.alone = true);
                // One of them is to blame, and the others are not to be exhausted by it.
                (vec![Err(failure); batch.len()], batch.len() > 1)
            }
        };
        let mut nexts = Vec::new();
        let mut judge = |schedule: &mut Self, at: usize, job: &Job| {
            let answer = std::mem::replace(&mut answers[at], Ok(Outcome::Done));
            let next = schedule.judge_in_batch(job, together, answer);
            let finished = next.is_none();
            nexts.extend(next);
            finished
        };
        let kept: Vec<_> = match self.lanes.take() {
            Some(mut lanes) => {
                let settled = lanes.settle(batch, |job| &mut job.lane, |at, job| judge(self, at, job));
                self.lanes = Some(lanes);
                self.runnable.extend(settled.next);
                settled.kept
            }
            None => {
                let batch = batch.into_iter().enumerate();
                batch.filter_map(|(at, job)| (!judge(self, at, &job)).then_some(job)).collect()
            }
        };
        for (job, next) in kept.into_iter().zip(nexts) {
            self.follow_up(job, next);
        }
    }

    /// What follows for a record of a batch; `None`: it is finished, and counted as that.
    fn judge_in_batch(&mut self, job: &Job, together: bool, answer: Result<Outcome, Failure>) -> Option<Next> {
        if let Attempt::NotDone(not_done) = Attempt::from(answer) {
            let next = self.io.judge(&job.record(), (!together).then_some(job.failed), *not_done, self.others);
            if next != Next::PassedOver {
                return Some(next);
            }
        }
        self.others += 1;
        self.count_finished(job);
        None
    }
}
