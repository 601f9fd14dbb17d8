//! OUT, as a bare client reads it, on a thread of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::load::latencies::Latencies;
use crate::load::ledger::Place;
use crate::load::quiet::Quiet;

use super::carrier::WallClock;
use super::ends::Ends;
use super::identity::{Carried, HEADER};
use super::ledger::Ledger;

/// How long OUT may stay silent while it is read to its end.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a request to end may go unnoticed.
const NAP: Duration = Duration::from_millis(20);

/// What came out so far: the reader writes it, the run looks at it.
#[derive(Debug)]
pub(crate) struct Seen(Mutex<Book>);

#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) ledger: Ledger,
    /// Of the load, since it was last taken.
    pub(crate) end_to_end: Latencies,
    /// When the last record came that none had seen before; nanoseconds since the Unix epoch.
    pub(crate) last_new: u64,
    /// Records that came before they were sent: two clocks differ.
    pub(crate) before_sent: u64,
    /// Records that stood in OUT before the reader began: when they came it cannot say.
    pub(crate) not_timed: u64,
    /// Different records of the run, by partition.
    pub(crate) partitions: Vec<u64>,
}

impl Seen {
    pub(crate) fn new(unchanged: bool) -> anyhow::Result<Self> {
        Ok(Self(Mutex::new(Book {
            ledger: Ledger::new(unchanged),
            end_to_end: Latencies::new()?,
            last_new: 0,
            before_sent: 0,
            not_timed: 0,
            partitions: Vec::new(),
        })))
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client that reads OUT is told beside what was given.
pub(crate) fn reading(mut client: ClientConfig, run: u64) -> ClientConfig {
    // It joins no group and commits nothing; librdkafka wants a name all the same.
    client.set("group.id", format!("troupe-load-{run:016x}")).set("enable.auto.commit", "false");
    client.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    // What was deleted before it was read must not go unnoticed.
    client.set("auto.offset.reset", "error");
    if client.get("fetch.wait.max.ms").is_none() {
        client.set("fetch.wait.max.ms", "50");
    }
    client
}

/// A client of the topic. Its calls wait for the brokers.
pub(crate) struct Out {
    client: BaseConsumer<Quiet>,
    topic: String,
    timeout: Duration,
}

/// Whose records are looked for, and by which clock.
pub(crate) struct Search {
    pub(crate) run: u64,
    pub(crate) carried: Carried,
    pub(crate) clock: WallClock,
}

/// A thread that reads until it is told to read to the end.
pub(crate) struct Reader {
    finish: CancellationToken,
    /// Not even to the end.
    cut: CancellationToken,
    ended: oneshot::Receiver<anyhow::Result<()>>,
}

impl Out {
    /// # Errors
    /// A property is refused.
    pub(crate) fn new(topic: &str, run: u64, client: ClientConfig, timeout: Duration) -> anyhow::Result<Self> {
        let client = reading(client, run)
            .create_with_context(Quiet)
            .with_context(|| format!("the client that reads {topic} cannot be made"))?;
        Ok(Self { client, topic: topic.to_owned(), timeout })
    }

    /// Where each partition ends.
    pub(crate) fn ends(&self) -> anyhow::Result<Vec<i64>> {
        let end = |partition| {
            let ends = self.client.fetch_watermarks(&self.topic, partition, self.timeout);
            ends.map(|(_, end)| end).with_context(|| format!("cannot see where {} [{partition}] ends", self.topic))
        };
        (0..self.partitions()?).map(end).collect()
    }

    fn partitions(&self) -> anyhow::Result<i32> {
        let metadata = self.client.fetch_metadata(Some(&self.topic), self.timeout);
        let metadata = metadata.with_context(|| format!("cannot see the partitions of {}", self.topic))?;
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        anyhow::ensure!(count > 0, "topic {} does not exist", self.topic);
        Ok(i32::try_from(count)?)
    }

    fn assign(&self, positions: impl Iterator<Item = (usize, Offset)>) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            list.add_partition_offset(&self.topic, i32::try_from(partition)?, position)?;
        }
        self.client.assign(&list).with_context(|| format!("cannot read {}", self.topic))
    }

    /// Nothing more comes of the partition, which others may go on to write.
    fn pause(&self, partition: usize) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, i32::try_from(partition)?);
        self.client.pause(&list).with_context(|| format!("cannot leave {} [{partition}] alone", self.topic))
    }

    /// Connections come back; what is in the way for good ends the run.
    fn go_on_after(&self, error: KafkaError) -> anyhow::Result<()> {
        use RDKafkaErrorCode::{
            AutoOffsetReset, Fatal, OffsetOutOfRange, TopicAuthorizationFailed, UnknownPartition, UnknownTopic,
            UnknownTopicOrPartition,
        };
        match error.rdkafka_error_code() {
            Some(AutoOffsetReset | OffsetOutOfRange) => anyhow::bail!(
                "records of {} were deleted before they were read ({error}): give the topic a longer retention, and run again",
                self.topic
            ),
            Some(Fatal | TopicAuthorizationFailed | UnknownPartition | UnknownTopic | UnknownTopicOrPartition) => {
                Err(error).with_context(|| format!("{} cannot be read", self.topic))
            }
            _ => {
                tracing::debug!(%error, "while reading {}", self.topic);
                Ok(())
            }
        }
    }
}

/// Where a reader is.
struct Reading {
    out: Out,
    /// By partition: what comes next.
    positions: Vec<Offset>,
    /// Where OUT ended when the reader began.
    timed_from: Vec<i64>,
    search: Search,
    seen: Arc<Seen>,
}

