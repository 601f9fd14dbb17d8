//! The events as they happen: from the engine's threads to stdout, one line at a time.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_troupe::consume::{
    AssignedPartition, CommitReport, ConsumerState, ListenerError, Offsets, RebalanceListener, Revoked,
};
use kafka_troupe::ids::{NextOffset, TopicPartition};
use kafka_troupe::{ConsumerHandle, Record};

use super::account::{Account, Data};
use super::events::{Event, Line, Partition};

/// Tells the story of one consumer. Whoever has something to tell tells under one lock, so that the lines stand in the order in which they are
/// true.
pub(super) struct Story {
    account: Mutex<Account>,
    /// Records' keys and values are told too.
    verbose: bool,
    /// Commits are told.
    commits: bool,
    consumer: OnceLock<ConsumerHandle>,
}

impl Story {
    pub(super) fn new(skips: bool, verbose: bool, commits: bool) -> Self {
        Self { account: Mutex::new(Account::new(skips)), verbose, commits, consumer: OnceLock::new() }
    }

    /// The consumer runs. Until it is known, nothing of it can be asked.
    pub(super) fn of(&self, consumer: ConsumerHandle) {
        let _ = self.consumer.set(consumer);
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: Event) {
        let _account = self.lock();
        tell([event]);
    }

    pub(super) fn handled(&self, record: &Record) {
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let data = self.verbose.then(|| Data { key: text(record.key()), value: text(record.value()) });
        self.lock().handled(&partition(record.topic_partition()), record.offset().0, data);
    }

    /// Tells what has been processed by now.
    pub(super) fn look(&self) {
        if let Some(consumer) = self.consumer.get() {
            let watermarks = watermarks(consumer.state());
            let mut account = self.lock();
            tell(account.advance(watermarks));
        }
    }

    /// The engine has committed by itself.
    pub(super) fn committed(&self, report: &CommitReport) {
        if !self.commits {
            return;
        }
        let failed = report.partitions.iter().find_map(|each| each.error);
        let offsets = report.partitions.iter().map(|each| (partition(&each.topic_partition), each.offset.0));
        let mut account = self.lock();
        tell(account.committed(offsets.collect(), failed.map(|code| code.to_string())));
    }

    /// Commits what is processed of partitions that go, and waits for the answer, but not for longer than somebody waits for this.
    fn commit(&self, offsets: Vec<(Partition, i64)>, deadline: Instant) {
        let Some(consumer) = self.consumer.get().filter(|_| !offsets.is_empty()) else {
            return;
        };
        let asked =
            offsets.iter().map(|(at, offset)| (TopicPartition::new(&*at.topic, at.partition), NextOffset(*offset)));
        let pending = consumer.commit_offsets(asked.collect::<Vec<_>>());
        let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(Duration::from_millis(100));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let answer = match runtime {
            Ok(runtime) => runtime.block_on(async { tokio::time::timeout(left, pending).await }),
            Err(error) => return tracing::error!(%error, "the last commit cannot be waited for"),
        };
        let error = match answer {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the last commit was not answered in time".to_owned()),
        };
        let mut account = self.lock();
        tell(account.committed(offsets, error));
    }
}

/// What the consumer is told of its partitions is told to the reader. (Given up in good order or lost, Java's tool says the same.)
pub(super) struct Listener(pub(super) Arc<Story>);

impl RebalanceListener for Listener {
    fn on_assigned(&self, assigned: &[AssignedPartition]) -> Result<Offsets, ListenerError> {
        self.0.look();
        let starts = assigned.iter().map(|each| (partition(&each.topic_partition), each.start.0)).collect();
        tell([self.0.lock().assigned(starts)]);
        Ok(Offsets::new())
    }

    fn on_revoked(&self, revoked: &Revoked) -> Result<Offsets, ListenerError> {
        let story = &self.0;
        story.look();
        let partitions: Vec<_> = revoked.partitions.iter().map(|each| partition(&each.topic_partition)).collect();
        let finished = revoked.partitions.iter().map(|each| (partition(&each.topic_partition), each.finished.0));
        let uncommitted = {
            let mut account = story.lock();
            tell(account.advance(finished.collect::<Vec<_>>()));
            account.uncommitted(&partitions)
        };
        if story.commits {
            story.commit(uncommitted, revoked.deadline);
        }
        tell([story.lock().revoked(partitions)]);
        Ok(Offsets::new())
    }

    fn on_lost(&self, lost: &[TopicPartition]) {
        tell([self.0.lock().revoked(lost.iter().map(partition).collect())]);
    }
}

fn watermarks(state: ConsumerState) -> Vec<(Partition, i64)> {
    let watermark = |each: kafka_troupe::consume::PartitionState| {
        (Partition { topic: each.topic, partition: each.partition }, each.watermark)
    };
    state.partitions.into_iter().map(watermark).collect()
}

fn partition(of: &TopicPartition) -> Partition {
    Partition { topic: of.topic.to_string(), partition: of.partition.0 }
}

/// To be called under the account's lock.
fn tell(events: impl IntoIterator<Item = Event>) {
    let mut stdout = io::stdout().lock();
    for event in events {
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
        let line = serde_json::to_string(&Line { timestamp, event }).unwrap_or_default();
        // A reader that has gone away misses the rest: the consumer goes on until it is told to end, as Java's does.
        let _ = writeln!(stdout, "{line}");
    }
    let _ = stdout.flush();
}
