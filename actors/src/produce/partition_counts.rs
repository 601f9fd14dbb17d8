//! How many partitions each topic has: a table that any thread reads, and the helper thread that asks the brokers.
//!
//! The look-up blocks, so no arbiter makes it. The helper asks for one topic at a time, each time with a bound, and asks again for every known
//! topic from time to time, for topics grow.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::Recipient;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use dashmap::DashMap;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::native::NativeProducer;

/// The first look-up waits so long, each further one after a timeout twice that, up to `LONGEST_LOOK_UP`. The end of the helper thread waits for
/// the one under way.
const FIRST_LOOK_UP: Duration = Duration::from_secs(1);
const LONGEST_LOOK_UP: Duration = Duration::from_secs(8);
/// An answer younger than this is given again instead of asking.
const FRESH: Duration = Duration::from_millis(100);

/// The table. One thread writes, the helper.
pub(super) type PartitionCounts = Arc<DashMap<Arc<str>, NonZeroU32>>;

/// Asks the helper. Dropping the last one ends it. What is asked already is not asked again, so no more waits than there are topics and askers.
#[derive(Clone)]
pub(super) struct LookUps {
    requests: Sender<LookUp>,
    asked: Asked,
}

/// What the helper was asked and has not begun with.
type Asked = Arc<Mutex<HashSet<LookUp>>>;

/// What the helper is asked.
pub(super) struct Requests {
    requests: Receiver<LookUp>,
    asked: Asked,
}

/// Both ends.
pub(super) fn look_ups() -> (LookUps, Requests) {
    let (sender, requests) = crossbeam_channel::unbounded();
    let asked = Asked::default();
    (LookUps { requests: sender, asked: asked.clone() }, Requests { requests, asked })
}

fn lock(asked: &Asked) -> MutexGuard<'_, HashSet<LookUp>> {
    // Nothing that panics runs under this lock.
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LookUps {
    /// A helper that is gone has nobody left to tell.
    pub(super) fn ask(&self, look_up: LookUp) {
        if lock(&self.asked).insert(look_up.clone()) {
            let _ = self.requests.send(look_up);
        }
    }
}

impl Requests {
    /// The next, waiting for it at most so long.
    pub(super) fn next_within(&self, timeout: Duration) -> Result<LookUp, RecvTimeoutError> {
        let look_up = self.requests.recv_timeout(timeout)?;
        // Asked from here on, it is news that this answer may not have.
        lock(&self.asked).remove(&look_up);
        Ok(look_up)
    }
}

/// A topic to ask the brokers for, and the number of the `PartitionerActor` that wants the answer even if it is no news.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LookUp {
    pub(super) topic: Arc<str>,
    pub(super) asker: Option<usize>,
}

/// The helper's answer; a changed count goes to every `PartitionerActor`.
#[derive(Clone, Debug)]
pub(super) struct TopicLookedUp {
    pub(super) topic: Arc<str>,
    pub(super) partitions: Result<NonZeroU32, NoPartitions>,
}

impl actix::Message for TopicLookedUp {
    type Result = ();
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoPartitions {
    /// The brokers know no such topic.
    Unknown,
    /// No broker answered, or not with a count.
    NoAnswer,
    /// No permission for the topic.
    Denied(RDKafkaErrorCode),
    /// The brokers refused the connection, in these words.
    Refused(Arc<str>),
}

/// The helper thread.
pub(super) struct MetadataThread {
    pub(super) native: Arc<NativeProducer>,
    pub(super) counts: PartitionCounts,
    pub(super) requests: Requests,
    pub(super) partitioners: Vec<Recipient<TopicLookedUp>>,
    /// How often known topics are asked for again.
    pub(super) refresh: Duration,
}

impl MetadataThread {
    pub(super) fn run(self) {
        let mut timeout = FIRST_LOOK_UP;
        let mut next_refresh = Instant::now() + self.refresh;
        let mut answered = HashMap::<Arc<str>, (Instant, Result<NonZeroU32, NoPartitions>)>::new();
        loop {
            let due = next_refresh.saturating_duration_since(Instant::now());
            let asked = match self.requests.next_within(due) {
                Ok(look_up) => vec![look_up],
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    next_refresh = Instant::now() + self.refresh;
                    let known = self.counts.iter();
                    known.map(|entry| LookUp { topic: entry.key().clone(), asker: None }).collect()
                }
            };
            for LookUp { topic, asker } in asked {
                let partitions = match answered.get(&topic) {
                    Some((at, partitions)) if at.elapsed() < FRESH => partitions.clone(),
                    _ => {
                        let partitions = self.look_up(&topic, timeout);
                        answered.insert(topic.clone(), (Instant::now(), partitions.clone()));
                        partitions
                    }
                };
                timeout = match &partitions {
                    Err(NoPartitions::NoAnswer) => (timeout * 2).min(LONGEST_LOOK_UP),
                    _ => FIRST_LOOK_UP,
                };
                self.tell(TopicLookedUp { topic, partitions }, asker);
            }
        }
    }

    fn tell(&self, answer: TopicLookedUp, asker: Option<usize>) {
        let is_news = match &answer.partitions {
            Ok(count) => self.counts.insert(answer.topic.clone(), *count) != Some(*count),
            Err(_) => false,
        };
        for (number, partitioner) in self.partitioners.iter().enumerate() {
            if is_news || asker == Some(number) {
                partitioner.do_send(answer.clone());
            }
        }
    }

    fn look_up(&self, topic: &str, timeout: Duration) -> Result<NonZeroU32, NoPartitions> {
        let begun = Instant::now();
        let metadata = self.native.client().fetch_metadata(Some(topic), timeout).map_err(|error| match error {
            KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopic)
            | KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition) => NoPartitions::Unknown,
            error => {
                tracing::debug!(topic, %error, "no metadata");
                let refused = self.native.client().context().refused_since(begun);
                refused.map_or(NoPartitions::NoAnswer, NoPartitions::Refused)
            }
        })?;
        let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or(NoPartitions::Unknown)?;
        match found.error().map(RDKafkaErrorCode::from) {
            None | Some(RDKafkaErrorCode::LeaderNotAvailable) => {
                let count = u32::try_from(found.partitions().len()).unwrap_or(0);
                NonZeroU32::new(count).ok_or(NoPartitions::NoAnswer)
            }
            Some(
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::InvalidTopic,
            ) => Err(NoPartitions::Unknown),
            Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed) => Err(NoPartitions::Denied(code)),
            Some(error) => {
                tracing::debug!(topic, %error, "no partitions");
                Err(NoPartitions::NoAnswer)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_already_is_not_asked_again_until_the_helper_has_begun_with_it() {
        let (look_ups, requests) = look_ups();
        for _ in 0..1_000 {
            for (topic, asker) in [("a", None), ("a", Some(1)), ("b", None)] {
                look_ups.ask(LookUp { topic: topic.into(), asker });
            }
        }
        assert_eq!(requests.requests.len(), 3);
        assert_eq!(requests.next_within(Duration::ZERO), Ok(LookUp { topic: "a".into(), asker: None }));
        look_ups.ask(LookUp { topic: "a".into(), asker: None });
        assert_eq!(requests.requests.len(), 3);
        drop(look_ups);
        for _ in 0..3 {
            requests.next_within(Duration::ZERO).unwrap();
        }
        assert_eq!(requests.next_within(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
    }
}
