//! The workers: who has none of the records, who has to be ended and replaced, and the end of all.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kafka_troupe::Record;
use rustix::process::Signal;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::left_behind::{LeftBehind, Remains};
use super::process::Process;
use super::processes::Processes;
use super::protocol::Answer;
use super::restarts::{End, EndKind, Next, Restarts};
use super::stderr::pass_on;
use super::worker::{Ended, Fault, Worker};
use crate::cli::terminal::PassOn;

/// A worker that is long at a record that was given up is named after this time.
const FIRST_REMINDER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Pool {
    processes: Arc<Processes>,
    /// Where everything about workers runs.
    runtime: Handle,
    stderr: PassOn,
    /// How long an attempt may take.
    within: Option<Duration>,
    idle: Mutex<Vec<Worker>>,
    /// A permit for each that is idle; some of them for workers that have ended meanwhile.
    permits: Semaphore,
    left_behind: Arc<LeftBehind>,
    restarts: Mutex<Restarts>,
    /// Since the last end of a worker.
    any_answered: AtomicBool,
    broken: OnceLock<String>,
    is_broken: CancellationToken,
    closing: CancellationToken,
}

/// A worker for one record. Dropped before its answer, the worker finishes by itself, and is given no other record before.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
    record: Record,
    worker: Option<Worker>,
}

