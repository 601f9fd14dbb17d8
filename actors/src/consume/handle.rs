//! The handle on a running consumer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::block_on::block_on;
#[allow(unused_imports)]
use crate::consume::commit::{CommitError, CommitWhen, PendingCommit};
use crate::consume::engine::Ending;
use crate::consume::error::{ConsumerError, Stopped};
use crate::consume::state::{Board, ConsumerState};
use crate::consume::supervisor::{ConsumerSupervisor, Shutdown};
use crate::ids::{NextOffset, TopicPartition};
use crate::offsets::tracker::{Asked, CommitNow, OffsetTracker};

/// A running consumer. Clones are handles on the same one; when the last is dropped, the consumer stops in the background.
#[derive(Clone)]
#[must_use = "the consumer stops when its last handle is dropped"]
pub struct ConsumerHandle {
    shared: Arc<Shared>,
}

struct Shared {
    supervisor: Addr<ConsumerSupervisor>,
    tracker: Addr<OffsetTracker>,
    board: Arc<Board>,
    ended: watch::Receiver<Ending>,
    token: CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.supervisor.do_send(Shutdown(None));
    }
}

impl ConsumerHandle {
    pub(crate) fn new(
        supervisor: Addr<ConsumerSupervisor>,
        tracker: Addr<OffsetTracker>,
        board: Arc<Board>,
        ended: watch::Receiver<Ending>,
        token: CancellationToken,
    ) -> Self {
        Self { shared: Arc::new(Shared { supervisor, tracker, board, ended, token }) }
    }

    /// A snapshot of partitions and counters. Takes no lock that a record waits for; call it from any thread, as often as you like.
    pub fn state(&self) -> ConsumerState {
        self.shared.board.snapshot(Instant::now())
    }

    /// Commits all that is finished, now, whatever the [`CommitWhen`] is.
    ///
    /// The commit is on its way when this returns; the answer may be awaited, or dropped. It comes when the broker has stored every
    /// partition's offset: a commit that fails in passing is sent again until then, or until the partition is another's, so set a timeout
    /// where that matters. With nothing to commit the answer is `Ok` at once.
    ///
    /// # Errors
    /// The answer's: [`CommitError::NotAssigned`] when a partition went to another member first, [`CommitError::Refused`], [`CommitError::Ended`],
    /// [`CommitError::NotKept`].
    pub fn commit(&self) -> PendingCommit {
        self.ask(Asked::Finished)
    }

    /// Commits these offsets: of each partition that of the next record to process. They may lie below what is finished, not above; nothing
    /// of what lies above is remembered. With another [`CommitWhen`] than [`Manual`](CommitWhen::Manual) the engine commits the rest by and by.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); also [`CommitError::PastWatermark`] and [`CommitError::BelowCommitted`], and then nothing of the call is
    /// committed.
    pub fn commit_offsets(&self, offsets: impl IntoIterator<Item = (TopicPartition, NextOffset)>) -> PendingCommit {
        self.ask(Asked::Offsets { offsets: offsets.into_iter().collect(), past_watermark: false })
    }

    /// The same past records that are not finished: they are given up. This consumer still handles those that it has; a later owner never
    /// does.
    ///
    /// # Errors
    /// As [`commit_offsets`](Self::commit_offsets), but for the watermark.
    pub fn commit_offsets_past_watermark(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, NextOffset)>,
    ) -> PendingCommit {
        self.ask(Asked::Offsets { offsets: offsets.into_iter().collect(), past_watermark: true })
    }

    fn ask(&self, what: Asked) -> PendingCommit {
        let (answer, pending) = oneshot::channel();
        self.shared.tracker.do_send(CommitNow { what, answer });
        PendingCommit::new(pending)
    }

    /// Takes no more records, lets handlers finish what they hold, commits it, leaves the group, and answers as [`wait`](Self::wait) does,
    /// all within `deadline`: at most a fifth of it goes to the commit and a tenth to leaving, the rest to the handlers; a
    /// [listener](crate::consume::RebalanceListener) has at most a fifth of it before the commit.
    ///
    /// A handler that has not returned by then is left behind, and its record listed in [`Stopped::unfinished`]: nothing of it is
    /// committed. A second call can only shorten the wait. The future needs no runtime of tokio's.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn shutdown(&self, deadline: Duration) -> Result<Stopped, ConsumerError> {
        self.shared.supervisor.do_send(Shutdown(Some(on_the_clock(deadline))));
        self.wait().await
    }

    /// Waits until the consumer has ended: by [`shutdown`](Self::shutdown), the token, a handler's `Stop`, or a fatal error.
    ///
    /// # Errors
    /// The cause, if it ended by one: the handler's, the cluster's, the engine's, or [`ConsumerError::StopDeadline`].
    pub async fn wait(&self) -> Result<Stopped, ConsumerError> {
        let mut ended = self.shared.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(ending) => ending.clone().unwrap_or_else(|| Err(vanished())),
            Err(_) => Err(vanished()),
        }
    }

    /// [`shutdown`](Self::shutdown) from a thread without a runtime.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// Within a runtime it blocks the thread: use [`shutdown`](Self::shutdown) there.
    pub fn shutdown_blocking(&self, deadline: Duration) -> Result<Stopped, ConsumerError> {
        block_on(self.shutdown(deadline))
    }

    /// [`wait`](Self::wait) from a thread without a runtime.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// Within a runtime it blocks the thread: use [`wait`](Self::wait) there.
    pub fn wait_blocking(&self) -> Result<Stopped, ConsumerError> {
        block_on(self.wait())
    }

    /// The consumer's token: cancelling it stops the consumer within its stop deadline; the consumer cancels it when it stops.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.shared.token.clone()
    }

    /// Makes the worker of a partition panic, for tests of what follows.
    #[cfg(feature = "testing")]
    pub fn kill_worker(&self, partition: &crate::ids::TopicPartition) {
        self.shared.supervisor.do_send(crate::consume::supervisor::KillWorker(partition.clone()));
    }
}

impl std::fmt::Debug for ConsumerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerHandle").field("ended", &*self.shared.ended.borrow()).finish_non_exhaustive()
    }
}

/// As long as asked, and at most a year: what lies further ahead, like `Duration::MAX`, is on no clock.
pub(crate) fn on_the_clock(wait: Duration) -> Duration {
    wait.min(Duration::from_secs(365 * 24 * 60 * 60))
}

fn vanished() -> ConsumerError {
    ConsumerError::Engine { detail: "its threads vanished".to_owned() }
}
