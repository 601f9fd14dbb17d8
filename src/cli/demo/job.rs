use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;
use kafka_troupe::broker::EmbeddedBroker;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::flights::Flight;
use super::stand_in::{
    Confirmation, Consumer, ConsumerHandle, Outcome, Producer, ProducerHandle, ProducerRecord,
    Record, Sender,
};
use super::verdict::{Handled, Judge};

const TOPIC: &str = "flights";
const PARTITIONS: i32 = 8;

/// How many records the second member has to handle before it may leave.
const SECOND_MEMBERS_SHARE: u64 = 500;
/// While members come and go, records keep coming, this many each time…
const WALKING_PACE: usize = 20;
/// …at this interval: enough for every partition to be busy, and few enough that the file lasts.
const WALKING_INTERVAL: Duration = Duration::from_millis(10);
/// What is left for after the second member has left, however long it took.
const RESERVE: usize = 2_000;

/// How long a member may take to finish and commit what it has begun.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// How the job ended.
pub(super) enum End {
    /// All was handled, or the deadline has passed.
    Over(Box<Judge>),
    /// It was asked to stop, and has done so in good order.
    Stopped,
}

/// Sends the flights through the broker to the two members.
pub(super) async fn run(
    flights: Vec<Flight>,
    bar: &ProgressBar,
    deadline: Duration,
    shutdown: &CancellationToken,
) -> anyhow::Result<End> {
    let flights: Arc<[Flight]> = flights.into();
    let broker = EmbeddedBroker::start()?;
    broker.create_topic(TOPIC, PARTITIONS)?;
    let stage = Stage::new(&broker, Judge::new(Arc::clone(&flights)), bar.clone());
    let mut feed = Feed::start(&broker, flights)?;
    let mut members = Members {
        first: stage.member(1)?,
        second: None,
    };

    let mut stopped = false;
    let played = tokio::select! {
        played = timeout(deadline, play(&stage, &mut feed, &mut members)) => played,
        () = shutdown.cancelled() => {
            stopped = true;
            Ok(Ok(()))
        }
    };
    members.leave().await?;
    feed.stop().await?;
    match played {
        Ok(played) => played?,
        Err(_) => tracing::warn!("the deadline of {deadline:?} has passed"),
    }
    Ok(if stopped {
        End::Stopped
    } else {
        End::Over(Box::new(stage.into_judge()))
    })
}

/// The acts: alone, joined by the second member, left by it, alone again.
async fn play(stage: &Stage<'_>, feed: &mut Feed, members: &mut Members) -> anyhow::Result<()> {
    stage.bar.set_message("one member");
    feed.send(feed.left() / 2).await?;
    let half = feed.sent as u64;
    stage.reached(|progress| progress.seen == half).await;

    stage.bar.set_message("a second member joins");
    tracing::debug!("the second member joins");
    members.second = Some(stage.member(2)?);
    feed.walk_until(stage.reached(|progress| progress.by_second >= SECOND_MEMBERS_SHARE))
        .await?;

    stage.bar.set_message("the second member leaves");
    tracing::debug!("the second member leaves");
    feed.walk_until(members.second_leaves()).await??;

    stage.bar.set_message("one member");
    feed.send(feed.left()).await?;
    feed.all_stored().await?;
    stage.reached(|progress| progress.seen == feed.len()).await;
    Ok(())
}

/// Where the members play: the broker, and the judge that watches them.
struct Stage<'a> {
    broker: &'a EmbeddedBroker,
    judge: Arc<Mutex<Judge>>,
    progress: watch::Sender<Progress>,
    bar: ProgressBar,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    /// Records of the file handled at least once.
    seen: u64,
    /// Calls of the second member's handler.
    by_second: u64,
}

impl<'a> Stage<'a> {
    fn new(broker: &'a EmbeddedBroker, judge: Judge, bar: ProgressBar) -> Self {
        Self {
            broker,
            judge: Arc::new(Mutex::new(judge)),
            progress: watch::Sender::default(),
            bar,
        }
    }

