//! The actor that picks each record's partition and forwards per-partition batches to librdkafka.
//!
//! It shares an arbiter with its `ProducerActor`, and the calls to librdkafka are made there; they copy the record and never block.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler};

use super::SendError;
use super::backlog::Backlog;
use super::batch::{RecordBatch, TopicIndex};
use super::error::LibraryError;
use super::intake::{Intake, Settled};
use super::outlet::{Outlet, Work};
use super::partition_counts::{LookUp, LookUps, NoPartitions, PartitionCounts, TopicLookedUp};
use super::state::Failure;

/// An unknown topic is asked for again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Where no report says that librdkafka's queue has room again, it is tried after this long.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// librdkafka has answered records since its queue was full.
pub(super) struct QueueHasRoom;

impl actix::Message for QueueHasRoom {
    type Result = ();
}

/// Said by the actor to the delivery thread: call when there is room again.
#[derive(Default)]
pub(super) struct Stalled {
    waits: AtomicBool,
    events: AtomicU64,
}

impl Stalled {
    /// Whether the actor waits for room; it is to be told once.
    pub(super) fn take(&self) -> bool {
        self.waits.load(Ordering::Relaxed) && self.waits.swap(false, Ordering::AcqRel)
    }

    /// How often librdkafka's queue was full.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.waits.store(true, Ordering::Release);
    }
}

/// See the module. When it ends, however it does, its intake closes, and every record it holds is answered `Abandoned`.
pub(super) struct PartitionerActor {
    pub(super) intake: Arc<Intake>,
    pub(super) counts: PartitionCounts,
    pub(super) look_ups: LookUps,
    pub(super) stalled: Arc<Stalled>,
    pub(super) failure: Arc<Failure>,
    /// How long records wait for the partition count of their topic.
    pub(super) metadata_timeout: Duration,
    pub(super) backlog: Backlog<Work>,
    pub(super) out: Outlet,
}

impl PartitionerActor {
    /// The topic has so many partitions.
    fn learn(&mut self, topic: TopicIndex, partitions: NonZeroU32) {
        self.out.learn(topic, partitions);
        self.intake.learn(topic, partitions);
    }

    fn produce(&mut self, batch: RecordBatch, ctx: &mut Context<Self>) {
        let waited = !self.backlog.is_empty();
        let out = &mut self.out;
        self.backlog.offer(Work::Batch(batch), |work| out.produce(work));
        if !waited && !self.backlog.is_empty() {
            self.stall(ctx);
        }
    }

    fn retry(&mut self, ctx: &mut Context<Self>) {
        let out = &mut self.out;
        self.backlog.retry(|work| out.produce(work));
        if !self.backlog.is_empty() {
            self.stall(ctx);
        }
    }

    /// The delivery thread says when there is room. A report that came before the mark was set says nothing, hence the timer.
    fn stall(&self, ctx: &mut Context<Self>) {
        self.stalled.set();
        let stalled = self.stalled.clone();
        ctx.run_later(TRY_AGAIN, move |actor, ctx| {
            if stalled.take() {
                actor.retry(ctx);
            }
        });
    }

    fn ask_for(&self, topic: Arc<str>) {
        let asker = Some(self.intake.index);
        // The helper ends after this actor; were it dead, the records would wait and then fail in time.
        self.look_ups.ask(LookUp { topic, asker });
    }

    /// Fails what has waited for its topic too long, and looks again when the next will have.
    fn expire(&mut self, topic: TopicIndex, ctx: &mut Context<Self>) {
        let Some(route) = self.out.route(topic) else {
            return;
        };
        let (expired, again) = route.expire(Instant::now(), self.metadata_timeout);
        for batch in expired {
            give_up(batch, &route.last_answer);
        }
        if let Some(again) = again {
            ctx.run_later(again, move |actor, ctx| actor.expire(topic, ctx));
        }
    }
}

/// Answers every record of a batch of whose topic nothing is known, for this reason.
fn give_up(mut batch: RecordBatch, reason: &NoPartitions) {
    let records = batch.answers.records.len();
    let answers = &mut batch.answers;
    let topic = answers.topic.clone();
    let error = match reason {
        NoPartitions::Unknown => SendError::UnknownTopic { topic },
        NoPartitions::NoAnswer => SendError::TimedOut { topic, partition: None, possibly_persisted: false },
        NoPartitions::Denied(code) => {
            SendError::Rejected { topic, partition: None, error: LibraryError(*code), possibly_persisted: false }
        }
        NoPartitions::Refused(reason) => SendError::ConnectionRefused { topic, reason: Arc::clone(reason) },
    };
    tracing::warn!(records, %error, "records given up");
    let mut settled = Settled::default();
    for place in 0..records {
        answers.answer_now(place, Err(Box::new(error.clone())), &mut settled);
    }
    answers.intake.settle(answers.generation, settled);
}

impl Actor for PartitionerActor {
    type Context = Context<Self>;
}

impl Handler<RecordBatch> for PartitionerActor {
    type Result = ();

    fn handle(&mut self, batch: RecordBatch, ctx: &mut Context<Self>) {
        let topic = batch.topic;
        let name = batch.answers.topic.clone();
        let route = self.out.route_or_begin(topic, &name);
        if route.known.is_none() && !route.is_waiting() {
            match self.counts.get(&name).map(|count| *count) {
                Some(count) => self.learn(topic, count),
                None => {
                    self.ask_for(name.clone());
                    ctx.run_later(self.metadata_timeout, move |actor, ctx| {
                        actor.expire(topic, ctx);
                    });
                }
            }
        }
        let route = self.out.route_or_begin(topic, &name);
        if route.known.is_none() {
            route.wait(batch, Instant::now());
        } else {
            self.produce(batch, ctx);
        }
    }
}

impl Handler<TopicLookedUp> for PartitionerActor {
    type Result = ();

    fn handle(&mut self, answer: TopicLookedUp, ctx: &mut Context<Self>) {
        let Some(topic) = self.out.route_named(&answer.topic) else {
            return;
        };
        if let Ok(partitions) = answer.partitions {
            self.learn(topic, partitions);
        }
        let Some(route) = self.out.route(topic) else {
            return;
        };
        match answer.partitions {
            Ok(_) => {
                for batch in route.take_waiting() {
                    self.produce(batch, ctx);
                }
            }
            // To wait would not change it.
            Err(reason @ (NoPartitions::Denied(_) | NoPartitions::Refused(_))) => {
                for batch in route.expire(Instant::now(), Duration::ZERO).0 {
                    give_up(batch, &reason);
                }
            }
            Err(reason) => {
                route.last_answer = reason;
                if route.is_waiting() {
                    ctx.run_later(ASK_AGAIN, |actor, _| actor.ask_for(answer.topic));
                }
            }
        }
    }
}

impl Handler<QueueHasRoom> for PartitionerActor {
    type Result = ();

    fn handle(&mut self, _: QueueHasRoom, ctx: &mut Context<Self>) {
        self.retry(ctx);
    }
}

impl Drop for PartitionerActor {
    fn drop(&mut self) {
        self.failure.actor_ended("PartitionerActor");
        self.intake.abandon();
    }
}
