//! The handle on a running consumer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::block_on::block_on;
use crate::consume::command::{PollerCommand, PollerPort};
#[allow(unused_imports)]
use crate::consume::commit::{CommitError, CommitWhen, PendingCommit};
use crate::consume::engine::Ending;
use crate::consume::error::{ConsumerError, Stopped};
#[allow(unused_imports)]
use crate::consume::failing::OnExhausted;
use crate::consume::place::Place;
use crate::consume::seek::{PartitionError, Partitions, PendingSeek, Seek};
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
    poller: PollerPort,
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
        poller: PollerPort,
        board: Arc<Board>,
        ended: watch::Receiver<Ending>,
        token: CancellationToken,
    ) -> Self {
        Self { shared: Arc::new(Shared { supervisor, tracker, poller, board, ended, token }) }
    }

    pub(crate) fn supervisor(&self) -> Addr<ConsumerSupervisor> {
        self.shared.supervisor.clone()
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

    /// Has the partition go on at `offset`, back for a replay or forth for a leap.
    ///
    /// What its handler holds is waited for, up to the drain deadline, and then cut off; nothing more is begun. After that the partition begins a
    /// new epoch at the offset, with a new handler, and the answer comes. From there on every record is handled, whatever was finished before.
    /// A handler that has not returned at the deadline keeps the first record waiting until it does, for a partition never has two.
    ///
    /// The offset is committed like finished work, at the next commit, also where that takes the group's offset back; with
    /// [`CommitWhen::Manual`], when the app commits next. A crash before that forgets the seek, one after that goes on with it. Other
    /// partitions run on. A partition that is paused stays paused.
    ///
    /// A handler may seek its own partition, but must not wait for the answer: each would wait for the other, until the drain deadline.
    ///
    /// # Errors
    /// The answer's: [`PartitionError::NotAssigned`], [`PartitionError::Revoked`], [`PartitionError::OutOfRange`] where the log begins above or
    /// ends below the offset, [`PartitionError::Replaced`] by a later seek, [`PartitionError::LookUp`] where the brokers do not tell the log's
    /// range, [`PartitionError::Ended`].
    pub fn seek(&self, partition: TopicPartition, offset: NextOffset) -> PendingSeek {
        self.seek_to(partition.into(), Place::Offset(offset))
    }

    /// The same for several partitions, each to its first record with this timestamp or a later one, in milliseconds since the Unix epoch, as
    /// [`Record::timestamp`](crate::consume::Record::timestamp) gives it; to its end where it has none.
    ///
    /// # Errors
    /// As [`seek`](Self::seek). Where one of them cannot be moved, none is; but one that is given up to the group meanwhile is an error, though
    /// others have been moved.
    pub fn seek_to_time(&self, partitions: impl Into<Partitions>, timestamp: i64) -> PendingSeek {
        self.seek_to(partitions.into(), Place::Timestamp(timestamp))
    }

    /// The same, each to the first record that its log has.
    ///
    /// # Errors
    /// As [`seek_to_time`](Self::seek_to_time).
    pub fn seek_to_beginning(&self, partitions: impl Into<Partitions>) -> PendingSeek {
        self.seek_to(partitions.into(), Place::Beginning)
    }

    /// The same, each behind the last record that its log has: what is not begun yet is passed over.
    ///
    /// # Errors
    /// As [`seek_to_time`](Self::seek_to_time).
    pub fn seek_to_end(&self, partitions: impl Into<Partitions>) -> PendingSeek {
        self.seek_to(partitions.into(), Place::End)
    }

    fn seek_to(&self, partitions: Partitions, place: Place) -> PendingSeek {
        let (answer, pending) = oneshot::channel();
        self.shared.poller.send(PollerCommand::Seek(Seek { partitions, place, answer }));
        PendingSeek::new(pending)
    }

    /// Hands out no more records of these partitions, from the next chunk on, until they are [resumed](Self::resume). What was handed out
    /// before, up to [`max_buffered_records`](crate::consume::ConsumerBuilder::max_buffered_records) of each, is still handled, and committed.
    ///
    /// The consumer stays in its group, for however long. A partition that it keeps through a rebalance stays paused; one that goes away, and
    /// comes back, does not. (With an eager assignor every rebalance takes all of them away.) [`state`](Self::state) shows what is paused.
    ///
    /// # Errors
    /// [`PartitionError::NotAssigned`] where one of them is not the consumer's: then none is paused.
    pub fn pause(&self, partitions: impl Into<Partitions>) -> Result<(), PartitionError> {
        self.set_paused(partitions.into(), true)
    }

    /// Goes on with partitions that were [paused](Self::pause), and with those that a record has stopped whose attempts were exhausted
    /// ([`OnExhausted::StopPartition`]): it is tried again. Others are left alone.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub fn resume(&self, partitions: impl Into<Partitions>) -> Result<(), PartitionError> {
        self.set_paused(partitions.into(), false)
    }

    fn set_paused(&self, partitions: Partitions, paused: bool) -> Result<(), PartitionError> {
        if let Partitions::These(these) = &partitions
            && let Some(unknown) = these.iter().find(|each| !self.shared.board.partitions.contains_key(each))
        {
            return Err(PartitionError::NotAssigned { partition: unknown.clone() });
        }
        if !paused {
            let all = self.shared.board.partitions.iter();
            let resumed = all.filter(|cell| partitions.include(cell.key()));
            resumed.for_each(|cell| cell.unpark());
        }
        self.shared.poller.send(PollerCommand::Pause { partitions, paused });
        Ok(())
    }

    /// Takes no more records, lets handlers finish what they hold, commits it, leaves the group, and answers as [`wait`](Self::wait) does,
    /// all within `deadline`: at most a fifth of it goes to the commit and a tenth to leaving, the rest to the handlers; a
    /// [listener](crate::consume::RebalanceListener) has at most a fifth of it before the commit. In a group of the classic protocol a member
    /// that is joining leaves when that join is over, so that nobody waits for its session to end.
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
