//! From records to batches: one batch per topic fills up, or lingers until it is due, and is sealed for the actor to take.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::super::ProducerRecord;
use super::super::batch::{Answers, BatchSize, RecordBatch, Records, TopicIndex};
use super::super::completion::{Listeners, Slots};
use super::super::credits::Generation;
use super::super::limits::BatchBounds;
use super::Intake;

/// Emptied arenas that are kept for further batches. One is filled while a few are on their way to librdkafka. `ProducerBuilder::buffer_bytes` tells of them.
const SPARE: usize = 4;

struct Topic {
    name: Arc<str>,
    /// The same, compared for every record. The count of references to `name` lies beside its text, and other threads change it all the time.
    text: Box<str>,
    slots: Slots,
    /// Of its batches; they grow with the topic's partitions, once those are known.
    bounds: BatchBounds,
    lingering: Option<RecordBatch>,
    /// Batches begun; says whether an entry of `Batching::lingering` means the batch that lingers now.
    begun: u64,
    /// The next batch is made to hold as much, so that it seldom grows.
    last_batch: BatchSize,
}

impl Topic {
    /// Whether the batch that was begun as the `begun`th is the one that lingers.
    fn lingers(&self, begun: u64) -> bool {
        self.begun == begun && self.lingering.is_some()
    }
}

/// See the module.
pub(super) struct Batching {
    topics: Vec<Topic>,
    /// Of a topic whose partitions are not known.
    bounds: BatchBounds,
    by_name: HashMap<Box<str>, TopicIndex>,
    last_topic: TopicIndex,
    /// Batches by the time at which they are due, which is the order in which they began. One that was sealed in the meantime leaves its entry.
    lingering: VecDeque<(Instant, TopicIndex, u64)>,
    batches: u64,
    /// Records that linger, and their bytes.
    lingering_records: usize,
    lingering_bytes: usize,
    sealed: Vec<RecordBatch>,
    /// Warm memory for the batches to come.
    spare: Vec<Records>,
}

