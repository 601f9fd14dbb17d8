use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Listens for SIGINT and SIGTERM.
///
/// The first asks the command to end in good order: finish what is begun, commit it, leave. The second ends the process at once, for
/// a person who does not want to wait. The listener has a thread of its own, so that it is heard whatever the command is busy with.
#[derive(Debug)]
pub(crate) struct Shutdown {
    requested: CancellationToken,
    insisted: Insisted,
    last_act: LastAct,
}

impl Shutdown {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().context("cannot listen for signals")?;
        let signals = {
            let _entered = runtime.enter();
            Signals {
                interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
                terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            }
        };
        let requested = CancellationToken::new();
        let last_act = LastAct::default();
        let insisted = Insisted::default();
        let (request, insist, act) = (requested.clone(), insisted.clone(), last_act.clone());
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(obey(signals, &request, &insist, &act)))
            .context("cannot listen for signals")?;
        Ok(Self { requested, insisted, last_act })
    }

    /// Cancelled by the first signal.
    pub(crate) fn requested(&self) -> &CancellationToken {
        &self.requested
    }

    /// For a command whose good order may be cut short: the second signal cancels this, and the third ends the process.
    pub(crate) fn insisted_on(&self) -> CancellationToken {
        self.insisted.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().clone()
    }

    /// What is to be done, and takes no time, before the second signal ends the process.
    pub(crate) fn before_exit_at_once(&self, act: impl FnOnce() + Send + 'static) {
        self.last_act.set(Some(Box::new(act)));
    }
}

/// Cancelled by the second signal, where a command has asked for that.
#[derive(Clone, Debug, Default)]
struct Insisted(Arc<Mutex<Option<CancellationToken>>>);

impl Insisted {
    fn token(&self) -> Option<CancellationToken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type Act = Box<dyn FnOnce() + Send>;

#[derive(Clone, Default)]
struct LastAct(Arc<Mutex<Option<Act>>>);

impl LastAct {
    fn set(&self, act: Option<Act>) -> Option<Act> {
        std::mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), act)
    }
}

impl fmt::Debug for LastAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastAct")
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// The next signal, as the exit code that a shell gives to a process which it killed.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

async fn obey(mut signals: Signals, request: &CancellationToken, insisted: &Insisted, last_act: &LastAct) {
    signals.next().await;
    request.cancel();
    if insisted.token().is_some() {
        tracing::info!("stopping: finishing what is begun; a second signal cuts that short, a third ends it at once");
    } else {
        tracing::info!("stopping: finishing and committing what is begun; a second signal ends it at once");
    }
    let mut code = signals.next().await;
    if let Some(insisted) = insisted.token() {
        insisted.cancel();
        code = signals.next().await;
    }
    if let Some(act) = last_act.set(None) {
        act();
    }
    std::process::exit(code);
}