impl Pool {
    /// Starts so many.
    pub(super) fn start(
        processes: Arc<Processes>,
        workers: usize,
        within: Option<Duration>,
        runtime: Handle,
        stderr: PassOn,
    ) -> Arc<Self> {
        let pool = Arc::new(Self {
            processes,
            runtime,
            stderr,
            within,
            idle: Mutex::default(),
            permits: Semaphore::new(0),
            left_behind: Arc::default(),
            restarts: Mutex::new(Restarts::new(workers)),
            any_answered: AtomicBool::new(false),
            broken: OnceLock::new(),
            is_broken: CancellationToken::new(),
            closing: CancellationToken::new(),
        });
        (1..=workers).for_each(|number| pool.start_one(number));
        pool
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a worker that is idle, as long as the record's partition is to be kept.
    pub(super) async fn lease(self: &Arc<Self>, record: &Record) -> Option<Lease> {
        let worker = async {
            self.left_behind.over(record.topic_partition()).await;
            loop {
                self.permits.acquire().await.ok()?.forget();
                if let Some(worker) = self.idle().pop() {
                    return Some(worker);
                }
            }
        };
        let mut worker = tokio::select! {
            biased;
            worker = worker => worker?,
            () = record.revoking().cancelled() => return None,
        };
        worker.take(record, self.within);
        Some(Lease { pool: Arc::clone(self), record: record.clone(), worker: Some(worker) })
    }

    fn has_answered(self: &Arc<Self>, worker: Worker) {
        // Mostly it is set, and who looks disturbs no other processor.
        if !self.any_answered.load(Ordering::Relaxed) {
            self.any_answered.store(true, Ordering::Relaxed);
        }
        self.give_back(worker);
    }

    fn give_back(self: &Arc<Self>, worker: Worker) {
        let process = Arc::clone(&worker.process);
        self.idle().push(worker);
        self.permits.add_permits(1);
        // Who waits for its end may have looked before it was there.
        if process.status().is_some() {
            self.bury_idle(&process);
        }
        if self.closing.is_cancelled() {
            self.idle().iter_mut().for_each(Worker::close);
        }
    }

    /// Somebody is at the record still, whose answer nobody waits for.
    fn leave_behind(self: &Arc<Self>, mut worker: Worker, record: &Record) {
        let (pool, remains) = (Arc::clone(self), self.left_behind.begin(record.topic_partition()));
        if !self.closing.is_cancelled() {
            tracing::warn!(
                worker = worker.number,
                topic = record.topic(),
                partition = record.partition().0,
                offset = record.offset().0,
                "a worker is still at a record that was given up: it gets no other one before its answer, which does not count"
            );
        }
        let (number, place) = (worker.number, (record.topic_partition().clone(), record.offset()));
        self.runtime.spawn(async move {
            let remind = remind(|age| {
                let (partition, offset) = &place;
                tracing::warn!(
                    worker = number,
                    topic = &*partition.topic,
                    partition = partition.partition.0,
                    offset = offset.0,
                    seconds = age.as_secs(),
                    "a worker is still at a record that was given up: its partition, and the worker, wait for it; --attempt-timeout bounds that"
                );
            });
            let answered = tokio::select! {
                answered = worker.answer() => Some(answered),
                () = pool.closing.cancelled() => None,
                never = remind => match never {},
            };
            match answered {
                Some(Ok(_)) => {
                    drop(remains);
                    pool.has_answered(worker);
                }
                Some(Err(ended)) => pool.bury(worker, &ended, Some(remains)),
                None => {
                    worker.close();
                    worker.process.exited().await;
                }
            }
        });
    }

    /// Ends the worker, and what it has started, and has another take its place.
    fn bury(self: &Arc<Self>, worker: Worker, ended: &Ended, remains: Option<Remains>) {
        worker.process.signal(Signal::KILL);
        let (pool, kind, what) = (Arc::clone(self), ended.fault.kind(), ended.to_string());
        self.runtime.spawn(async move {
            worker.process.exited().await;
            drop(remains);
            pool.follow(worker.number, worker.answered, kind, &what);
        });
    }

    fn bury_idle(self: &Arc<Self>, process: &Process) {
        let found = {
            let mut idle = self.idle();
            let at = idle.iter().position(|worker| worker.process.id == process.id);
            at.map(|at| idle.swap_remove(at))
        };
        if let Some((worker, status)) = found.zip(process.status()) {
            let ended = Ended { worker: worker.number, fault: Fault::Exited { status, begun: None }, before: true };
            self.bury(worker, &ended, None);
        }
    }

    /// A worker has ended: another one, after a pause, or none.
    fn follow(self: &Arc<Self>, number: usize, answered: bool, kind: EndKind, what: &str) {
        if self.closing.is_cancelled() || self.is_broken.is_cancelled() {
            return;
        }
        let any_answered = self.any_answered.swap(false, Ordering::Relaxed);
        let end = End { worker: number - 1, answered, any_answered, kind };
        let next = self.restarts.lock().unwrap_or_else(PoisonError::into_inner).ended(end);
        let pause = match next {
            Next::GiveUp(_) if kind == EndKind::NotRun => {
                return self.break_off(format!("the shell cannot run the command: {what}"));
            }
            Next::GiveUp(ends) => {
                return self.break_off(format!(
                    "{ends} times in a row a worker ended, or had to be ended, without an answer; the last time {what}"
                ));
            }
            Next::StartAfter(pause) => pause,
        };
        if pause.is_zero() {
            tracing::debug!("{what}, and another one takes its place");
        } else {
            tracing::warn!(
                pause_ms = pause.as_millis() as u64,
                "{what}, and another one takes its place after a pause"
            );
        }
        let pool = Arc::clone(self);
        self.runtime.spawn(async move {
            tokio::select! {
                () = sleep(pause) => pool.start_one(number),
                () = pool.closing.cancelled() => {}
            }
        });
    }

    fn start_one(self: &Arc<Self>, number: usize) {
        let _entered = self.runtime.enter();
        let (process, pipes) = match self.processes.start(number) {
            Ok(Some(started)) => started,
            Ok(None) => return,
            Err(error) => {
                return self.follow(
                    number,
                    false,
                    EndKind::Died,
                    &format!("worker {number} could not be started: {error}"),
                );
            }
        };
        let (ear, says) = (self.processes.listen(), pass_on(pipes.stderr, number, self.stderr.clone()));
        self.runtime.spawn(async move {
            says.await;
            drop(ear);
        });
        let (pool, ends) = (Arc::clone(self), Arc::clone(&process));
        self.runtime.spawn(async move {
            ends.exited().await;
            pool.bury_idle(&ends);
        });
        self.give_back(Worker::new(number, process, pipes.stdin, pipes.stdout));
    }

    fn break_off(&self, why: String) {
        // The first reason stays.
        let _ = self.broken.set(why);
        self.is_broken.cancel();
    }

    /// Waits until there is no point in going on, and says why.
    pub(super) async fn broken(&self) -> &str {
        self.is_broken.cancelled().await;
        self.broken.get().map_or("", String::as_str)
    }

    /// Ends all workers: their input closes, after `grace` they get SIGTERM, after as long again SIGKILL.
    pub(super) async fn close(&self, grace: Duration) {
        self.closing.cancel();
        self.idle().iter_mut().for_each(Worker::close);
        self.processes.end(grace).await;
    }
}

/// Says after a minute that it goes on, and again whenever it has gone on for twice as long.
async fn remind(mut say: impl FnMut(Duration)) -> Infallible {
    let mut age = FIRST_REMINDER;
    sleep(age).await;
    loop {
        say(age);
        sleep(age).await;
        age *= 2;
    }
}

impl Lease {
    /// The worker's answer.
    ///
    /// # Errors
    /// What the worker did instead. It is replaced; and its record may be given to another one if this one cannot have begun with it.
    pub(super) async fn answer(mut self) -> Result<Answer, Ended> {
        let mut answered = None;
        if let Some(worker) = &mut self.worker {
            answered = Some(worker.answer().await);
        }
        match (self.worker.take(), answered) {
            (Some(worker), Some(Ok(answer))) => {
                self.pool.has_answered(worker);
                Ok(answer)
            }
            (Some(worker), Some(Err(ended))) => {
                let remains = self.pool.left_behind.begin(self.record.topic_partition());
                self.pool.bury(worker, &ended, Some(remains));
                Err(ended)
            }
            // Only this and the drop take it away.
            _ => std::future::pending().await,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.pool.leave_behind(worker, &self.record);
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
