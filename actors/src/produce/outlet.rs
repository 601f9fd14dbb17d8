//! From a batch to librdkafka: picks each record's partition and hands each partition's records over, in order.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use rdkafka::types::RDKafkaErrorCode;

use super::SendError;
use super::backlog::Fit;
use super::batch::{RecordBatch, RecordView, Records, TopicIndex};
use super::in_flight::{BatchMark, InFlight};
use super::intake::{Intake, Settled};
use super::leftovers::Accepted;
use super::limits::BatchBounds;
use super::native::{NativeProducer, NativeRecord, NativeTopic, Produced, Scratch};
use super::partition_counts::{LookUp, LookUps};
use super::partitioner::{Partitioner, Placement, Unplaced};
use super::route::Route;
use crate::ids::PartitionId;

/// What the `PartitionerActor` produces, or keeps while librdkafka's queue is full.
pub(super) enum Work {
    /// Not placed yet; its topic is known.
    Batch(RecordBatch),
    Partition(PartitionBatch),
}

/// Records of one batch for one partition, not yet handed over. Dropped with some left, it answers those `Abandoned`.
pub(super) struct PartitionBatch {
    topic: TopicIndex,
    partition: PartitionId,
    records: Rc<Records>,
    mark: BatchMark,
    /// The places in `records` of those that are left.
    places: Vec<u32>,
    in_flight: Arc<InFlight>,
}

impl Drop for PartitionBatch {
    fn drop(&mut self) {
        for place in self.places.drain(..) {
            let (partition, place) = (Some(self.partition), place as usize);
            self.in_flight.settle(self.mark.record(place), |answers, _| {
                let (topic, leftovers) = (answers.topic.clone(), &answers.intake.leftovers);
                if leftovers.keeps() {
                    let record = self.records.get(place).given_up(&topic, partition);
                    leftovers.add(Accepted { batch: answers.number, place }, record);
                }
                Err(Box::new(SendError::Abandoned { topic, partition, possibly_persisted: false }))
            });
        }
    }
}

/// See the module.
pub(super) struct Outlet {
    pub(super) native: Arc<NativeProducer>,
    in_flight: Arc<InFlight>,
    partitioner: Arc<dyn Partitioner>,
    /// What a partition gets in a row of the records that may go anywhere.
    run: BatchBounds,
    look_ups: LookUps,
    /// By `TopicIndex`: the intake numbers its topics, and only its batches come here.
    routes: Vec<Option<Route<RecordBatch>>>,
    scratch: Scratch,
    /// Places per partition, kept to be used again.
    buckets: Vec<Vec<u32>>,
    /// The bytes of the batch that was placed last, and where they go when all of them are handed over.
    placed: Option<(Arc<Intake>, TopicIndex, Rc<Records>)>,
}

impl Outlet {
    pub(super) fn new(
        native: Arc<NativeProducer>,
        in_flight: Arc<InFlight>,
        partitioner: Arc<dyn Partitioner>,
        run: BatchBounds,
        look_ups: LookUps,
    ) -> Self {
        Self {
            native,
            in_flight,
            partitioner,
            run,
            look_ups,
            routes: Vec::new(),
            scratch: Scratch::default(),
            buckets: Vec::new(),
            placed: None,
        }
    }

    pub(super) fn route(&mut self, topic: TopicIndex) -> Option<&mut Route<RecordBatch>> {
        self.routes.get_mut(topic.0)?.as_mut()
    }

    pub(super) fn route_named(&self, name: &str) -> Option<TopicIndex> {
        let is_it = |route: &Option<Route<_>>| matches!(route, Some(route) if &*route.name == name);
        self.routes.iter().position(is_it).map(TopicIndex)
    }

    /// The topic's route, begun if it is new.
    pub(super) fn route_or_begin(&mut self, topic: TopicIndex, name: &Arc<str>) -> &mut Route<RecordBatch> {
        if self.routes.len() <= topic.0 {
            self.routes.resize_with(topic.0 + 1, || None);
        }
        self.routes[topic.0].get_or_insert_with(|| Route::new(name.clone()))
    }

