use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;
use kafka_troupe::broker::EmbeddedBroker;
use kafka_troupe::consume::{Consumer, ConsumerHandle, Outcome, Record};
use kafka_troupe::produce::{Confirmation, Producer, ProducerRecord, Sender};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::flights::Flight;
use super::verdict::{Handled, Judge};

const TOPIC: &str = "flights";
const PARTITIONS: i32 = 8;

/// How many records the second member has to handle before it may leave.
const SECOND_MEMBERS_SHARE: u64 = 1_500;
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

/// Sends the flights through the broker to the members.
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
    let mut members = Vec::new();

    let mut stopped = false;
    let played = tokio::select! {
        played = timeout(deadline, play(&stage, &mut feed, &mut members)) => played,
        () = shutdown.cancelled() => {
            stopped = true;
            Ok(Ok(()))
        }
    };
    for member in &members {
        leave(member).await?;
    }
    feed.stop().await?;
    match played {
        Ok(played) => played?,
        Err(_) => tracing::warn!("the deadline of {deadline:?} has passed"),
    }
    Ok(if stopped { End::Stopped } else { End::Over(Box::new(stage.into_judge())) })
}

/// The acts. Each begins when the one before has come about, however long that took.
async fn play(stage: &Stage<'_>, feed: &mut Feed, members: &mut Vec<ConsumerHandle>) -> anyhow::Result<()> {
    stage.act("one member works");
    members.push(stage.member(1)?);
    feed.send(feed.left() / 2).await?;
    let half = feed.sent as u64;
    stage.reached(|progress| progress.seen == half).await;

    stage.act("a second member joins");
    members.push(stage.member(2)?);
    feed.walk_until(stage.reached(|progress| progress.by_second >= SECOND_MEMBERS_SHARE)).await?;

    stage.act("the second member leaves");
    feed.walk_until(leave(&members[1])).await??;

    stage.act("one member works on");
    feed.send(feed.left()).await?;
    feed.all_stored().await?;
    stage.reached(|progress| progress.seen == feed.len()).await;

    // What was handled and not committed would come again, and be judged a duplicate.
    stage.act("a successor finds nothing left to do");
    leave(&members[0]).await?;
    members.push(stage.member(3)?);
    at_the_end(&members[2]).await;
    Ok(())
}

/// A member finishes and commits what it has begun, and leaves. One that has left before stays away.
async fn leave(member: &ConsumerHandle) -> anyhow::Result<()> {
    member.shutdown(DRAIN_DEADLINE).await.context("a member cannot leave in good order")?;
    Ok(())
}

/// Waits until a member owns the whole topic and has nothing left of it.
async fn at_the_end(member: &ConsumerHandle) {
    let mut looks = interval(Duration::from_millis(10));
    loop {
        looks.tick().await;
        let partitions = member.state().partitions;
        if partitions.len() == PARTITIONS as usize && partitions.iter().all(|partition| partition.lag == Some(0)) {
            return;
        }
    }
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
        Self { broker, judge: Arc::new(Mutex::new(judge)), progress: watch::Sender::default(), bar }
    }

    fn act(&self, what: &'static str) {
        tracing::debug!("{what}");
        self.bar.set_message(what);
    }

    /// Starts a member of the group.
    fn member(&self, member: usize) -> anyhow::Result<ConsumerHandle> {
        let (judge, progress) = (Arc::clone(&self.judge), self.progress.clone());
        let bar = self.bar.clone();
        let mut consumer =
            Consumer::builder().bootstrap_servers(self.broker.bootstrap_servers()).group_id(TOPIC).topics([TOPIC]);
        // Of the two protocols the one that the embedded broker plays right also on a busy machine.
        for (key, value) in EmbeddedBroker::CONSUMER_PROTOCOL_PROPERTIES {
            consumer = consumer.property(*key, *value);
        }
        consumer
            .handler(move |record: &Record| {
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

/// The file's way into the topic, keyed by aircraft.
struct Feed {
    flights: Arc<[Flight]>,
    sent: usize,
    producer: Producer,
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
            let record = ProducerRecord::to(TOPIC).key(flight.tailnum.as_bytes()).value(&flight.line);
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
        self.producer.shutdown(DRAIN_DEADLINE).await.context("the producer cannot stop")?;
        Ok(())
    }
}
