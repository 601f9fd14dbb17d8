use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long the last act may take, which blocks where it says something and nobody reads stderr.
const LAST_ACT: Duration = Duration::from_secs(1);

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

    /// What is to be done, and takes no time, before a signal ends the process at once, which comes soon whatever becomes of this.
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
    let told = if insisted.token().is_some() {
        "finishing what is begun; a second signal cuts that short, a third ends it at once"
    } else {
        "finishing and committing what is begun; a second signal ends it at once"
    };
    drop(on_a_thread(move || tracing::info!("stopping: {told}")));
    let mut code = signals.next().await;
    if let Some(insisted) = insisted.token() {
        insisted.cancel();
        code = signals.next().await;
    }
    if let Some(act) = last_act.set(None) {
        let _ = on_a_thread(act).recv_timeout(LAST_ACT);
    }
    std::process::exit(code);
}

/// What may block: who writes to a stderr that nobody reads waits for its reader, and whoever writes next for its lock. Nothing comes of it but its end.
fn on_a_thread(act: impl FnOnce() + Send + 'static) -> mpsc::Receiver<()> {
    let (end, ended) = mpsc::channel();
    let act = move || {
        act();
        drop(end);
    };
    // Without a thread it is left out: to say so could block as well.
    let _ = thread::Builder::new().name("signal-act".to_owned()).spawn(act);
    ended
}
