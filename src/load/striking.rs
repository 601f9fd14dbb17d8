//! Does to the group what the plan says, and watches how it gets over it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::account::Account;
use super::clock::nanoseconds;
use super::crew::Crew;
use super::plan::Plan;
use super::recovery::{Look, Recovered, Recovery};

const LOOK: Duration = Duration::from_millis(20);

/// The faults of a run, and what came of them.
pub(crate) struct Striking<'a> {
    plan: &'a Plan,
    account: &'a Account,
    members: &'a Crew,
    /// The beginning of the load, on the run's clock.
    start: u64,
    recovery: Mutex<Recovery>,
}

impl<'a> Striking<'a> {
    pub(crate) fn new(plan: &'a Plan, account: &'a Account, members: &'a Crew, start: u64) -> Self {
        Self { plan, account, members, start, recovery: Mutex::default() }
    }

    /// Goes on until it is dropped.
    ///
    /// # Errors
    /// Where a fault cannot be brought about.
    pub(crate) async fn go_on(&self) -> anyhow::Error {
        let mut faults = self.plan.faults.iter().peekable();
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            let look = self.look();
            let Some(fault) = faults.next_if(|fault| self.account.clock.now() >= self.start + nanoseconds(fault.at))
            else {
                self.recovery().looked(look);
                continue;
            };
            match self.members.strike(fault.what) {
                Ok(member) => {
                    let line = format!("fault {fault}: member {member}");
                    told(move || tracing::info!("{line}"));
                    self.recovery().struck(fault.what, member, look);
                }
                Err(error) => return error,
            }
        }
    }

    /// See [`Recovery::found`].
    pub(crate) fn found(self) -> (Vec<Recovered>, Vec<(u64, u64)>) {
        self.recovery.into_inner().unwrap_or_else(PoisonError::into_inner).found()
    }

    fn look(&self) -> Look {
        Look {
            at_ms: self.account.clock.now().saturating_sub(self.start) / 1_000_000,
            behind: self.account.lag(),
            shared_out: self.members.is_shared_out(self.plan),
            repeated: self.account.book().ledger.count_duplicated(),
        }
    }

    fn recovery(&self) -> std::sync::MutexGuard<'_, Recovery> {
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Apart: who writes to a stderr that nobody reads waits, and the load goes on. Without a thread it is left out.
fn told(line: impl FnOnce() + Send + 'static) {
    let _ = std::thread::Builder::new().name("load-told".to_owned()).spawn(line);
}