enum Polled {
    /// Up to this offset a partition is read.
    To(usize, i64),
    End(usize),
}

impl Reading {
    fn on(&mut self) -> anyhow::Result<Option<Polled>> {
        let record = match self.out.client.poll(NAP) {
            Some(Ok(record)) => record,
            Some(Err(KafkaError::PartitionEOF(partition))) => return Ok(Some(Polled::End(partition as usize))),
            Some(Err(error)) => return self.out.go_on_after(error).map(|()| None),
            None => return Ok(None),
        };
        let headers = record.headers();
        let header = headers.and_then(|it| it.iter().find(|header| header.key == HEADER)?.value);
        let found = self.search.carried.find(self.search.run, header, record.payload());
        let (index, offset) = (record.partition() as usize, record.offset());
        if let Some(position) = self.positions.get_mut(index) {
            *position = Offset::Offset(offset + 1);
        }
        let place = Place { partition: record.partition() as u32, offset: offset as u64 };
        let timed = self.timed_from.get(index).is_none_or(|end| offset >= *end);
        let now = self.search.clock.now();
        let mut book = self.seen.book();
        if let Some(payload) = book.ledger.came(found, place) {
            book.last_new = now;
            book.not_timed += u64::from(!timed);
            if index >= book.partitions.len() {
                book.partitions.resize(index + 1, 0);
            }
            book.partitions[index] += 1;
            book.before_sent += u64::from(now < payload.intended);
            if timed && !payload.warm_up && now >= payload.intended {
                book.end_to_end.record(now - payload.intended);
            }
        }
        Ok(Some(Polled::To(index, offset + 1)))
    }

    /// To where OUT ends now, or until it is `cut`.
    fn on_to_the_end(&mut self, cut: &CancellationToken) -> anyhow::Result<()> {
        let ends = self.out.ends()?;
        // The topic may have grown.
        self.positions.resize(ends.len(), Offset::Beginning);
        self.seen.book().partitions.resize(ends.len(), 0);
        let mut ends = Ends::new(ends);
        for (partition, position) in self.positions.iter().enumerate() {
            if let Offset::Offset(next) = position {
                ends.read_to(partition, *next);
            }
        }
        // Assigned anew, each partition tells of its end anew.
        self.out.assign(ends.left().map(|partition| (partition, self.positions[partition])))?;
        let mut until = Instant::now() + SILENCE;
        while ends.left().next().is_some() && !cut.is_cancelled() {
            if let Some(polled) = self.on()? {
                until = Instant::now() + SILENCE;
                let (partition, reached) = match polled {
                    Polled::To(partition, next) => (partition, ends.read_to(partition, next)),
                    Polled::End(partition) => (partition, ends.read_all(partition)),
                };
                if reached {
                    self.out.pause(partition)?;
                }
            }
            anyhow::ensure!(
                Instant::now() < until,
                "{} cannot be read to its end: nothing came for {SILENCE:?}, so nothing can be said of what is missing",
                self.out.topic
            );
        }
        Ok(())
    }
}

impl Reader {
    /// Reads on from `starts`, by partition, or from the beginning.
    ///
    /// # Errors
    /// OUT cannot be seen.
    pub(crate) async fn start(
        out: Out,
        starts: Option<Vec<i64>>,
        search: Search,
        seen: Arc<Seen>,
    ) -> anyhow::Result<Self> {
        let (begin, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let [finish, cut] = [(); 2].map(|()| CancellationToken::new());
        let (finishing, cutting) = (finish.clone(), cut.clone());
        let read = move || {
            let begun = (|| {
                let timed_from = out.ends()?;
                let mut positions = vec![Offset::Beginning; timed_from.len()];
                for (position, start) in positions.iter_mut().zip(starts.unwrap_or_default()) {
                    *position = Offset::Offset(start);
                }
                out.assign(positions.iter().copied().enumerate())?;
                anyhow::Ok(Reading { out, positions, timed_from, search, seen })
            })();
            let mut reading = match begun {
                Ok(reading) => reading,
                Err(error) => return drop(begin.send(Err(error))),
            };
            let _ = begin.send(Ok(()));
            let read = (|| {
                while !finishing.is_cancelled() {
                    reading.on()?;
                }
                reading.on_to_the_end(&cutting)
            })();
            let _ = end.send(read);
        };
        let thread = thread::Builder::new().name("load-reader".to_owned());
        thread.spawn(read).context("a thread cannot be started")?;
        begun.await.context("the reader died")??;
        Ok(Self { finish, cut, ended })
    }

    /// Waits for the reader to end by itself.
    ///
    /// # Errors
    /// Why it did: before it was told to finish, in any case.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.ended).await.context("the reader died")?
    }

    /// Has it read what is there by now, unless a `stop` comes first. Whether that was all read.
    ///
    /// # Errors
    /// OUT cannot be read to its end.
    pub(crate) async fn finish(mut self, stop: &CancellationToken) -> anyhow::Result<bool> {
        self.finish.cancel();
        tokio::select! {
            ended = self.ended() => return ended.map(|()| true),
            () = stop.cancelled() => self.cut.cancel(),
        }
        self.ended().await.map(|()| false)
    }
}

impl Drop for Reader {
    /// The thread ends by itself, soon.
    fn drop(&mut self) {
        self.cut.cancel();
        self.finish.cancel();
    }
}