    /// Starts a member of the group.
    fn member(&self, member: usize) -> anyhow::Result<ConsumerHandle> {
        let (judge, progress) = (Arc::clone(&self.judge), self.progress.clone());
        let bar = self.bar.clone();
        let mut consumer = Consumer::builder()
            .bootstrap_servers(self.broker.bootstrap_servers())
            .group_id(TOPIC)
            .topics([TOPIC])
            .property("auto.offset.reset", "earliest");
        for (key, value) in EmbeddedBroker::CONSUMER_PROPERTIES {
            consumer = consumer.property(key, value);
        }
        consumer
            .handler(move |record: &Record<'_>| {
                let mut judge = judge.lock().unwrap_or_else(PoisonError::into_inner);
                judge.saw(Handled {
                    member,
                    partition: record.partition().0,
                    offset: record.offset().0,
                    key: record.key().unwrap_or_default(),
                    value: record.value().unwrap_or_default(),
                });
                progress.send_modify(|progress| {
                    progress.seen = judge.seen();
                    progress.by_second += u64::from(member == 2);
                });
                bar.set_position(judge.seen());
                Outcome::Done
            })
            .start()
            .with_context(|| format!("member {member} cannot start"))
    }

    /// Waits until the handlers have come so far.
    async fn reached(&self, enough: impl Fn(&Progress) -> bool) {
        // The sender is this stage's own, so it cannot be gone.
        let _ = self.progress.subscribe().wait_for(enough).await;
    }

    /// The judge, once no handler runs any more.
    fn into_judge(self) -> Judge {
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *judge, Judge::new(Arc::default()))
    }
}

struct Members {
    first: ConsumerHandle,
    second: Option<ConsumerHandle>,
}

impl Members {
    async fn second_leaves(&mut self) -> anyhow::Result<()> {
        if let Some(second) = &self.second {
            second
                .shutdown(DRAIN_DEADLINE)
                .await
                .context("the second member cannot leave")?;
        }
        self.second = None;
        Ok(())
    }

    /// Both leave: they finish and commit what they have begun.
    async fn leave(mut self) -> anyhow::Result<()> {
        self.second_leaves().await?;
        self.first
            .shutdown(DRAIN_DEADLINE)
            .await
            .context("the first member cannot leave")
    }
}

/// The file's way into the topic, keyed by aircraft.
struct Feed {
    flights: Arc<[Flight]>,
    sent: usize,
    producer: ProducerHandle,
    sender: Sender,
    confirmations: Vec<Confirmation>,
}

impl Feed {
    fn start(broker: &EmbeddedBroker, flights: Arc<[Flight]>) -> anyhow::Result<Self> {
        let producer = Producer::builder()
            .bootstrap_servers(broker.bootstrap_servers())
            .start()
            .context("the producer cannot start")?;
        Ok(Self {
            confirmations: Vec::with_capacity(flights.len()),
            flights,
            sent: 0,
            sender: producer.sender(),
            producer,
        })
    }

    fn len(&self) -> u64 {
        self.flights.len() as u64
    }

    fn left(&self) -> usize {
        self.flights.len() - self.sent
    }

    /// Sends the next `count` flights, as fast as they are taken.
    async fn send(&mut self, count: usize) -> anyhow::Result<()> {
        for flight in &self.flights[self.sent..self.sent + count] {
            let record = ProducerRecord::to(TOPIC)
                .key(flight.tailnum.as_bytes())
                .value(&flight.line);
            self.confirmations.push(self.sender.enqueue(record).await?);
        }
        self.sent += count;
        Ok(())
    }

    /// Sends flights at a walk until `event` has happened.
    async fn walk_until<T>(&mut self, event: impl Future<Output = T>) -> anyhow::Result<T> {
        let mut event = pin!(event);
        let mut steps = interval(WALKING_INTERVAL);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                happened = &mut event => return Ok(happened),
                _ = steps.tick() => {
                    let spare = self.left().saturating_sub(RESERVE);
                    self.send(spare.min(WALKING_PACE)).await?;
                }
            }
        }
    }

    /// Waits until the broker has confirmed every record.
    async fn all_stored(&mut self) -> anyhow::Result<()> {
        for confirmation in self.confirmations.drain(..) {
            confirmation.await.context("a record was not stored")?;
        }
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.producer
            .shutdown(DRAIN_DEADLINE)
            .await
            .context("the producer cannot stop")
    }
}
