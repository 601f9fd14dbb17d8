//! The edge to librdkafka's C interface on the consuming side: partition queues, the drain callback, the commit queue. The
//! consumer's `unsafe` is in this file, but for one request of `topic_id`.
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

use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use crate::consume::guard::{Admission, PositionGuard};
use crate::consume::record::ChunkBuilder;
use crate::consume::wake::{Source, Wake};
use crate::ids::{NextOffset, Offset, TopicPartition};
use crate::offsets::committed::from_raw;

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

fn code(error: RDKafkaRespErr) -> Option<RDKafkaErrorCode> {
    (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::{Duration, Instant};

    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::topic_partition_list::Offset as ListOffset;

    use super::*;
    use crate::consume::context::PollerContext;
    use crate::consume::properties::Properties;
    use crate::ids::{Epoch, Offset};
    use crate::offsets::Tile;

    const LONG: Duration = Duration::from_secs(20);

    fn produce(servers: &str, keys: std::ops::Range<i64>) {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
        for key in keys {
            let (key, headers) = (key.to_string(), rdkafka::message::OwnedHeaders::new());
            let header = rdkafka::message::Header { key: "h", value: Some("x") };
            let record = BaseRecord::to("t").partition(0).key(&key).payload("value");
            let record = if key.ends_with('7') { record.headers(headers.insert(header)) } else { record };
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(LONG).unwrap();
    }

    struct Reader {
        queue: PartitionQueue,
        consumer: BaseConsumer<PollerContext>,
        guard: PositionGuard,
    }

    impl Reader {
        fn start(servers: &str) -> Self {
            let mut properties = Properties::default();
            properties.set("bootstrap.servers", servers);
            properties.set("group.id", "g");
            properties.set("fetch.wait.max.ms", "5");
            let config = properties.client_config(false).unwrap();
            let consumer: BaseConsumer<PollerContext> = config.create_with_context(PollerContext::default()).unwrap();
            let partition = TopicPartition::new("t", 0);
            let queue = PartitionQueue::split(&consumer, &partition, &Arc::new(Wake::new()), 0).unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition_offset("t", 0, ListOffset::Offset(0)).unwrap();
            consumer.assign(&list).unwrap();
            Self { queue, consumer, guard: PositionGuard::new(NextOffset(0)) }
        }

        /// Drains until the partition's end is told; gives the chunk and the end.
        fn read_to_end(&mut self) -> (ChunkBuilder, NextOffset) {
            let mut chunk = ChunkBuilder::new(1000, 1 << 20, 100, 16);
            let until = Instant::now() + LONG;
            loop {
                assert!(Instant::now() < until, "no end of the partition");
                assert!(self.consumer.poll(Duration::ZERO).is_none(), "nothing reaches the main queue");
                if let Some(end) = self.queue.drain(&mut chunk, &mut self.guard).end {
                    return (chunk, end);
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }

        fn position(&self) -> i64 {
            match self.consumer.position().unwrap().elements()[0].offset() {
                ListOffset::Offset(offset) => offset,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_position_after_an_end_of_partition_event_equals_its_offset() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let servers = cluster.bootstrap_servers();
        produce(&servers, 0..100);
        let mut reader = Reader::start(&servers);
        let (_, end) = reader.read_to_end();
        assert_eq!((end, reader.position()), (NextOffset(100), 100));
        // The next record is the one at the end, not the one behind it.
        produce(&servers, 100..110);
        let (chunk, end) = reader.read_to_end();
        assert_eq!(chunk.index.iter().map(|entry| entry.offset).collect::<Vec<_>>(), (100..110).collect::<Vec<_>>());
        assert_eq!((end, reader.position()), (NextOffset(110), 110));
        let Reader { queue, consumer, .. } = reader;
        drop(queue);
        consumer.context().close();
        drop(consumer);
    }

    #[test]
    fn keys_values_and_headers_arrive_as_they_were_sent() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let servers = cluster.bootstrap_servers();
        produce(&servers, 0..20);
        let mut reader = Reader::start(&servers);
        let (chunk, end) = reader.read_to_end();
        let chunk =
            chunk.finish(TopicPartition::new("t", 0), Epoch(1), Tile::new(NextOffset(0), end), Default::default());
        let chunk = Arc::new(chunk);
        for position in 0..20 {
            let record = crate::consume::record::Record { chunk: Arc::clone(&chunk), position, attempt: 1, failed: 0 };
            assert_eq!(record.key(), Some(position.to_string().as_bytes()));
            assert_eq!(record.value(), Some(&b"value"[..]));
            assert_eq!(record.offset(), Offset(i64::from(position)));
            assert!(record.timestamp().is_some());
            let expected: Vec<(&str, Option<&[u8]>)> =
                if position % 10 == 7 { vec![("h", Some(b"x"))] } else { vec![] };
            assert_eq!(record.headers().collect::<Vec<_>>(), expected, "record {position}");
        }
        let Reader { queue, consumer, .. } = reader;
        drop(queue);
        consumer.context().close();
        drop(consumer);
    }
}
