//! All workers' processes, so that none is left at the end.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::warden::Warden;

use super::guard;
use super::process::{Pipes, Process};

/// How long the system may take over a process that is killed, and its last words over their way here.
const MOMENT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Processes {
    command: String,
    running: Mutex<Running>,
    /// How many run, and how many are still listened to.
    alive: watch::Sender<Alive>,
}

#[derive(Debug)]
struct Running {
    by_id: HashMap<u32, Arc<Process>>,
    /// None where there is no shell to be had.
    guard: Option<Warden>,
    /// No more are started.
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Alive {
    processes: usize,
    ears: usize,
}

/// Somebody listens to what a process has to say yet.
#[derive(Debug)]
pub(super) struct Ear(Arc<Processes>);

impl Processes {
    /// None yet. Without a guard they are ended by this process only, as long as it can.
    pub(super) fn of(command: String) -> Self {
        let guard = guard::start().inspect_err(|error| {
            tracing::warn!(%error, "there is no guard: workers that do not heed the end of their input outlive a troupe that is killed");
        });
        let running = Running { by_id: HashMap::new(), guard: guard.ok(), closed: false };
        Self { command, running: Mutex::new(running), alive: watch::Sender::new(Alive::default()) }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one, with the number that a person knows it by; `None` when it is over.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub(super) fn start(self: &Arc<Self>, number: usize) -> io::Result<Option<(Arc<Process>, Pipes)>> {
        // Held meanwhile, so that who looks for all of them misses none.
        let mut running = self.running();
        if running.closed {
            return Ok(None);
        }
        let Running { by_id, guard, .. } = &mut *running;
        let begun = |group| guard.iter_mut().for_each(|guard| guard.begun(group));
        let all = Arc::clone(self);
        let (process, pipes) = Process::start(&self.command, number, begun, move |group| all.ended(group))?;
        by_id.insert(process.id, Arc::clone(&process));
        self.alive.send_modify(|alive| alive.processes += 1);
        Ok(Some((process, pipes)))
    }

    /// It waits for `start`, which holds the lock.
    fn ended(&self, group: u32) {
        let mut running = self.running();
        if let Some(guard) = &mut running.guard {
            guard.ended(group);
        }
        // One whose pipes could not be had was never among them.
        let was_among_them = running.by_id.remove(&group).is_some();
        drop(running);
        if was_among_them {
            self.alive.send_modify(|alive| alive.processes -= 1);
        }
    }

    pub(super) fn listen(self: &Arc<Self>) -> Ear {
        self.alive.send_modify(|alive| alive.ears += 1);
        Ear(Arc::clone(self))
    }

    /// No more are started.
    pub(super) fn close(&self) {
        self.running().closed = true;
    }

    /// Sends each of them, and what they have started, a signal.
    pub(super) fn signal(&self, signal: Signal) {
        self.running().by_id.values().for_each(|process| process.signal(signal));
    }

    /// Waits for the end of all, whose input is closed: for so long, then by SIGTERM for as long again, then by SIGKILL.
    pub(super) async fn end(&self, grace: Duration) {
        self.close();
        let mut alive = self.alive.subscribe();
        for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::KILL, "SIGKILL")] {
            if timeout(grace, alive.wait_for(|alive| alive.processes == 0)).await.is_ok() {
                break;
            }
            let workers = alive.borrow().processes;
            tracing::info!(workers, "workers have not ended in time: they get {name}");
            self.signal(signal);
        }
        if timeout(MOMENT, alive.wait_for(|alive| *alive == Alive::default())).await.is_err() {
            let left = *alive.borrow();
            match left.processes {
                0 => tracing::debug!(left.ears, "somebody keeps a worker's stderr open: it is no longer listened to"),
                workers => tracing::warn!(workers, "workers have not ended even by SIGKILL"),
            }
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.0.alive.send_modify(|alive| alive.ears -= 1);
    }
}
