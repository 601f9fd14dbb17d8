//! The actor that picks each record's partition and forwards per-partition batches to librdkafka.
//!
//! It shares an arbiter with its `ProducerActor`, and the calls to librdkafka are made there; they copy the record and never block.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler};
use rdkafka::types::RDKafkaErrorCode;

use super::SendError;
use super::backlog::{Backlog, Fit};
use super::batch::{RecordBatch, RecordView, Records, TopicIndex, Unanswered};
use super::in_flight::{BatchMark, InFlight};
use super::intake::{Intake, Settled};
use super::native::{NativeProducer, NativeRecord, NativeTopic, Produced, Scratch};
use super::partition_counts::{LookUp, LookUps, NoPartitions, PartitionCounts, TopicLookedUp};
use super::partitioner::{Partitioner, Unplaced};
use super::state::Failure;
use crate::ids::PartitionId;

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

/// What every `PartitionerActor` of a producer shares.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) native: Arc<NativeProducer>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) counts: PartitionCounts,
    pub(super) partitioner: Arc<dyn Partitioner>,
    pub(super) failure: Arc<Failure>,
    /// How long records wait for the partition count of their topic.
    pub(super) metadata_timeout: Duration,
}

/// A topic, as this actor sees it.
struct Route {
    name: Arc<str>,
    known: Option<(NativeTopic, NonZeroU32)>,
    /// Batches that came before the partition count, with the time of each.
    waiting: VecDeque<(Instant, RecordBatch)>,
    last_answer: NoPartitions,
    /// Where the last batch's key-less records went.
    sticky: u32,
}

/// Records of one batch for one partition, by their places.
struct PartitionBatch {
    topic: TopicIndex,
    partition: PartitionId,
    records: Rc<Records>,
    mark: BatchMark,
    places: Vec<u32>,
}

enum Work {
    Batch(RecordBatch),
    Partition(PartitionBatch),
}

/// See the module. When it ends, however it does, its intake closes, and every record it holds is answered `Abandoned`.
pub(super) struct PartitionerActor {
    intake: Arc<Intake>,
    look_ups: LookUps,
    stalled: Arc<Stalled>,
    backlog: Backlog<Work>,
    out: Outlet,
}

/// Everything that producing needs but the backlog, which decides when.
struct Outlet {
    shared: Shared,
    look_ups: LookUps,
    /// By `TopicIndex`: the intake numbers its topics, and only its batches come here.
    routes: Vec<Option<Route>>,
    scratch: Scratch,
    /// Places per partition, kept to be used again.
    buckets: Vec<Vec<u32>>,
}

impl PartitionerActor {
    pub(super) fn new(
        shared: Shared,
        intake: Arc<Intake>,
        look_ups: LookUps,
        stalled: Arc<Stalled>,
    ) -> Self {
        Self {
            intake,
            look_ups: look_ups.clone(),
            stalled,
            backlog: Backlog::default(),
            out: Outlet {
                shared,
                look_ups,
                routes: Vec::new(),
                scratch: Scratch::default(),
                buckets: Vec::new(),
            },
        }
    }

    fn produce(&mut self, batch: RecordBatch, ctx: &mut Context<Self>) {
        let waited = !self.backlog.is_empty();
        let out = &mut self.out;
        self.backlog
            .offer(Work::Batch(batch), |work| out.produce(work));
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
        let _ = self.look_ups.send(LookUp { topic, asker });
    }

    /// Fails what has waited for its topic too long, and looks again when the next will have.
    fn expire(&mut self, topic: TopicIndex, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let timeout = self.out.shared.metadata_timeout;
        let Some(route) = self.out.route(topic) else {
            return;
        };
        while let Some((since, _)) = route.waiting.front() {
            let waited = now.saturating_duration_since(*since);
            if waited < timeout {
                ctx.run_later(timeout - waited, move |actor, ctx| actor.expire(topic, ctx));
                return;
            }
            if let Some((_, batch)) = route.waiting.pop_front() {
                let unknown = route.last_answer == NoPartitions::Unknown;
                tracing::warn!(topic = %route.name, unknown, "records given up: no word of the topic's partitions");
                fail(batch, |topic| match unknown {
                    true => SendError::UnknownTopic { topic },
                    false => SendError::TimedOut {
                        topic,
                        partition: None,
                        possibly_persisted: false,
                    },
                });
            }
        }
    }
}

