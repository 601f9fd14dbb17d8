//! The look-ups themselves, on the resolver's thread.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::Offset as ListOffset;
use tracing::{debug, warn};

use super::{AutoOffsetReset, Failure, Identification, Places, Positions, Request, Resolution, Sought};
use super::{list, positions, topics};
use crate::consume::command::{PollerCommand, PollerPort};
use crate::consume::context::PollerContext;
use crate::consume::error::ConsumerError;
use crate::consume::loading::Loader;
use crate::consume::membership::Membership;
use crate::consume::place::{Found, Place};
use crate::consume::reminder::Reminder;
use crate::consume::start::{StartAt, StartPosition};
use crate::consume::state::Board;
use crate::consume::subscription::Subscription;
use crate::consume::topic_id::{DescribedTopic, describe_topics};
use crate::ids::TopicPartition;
use crate::offsets::committed_offsets;

/// One try of a look-up. Short, so that an abandoned request or a stop is seen soon.
pub(in crate::consume) const TRY: Duration = Duration::from_millis(500);
/// The try at which what commits remember is believed no further than it can be checked: one partition without a leader must not keep all the
/// others from their start.
const RECALLS: u32 = 4;
/// How long the topics' ids are waited for before an assignment.
const GLANCE: Duration = Duration::from_millis(200);
/// Pause between tries that failed at once.
const PAUSE: Duration = Duration::from_millis(100);

pub(in crate::consume) struct Lookup {
    pub(in crate::consume) consumer: Arc<BaseConsumer<PollerContext>>,
    pub(super) start_at: StartAt,
    pub(super) reset: AutoOffsetReset,
    pub(super) loader: Option<Loader>,
    pub(in crate::consume) board: Arc<Board>,
    pub(super) wanted: Arc<AtomicU64>,
    /// The brokers have not told the topics' ids when they were last asked.
    pub(super) silent: bool,
    /// The dead-letter topic and the retry topics have been seen, or there are none.
    pub(in crate::consume) has_letters: bool,
    /// How many partitions each topic had when it was first described: any above were added since.
    pub(super) first_seen: HashMap<Arc<str>, usize>,
}

impl Lookup {
    pub(super) fn serve(&mut self, inbox: &Receiver<Request>, poller: &PollerPort) {
        for request in inbox {
            let (id, sought) = match request {
                Request::Starts { id, sought } => (id, sought),
                Request::Identify { topics, astray, until } => {
                    let topics = describe_topics(&self.consumer, &topics, TRY);
                    self.silent = topics.is_none();
                    let topics = topics.unwrap_or_default();
                    if self.board.membership.commits() {
                        self.know_cluster();
                    }
                    for (topic, described) in &topics {
                        self.first_seen.entry(Arc::clone(topic)).or_insert(described.partitions);
                    }
                    let edges = self.ranges(&astray).ok();
                    poller.send(PollerCommand::Identified(Identification { until, topics, edges }));
                    continue;
                }
                Request::Find { id, wanted } => {
                    poller.send(PollerCommand::Found(Places { id, found: self.find(&wanted) }));
                    continue;
                }
            };
            let (mut tries, mut unknown) = (0, Reminder::default());
            while self.is_wanted(id) {
                tries += 1;
                match self.resolve(id, &sought, tries) {
                    Ok(starts) => {
                        poller.send(PollerCommand::Resolved(Resolution { id, starts: Ok(starts) }));
                        break;
                    }
                    Err(Failure::Final(error)) => {
                        poller.send(PollerCommand::Resolved(Resolution { id, starts: Err(error) }));
                        break;
                    }
                    Err(Failure::Passing(error)) => {
                        if self.is_wanted(id) && unknown.is_due(Instant::now()) {
                            warn!(%error, tries, "start positions are not known yet: they are looked up again");
                        }
                        std::thread::park_timeout(PAUSE);
                    }
                }
            }
        }
    }

    fn is_wanted(&self, id: u64) -> bool {
        self.wanted.load(Ordering::Acquire) == id
    }

