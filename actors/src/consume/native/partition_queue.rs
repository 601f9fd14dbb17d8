//! The queue of a partition, and the callback that drains it. Why it is sound is said in [`native`](super).

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use super::{Queue, WakeTarget};
use crate::consume::guard::{Admission, PositionGuard};
use crate::consume::record::ChunkBuilder;
use crate::consume::wake::Wake;
use crate::ids::{NextOffset, Offset, TopicPartition};

/// The queue of one assigned partition, split from the consumer's own.
#[derive(Debug)]
pub(crate) struct PartitionQueue {
    queue: Queue,
    client: *mut sys::rd_kafka_t,
}

/// Why a drain ended, and what it met.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// The chunk was full: there may be more.
    pub(crate) more: bool,
    /// The position of an end-of-partition event behind the last record.
    pub(crate) end: Option<NextOffset>,
    /// Records dropped because they had been seen.
    pub(crate) refetched: u64,
    /// The log went back, from the position expected to the offset found; nothing from there on was taken.
    pub(crate) rewind: Option<(NextOffset, Offset)>,
    /// What librdkafka reports in the partition's queue.
    pub(crate) error: Option<(RDKafkaErrorCode, String)>,
}

struct Drain<'a> {
    chunk: &'a mut ChunkBuilder,
    guard: &'a mut PositionGuard,
    client: *mut sys::rd_kafka_t,
    seen: Drained,
}

impl PartitionQueue {
    /// Splits the partition's queue from the consumer's. To be called before the partition is assigned, and anew for every assign.
    ///
    /// `None` when librdkafka does not know the partition (a topic name with a NUL byte).
    pub(crate) fn split<C: ConsumerContext>(
        consumer: &BaseConsumer<C>,
        partition: &TopicPartition,
        wake: &Arc<Wake>,
        slot: usize,
    ) -> Option<Self> {
        let client = consumer.client().native_ptr();
        let topic = CString::new(&*partition.topic).ok()?;
        // SAFETY: `client` is the live consumer's; `topic` is a C string for the call; forwarding to NULL is librdkafka's way to split.
        let queue = unsafe {
            let queue = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition.partition.0);
            if queue.is_null() {
                return None;
            }
            sys::rd_kafka_queue_forward(queue, ptr::null_mut());
            queue
        };
        Some(Self { queue: Queue::watch(queue, WakeTarget::Slot(Arc::clone(wake), slot)), client })
    }

    /// How many messages and events wait: a hint, it changes at any time.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: our reference is live.
        unsafe { sys::rd_kafka_queue_length(self.queue.queue) }
    }

    /// Copies what waits into `chunk`, until it is full or the queue empty. Does not wait.
    ///
    /// The callback interface and not `rd_kafka_consume_batch_queue`: with end-of-partition events on, that one sets the position behind the
    /// event and loses a record at the next rebalance.
    pub(crate) fn drain(&mut self, chunk: &mut ChunkBuilder, guard: &mut PositionGuard) -> Drained {
        let mut drain = Drain { chunk, guard, client: self.client, seen: Drained::default() };
        let opaque = ptr::from_mut(&mut drain).cast::<c_void>();
        // SAFETY: see the module's head; `drain` lives until after the call.
        unsafe { sys::rd_kafka_consume_callback_queue(self.queue.queue, 0, Some(on_message), opaque) };
        drain.seen
    }
}

unsafe extern "C" fn on_message(message: *mut sys::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: `drain` passed a `&mut Drain` that nothing else touches during the call; librdkafka passes a valid message.
    let (drain, raw) = unsafe { (&mut *opaque.cast::<Drain<'_>>(), &*message) };
    if raw.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        on_event(drain, message, raw);
        return;
    }
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: a valid message.
    let timestamp = unsafe { sys::rd_kafka_message_timestamp(message, &mut kind) };
    match drain.guard.admit(Offset(raw.offset), timestamp) {
        Admission::Next | Admission::Gap(_) => {}
        Admission::Refetch => {
            drain.seen.refetched += 1;
            return;
        }
        Admission::Rewind { expected, got } => {
            // What follows in this drain belongs to the rewound log too: the first one tells the position to go on from.
            drain.seen.rewind.get_or_insert((expected, got));
            // SAFETY: the consumer's client; stops this drain.
            unsafe { sys::rd_kafka_yield(drain.client) };
            return;
        }
    }
    // SAFETY: key and payload are null or of their lengths, valid until the callback returns.
    let (key, value) = unsafe { (bytes(raw.key, raw.key_len), bytes(raw.payload, raw.len)) };
    drain.chunk.push(raw.offset, timestamp, key, value);
    // SAFETY: a valid message.
    if unsafe { may_have_headers(message, raw) } {
        // SAFETY: a valid message.
        unsafe { copy_headers(message, drain.chunk) };
    }
    if drain.chunk.is_full() {
        drain.seen.more = true;
        // SAFETY: the consumer's client; stops this drain after this callback.
        unsafe { sys::rd_kafka_yield(drain.client) };
    }
}

#[cold]
fn on_event(drain: &mut Drain<'_>, message: *mut sys::rd_kafka_message_t, raw: &sys::rd_kafka_message_t) {
    if raw.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF {
        let end = NextOffset(raw.offset);
        if let Admission::Next | Admission::Gap(_) = drain.guard.admit_end(end) {
            drain.seen.end = Some(end);
        }
        return;
    }
    // SAFETY: a valid message; the text is a C string valid until the callback returns, or null.
    let text = unsafe {
        let text = sys::rd_kafka_message_errstr(message);
        if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    drain.seen.error.get_or_insert((RDKafkaErrorCode::from(raw.err), text));
}

/// # Safety
/// `at` is null or points to `len` bytes that stay valid for `'a`.
unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast(), len) })
}

/// Whether the record can have headers. `rd_kafka_message_headers` allocates also for records without any, so it is asked only where the
/// byte behind the value, the header count of record format v2, is not 0, or where there is no telling.
///
/// # Safety
/// `message` is a valid fetched message and `raw` its public part.
unsafe fn may_have_headers(message: *const sys::rd_kafka_message_t, raw: &sys::rd_kafka_message_t) -> bool {
    // SAFETY: the leader epoch is known only of records that came in format v2 batches, where a header count follows the value within
    // the fetch response's buffer (or the batch's decompressed copy), which the message keeps alive.
    unsafe {
        raw.payload.is_null()
            || sys::rd_kafka_message_leader_epoch(message) < 0
            || *raw.payload.cast::<u8>().add(raw.len) != 0
    }
}

/// # Safety
/// `message` is a valid fetched message.
unsafe fn copy_headers(message: *const sys::rd_kafka_message_t, chunk: &mut ChunkBuilder) {
    let mut headers = ptr::null_mut();
    // SAFETY: the headers stay the message's; names are C strings, values of the given size or null, valid as long as the message.
    unsafe {
        if sys::rd_kafka_message_headers(message, &mut headers) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        for index in 0.. {
            let found = sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            chunk.push_header(CStr::from_ptr(name).to_bytes(), bytes(value, size));
        }
    }
}
