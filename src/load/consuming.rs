//! The members of the group: the engine, with a handler that takes its time and writes down what it had.

use std::sync::Arc;
use std::time::Duration;

use super::account::{Account, Call};
use super::ledger::Place;
use super::plan::Plan;
use super::work::{Tasks, Work, spin};
use anyhow::Context;
use kafka_troupe::{AutoOffsetReset, ConsumerBuilder, ConsumerHandle, Record};

/// How long a member may take to finish, commit and leave.
const LEAVING: Duration = Duration::from_secs(10);
/// Handlers without work are timed at one record of so many.
const ONE_CALL_OF: i64 = 16;
/// What the engine logs of an attempt that was to fail.
const TO_FAIL: &str = "this attempt was to fail";

pub(crate) struct Members(Vec<ConsumerHandle>);

impl Members {
    /// Starts them.
    ///
    /// # Errors
    /// The engine's own.
    pub(crate) fn start(
        plan: &Plan,
        account: &Arc<Account>,
        builder: &dyn Fn() -> ConsumerBuilder,
    ) -> anyhow::Result<Self> {
        let member = |number: u16| {
            let mut builder = builder()
                .topics([&plan.topic])
                .partitions([])
                .group_id(&plan.group)
                .auto_offset_reset(AutoOffsetReset::Earliest)
                .order(plan.order);
            if let Some(calls) = plan.concurrency {
                builder = builder.concurrency(calls);
            }
            if plan.failure_rate > 0.0 {
                builder = builder.max_attempts(u32::MAX);
            }
            let (work, told) = (plan.work, Arc::clone(account));
            builder = builder.on_commit(move |report| {
                let done = report.partitions.iter().filter(|it| it.error.is_none());
                told.confirmed(done.map(|it| (it.topic_partition.partition.0, it.offset.0)));
            });
            let (account, tasks) = (Arc::clone(account), plan.tasks());
            let builder = match work {
                Work::None if plan.failure_rate == 0.0 => builder.handler(move |record: &Record| {
                    let called = called(&account, record, work);
                    handled(&account, record, called)
                }),
                Work::None | Work::Spin(_) => builder.handler(move |record: &Record| {
                    let called = called(&account, record, work);
                    spin(tasks.time(place(record)));
                    attempted(&tasks, &account, record, called)
                }),
                Work::Sleep(_) => builder.async_handler(move |record: Record| {
                    let account = Arc::clone(&account);
                    async move {
                        let called = called(&account, &record, work);
                        tokio::time::sleep(tasks.time(place(&record))).await;
                        attempted(&tasks, &account, &record, called)
                    }
                }),
            };
            builder.start().with_context(|| format!("member {number} of the group cannot start"))
        };
        (1..=plan.members).map(member).collect::<anyhow::Result<_>>().map(Self)
    }

    /// The partitions that each has.
    pub(crate) fn shares(&self) -> Vec<Vec<u32>> {
        let share = |member: &ConsumerHandle| member.state().partitions.iter().map(|it| it.partition as u32).collect();
        self.0.iter().map(share).collect()
    }

    /// How often one gave partitions up, or lost them, without a last commit.
    pub(crate) fn uncommitted(&self) -> u64 {
        let counters = self.0.iter().map(|member| member.state().counters);
        counters.map(|counters| counters.drains_uncommitted + counters.lost).sum()
    }

    /// # Errors
    /// Of a member that has ended.
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
        for (index, member) in self.0.iter().enumerate() {
            if member.cancellation_token().is_cancelled() {
                member.wait().await.with_context(|| format!("member {} of the group ended", index + 1))?;
                anyhow::bail!("member {} of the group ended before its time", index + 1);
            }
        }
        Ok(())
    }

    /// What they have committed, by partition, as far as they know.
    pub(crate) fn committed(&self, plan: &Plan) -> Vec<i64> {
        let mut committed = vec![0; plan.partitions as usize];
        for partition in self.0.iter().flat_map(|member| member.state().partitions) {
            if let Some(known) = committed.get_mut(partition.partition as usize) {
                *known = partition.committed.unwrap_or(0).max(*known);
            }
        }
        committed
    }

    /// They finish and commit what they have begun, and leave. Says whether all could.
    ///
    /// # Errors
    /// Of the first that cannot.
    pub(crate) async fn leave(self) -> anyhow::Result<bool> {
        let mut left = Vec::new();
        for (index, member) in self.0.iter().enumerate() {
            let end = member.shutdown(LEAVING).await;
            left.push(end.with_context(|| format!("member {} of the group cannot leave in good order", index + 1)));
        }
        left.into_iter().try_fold(true, |all, end| end.map(|end| all && end.drained))
    }
}

/// A handler is at the end of an attempt: it is through with the record, or fails as the plan has it.
fn attempted(tasks: &Tasks, account: &Account, record: &Record, called: Option<u64>) -> Result<(), &'static str> {
    if tasks.fails(place(record), record.attempt()) {
        account.attempt_failed();
        return Err(TO_FAIL);
    }
    handled(account, record, called);
    Ok(())
}

/// The time at which a handler is called, where that is to be known of this record: of each whose handler has work to do, and else, where the
/// look at the clock would be all the work there is, of one in [`ONE_CALL_OF`].
fn called(account: &Account, record: &Record, work: Work) -> Option<u64> {
    (work != Work::None || record.offset().0 % ONE_CALL_OF == 0).then(|| account.clock.now())
}

fn handled(account: &Account, record: &Record, called: Option<u64>) {
    let call = Call { received: account.clock.at(record.received_at()), called };
    account.handled(record.key(), record.value(), place(record), call);
}

fn place(record: &Record) -> Place {
    Place { partition: record.partition().0 as u32, offset: record.offset().0 as u64 }
}