    fn resolve(&mut self, id: u64, sought: &Sought, tries: u32) -> Result<Vec<StartPosition>, Failure> {
        let (partitions, again) = match sought {
            Sought::Assigned { partitions, again } => (partitions.clone(), Some(again)),
            Sought::Subscribed(subscription) => (self.subscribed(subscription)?, None),
        };
        self.check_letters(&partitions)?;
        // Before the positions: a topic that is created again in between shows another id at the next look.
        let topics = self.glance(&partitions);
        let mut starts = self.positions(id, partitions, again, tries)?;
        for start in &mut starts {
            start.topic_id = topics.get(&start.partition.topic).map(|topic| topic.id);
        }
        Ok(starts)
    }

    /// The topics' ids, if the brokers tell them in a moment: an assignment does not wait twice for those that tell none.
    fn glance(&mut self, partitions: &[TopicPartition]) -> HashMap<Arc<str>, DescribedTopic> {
        if self.silent {
            return HashMap::new();
        }
        let topics = describe_topics(&self.consumer, &topics(partitions.iter()), GLANCE);
        self.silent = topics.is_none();
        topics.unwrap_or_default()
    }

    fn positions(
        &mut self,
        id: u64,
        partitions: Vec<TopicPartition>,
        again: Option<&HashSet<TopicPartition>>,
        tries: u32,
    ) -> Result<Vec<StartPosition>, Failure> {
        if self.loader.is_some() {
            let kept = self.kept_by_the_app(id, &partitions)?;
            return self.starts(&partitions, &Positions::new(), &kept);
        }
        let chosen = self.chosen(&partitions, again)?;
        if self.board.membership == Membership::Standalone {
            return self.starts(&partitions, &chosen, &Positions::new());
        }
        self.know_cluster();
        let committed = self.consumer.committed_offsets(list(&partitions, ListOffset::Invalid)?, TRY)?;
        let mut starts = self.starts(&partitions, &chosen, &positions(&committed)?)?;
        if self.board.membership.commits() {
            // A replay is one of all records: what was finished before is none of its business.
            let committed = committed_offsets(&committed).into_iter();
            let committed = committed.filter(|each| !chosen.contains_key(&each.partition)).collect();
            self.recall(&mut starts, committed, tries >= RECALLS)?;
        }
        Ok(starts)
    }

    /// Waited for while the answer is wanted, however long the app's code takes.
    fn kept_by_the_app(&mut self, id: u64, partitions: &[TopicPartition]) -> Result<Positions, Failure> {
        let Self { loader, wanted, .. } = self;
        let is_wanted = || wanted.load(Ordering::Acquire) == id;
        let loaded = loader.as_mut().and_then(|loader| loader.load(partitions, is_wanted));
        let loaded = loaded.unwrap_or_else(|| Err("it is not waited for any more".to_owned()));
        loaded.map_err(|error| Failure::Passing(format!("loading the app's offsets: {error}")))
    }

    /// Every partition of the topics, or those that are named.
    fn subscribed(&self, subscription: &Subscription) -> Result<Vec<TopicPartition>, Failure> {
        let mut existing = Vec::new();
        for topic in subscription.topics() {
            existing.append(&mut self.partitions_of(topic)?);
        }
        let Subscription::Partitions(named) = subscription else {
            return Ok(existing);
        };
        match named.iter().find(|each| !existing.contains(each)) {
            None => Ok(named.clone()),
            Some(unknown) => Err(Failure::Final(ConsumerError::UnknownPartition {
                partitions: existing.iter().filter(|each| each.topic == unknown.topic).count(),
                partition: unknown.clone(),
            })),
        }
    }

    /// Where partitions start whatever is committed, which they do once.
    fn chosen(
        &self,
        partitions: &[TopicPartition],
        again: Option<&HashSet<TopicPartition>>,
    ) -> Result<Positions, Failure> {
        let first = partitions.iter().filter(|each| again.is_none_or(|again| !again.contains(each)));
        // What waits in a retry topic was chosen to be read when it was read first.
        let first = first.filter(|each| !self.is_of_retry_topic(each));
        let place = |each| match self.start_at.place(each)? {
            // What is in it came after this consumer's start.
            Place::End if self.is_added(each) => Some(Place::Beginning),
            place => Some(place),
        };
        let wanted = first.filter_map(|each| Some((each.clone(), place(each)?)));
        let wanted: Vec<_> = wanted.collect();
        if wanted.is_empty() {
            return Ok(Positions::new());
        }
        let mut chosen = Positions::new();
        for (partition, Found { position, low, high }) in self.find(&wanted)? {
            // Below the start it is not refused here: what is lost there is lost, and goes by the policy for that.
            if position > high {
                return Err(Failure::Final(ConsumerError::OffsetOutOfRange { partition, position, low, high }));
            }
            chosen.insert(partition, position);
        }
        Ok(chosen)
    }

