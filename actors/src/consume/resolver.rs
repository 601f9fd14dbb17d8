//! The resolver: finds out, off the poller, where partitions start, and which ones a topic has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::consume::command::{PollerCommand, PollerPort};
use crate::consume::context::PollerContext;
use crate::consume::error::{CommitFailure, ConsumerError, commit_failure};
use crate::consume::loading::{LoadOffsets, Loader};
use crate::consume::membership::Membership;
use crate::consume::place::{Found, Place};
use crate::consume::reminder::Reminder;
use crate::consume::start::{StartAt, StartPosition};
use crate::consume::state::Board;
use crate::consume::subscription::Subscription;
use crate::consume::topic_id::{DescribedTopic, describe_topics};
use crate::ids::{Epoch, NextOffset, TopicPartition};
use crate::offsets::committed_offsets;

/// Where a partition starts for which the group has committed nothing.
///
/// For a start elsewhere than the group has committed, see [`StartAt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AutoOffsetReset {
    /// At the log's start: nothing is missed. The default here; Kafka's own is `Latest`.
    #[default]
    Earliest,
    /// At the log's end: only what is produced from now on. A partition that is added to a topic while the consumer runs starts at its
    /// beginning all the same (on Apache Kafka from 2.8 on), for its records are all produced since; a topic that a pattern begins to match
    /// does not.
    Latest,
    /// Nowhere: the engine stops with [`ConsumerError::NoCommittedOffset`].
    None,
}

/// One try of a look-up. Short, so that an abandoned request or a stop is seen soon.
pub(super) const TRY: Duration = Duration::from_millis(500);
/// The try at which what commits remember is believed no further than it can be checked: one partition without a leader must not keep all the
/// others from their start.
const RECALLS: u32 = 4;
/// How long the topics' ids are waited for before an assignment.
const GLANCE: Duration = Duration::from_millis(200);
/// Pause between tries that failed at once.
const PAUSE: Duration = Duration::from_millis(100);

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) id: u64,
    pub(crate) starts: Result<Vec<StartPosition>, ConsumerError>,
}

/// Whose start positions are asked for.
#[derive(Debug, Clone)]
pub(crate) enum Sought {
    /// What the group has assigned. Those that this engine had before are `again`.
    Assigned { partitions: Vec<TopicPartition>, again: HashSet<TopicPartition> },
    /// What the app reads that no group shares out.
    Subscribed(Subscription),
}

/// The places that a seek goes to.
#[derive(Debug)]
pub(crate) struct Places {
    /// The seek that asked.
    pub(crate) id: u64,
    /// The text of what failed in passing, or why it fails for good.
    pub(crate) found: Result<HashMap<TopicPartition, Found>, Failure>,
}

/// What the topics' logs are.
#[derive(Debug)]
pub(crate) struct Identification {
    /// The last epoch that had begun when it was asked.
    pub(crate) until: Epoch,
    pub(crate) topics: HashMap<Arc<str>, DescribedTopic>,
    /// The ends of the logs that were asked for; `None` when not all could be had.
    pub(crate) edges: Option<HashMap<TopicPartition, (NextOffset, NextOffset)>>,
}

enum Request {
    Starts { id: u64, sought: Sought },
    Identify { topics: Vec<Arc<str>>, astray: Vec<TopicPartition>, until: Epoch },
    Find { id: u64, wanted: Vec<(TopicPartition, Place)> },
}

/// What start positions are resolved by.
pub(crate) struct ResolverOptions {
    pub(crate) start_at: StartAt,
    pub(crate) reset: AutoOffsetReset,
    pub(crate) load: Option<LoadOffsets>,
}

