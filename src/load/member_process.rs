//! A member of the group in a process of its own, so that it can be killed.

use std::io::{BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::frame::{self, Frame};

const BUFFER: usize = 64 * 1024;

/// It says on its stdout what it does, in [`Frame`]s, and leaves in good order when its stdin ends: with this process, too.
#[derive(Debug)]
pub(crate) struct MemberProcess {
    /// From 1.
    pub(crate) number: u16,
    child: Arc<Mutex<Child>>,
    stdin: Mutex<Option<ChildStdin>>,
    said: Arc<Mutex<Said>>,
    /// Cancelled when all it said is read and it has been waited for.
    pub(crate) ended: CancellationToken,
}

#[derive(Debug, Default)]
struct Said {
    holds: Vec<u32>,
    uncommitted: u64,
    failed_attempts: u64,
    status: Option<ExitStatus>,
}

impl MemberProcess {
    /// # Errors
    /// Of the system, where it starts no process or thread.
    pub(crate) fn start(mut command: Command, number: u16, account: &Arc<Account>) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("the process of member {number} cannot be started"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().context("it has a pipe")?);
        let member = Self {
            number,
            child: Arc::new(Mutex::new(child)),
            stdin: Mutex::new(stdin),
            said: Arc::default(),
            ended: CancellationToken::new(),
        };
        let listener = Listener {
            account: Arc::clone(account),
            child: Arc::clone(&member.child),
            said: Arc::clone(&member.said),
            ended: member.ended.clone(),
        };
        let thread = thread::Builder::new().name(format!("load-member-{number}"));
        thread.spawn(move || listener.listen(stdout)).context("a member's thread cannot be started")?;
        Ok(member)
    }

    /// The partitions it holds.
    pub(crate) fn holds(&self) -> Vec<u32> {
        lock(&self.said).holds.clone()
    }

    /// How its process ended, once it has.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        lock(&self.said).status
    }

    /// It finishes what it has begun, commits it, and leaves.
    pub(crate) fn leave(&self) {
        lock(&self.stdin).take();
    }

    /// By SIGKILL.
    ///
    /// # Errors
    /// Of the system.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        lock(&self.child).kill().with_context(|| format!("member {} cannot be killed", self.number))
    }
}

impl Drop for MemberProcess {
    fn drop(&mut self) {
        if !self.ended.is_cancelled() {
            let _ = self.kill();
        }
    }
}

struct Listener {
    account: Arc<Account>,
    child: Arc<Mutex<Child>>,
    said: Arc<Mutex<Said>>,
    ended: CancellationToken,
}

impl Listener {
    fn listen(self, stdout: ChildStdout) {
        let mut stdout = BufReader::with_capacity(BUFFER, stdout);
        let (mut frame, mut holds) = ([0; frame::LEN], Vec::new());
        while stdout.read_exact(&mut frame).is_ok() {
            match Frame::read(&frame) {
                Some(Frame::Handled { place, read, length, waited, worked }) => {
                    self.account.handled_elsewhere(read, place, length as usize, waited, worked);
                }
                Some(Frame::Committed { partition, next }) => self.account.confirmed_elsewhere(partition, next),
                Some(Frame::Holds { partition, committed }) => {
                    self.account.committed_elsewhere(partition, committed);
                    holds.push(partition);
                }
                Some(Frame::Told { uncommitted, failed_attempts }) => {
                    let mut said = lock(&self.said);
                    if uncommitted > said.uncommitted {
                        // What it gave up is among what it held, as far as it told.
                        self.account.expose(&said.holds);
                    }
                    let failed_since = failed_attempts.saturating_sub(said.failed_attempts);
                    self.account.failed_attempts.fetch_add(failed_since, Ordering::Relaxed);
                    (said.uncommitted, said.failed_attempts) = (uncommitted, failed_attempts);
                    said.holds = std::mem::take(&mut holds);
                }
                None => break,
            }
        }
        // It has closed its end, and does so by ending only.
        let status = lock(&self.child).wait().ok();
        let mut said = lock(&self.said);
        if !status.is_some_and(|status| status.success()) {
            self.account.expose(&said.holds);
        }
        (said.status, said.holds) = (status, Vec::new());
        drop(said);
        self.ended.cancel();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