    /// The topic has so many partitions.
    pub(super) fn learn(&mut self, topic: TopicIndex, partitions: NonZeroU32) {
        let native = self.native.clone();
        let Some(route) = self.route(topic) else {
            return;
        };
        match &mut route.known {
            Some((_, known)) if *known == partitions => {}
            Some((_, known)) => {
                tracing::info!(
                    topic = %route.name, before = known.get(), now = partitions.get(),
                    "the topic's partition count changed"
                );
                *known = partitions;
            }
            None => match NativeTopic::new(native, &route.name) {
                Ok(handle) => route.known = Some((handle, partitions)),
                // The records go on waiting, and fail in time.
                Err(error) => tracing::error!(topic = %route.name, %error, "no topic handle"),
            },
        }
    }

    /// Produces as much as librdkafka's queue has room for.
    pub(super) fn produce(&mut self, work: Work) -> Fit<Work> {
        let parts = match work {
            Work::Batch(batch) => self.split(batch),
            Work::Partition(part) => vec![part],
        };
        let mut rest = Vec::new();
        for part in parts {
            // The queue that was full is the client's, so the other partitions' parts would be refused too.
            let left = if rest.is_empty() { self.hand_over(part) } else { Some(part) };
            rest.extend(left.map(Work::Partition));
        }
        // What waits for room keeps them, and then they are not used again.
        if let Some((intake, topic, records)) = self.placed.take()
            && let Ok(records) = Rc::try_unwrap(records)
        {
            intake.reuse(topic, records);
        }
        if rest.is_empty() { Fit::All } else { Fit::Rest(rest) }
    }

    /// Picks the partitions of a batch whose topic is known, and answers the records that have none.
    fn split(&mut self, batch: RecordBatch) -> Vec<PartitionBatch> {
        let RecordBatch { topic, mut answers, .. } = batch;
        let records = answers.take_records();
        let Some((route, partitions)) = self
            .routes
            .get_mut(topic.0)
            .and_then(Option::as_mut)
            .and_then(|route| Some((route.known.as_ref()?.1, route)))
            .map(|(partitions, route)| (route, partitions))
        else {
            // Only batches of known topics come here. Were it otherwise, dropping the answers would answer each record.
            answers.records = records;
            return Vec::new();
        };
        route.sticky.end_run();
        let count = partitions.get() as usize;
        if self.buckets.len() < count {
            self.buckets.resize_with(count, Vec::new);
        }
        let mut touched = Vec::with_capacity(count.min(records.len()));
        let mut settled = Settled::default();
        for place in 0..records.len() {
            match self.place(topic, &answers.topic, records.get(place), partitions) {
                Ok(partition) => {
                    let bucket = &mut self.buckets[partition.0 as usize];
                    if bucket.is_empty() {
                        touched.push(partition);
                    }
                    bucket.push(place as u32);
                }
                Err(error) => answers.answer_now(place, Err(Box::new(error)), &mut settled),
            }
        }
        answers.intake.settle(answers.generation, settled);
        if answers.left() == 0 {
            return Vec::new();
        }
        // Before anything is produced, for the first report may come before the call returns.
        let intake = answers.intake.clone();
        let mark = self.in_flight.lock().insert(answers);
        let records = Rc::new(records);
        self.placed = Some((intake, topic, records.clone()));
        let part = |partition: PartitionId| PartitionBatch {
            topic,
            partition,
            records: records.clone(),
            mark,
            places: std::mem::take(&mut self.buckets[partition.0 as usize]),
            in_flight: self.in_flight.clone(),
        };
        touched.into_iter().map(part).collect()
    }