impl Batching {
    pub(super) fn new(bounds: BatchBounds) -> Self {
        Self {
            topics: Vec::new(),
            bounds,
            by_name: HashMap::new(),
            last_topic: TopicIndex(0),
            lingering: VecDeque::new(),
            batches: 0,
            lingering_records: 0,
            lingering_bytes: 0,
            sealed: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// The batches of a topic have other bounds, from here on.
    pub(super) fn learn(&mut self, topic: TopicIndex, bounds: BatchBounds) {
        if let Some(topic) = self.topics.get_mut(topic.0) {
            topic.bounds = bounds;
        }
    }

    /// Every batch that is sealed or has lingered until `now`, and when the next has.
    pub(super) fn take_ready(&mut self, now: Instant) -> (Vec<RecordBatch>, Option<Instant>) {
        let mut due = None;
        while let Some((at, topic, begun)) = self.lingering.front().copied() {
            if self.topics[topic.0].lingers(begun) {
                if at > now {
                    due = Some(at);
                    break;
                }
                self.seal(topic);
            }
            self.lingering.pop_front();
        }
        (self.take_sealed(), due)
    }

    pub(super) fn take_sealed(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.sealed)
    }

    /// Keeps the arena of a batch of the topic, emptied, unless there are enough, or it was one of a record above all others.
    pub(super) fn reuse(&mut self, topic: TopicIndex, records: Records) {
        let fits = self.topics.get(topic.0).is_some_and(|topic| records.capacity() <= 2 * topic.bounds.bytes);
        if fits && self.spare.len() < SPARE {
            self.spare.push(records);
        }
    }

    #[cfg(test)]
    pub(super) fn entries_of_those_that_linger(&self) -> usize {
        self.lingering.len()
    }

    /// The topic's index; `None` where Kafka allows no such name.
    pub(super) fn topic(&mut self, name: &str) -> Option<TopicIndex> {
        // Most senders write to one topic: its name is compared, not hashed.
        if let Some(last) = self.topics.get(self.last_topic.0)
            && &*last.text == name
        {
            return Some(self.last_topic);
        }
        let index = match self.by_name.get(name) {
            Some(index) => *index,
            None => self.add_topic(name)?,
        };
        self.last_topic = index;
        Some(index)
    }

    fn add_topic(&mut self, name: &str) -> Option<TopicIndex> {
        if !is_topic_name(name) {
            return None;
        }
        let index = TopicIndex(self.topics.len());
        let (name, text) = (Arc::<str>::from(name), Box::<str>::from(name));
        self.topics.push(Topic {
            name: name.clone(),
            text: text.clone(),
            slots: Slots::new(name),
            bounds: self.bounds,
            lingering: None,
            begun: 0,
            last_batch: BatchSize::default(),
        });
        self.by_name.insert(text, index);
        Some(index)
    }

    /// The name of a topic that has an index.
    pub(super) fn name(&self, topic: TopicIndex) -> &Arc<str> {
        &self.topics[topic.0].name
    }

    /// Appends to the topic's batch a record of the generation that is open; `listen` names who hears of it. True where the actor has something new to
    /// look at.
    pub(super) fn append<T>(
        &mut self,
        intake: &Arc<Intake>,
        (topic, generation): (TopicIndex, Generation),
        record: &ProducerRecord<'_>,
        listen: impl FnOnce(&mut Listeners, &mut Slots) -> T,
    ) -> (bool, T) {
        let (bounds, bytes) = (self.topics[topic.0].bounds, record.bytes());
        let mut ready = false;
        if let Some(batch) = &self.topics[topic.0].lingering
            && batch.bytes + bytes > bounds.bytes
        {
            self.seal(topic);
            ready = true;
        }
        let slot = &mut self.topics[topic.0];
        let begins = slot.lingering.is_none();
        let batch = slot.lingering.get_or_insert_with(|| {
            self.batches += 1;
            let (name, size) = (slot.name.clone(), slot.last_batch);
            let fitting = self.spare.pop_if(|records| records.capacity() <= 2 * bounds.bytes);
            let records = fitting.unwrap_or_else(|| Records::sized_as(size));
            let answers = Answers::new(intake.clone(), name, generation, self.batches, records, size);
            RecordBatch { topic, answers, bytes: 0 }
        });
        batch.answers.records.push(record);
        let listener = listen(&mut batch.answers.listeners, &mut slot.slots);
        batch.bytes += bytes;
        self.lingering_records += 1;
        self.lingering_bytes += bytes;
        if batch.answers.records.len() >= bounds.records || batch.bytes >= bounds.bytes {
            self.seal(topic);
            return (true, listener);
        }
        if begins {
            slot.begun += 1;
            let due = Instant::now() + intake.limits.linger;
            self.lingering.push_back((due, topic, slot.begun));
            // One for each topic means a batch. The others stay only behind one that lingers on.
            if self.lingering.len() > 2 * self.topics.len() {
                let topics = &self.topics;
                self.lingering.retain(|(_, topic, begun)| topics[topic.0].lingers(*begun));
            }
        }
        (ready || begins, listener)
    }

    fn seal(&mut self, topic: TopicIndex) {
        let slot = &mut self.topics[topic.0];
        if let Some(batch) = slot.lingering.take() {
            slot.last_batch = batch.answers.records.size();
            self.lingering_records -= batch.answers.records.len();
            self.lingering_bytes -= batch.bytes;
            self.sealed.push(batch);
        }
    }

    /// How many records linger, and their bytes.
    pub(super) fn lingering(&self) -> (usize, usize) {
        (self.lingering_records, self.lingering_bytes)
    }

    /// Seals every batch that lingers; true where there is anything for the actor to take.
    pub(super) fn seal_all(&mut self) -> bool {
        while let Some((_, topic, _)) = self.lingering.pop_front() {
            self.seal(topic);
        }
        !self.sealed.is_empty()
    }
}

/// Kafka's rule for topic names.
fn is_topic_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
