//! An actix `System` on a thread of its own, so that the engine is called from any runtime or from none.

use std::io;
use std::sync::mpsc;
use std::time::Instant;

use actix::dev::channel::channel;
use actix::{Actor, Addr, Context};
use actix_rt::{Arbiter, ArbiterHandle, System};

use crate::blocking;
use crate::thread::{BoundedThread, StillRunning};

/// Starts an actor on an arbiter, with room for `capacity` messages from the first one on.
///
/// `Actor::start_in_arbiter` and `set_mailbox_capacity` in `started()` leave room for 16 until the arbiter gets round to it: a fast sender
/// finds a full mailbox before.
pub(crate) fn start_with_capacity<A>(
    arbiter: &ArbiterHandle,
    capacity: usize,
    make: impl FnOnce(&mut Context<A>) -> A + Send + 'static,
) -> Addr<A>
where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = channel(capacity);
    arbiter.spawn_fn(move || {
        let mut context = Context::with_receiver(receiver);
        let actor = make(&mut context);
        actix_rt::spawn(context.into_future(actor));
    });
    Addr::new(sender)
}

/// A running `System` with its arbiters: one thread for the system, one for each arbiter.
///
/// Dropping it stops them without waiting; [`stop_and_join`](Self::stop_and_join) waits.
#[derive(Debug)]
pub(crate) struct SystemThread {
    system: System,
    arbiters: Vec<ArbiterHandle>,
    thread: Option<BoundedThread>,
}

impl SystemThread {
    /// Starts the system and `arbiters` arbiters beside its own, and returns when all of them run. `name` is the name of the system's thread.
    ///
    /// # Errors
    /// The operating system's, where it refuses a thread.
    pub(crate) fn start(name: &str, arbiters: usize) -> io::Result<Self> {
        let (started, start) = mpsc::sync_channel(1);
        let thread = BoundedThread::start(name, move || run(arbiters, &started))?;
        match start.recv() {
            Ok(Ok((system, arbiters))) => Ok(Self { system, arbiters, thread: Some(thread) }),
            Ok(Err(refused)) => Err(refused),
            Err(mpsc::RecvError) => Err(io::Error::other("the actor system did not start")),
        }
    }

    /// The system's own arbiter: for control, away from the data.
    pub(crate) fn control(&self) -> &ArbiterHandle {
        self.system.arbiter()
    }

    /// The arbiters asked for at the start, in order.
    pub(crate) fn arbiters(&self) -> &[ArbiterHandle] {
        &self.arbiters
    }

    /// Stops every arbiter, which drops its actors with what is in their mailboxes, and waits for the threads until `deadline`.
    ///
    /// # Errors
    /// [`StillRunning`] at the deadline; the threads then end on their own, when what holds them returns.
    pub(crate) fn stop_and_join(mut self, deadline: Instant) -> Result<(), StillRunning> {
        self.stop();
        match self.thread.take() {
            Some(thread) => thread.join(deadline),
            None => Ok(()),
        }
    }

    fn stop(&self) {
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        self.system.stop();
    }
}

impl Drop for SystemThread {
    fn drop(&mut self) {
        self.stop();
    }
}

type Started = mpsc::SyncSender<io::Result<(System, Vec<ArbiterHandle>)>>;

fn run(arbiters: usize, started: &Started) {
    let runner = System::new();
    let arbiters: Vec<Arbiter> = match (0..arbiters).map(|_| Arbiter::try_new()).collect() {
        Ok(arbiters) => arbiters,
        Err(refused) => {
            let _ = started.send(Err(refused));
            return;
        }
    };
    blocking::this_is_an_arbiter();
    for arbiter in &arbiters {
        arbiter.spawn_fn(blocking::this_is_an_arbiter);
    }
    let handles = arbiters.iter().map(Arbiter::handle).collect();
    let _ = started.send(Ok((System::current(), handles)));
    if let Err(error) = runner.run() {
        tracing::error!(%error, "the actor system ended with an error");
    }
    // The system's end tells its arbiters to stop; it does not wait for them.
    for arbiter in arbiters {
        arbiter.stop();
        let _ = arbiter.join();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn every_arbiter_runs_on_a_thread_of_its_own() {
        let system = SystemThread::start("test-system", 3).unwrap();
        let (tell, told) = mpsc::channel();
        for arbiter in system.arbiters().iter().chain([system.control()]) {
            let tell = tell.clone();
            arbiter.spawn_fn(move || tell.send(thread::current().id()).unwrap());
        }
        let mut threads: Vec<_> = (0..4).map(|_| told.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        threads.sort_by_key(|id| format!("{id:?}"));
        threads.dedup();
        assert_eq!(threads.len(), 4);
        system.stop_and_join(soon()).unwrap();
    }

    #[test]
    fn a_stop_drops_what_runs_on_the_arbiters_before_it_returns() {
        struct Tell(mpsc::Sender<()>);
        impl Drop for Tell {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let system = SystemThread::start("test-system", 1).unwrap();
        let (tell, told) = mpsc::channel();
        let (running, runs) = mpsc::channel();
        let guard = Tell(tell);
        system.arbiters()[0].spawn(async move {
            let _guard = guard;
            running.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        runs.recv_timeout(Duration::from_secs(10)).unwrap();
        system.stop_and_join(soon()).unwrap();
        told.try_recv().expect("dropped before the join returned");
    }

    #[test]
    fn an_arbiter_that_does_not_return_is_reported_at_the_deadline() {
        let system = SystemThread::start("test-system", 1).unwrap();
        let (release, wait) = mpsc::channel::<()>();
        let (running, runs) = mpsc::channel();
        system.arbiters()[0].spawn_fn(move || {
            running.send(()).unwrap();
            let _ = wait.recv();
        });
        runs.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(system.stop_and_join(Instant::now() + Duration::from_millis(20)), Err(StillRunning));
        drop(release);
    }
}