/// Answers every record of a batch with an error.
fn fail(mut batch: RecordBatch, error: impl Fn(Arc<str>) -> SendError) {
    let mut settled = Settled::default();
    for place in 0..batch.records.len() {
        if let Some(record) = batch.answers.take(place) {
            settled.failed(record.bytes);
            if record
                .completion
                .answer(Err(error(batch.answers.topic.clone())))
                .is_err()
            {
                settled.callback_panicked();
            }
        }
    }
    batch
        .answers
        .intake
        .settle(batch.answers.generation, settled);
}

impl Outlet {
    fn route(&mut self, topic: TopicIndex) -> Option<&mut Route> {
        self.routes.get_mut(topic.0)?.as_mut()
    }

    /// The topic's route, begun if it is new.
    fn route_or_begin(&mut self, topic: TopicIndex, name: &Arc<str>) -> &mut Route {
        if self.routes.len() <= topic.0 {
            self.routes.resize_with(topic.0 + 1, || None);
        }
        self.routes[topic.0].get_or_insert_with(|| Route {
            name: name.clone(),
            known: None,
            waiting: VecDeque::new(),
            last_answer: NoPartitions::NoAnswer,
            sticky: 0,
        })
    }

    fn learn(&mut self, topic: TopicIndex, partitions: NonZeroU32) {
        let native = self.shared.native.clone();
        let Some(route) = self.route(topic) else {
            return;
        };
        match &mut route.known {
            Some((_, known)) => {
                if *known != partitions {
                    tracing::info!(topic = %route.name, before = known.get(), now = partitions.get(), "the topic's partition count changed");
                    *known = partitions;
                }
            }
            None => match NativeTopic::new(native, &route.name) {
                Ok(handle) => route.known = Some((handle, partitions)),
                // The records go on waiting, and fail in time.
                Err(error) => tracing::error!(topic = %route.name, %error, "no topic handle"),
            },
        }
    }

    fn produce(&mut self, work: Work) -> Fit<Work> {
        match work {
            Work::Batch(batch) => self.split(batch),
            Work::Partition(part) => match self.hand_over(part) {
                None => Fit::All,
                Some(rest) => Fit::Rest(vec![Work::Partition(rest)]),
            },
        }
    }

    /// Picks the partitions of a batch whose topic is known and hands over each partition's records.
    fn split(&mut self, batch: RecordBatch) -> Fit<Work> {
        let RecordBatch {
            topic,
            records,
            answers,
            ..
        } = batch;
        let name = answers.topic.clone();
        let Some(Some(Route {
            known: Some((_, partitions)),
            sticky,
            ..
        })) = self.routes.get_mut(topic.0)
        else {
            // Only batches of known topics come here. Were it otherwise, dropping the answers would answer each record.
            return Fit::All;
        };
        let partitions = *partitions;
        *sticky = (*sticky + 1) % partitions.get();
        let sticky = PartitionId(*sticky as i32);
        if self.buckets.len() < partitions.get() as usize {
            self.buckets
                .resize_with(partitions.get() as usize, Vec::new);
        }
        let mark = self.shared.in_flight.lock().insert(answers);
        let mut touched = Vec::with_capacity(self.buckets.len().min(records.len()));
        let mut refused = Vec::new();
        for place in 0..records.len() {
            match self.place(&name, records.get(place), partitions, sticky) {
                Ok(partition) => {
                    let bucket = &mut self.buckets[partition.0 as usize];
                    if bucket.is_empty() {
                        touched.push(partition);
                    }
                    bucket.push(place as u32);
                }
                Err(error) => refused.push((place, error)),
            }
        }
        self.refuse(mark, refused);
        let records = Rc::new(records);
        let mut rest = Vec::new();
        for partition in touched {
            let bucket = &mut self.buckets[partition.0 as usize];
            let part = PartitionBatch {
                topic,
                partition,
                records: records.clone(),
                mark,
                places: std::mem::take(bucket),
            };
            // Once it is full, it may have room again a moment later: but then the order would be lost if a later batch came first.
            let left = if rest.is_empty() {
                self.hand_over(part)
            } else {
                Some(part)
            };
            rest.extend(left.map(Work::Partition));
        }
        if rest.is_empty() {
            Fit::All
        } else {
            Fit::Rest(rest)
        }
    }

