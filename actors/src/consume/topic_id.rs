//! A topic's identity. A topic that is deleted and created again has its old name and another id, and nothing else tells: librdkafka goes
//! on fetching at the old position, and what the new log holds below it would never be seen.
//!
//! # Why its `unsafe` is sound
//! The request's objects (options, collection, queue, event) are made and destroyed in one call on one thread; what an event lends is
//! copied before the event goes. A reply that comes after its queue was destroyed is librdkafka's to drop.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka_sys as sys;

/// The cluster's own name for a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicId(i64, i64);

impl TopicId {
    /// The same as bytes, in the order that Kafka writes them.
    pub fn bytes(self) -> [u8; 16] {
        ((u128::from(self.0 as u64) << 64) | u128::from(self.1 as u64)).to_be_bytes()
    }
}

/// A topic as the cluster describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribedTopic {
    /// Its identity.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: usize,
}

/// Those of the topics that exist and have an id (Apache Kafka from 2.8 on); `None` when no answer came in time.
pub fn describe_topics<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topics: &[Arc<str>],
    within: Duration,
) -> Option<HashMap<Arc<str>, DescribedTopic>> {
    let names: Vec<_> = topics.iter().filter_map(|topic| CString::new(&**topic).ok()).collect();
    let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let millis = c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX);
    let client = consumer.client().native_ptr();
    // SAFETY: see the module's head. `names` and the strings it points to live to the end of this function, and the collection copies them.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client);
        let options =
            sys::rd_kafka_AdminOptions_new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        let collection = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        sys::rd_kafka_DescribeTopics(client, collection, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, millis);
        let ids = (!event.is_null()).then(|| described(event)).flatten();
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_TopicCollection_destroy(collection);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        ids
    }
}

/// # Safety
/// `event` is a live event.
unsafe fn described(event: *mut sys::rd_kafka_event_t) -> Option<HashMap<Arc<str>, DescribedTopic>> {
    // SAFETY: a result of another kind, or an error, gives null; the descriptions are the event's, and their names C strings.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() || sys::rd_kafka_event_error(event) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return None;
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut ids = HashMap::new();
        for index in 0..count {
            let topic = *topics.add(index);
            let (id, error) =
                (sys::rd_kafka_TopicDescription_topic_id(topic), sys::rd_kafka_TopicDescription_error(topic));
            if id.is_null() || sys::rd_kafka_error_code(error) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                continue;
            }
            let id =
                TopicId(sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id));
            // Zero stands for none, of a broker that knows no ids.
            if id != TopicId(0, 0) {
                let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)).to_string_lossy();
                let mut partitions = 0;
                sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
                ids.insert(Arc::from(&*name), DescribedTopic { id, partitions });
            }
        }
        Some(ids)
    }
}
