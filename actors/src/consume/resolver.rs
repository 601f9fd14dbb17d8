//! The resolver: finds out, off the poller, where partitions start, and which ones a topic has.

mod failure;
mod lookup;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use rdkafka::consumer::BaseConsumer;
use serde::{Deserialize, Serialize};

use crate::consume::command::PollerPort;
use crate::consume::context::PollerContext;
use crate::consume::error::ConsumerError;
use crate::consume::loading::{LoadOffsets, Loader};
use crate::consume::place::{Found, Place};
pub(crate) use crate::consume::resolver::failure::Failure;
pub(super) use crate::consume::resolver::failure::{Positions, list, positions, topics};
pub(super) use crate::consume::resolver::lookup::{Lookup, TRY};
use crate::consume::start::{StartAt, StartPosition};
use crate::consume::state::Board;
use crate::consume::subscription::Subscription;
use crate::consume::topic_id::DescribedTopic;
use crate::ids::{Epoch, NextOffset, TopicPartition};

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
