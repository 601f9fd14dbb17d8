//! librdkafka's callbacks. They run on the poller's thread, inside its poll, and only note what happened: the poller acts on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::{ConsumerGroup, Statistics};
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tracing::{debug, error, info, warn};

use crate::ids::{NextOffset, TopicPartition};

/// How long a client is at its coordinator before it is taken to have been told its share, or nothing. A broker answers the first heartbeat with
/// it within milliseconds.
const SETTLED: Duration = Duration::from_secs(1);

/// What the group asks of this member. librdkafka then waits for an assign or unassign.
#[derive(Debug)]
pub(crate) enum RebalanceEvent {
    Assigned(Vec<TopicPartition>),
    Revoked {
        partitions: Vec<TopicPartition>,
        /// They belong to others already: nothing may be committed.
        lost: bool,
    },
    Failed(RDKafkaErrorCode),
}

#[derive(Debug, Default)]
pub(crate) struct PollerContext {
    events: Mutex<Vec<RebalanceEvent>>,
    /// What librdkafka has committed by itself.
    committed: Mutex<Vec<(TopicPartition, NextOffset)>>,
    /// An event was served that leaves no other note: the poller cannot tell it from an empty queue.
    served: AtomicBool,
    /// librdkafka's words on its last error: the error itself has only a code.
    reason: Mutex<String>,
    /// The client's statistics tell that it has been at its coordinator for a while.
    settled: AtomicBool,
    closing: Arc<AtomicBool>,
    answered: AtomicBool,
}

impl PollerContext {
    /// What was noted since the last call.
    pub(crate) fn take_events(&self) -> Vec<RebalanceEvent> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What librdkafka has committed by itself since the last call.
    pub(crate) fn take_committed(&self) -> Vec<(TopicPartition, NextOffset)> {
        std::mem::take(&mut *self.committed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// librdkafka's words on the error that the last poll gave.
    pub(crate) fn take_reason(&self) -> String {
        std::mem::take(&mut *self.reason.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a log line, statistics or an error was served since the last call.
    pub(crate) fn take_served(&self) -> bool {
        self.served.swap(false, Ordering::AcqRel)
    }

    /// Whether the client has had the time to learn what its share is, as far as its statistics have told.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// From here on a rebalance is answered at once with an unassign: nobody acts on notes any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Does so when it is dropped: a poller that panics drops the consumer, whose close would wait for ever for an answer.
    pub(crate) fn close_on_drop(&self) -> CloseOnDrop {
        CloseOnDrop(Arc::clone(&self.closing))
    }
}

/// See [`PollerContext::close_on_drop`].
pub(crate) struct CloseOnDrop(Arc<AtomicBool>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl ConsumerContext for PollerContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            // 1. An event that waited in the queue; 2. the close's own revoke, queued behind it. The close takes any answer as the unassign
            // of everything, and ends the group's thread of control: a second answer would wait for that for ever.
            if !self.answered.swap(true, Ordering::AcqRel) {
                let answer = consumer.unassign();
                debug!(?answer, "unassigned while leaving the group");
            }
            return;
        }
        let partitions = || list.elements().iter().map(|e| TopicPartition::new(e.topic(), e.partition())).collect();
        let event = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => RebalanceEvent::Assigned(partitions()),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                RebalanceEvent::Revoked { partitions: partitions(), lost: consumer.assignment_lost() }
            }
            error => RebalanceEvent::Failed(error.into()),
        };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Of librdkafka's own commits: those of the engine are answered on its own queue.
    fn commit_callback(&self, result: KafkaResult<()>, list: &TopicPartitionList) {
        self.served.store(true, Ordering::Release);
        if let Err(error) = result {
            warn!(%error, "a commit of the client's own failed");
            return;
        }
        let stored = list.elements().into_iter().filter_map(|each| match (each.error(), each.offset()) {
            (Ok(()), ListOffset::Offset(next)) => {
                Some((TopicPartition::new(each.topic(), each.partition()), NextOffset(next)))
            }
            _ => None,
        });
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).extend(stored);
    }
}

/// librdkafka's log, statistics and errors flow into `tracing`.
impl ClientContext for PollerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.served.store(true, Ordering::Release);
        crate::client_log::client_log(level, facility, text);
    }

    fn stats(&self, statistics: Statistics) {
        self.served.store(true, Ordering::Release);
        let settled = |group: &ConsumerGroup| group.state == "up" && group.stateage >= SETTLED.as_millis() as i64;
        self.settled.fetch_or(statistics.cgrp.as_ref().is_some_and(settled), Ordering::AcqRel);
        info!(target: "librdkafka", client = statistics.name, received = statistics.rxmsgs, "statistics");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.served.store(true, Ordering::Release);
        reason.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => error!(target: "librdkafka", %error, reason),
            _ => warn!(target: "librdkafka", %error, reason),
        }
    }
}
