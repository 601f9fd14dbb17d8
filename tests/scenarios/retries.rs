//! What scenarios of retry topics share: a consumer that tries soon, and what its handler saw of each record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::consume::{ConsumerBuilder, ConsumerHandle, Order, RETRY_DUE_HEADER, Record};
use kafka_troupe::ids::Offset;

use crate::fixture::{Stage, since_1970};

pub const STOP: Duration = Duration::from_secs(20);
pub const ORDERS: [Order; 3] = [Order::Partition, Order::Key, Order::Unordered];

pub fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Two attempts in each topic.
pub fn quick(stage: &Stage, order: Order) -> ConsumerBuilder {
    let builder = stage.steady_consumer("g").order(order).retry_pause(millis(2), millis(2)).max_attempts(2);
    if order == Order::Unordered { builder } else { builder.allow_reordering() }
}

pub fn all_committed(stage: &Stage, topics: &[&Stage]) -> bool {
    let group = stage.group("g");
    topics.iter().all(|topic| {
        let ends: BTreeMap<_, _> = topic.ends().into_iter().filter(|(_, end)| *end > 0).collect();
        topic.committed_of(&group) == ends
    })
}

/// One attempt at a record, as the handler saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub topic: String,
    pub attempt: u32,
    pub at: i64,
    pub due: Option<i64>,
    pub origin: Option<(String, i32, i64)>,
    pub timestamp: Option<i64>,
}

/// What handlers saw of each record, told apart by their values, in order.
#[derive(Clone, Default)]
pub struct Story(Arc<Mutex<BTreeMap<String, Vec<Seen>>>>);

impl Story {
    pub fn note(&self, record: &Record) {
        let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
        let due = record.header(RETRY_DUE_HEADER).map(|due| String::from_utf8(due.to_vec()).unwrap().parse().unwrap());
        let origin = record.origin().map(|from| (from.topic.to_owned(), from.partition.0, from.offset.0));
        let (topic, attempt, timestamp) = (record.topic().to_owned(), record.attempt(), record.timestamp());
        let seen = Seen { topic, attempt, at: since_1970(), due, origin, timestamp };
        self.0.lock().unwrap().entry(value).or_default().push(seen);
    }

    pub fn of(&self, value: &str) -> Vec<Seen> {
        self.0.lock().unwrap().get(value).cloned().unwrap_or_default()
    }

    pub fn attempts(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }
}

/// Fails at the first record in the topic where it is read first, and notes all attempts.
pub fn fails_first(story: &Story) -> impl Fn(&Record) -> Result<(), &'static str> + Send + Sync + use<> {
    let notes = story.clone();
    move |record| {
        notes.note(record);
        if record.origin().is_none() && record.offset() == Offset(0) { Err("not yet") } else { Ok(()) }
    }
}

/// Until when the next record of this topic waits, with a partition that nobody has paused.
pub fn waits(consumer: &ConsumerHandle, topic: &str) -> Option<i64> {
    let state = consumer.state();
    let mut partitions = state.partitions.iter().filter(|partition| partition.topic == topic && !partition.paused);
    partitions.find_map(|partition| partition.waits_until)
}