    fn place(
        &self,
        topic: &Arc<str>,
        record: RecordView<'_>,
        partitions: NonZeroU32,
        sticky: PartitionId,
    ) -> Result<PartitionId, SendError> {
        let picked = match record.partition() {
            Some(named) => Some(named),
            None => {
                let unplaced = Unplaced {
                    topic,
                    key: record.key(),
                    value: record.value(),
                };
                let pick = || self.shared.partitioner.partition(unplaced, partitions);
                catch_unwind(AssertUnwindSafe(pick)).map_err(|_panic| {
                    SendError::PartitionerPanicked {
                        topic: topic.clone(),
                    }
                })?
            }
        };
        let partition = picked.unwrap_or(sticky);
        match u32::try_from(partition.0) {
            Ok(number) if number < partitions.get() => Ok(partition),
            _ => {
                // The topic may have grown: the next record may find it. A helper that is gone has nobody left to tell.
                let _ = self.look_ups.send(LookUp {
                    topic: topic.clone(),
                    asker: None,
                });
                Err(SendError::UnknownPartition {
                    topic: topic.clone(),
                    partition,
                    partitions: partitions.get(),
                })
            }
        }
    }

    /// Hands one partition's records to librdkafka in order; gives back those that its full queue refused.
    fn hand_over(&mut self, mut part: PartitionBatch) -> Option<PartitionBatch> {
        let Some(Some(Route {
            known: Some((topic, _)),
            ..
        })) = self.routes.get(part.topic.0)
        else {
            // As in `split`. These records are in flight, and answered when the producer ends.
            return None;
        };
        let scratch = &mut self.scratch;
        let mut refused = Vec::new();
        let mut done = 0;
        let full = loop {
            let (plain, produced) = {
                let places = &part.places[done..];
                let Some(first) = places.first() else {
                    break false;
                };
                let native = |place: &u32| {
                    let place = *place as usize;
                    let record = part.records.get(place);
                    NativeRecord {
                        key: record.key(),
                        value: record.value(),
                        mark: part.mark.record(place),
                    }
                };
                let is_plain = |place: &&u32| part.records.get(**place as usize).is_plain();
                if is_plain(&first) {
                    let run = places.iter().take_while(is_plain).count();
                    let produced =
                        topic.produce(part.partition, places[..run].iter().map(native), scratch);
                    (run, produced)
                } else {
                    let record = part.records.get(*first as usize);
                    let answer = topic.produce_one(
                        part.partition,
                        native(first),
                        record.timestamp(),
                        record.headers(),
                    );
                    (1, Produced::of_one(answer))
                }
            };
            refused.extend(
                produced
                    .refused
                    .iter()
                    .map(|(place, code)| (part.places[done + place] as usize, *code)),
            );
            match produced.full_from {
                Some(from) => {
                    done += from;
                    break true;
                }
                None => done += plain,
            }
        };
        if !refused.is_empty() {
            self.refuse_by_library(&part, refused);
        }
        if full {
            part.places.drain(..done);
            return Some(part);
        }
        // The list goes back where it came from, for the next batch.
        part.places.clear();
        if let Some(bucket) = self.buckets.get_mut(part.partition.0 as usize)
            && bucket.capacity() < part.places.capacity()
        {
            *bucket = part.places;
        }
        None
    }

