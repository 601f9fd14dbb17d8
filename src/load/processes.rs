//! Members in processes of their own: they come, leave and are killed in the midst of a run.

use std::collections::HashSet;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;

use super::account::Account;
use super::faults::Blow;
use super::member_process::MemberProcess;
use super::plan::Plan;

/// How long a member may take to finish, commit, leave and end.
const LEAVING: Duration = Duration::from_secs(20);

/// Makes the command of one more.
pub(crate) type MemberCommand = Arc<dyn Fn() -> Command + Send + Sync>;

pub(crate) struct Processes {
    account: Arc<Account>,
    command: MemberCommand,
    ranks: Mutex<Ranks>,
}

struct Ranks {
    /// The oldest first.
    members: Vec<Arc<MemberProcess>>,
    leaving: Vec<Arc<MemberProcess>>,
    next: u16,
}

impl Processes {
    /// Starts so many.
    ///
    /// # Errors
    /// Of the system, where it starts no process.
    pub(crate) fn start(members: u16, account: &Arc<Account>, command: MemberCommand) -> anyhow::Result<Self> {
        let ranks = Ranks { members: Vec::new(), leaving: Vec::new(), next: 1 };
        let processes = Self { account: Arc::clone(account), command, ranks: Mutex::new(ranks) };
        (0..members).try_for_each(|_| processes.strike(Blow::Join).map(drop))?;
        Ok(processes)
    }

    /// Says which member it was done to.
    ///
    /// # Errors
    /// Of the system, where it starts or kills no process.
    pub(crate) fn strike(&self, what: Blow) -> anyhow::Result<u16> {
        let mut ranks = self.ranks();
        if what == Blow::Join {
            let number = ranks.next;
            ranks.members.push(Arc::new(MemberProcess::start((self.command)(), number, &self.account)?));
            ranks.next += 1;
            return Ok(number);
        }
        anyhow::ensure!(!ranks.members.is_empty(), "there is no member for the fault {}", what.name());
        let member = ranks.members.remove(0);
        let number = member.number;
        match what {
            Blow::Join => {}
            Blow::Leave => member.leave(),
            Blow::Kill => member.kill()?,
        }
        ranks.leaving.push(member);
        Ok(number)
    }

    /// The partitions that each has, of those that are to be members.
    pub(crate) fn shares(&self) -> Vec<Vec<u32>> {
        self.ranks().members.iter().map(|member| member.holds()).collect()
    }

    /// What they have committed, by partition, as far as they have told.
    pub(crate) fn committed(&self, plan: &Plan) -> Vec<i64> {
        let held: HashSet<u32> = self.shares().into_iter().flatten().collect();
        let known = self.account.committed();
        // What a lost member had is to be committed by the next one, if it is to count as the group's.
        (0..plan.partitions)
            .zip(known)
            .map(|(partition, offset)| if held.contains(&partition) { offset } else { 0 })
            .collect()
    }

    /// # Errors
    /// Of a member that has ended and was not asked to.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let ranks = self.ranks();
        match ranks.members.iter().find(|member| member.ended.is_cancelled()) {
            None => Ok(()),
            Some(member) => anyhow::bail!("member {} of the group ended before its time{}", member.number, how(member)),
        }
    }

    /// All leave.
    ///
    /// # Errors
    /// Of the first that does not, or not in good order.
    pub(crate) async fn leave(self) -> anyhow::Result<()> {
        let ranks = self.ranks.into_inner().unwrap_or_else(PoisonError::into_inner);
        ranks.members.iter().for_each(|member| member.leave());
        let all = || ranks.leaving.iter().chain(&ranks.members);
        let ended = async {
            for member in all() {
                member.ended.cancelled().await;
            }
        };
        let in_time = tokio::time::timeout(LEAVING, ended).await.is_ok();
        for member in all().filter(|member| !member.ended.is_cancelled()) {
            member.kill().context("it did not leave in time")?;
        }
        anyhow::ensure!(in_time, "a member of the group did not leave within {LEAVING:?}");
        match ranks.members.iter().find(|member| !member.status().is_some_and(|status| status.success())) {
            None => Ok(()),
            Some(member) => {
                anyhow::bail!("member {} of the group cannot leave in good order{}", member.number, how(member))
            }
        }
    }

    fn ranks(&self) -> MutexGuard<'_, Ranks> {
        self.ranks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn how(member: &MemberProcess) -> String {
    member.status().map_or_else(String::new, |status| format!(": {status}"))
}
