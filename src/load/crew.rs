//! Who handles the records: members of the engine, or bare ones, or processes that are either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::bare::BareMembers;
use super::consuming::Members;
use super::faults::Blow;
use super::plan::{Engine, Plan};
use super::processes::Processes;
use super::run::Target;

/// How long a group may take to share out the partitions.
const JOINING: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

pub(crate) enum Crew {
    Engine(Members),
    Bare(BareMembers),
    /// Each in a process of its own.
    Apart(Processes),
}

impl Crew {
    /// Starts them.
    ///
    /// # Errors
    /// The engine's own, or librdkafka's.
    pub(crate) fn start(plan: &Plan, account: &Arc<Account>, target: &Target<'_>) -> anyhow::Result<Self> {
        if let Some(command) = &target.member_process {
            return Processes::start(plan.members, account, Arc::clone(command)).map(Self::Apart);
        }
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
            if self.is_shared_out(plan) {
                return Ok(true);
            }
            let shares: Vec<usize> = self.shares().iter().map(Vec::len).collect();
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

    /// Whether each partition has a member, and each member a partition.
    pub(crate) fn is_shared_out(&self, plan: &Plan) -> bool {
        let (shares, partitions) = (self.shares(), plan.partitions as usize);
        // Of more members than partitions some have none.
        let served = shares.iter().filter(|share| !share.is_empty()).count();
        shares.iter().map(Vec::len).sum::<usize>() == partitions && served == shares.len().min(partitions)
    }

    /// The partitions that each has.
    pub(crate) fn shares(&self) -> Vec<Vec<u32>> {
        match self {
            Self::Engine(members) => members.shares(),
            Self::Bare(members) => members.shares(),
            Self::Apart(processes) => processes.shares(),
        }
    }

    /// How often a member in this process gave partitions up, or lost them, and says that it made no last commit.
    pub(crate) fn uncommitted(&self) -> u64 {
        match self {
            Self::Engine(members) => members.uncommitted(),
            // librdkafka does not say.
            Self::Bare(_) | Self::Apart(_) => 0,
        }
    }

    /// Does something to one of them; says to which.
    ///
    /// # Errors
    /// Of the system; or they are in this process.
    pub(crate) fn strike(&self, what: Blow) -> anyhow::Result<u16> {
        match self {
            Self::Apart(processes) => processes.strike(what),
            _ => anyhow::bail!("members in this process cannot have the fault {}", what.name()),
        }
    }

    /// # Errors
    /// Of a member that has ended.
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::Engine(members) => members.check().await,
            Self::Bare(members) => members.check(),
            Self::Apart(processes) => processes.check(),
        }
    }

    /// What they have committed, by partition, as far as they know.
    pub(crate) fn committed(&self, plan: &Plan) -> Vec<i64> {
        match self {
            Self::Engine(members) => members.committed(plan),
            Self::Bare(members) => members.committed(plan),
            Self::Apart(processes) => processes.committed(plan),
        }
    }

    /// They finish and commit what they have begun, and leave. Says whether all did, as far as is known.
    ///
    /// # Errors
    /// Of the first that cannot.
    pub(crate) async fn leave(self) -> anyhow::Result<bool> {
        match self {
            Self::Engine(members) => members.leave().await,
            Self::Bare(members) => members.leave().await.map(|()| true),
            Self::Apart(processes) => processes.leave().await.map(|()| true),
        }
    }
}