    /// Where it was chosen to be, or else the committed offset of each, or else the start or end of the log.
    fn starts(
        &self,
        partitions: &[TopicPartition],
        chosen: &Positions,
        committed: &Positions,
    ) -> Result<Vec<StartPosition>, Failure> {
        let unknown = partitions.iter().filter(|each| !chosen.contains_key(each) && !committed.contains_key(each));
        let unknown: Vec<_> = unknown.cloned().collect();
        let edges = self.edges(&unknown)?;
        debug!(chosen = chosen.len(), committed = committed.len(), reset = edges.len(), "start positions resolved");
        partitions
            .iter()
            .map(|partition| {
                let position = [chosen, committed, &edges].into_iter().find_map(|known| known.get(partition).copied());
                let position =
                    position.ok_or_else(|| Failure::Passing(format!("{partition}: the broker told no offset")))?;
                let committed = committed.get(partition).copied().filter(|committed| *committed <= position);
                Ok(StartPosition {
                    committed: committed.filter(|_| self.loader.is_none()),
                    chosen: chosen.contains_key(partition),
                    ..StartPosition::at(partition.clone(), position)
                })
            })
            .collect()
    }

    /// The partitions that the topic has now. The request creates no topic: consumers ask with `allow.auto.create.topics=false`.
    pub(in crate::consume) fn partitions_of(&self, topic: &str) -> Result<Vec<TopicPartition>, Failure> {
        use RDKafkaErrorCode as E;
        let metadata = self.consumer.fetch_metadata(Some(topic), TRY)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Err(Failure::Passing(format!("the broker told nothing of the topic {topic}")));
        };
        match found.error().map(E::from) {
            None => Ok(found.partitions().iter().map(|each| TopicPartition::new(topic, each.id())).collect()),
            Some(E::UnknownTopicOrPartition | E::UnknownTopic) => {
                Err(Failure::Final(ConsumerError::UnknownTopic { topic: topic.to_owned() }))
            }
            Some(code) => Err(Failure::new(Some(code), format!("looking up the topic {topic}: {code}"))),
        }
    }

    /// The logs' starts or ends, as the reset says.
    fn edges(&self, partitions: &[TopicPartition]) -> Result<Positions, Failure> {
        // A record may wait in a retry topic before the group has committed anything there.
        let (waiting, partitions): (Vec<_>, Vec<_>) =
            partitions.iter().cloned().partition(|each| self.is_of_retry_topic(each));
        let mut edges = self.edges_at(&waiting, ListOffset::Beginning)?;
        edges.extend(self.edges_by_reset(&partitions)?);
        Ok(edges)
    }

    fn edges_by_reset(&self, partitions: &[TopicPartition]) -> Result<Positions, Failure> {
        let Some(first) = partitions.first() else { return Ok(Positions::new()) };
        match self.reset {
            AutoOffsetReset::Earliest => self.edges_at(partitions, ListOffset::Beginning),
            AutoOffsetReset::Latest => {
                let (added, others): (Vec<_>, Vec<_>) =
                    partitions.iter().cloned().partition(|each| self.is_added(each));
                let mut edges = self.edges_at(&others, ListOffset::End)?;
                edges.extend(self.edges_at(&added, ListOffset::Beginning)?);
                Ok(edges)
            }
            AutoOffsetReset::None => Err(Failure::Final(ConsumerError::NoCommittedOffset { partition: first.clone() })),
        }
    }

    fn is_of_retry_topic(&self, partition: &TopicPartition) -> bool {
        self.board.retry_delay(&partition.topic).is_some()
    }

    /// Whether the partition was added while this engine ran.
    fn is_added(&self, partition: &TopicPartition) -> bool {
        let first_seen = self.first_seen.get(&partition.topic);
        first_seen.is_some_and(|count| partition.partition.0 as usize >= *count)
    }
}
