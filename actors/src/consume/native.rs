//! The edge to librdkafka's C interface on the consuming side: [`partition_queue`] with the drain callback, [`commit_queue`]; here the wake-up
//! that both have, and what is asked of the client. The consumer's `unsafe` is in this module, but for one request of `topic_id`.
//!
//! # Why it is sound
//! - **Lifetimes.** [`PartitionQueue`] and [`CommitQueue`] hold a reference on their queue (`rd_kafka_queue_get_partition`,
//!   `rd_kafka_queue_new`), and an `Arc` of the consumer would make the consumer's close wait for them for ever: so they hold the bare
//!   client pointer, and the poller, which owns both, drops every queue before it drops the consumer (fields in that order, and
//!   `close` does it by hand). Neither is `Clone`, `Send` or `Sync`.
//! - **Queue callbacks** get a `Box<WakeTarget>` owned by the queue's wrapper. librdkafka calls them under the queue's lock, and
//!   `rd_kafka_queue_cb_event_enable(q, NULL)` takes that lock: when it returns, no callback runs and none will, so the box may go.
//! - **Drain callback.** It runs on the caller's thread inside `rd_kafka_consume_callback_queue`; its opaque is a `&mut Drain` that outlives
//!   the call. The message is valid until the callback returns; all that is kept of it is copied. It cannot unwind into C: what it calls
//!   indexes and converts nothing that can fail, and an allocation that fails aborts.
//! - **One drain at a time**: `drain` takes `&mut self`, and one thread owns all queues of a consumer, which is what librdkafka asks for.

mod commit_queue;
mod partition_queue;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use crate::consume::wake::{Source, Wake};
use crate::ids::TopicPartition;

pub(crate) use commit_queue::CommitQueue;
pub(crate) use partition_queue::{Drained, PartitionQueue};

/// What a queue's callback sets when the queue is no longer empty.
#[derive(Debug)]
enum WakeTarget {
    Slot(Arc<Wake>, usize),
    Source(Arc<Wake>, Source),
}

unsafe extern "C" fn on_nonempty(_: *mut sys::rd_kafka_t, target: *mut c_void) {
    // SAFETY: the box that `watch` handed over is alive while the callback is enabled (see the module's head).
    match unsafe { &*target.cast::<WakeTarget>() } {
        WakeTarget::Slot(wake, slot) => wake.slot(*slot),
        WakeTarget::Source(wake, source) => wake.source(*source),
    }
}

/// A counted reference on a queue of librdkafka's, with a wake-up on it.
#[derive(Debug)]
struct Queue {
    queue: *mut sys::rd_kafka_queue_t,
    _target: Box<WakeTarget>,
}

impl Queue {
    /// Takes over the caller's reference on `queue`, which must not be null.
    fn watch(queue: *mut sys::rd_kafka_queue_t, target: WakeTarget) -> Self {
        let target = Box::new(target);
        let opaque = ptr::from_ref::<WakeTarget>(&target).cast_mut().cast();
        // SAFETY: `queue` is a live queue; `opaque` outlives the callback, which `drop` disables first.
        unsafe { sys::rd_kafka_queue_cb_event_enable(queue, Some(on_nonempty), opaque) };
        Self { queue, _target: target }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours; after the first call no callback can run.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// The low and high watermark that the last fetch response told, without asking the broker.
pub(crate) fn cached_watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partition: &TopicPartition,
) -> Option<(i64, i64)> {
    let topic = CString::new(&*partition.topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: a live client and out pointers to locals.
    let error = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition.partition.0,
            &mut low,
            &mut high,
        )
    };
    (error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some((low, high))
}

/// The member id that the group has given, of a member that is joining or has joined.
pub(crate) fn member_id<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<String> {
    // SAFETY: the client is the live consumer's; librdkafka gives a C string that is ours to free, or null.
    unsafe {
        let id = sys::rd_kafka_memberid(consumer.client().native_ptr());
        if id.is_null() {
            return None;
        }
        let text = CStr::from_ptr(id).to_string_lossy().into_owned();
        sys::rd_kafka_mem_free(consumer.client().native_ptr(), id.cast());
        (!text.is_empty()).then_some(text)
    }
}
