//! A worker's process: started in a group of its own, waited for, and ended together with whatever it has started itself.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// Which of the workers it is, from 1: in the environment of each.
const NUMBER: &str = "TROUPE_WORKER";

/// Runs the command when a line has come. If this process is killed before, none comes, and nothing runs that nobody knows of.
const GATE: &str = r#"read -r _ && exec sh -c "$1""#;

/// The status 255, as the system has it, for one that cannot be known.
const UNKNOWN: i32 = 255 << 8;

/// A process, which may have ended.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: u32,
    /// The group is signalled under this lock and only while it is there: its number may be another's as soon as the process is waited for.
    group: Mutex<Option<Pid>>,
    exited: watch::Receiver<Option<ExitStatus>>,
}

/// This side of the pipes to a process.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: pipe::Sender,
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
}

impl Process {
    /// Runs `command` by the shell. `begun` is called with the group's number before anything of it runs, and `ended` when it is no more,
    /// from a thread that waits for it.
    ///
    /// The pipes belong to the runtime that this is called in.
    ///
    /// # Errors
    /// The system's: it has no process, thread or pipe for this. `ended` may be called nevertheless.
    pub(super) fn start(
        command: &str,
        number: usize,
        begun: impl FnOnce(u32),
        ended: impl FnOnce(u32) + Send + 'static,
    ) -> io::Result<(Arc<Self>, Pipes)> {
        let mut child = Command::new("sh")
            .args(["-c", GATE, "troupe-worker", command])
            .env(NUMBER, number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C is not for it, and a signal to the group reaches what it has started.
            .process_group(0)
            .spawn()?;
        let (exit, exited) = watch::channel(None);
        let process = Arc::new(Self { id: child.id(), group: Mutex::new(pid(&child)), exited });
        begun(process.id);
        if let Some(stdin) = &mut child.stdin {
            // If it has ended already, its status will tell.
            let _ = stdin.write_all(b"\n");
        }
        let pipes = pipes(&mut child);
        let waits = Arc::clone(&process);
        let waiting = thread::Builder::new().name(format!("worker-{number}")).stack_size(64 * 1024).spawn(move || {
            let status = waits.wait(&mut child);
            exit.send_replace(Some(status));
            ended(waits.id);
        });
        if let Err(error) = waiting {
            // Nobody waits for it, so its number stays its own.
            process.signal(Signal::KILL);
            return Err(error);
        }
        // Where they cannot be had, the pipes are closed by now and the process is told so.
        pipes.map(|pipes| (process, pipes))
    }

    fn group(&self) -> MutexGuard<'_, Option<Pid>> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the process, ends what is left of its group, and takes its status.
    fn wait(&self, child: &mut Child) -> ExitStatus {
        if let Some(pid) = pid(child) {
            // It stays a zombie, so that its number is nobody else's.
            while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
        }
        let mut group = self.group();
        if let Some(pid) = group.take() {
            // Mostly nobody is left.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        // It has ended, so this does not wait. There is no status where this process was started to ignore its children's ends.
        child.wait().unwrap_or_else(|_| ExitStatus::from_raw(UNKNOWN))
    }

    /// Sends a signal to the process and all that it has started and that are still in its group.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = *self.group() {
            // It may have ended a moment ago.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// How it has ended, if it has.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        *self.exited.borrow()
    }

    /// Waits for its end. May be dropped and asked for again.
    pub(super) async fn exited(&self) -> ExitStatus {
        let mut exited = self.exited.clone();
        let status = exited.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        match status {
            Some(status) => status,
            // The thread that waits for it never ends without saying how it was.
            None => std::future::pending().await,
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn pipes(child: &mut Child) -> io::Result<Pipes> {
    let missing = || io::Error::other("a pipe is missing");
    let stdin = OwnedFd::from(child.stdin.take().ok_or_else(missing)?);
    let stdout = OwnedFd::from(child.stdout.take().ok_or_else(missing)?);
    let stderr = OwnedFd::from(child.stderr.take().ok_or_else(missing)?);
    Ok(Pipes {
        stdin: pipe::Sender::from_owned_fd(stdin)?,
        stdout: pipe::Receiver::from_owned_fd(stdout)?,
        stderr: pipe::Receiver::from_owned_fd(stderr)?,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn nothing_of_the_command_runs_before_it_is_told_that_it_begins() {
        let dir = tempfile::tempdir().unwrap();
        let started = dir.path().join("started");
        let command = format!("touch {}; exit 7", started.display());
        let begun = |_| {
            // Long enough for a shell that does not wait.
            thread::park_timeout(Duration::from_millis(200));
            assert!(!started.exists());
        };
        let (process, pipes) = Process::start(&command, 1, begun, |_| {}).unwrap();
        let status = timeout(Duration::from_secs(30), process.exited()).await.unwrap();
        assert_eq!((status.code(), started.exists()), (Some(7), true));
        drop(pipes);
    }
}