/// A thread that makes read-only look-ups on the poller's consumer. It holds the consumer, so it is stopped before that is closed, and every wait
/// on it is short: the app's code runs on a thread of its [own](Loader).
pub(crate) struct Resolver {
    requests: Option<Sender<Request>>,
    /// The request that is still wanted.
    wanted: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    pub(crate) fn start(
        consumer: Arc<BaseConsumer<PollerContext>>,
        options: ResolverOptions,
        board: Arc<Board>,
        poller: PollerPort,
    ) -> std::io::Result<Self> {
        let (requests, inbox) = crossbeam_channel::unbounded();
        let wanted = Arc::new(AtomicU64::new(0));
        let ResolverOptions { start_at, reset, load } = options;
        let loader = load.map(Loader::start).transpose()?;
        let thread = std::thread::Builder::new().name("troupe-resolve".to_owned()).spawn({
            let wanted = Arc::clone(&wanted);
            let (silent, has_letters, first_seen) = (false, board.letterbox.is_none(), HashMap::new());
            move || {
                let mut lookup =
                    Lookup { consumer, start_at, reset, loader, board, wanted, silent, has_letters, first_seen };
                lookup.serve(&inbox, &poller)
            }
        })?;
        Ok(Self { requests: Some(requests), wanted, thread: Some(thread) })
    }

    /// Asks where these start; `id` rises. An earlier request that has not been answered is dropped.
    pub(crate) fn request(&self, id: u64, sought: Sought) {
        self.wanted.store(id, Ordering::Release);
        if let Some(requests) = &self.requests {
            let _ = requests.send(Request::Starts { id, sought });
        }
    }

    /// Asks for the topics' ids and the ends of some logs. It is answered once, whatever comes of it.
    pub(crate) fn identify(&self, topics: Vec<Arc<str>>, astray: Vec<TopicPartition>, until: Epoch) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(Request::Identify { topics, astray, until });
        }
    }

    /// Asks where these places are. It is tried and answered once, whatever comes of it.
    pub(crate) fn find(&self, id: u64, wanted: Vec<(TopicPartition, Place)>) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(Request::Find { id, wanted });
        }
    }

    /// Drops the request that has not been answered.
    pub(crate) fn abandon(&self) {
        self.wanted.store(0, Ordering::Release);
    }

    /// Ends the thread, within one try.
    pub(crate) fn stop(&mut self) {
        self.abandon();
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(super) struct Lookup {
    pub(super) consumer: Arc<BaseConsumer<PollerContext>>,
    start_at: StartAt,
    reset: AutoOffsetReset,
    loader: Option<Loader>,
    pub(super) board: Arc<Board>,
    wanted: Arc<AtomicU64>,
    /// The brokers have not told the topics' ids when they were last asked.
    silent: bool,
    /// The dead-letter topic and the retry topics have been seen, or there are none.
    pub(super) has_letters: bool,
    /// How many partitions each topic had when it was first described: any above were added since.
    first_seen: HashMap<Arc<str>, usize>,
}

impl Lookup {
    fn serve(&mut self, inbox: &Receiver<Request>, poller: &PollerPort) {
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
    pub(super) fn partitions_of(&self, topic: &str) -> Result<Vec<TopicPartition>, Failure> {
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

pub(super) type Positions = HashMap<TopicPartition, NextOffset>;

#[derive(Debug)]
pub(crate) enum Failure {
    Passing(String),
    Final(ConsumerError),
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::new(error.rdkafka_error_code(), format!("looking up start positions: {error}"))
    }
}

impl Failure {
    fn new(code: Option<RDKafkaErrorCode>, detail: String) -> Self {
        match code {
            Some(code) if commit_failure(code) == CommitFailure::Fatal => {
                Self::Final(ConsumerError::Kafka { code, detail })
            }
            _ => Self::Passing(detail),
        }
    }
}

/// The topics of some partitions, each once.
pub(super) fn topics<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> Vec<Arc<str>> {
    let topics: HashSet<_> = partitions.map(|partition| Arc::clone(&partition.topic)).collect();
    topics.into_iter().collect()
}

pub(super) fn list(partitions: &[TopicPartition], offset: ListOffset) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for each in partitions {
        list.add_partition_offset(&each.topic, each.partition.0, offset)?;
    }
    Ok(list)
}

/// The offsets of a list, without those that have none.
pub(super) fn positions(list: &TopicPartitionList) -> Result<Positions, Failure> {
    let mut positions = Positions::new();
    for element in list.elements() {
        let partition = TopicPartition::new(element.topic(), element.partition());
        if let Err(error) = element.error() {
            return Err(Failure::new(error.rdkafka_error_code(), format!("{partition}: {error}")));
        }
        if let ListOffset::Offset(offset) = element.offset() {
            positions.insert(partition, NextOffset(offset));
        }
    }
    Ok(positions)
}
