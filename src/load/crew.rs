//! Who handles the records: members of the engine, or bare ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_troupe::ConsumerBuilder;
use rdkafka::ClientConfig;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::bare::BareMembers;
use super::consuming::Members;
use super::plan::{Engine, Plan};

/// How long a group may take to share out the partitions.
const JOINING: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// What a member begins with, but for what the plan says.
pub(crate) struct MemberSettings<'a> {
    pub(crate) engine: Box<dyn Fn() -> ConsumerBuilder + 'a>,
    pub(crate) bare: ClientConfig,
}

pub(crate) enum Crew {
    Engine(Members),
    Bare(BareMembers),
}

impl Crew {
    /// Starts them and waits until all partitions are shared out; `None` where `stop` came before.
    ///
    /// # Errors
    /// The engine's own, or librdkafka's; they are not within a minute, or a member has ended.
    pub(crate) async fn formed(
        plan: &Plan,
        account: &Arc<Account>,
        settings: &MemberSettings<'_>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let crew = Self::start(plan, account, settings)?;
        if crew.joined(plan, stop).await? {
            return Ok(Some(crew));
        }
        crew.leave().await?;
        Ok(None)
    }

    fn start(plan: &Plan, account: &Arc<Account>, settings: &MemberSettings<'_>) -> anyhow::Result<Self> {
        Ok(match plan.engine {
            Engine::Troupe => Self::Engine(Members::start(plan, account, &settings.engine)?),
            Engine::Bare => Self::Bare(BareMembers::start(plan, account, &settings.bare)?),
        })
    }

    async fn joined(&self, plan: &Plan, stop: &CancellationToken) -> anyhow::Result<bool> {
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
