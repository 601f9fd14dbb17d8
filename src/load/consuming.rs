//! The members of the group: the engine, with a handler that takes its time and writes down what it had.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use kafka_troupe::{AutoOffsetReset, ConsumerBuilder, ConsumerHandle, Record};
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::plan::{Plan, Work};

/// How long a group may take to share out the partitions.
const JOINING: Duration = Duration::from_secs(60);
/// How long a member may take to finish, commit and leave.
const LEAVING: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

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
            let account = Arc::clone(account);
            let builder = match plan.work {
                Work::None => builder.handler(move |record: &Record| account.handled(record)),
                Work::Spin(duration) => builder.handler(move |record: &Record| {
                    let begun = Instant::now();
                    while begun.elapsed() < duration {
                        std::hint::spin_loop();
                    }
                    account.handled(record);
                }),
                Work::Sleep(duration) => builder.async_handler(move |record: Record| {
                    let account = Arc::clone(&account);
                    async move {
                        tokio::time::sleep(duration).await;
                        account.handled(&record);
                    }
                }),
            };
            builder.start().with_context(|| format!("member {number} of the group cannot start"))
        };
        (1..=plan.members).map(member).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Waits until all partitions are shared out. Says whether that came before `stop`.
    ///
    /// # Errors
    /// They are not within a minute, or a member has ended.
    pub(crate) async fn joined(&self, plan: &Plan, stop: &CancellationToken) -> anyhow::Result<bool> {
        let until = Instant::now() + JOINING;
        loop {
            let shares: Vec<usize> = self.0.iter().map(|member| member.state().partitions.len()).collect();
            // Of more members than partitions some have none.
            let served = shares.iter().filter(|share| **share > 0).count();
            if shares.iter().sum::<usize>() == plan.partitions as usize
                && served == shares.len().min(plan.partitions as usize)
            {
                return Ok(true);
            }
            self.check().await?;
            anyhow::ensure!(
                Instant::now() < until,
                "the group {} has not shared out the {} partitions of {} within {JOINING:?}: its members have {shares:?}",
                plan.group,
                plan.partitions,
                plan.topic
            );
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
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

    /// They finish and commit what they have begun, and leave.
    ///
    /// # Errors
    /// Of the first that cannot.
    pub(crate) async fn leave(self) -> anyhow::Result<()> {
        let mut left = Vec::new();
        for (index, member) in self.0.iter().enumerate() {
            let end = member.shutdown(LEAVING).await;
            left.push(end.with_context(|| format!("member {} of the group cannot leave in good order", index + 1)));
        }
        left.into_iter().try_for_each(|end| end.map(drop))
    }
}