    fn refuse_by_library(&self, part: &PartitionBatch, codes: Vec<(usize, RDKafkaErrorCode)>) {
        let partition = part.partition;
        let mut batches = self.shared.in_flight.lock();
        let mut refused = Vec::with_capacity(codes.len());
        for (place, code) in codes {
            let taken = batches.take(part.mark.record(place), |record, answers| {
                let topic = answers.topic.clone();
                let error = SendError::from_library(topic, partition, record.bytes, code, false);
                (record, error, answers.intake.clone(), answers.generation)
            });
            refused.extend(taken);
        }
        drop(batches);
        for (record, error, intake, generation) in refused {
            answer(record, error, &intake, generation);
        }
    }

    fn refuse(&self, mark: BatchMark, refused: Vec<(usize, SendError)>) {
        for (place, error) in refused {
            let taken = self
                .shared
                .in_flight
                .lock()
                .take(mark.record(place), |record, answers| {
                    (record, answers.intake.clone(), answers.generation)
                });
            if let Some((record, intake, generation)) = taken {
                answer(record, error, &intake, generation);
            }
        }
    }
}

fn answer(
    record: Unanswered,
    error: SendError,
    intake: &Intake,
    generation: super::credits::Generation,
) {
    let mut settled = Settled::default();
    settled.failed(record.bytes);
    if record.completion.answer(Err(error)).is_err() {
        settled.callback_panicked();
    }
    intake.settle(generation, settled);
}

impl Produced {
    fn of_one(answer: Result<(), RDKafkaErrorCode>) -> Self {
        match answer {
            Ok(()) => Self::default(),
            Err(RDKafkaErrorCode::QueueFull) => Self {
                full_from: Some(0),
                ..Self::default()
            },
            Err(code) => Self {
                refused: vec![(0, code)],
                ..Self::default()
            },
        }
    }
}

impl Actor for PartitionerActor {
    type Context = Context<Self>;
}

impl Handler<RecordBatch> for PartitionerActor {
    type Result = ();

    fn handle(&mut self, batch: RecordBatch, ctx: &mut Context<Self>) {
        let topic = batch.topic;
        let counts = self.out.shared.counts.clone();
        let timeout = self.out.shared.metadata_timeout;
        let route = self.out.route_or_begin(topic, &batch.answers.topic);
        if route.known.is_none() && route.waiting.is_empty() {
            let name = route.name.clone();
            match counts.get(&name).map(|count| *count) {
                Some(count) => self.out.learn(topic, count),
                None => {
                    self.ask_for(name);
                    ctx.run_later(timeout, move |actor, ctx| actor.expire(topic, ctx));
                }
            }
        }
        let route = self.out.route_or_begin(topic, &batch.answers.topic);
        if route.known.is_none() {
            route.waiting.push_back((Instant::now(), batch));
            return;
        }
        self.produce(batch, ctx);
    }
}

impl Handler<TopicLookedUp> for PartitionerActor {
    type Result = ();

    fn handle(&mut self, answer: TopicLookedUp, ctx: &mut Context<Self>) {
        let topic = self
            .out
            .routes
            .iter()
            .position(|route| matches!(route, Some(route) if route.name == answer.topic));
        let Some(topic) = topic.map(TopicIndex) else {
            return;
        };
        match answer.partitions {
            Ok(partitions) => {
                self.out.learn(topic, partitions);
                let waiting = match self.out.route(topic) {
                    Some(route) if route.known.is_some() => std::mem::take(&mut route.waiting),
                    _ => return,
                };
                for (_, batch) in waiting {
                    self.produce(batch, ctx);
                }
            }
            Err(reason) => {
                let Some(route) = self.out.route(topic) else {
                    return;
                };
                route.last_answer = reason;
                if !route.waiting.is_empty() {
                    let name = answer.topic;
                    ctx.run_later(ASK_AGAIN, move |actor, _| actor.ask_for(name));
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
        self.out.shared.failure.actor_ended("PartitionerActor");
        self.intake.abandon();
    }
}
