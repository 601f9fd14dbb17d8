//! Who handles the records: members of the engine, or bare ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::bare::BareMembers;
use super::consuming::Members;
use super::plan::{Engine, Plan};
use super::run::Target;

/// How long a group may take to share out the partitions.
const JOINING: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

pub(crate) enum Crew {
    Engine(Members),
    Bare(BareMembers),
}

impl Crew {
    /// Starts them.
    ///
    /// # Errors
    /// The engine's own, or librdkafka's.
    pub(crate) fn start(plan: &Plan, account: &Arc<Account>, target: &Target<'_>) -> anyhow::Result<Self> {
        Ok(match plan.engine {
            Engine::Troupe => Self::Engine(Members::start(plan, account, &target.member)?),
            Engine::Bare => Self::Bare(BareMembers::start(plan, account, &target.bare)?),
        })
    }

    /// Waits until all partitions are shared out. Says whether that came before `stop`.
    ///
    /// # Errors
    /// They are not within a minute, or a member has ended.
    pub(crate) async fn joined(&self, plan: &Plan, stop: &CancellationToken) -> anyhow::Result<bool> {
        let until = Instant::now() + JOINING;
        loop {
            let shares = match self {
                Self::Engine(members) => members.shares(),
                Self::Bare(members) => members.shares(),
            };
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
        match self {
            Self::Engine(members) => members.check().await,
            Self::Bare(members) => members.check(),
        }
    }

    /// What they have committed, by partition, as far as they know.
    pub(crate) fn committed(&self, plan: &Plan) -> Vec<i64> {
        match self {
            Self::Engine(members) => members.committed(plan),
            Self::Bare(members) => members.committed(plan),
        }
    }

    /// They finish and commit what they have begun, and leave.
    ///
    /// # Errors
    /// Of the first that cannot.
    pub(crate) async fn leave(self) -> anyhow::Result<()> {
        match self {
            Self::Engine(members) => members.leave().await,
            Self::Bare(members) => members.leave().await,
        }
    }
}
