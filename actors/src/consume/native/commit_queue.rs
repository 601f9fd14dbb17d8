//! Commits and their answers. Why it is sound is said in [`native`](super).

use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use super::{Queue, WakeTarget};
use crate::consume::wake::{Source, Wake};
use crate::ids::TopicPartition;
use crate::offsets::committed::from_raw;

/// The queue on which results of commits arrive. Every commit goes through it: librdkafka's blocking commit has no deadline, and the
/// results of plain asynchronous ones cannot be told apart.
#[derive(Debug)]
pub(crate) struct CommitQueue {
    queue: Queue,
    client: *mut sys::rd_kafka_t,
    _not_send: PhantomData<*mut ()>,
}

/// The answer to a commit.
#[derive(Debug)]
pub(crate) struct CommitAnswer {
    /// Of the request as a whole.
    pub(crate) error: Option<RDKafkaErrorCode>,
    /// Of each partition.
    pub(crate) partitions: Vec<(TopicPartition, Option<RDKafkaErrorCode>)>,
}

impl CommitQueue {
    pub(crate) fn new<C: ConsumerContext>(consumer: &BaseConsumer<C>, wake: &Arc<Wake>) -> Self {
        let client = consumer.client().native_ptr();
        // SAFETY: a live client; never null.
        let queue = unsafe { sys::rd_kafka_queue_new(client) };
        let target = WakeTarget::Source(Arc::clone(wake), Source::Commits);
        Self { queue: Queue::watch(queue, target), client, _not_send: PhantomData }
    }

    /// Sends a commit; its answer arrives on this queue.
    pub(crate) fn submit(&self, offsets: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: client and queue are live; librdkafka copies the list.
        let error =
            unsafe { sys::rd_kafka_commit_queue(self.client, offsets.ptr(), self.queue.queue, None, ptr::null_mut()) };
        match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            error => Err(error.into()),
        }
    }

    /// The next answer, if one has arrived.
    pub(crate) fn poll(&self) -> Option<CommitAnswer> {
        loop {
            // SAFETY: the queue is live; the event is ours until destroyed, and the list it lends is only read before.
            unsafe {
                let event = sys::rd_kafka_queue_poll(self.queue.queue, 0);
                if event.is_null() {
                    return None;
                }
                let answer =
                    (sys::rd_kafka_event_type(event) == sys::RD_KAFKA_EVENT_OFFSET_COMMIT).then(|| CommitAnswer {
                        error: code(sys::rd_kafka_event_error(event)),
                        partitions: from_raw(sys::rd_kafka_event_topic_partition_list(event))
                            .into_iter()
                            .map(|each| (each.partition, each.error))
                            .collect(),
                    });
                sys::rd_kafka_event_destroy(event);
                if answer.is_some() {
                    return answer;
                }
            }
        }
    }
}

fn code(error: RDKafkaRespErr) -> Option<RDKafkaErrorCode> {
    (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
}