    fn place(
        &mut self,
        index: TopicIndex,
        topic: &Arc<str>,
        record: RecordView<'_>,
        partitions: NonZeroU32,
    ) -> Result<PartitionId, SendError> {
        let picked = match record.partition() {
            Some(named) => Placement::Partition(named),
            None => {
                let unplaced = Unplaced::new(topic, record);
                let pick = || self.partitioner.partition(unplaced, partitions);
                catch_unwind(AssertUnwindSafe(pick)).map_err(|panic| {
                    // Dropping a panic's payload may panic again.
                    std::mem::forget(panic);
                    SendError::PartitionerPanicked { topic: topic.clone() }
                })?
            }
        };
        let run = self.run;
        let partition = match picked {
            Placement::Partition(picked) => Some(picked),
            Placement::Any => self.route(index).map(|route| route.sticky.place(record.size(), run, partitions)),
            Placement::Next => self.route(index).map(|route| route.next_in_turn(partitions)),
            Placement::Refused(cause) => return Err(SendError::RefusedByPartitioner { topic: topic.clone(), cause }),
        };
        // Only records of topics that have a route come here.
        let partition = partition.unwrap_or(PartitionId(0));
        match u32::try_from(partition.0) {
            Ok(number) if number < partitions.get() => Ok(partition),
            _ => {
                // The topic may have grown: a later record may find it.
                self.look_ups.ask(LookUp { topic: topic.clone(), asker: None });
                Err(SendError::UnknownPartition { topic: topic.clone(), partition, partitions: partitions.get() })
            }
        }
    }

    /// Hands one partition's records to librdkafka, in order; gives back those that its full queue refused.
    fn hand_over(&mut self, mut part: PartitionBatch) -> Option<PartitionBatch> {
        if self.in_flight.has_ended() {
            // Nobody waits for it any more. Dropped, it is answered.
            return None;
        }
        let (topic, _) = self.routes.get(part.topic.0)?.as_ref()?.known.as_ref()?;
        let mut done = 0;
        while done < part.places.len() {
            let run = produce_run(topic, &part, &part.places[done..], &mut self.scratch);
            for (place, code) in run.produced.refused {
                let place = part.places[done + place] as usize;
                self.refuse(part.mark, part.partition, place, code);
            }
            if let Some(from) = run.produced.full_from {
                part.places.drain(..done + from);
                return Some(part);
            }
            done += run.offered;
        }
        // The list goes back where it came from, for the next batch.
        let mut places = std::mem::take(&mut part.places);
        places.clear();
        if let Some(bucket) = self.buckets.get_mut(part.partition.0 as usize)
            && bucket.capacity() < places.capacity()
            && bucket.is_empty()
        {
            *bucket = places;
        }
        None
    }

    fn refuse(&self, mark: BatchMark, partition: PartitionId, place: usize, code: RDKafkaErrorCode) {
        self.in_flight.settle(mark.record(place), |answers, bytes| {
            let topic = answers.topic.clone();
            Err(Box::new(match self.native.fatal_error_behind(code) {
                Some(code) => SendError::fatal(topic, partition, code, false),
                None => SendError::from_library(topic, partition, bytes, code, false, false),
            }))
        });
    }
}

/// The head of a list of places, offered in one call.
struct Run {
    offered: usize,
    produced: Produced,
}

/// Plain records go by the batch; one with headers or a timestamp goes alone.
fn produce_run(topic: &NativeTopic, part: &PartitionBatch, places: &[u32], scratch: &mut Scratch) -> Run {
    let native = |place: &u32| {
        let place = *place as usize;
        let record = part.records.get(place);
        NativeRecord { key: record.key(), value: record.value(), mark: part.mark.record(place) }
    };
    let is_plain = |place: &&u32| part.records.get(**place as usize).is_plain();
    let offered = places.iter().take_while(is_plain).count();
    match places.first() {
        Some(first) if offered == 0 => {
            let record = part.records.get(*first as usize);
            let answer = topic.produce_one(part.partition, native(first), record.timestamp(), record.headers());
            Run { offered: 1, produced: Produced::of_one(answer) }
        }
        _ => Run { offered, produced: topic.produce(part.partition, places[..offered].iter().map(native), scratch) },
    }
}

impl Produced {
    fn of_one(answer: Result<(), RDKafkaErrorCode>) -> Self {
        match answer {
            Ok(()) => Self::default(),
            Err(RDKafkaErrorCode::QueueFull) => Self { full_from: Some(0), ..Self::default() },
            Err(code) => Self { refused: vec![(0, code)], ..Self::default() },
        }
    }
}
