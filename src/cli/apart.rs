use anyhow::Context;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::exit::Interrupted;

/// Makes a call that waits, on a thread of its own: the process does not wait for it when it is no longer wanted.
pub(super) async fn apart<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    let (answer, answered) = oneshot::channel();
    let thread = std::thread::Builder::new().name("look".to_owned());
    thread.spawn(move || drop(answer.send(call()))).context("a thread cannot be started")?;
    answered.await.context("a look at the cluster panicked")
}

/// The same, until `stop` is cancelled.
///
/// # Errors
/// The call's own; [`Interrupted`].
pub(super) async fn apart_until<T: Send + 'static>(
    stop: &CancellationToken,
    call: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Interrupted.into()),
        answer = apart(call) => answer.flatten(),
    }
}
