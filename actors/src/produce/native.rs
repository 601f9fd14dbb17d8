//! All that this crate's producer calls in librdkafka by its C interface: producing by the batch, and reading delivery reports by the event.
//!
//! # Safety argument
//! - **Client.** The `rd_kafka_t` belongs to [`NativeProducer`]'s `Client`, which destroys it when dropped. Every pointer derived from it (topics,
//!   the main queue, events) is kept in a type that holds the `NativeProducer` alive (an `Arc`, or a borrow) and is released by its `Drop` before.
//! - **Threads.** librdkafka's handles may be used from any thread (rdkafka.h: "librdkafka is completely thread-safe"), hence `Send` and `Sync`
//!   for the client, topic and queue. An event is read by the thread that polled it.
//! - **Bytes.** Records are produced with `RD_KAFKA_MSG_F_COPY`: keys and values are read during the call only, while the caller's slices are
//!   borrowed, and never written, so casting their pointers to `*mut` is sound. An absent part is a null pointer; an empty one is not.
//! - **Marks.** The opaque pointer of a record is a number that is never followed.
//! - **Events.** What a report or log entry points to belongs to its event. Numbers are copied out; strings are borrowed from the event.
//! - **Headers.** `rd_kafka_producev` owns them from the moment it succeeds and not before (rdkafka.h, `RD_KAFKA_V_HEADERS`).
//! - **Panics.** librdkafka calls back nothing of ours: reports, errors and log lines come through the queue.

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaType};
use rdkafka_sys as sys;

use super::Undelivered;
use super::completion::Stored;
use super::in_flight::Mark;
use super::record::ProducerRecord;
use crate::ids::{Offset, PartitionId};
use crate::refused::refused;

/// Takes librdkafka's log lines and errors into `tracing`.
#[derive(Default)]
pub(super) struct LibraryLog {
    /// When the brokers last refused the connection, and librdkafka's words on it.
    refusal: Mutex<Option<(Instant, Arc<str>)>>,
}

impl LibraryLog {
    /// Why the brokers refused the connection, if they did since then.
    pub(super) fn refused_since(&self, since: Instant) -> Option<Arc<str>> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.as_ref().filter(|(at, _)| *at >= since).map(|(_, reason)| Arc::clone(reason))
    }
}

impl ClientContext for LibraryLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        crate::client_log::client_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code().is_some_and(|code| refused(code, reason)) {
            let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
            *refusal = Some((Instant::now(), reason.into()));
        }
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}

/// librdkafka's producer.
pub(super) struct NativeProducer {
    // Before the client, for fields drop in this order.
    main_queue: MainQueue,
    client: Client<LibraryLog>,
}

struct MainQueue(*mut sys::rd_kafka_queue_t);

// SAFETY: a librdkafka queue may be used from any thread.
unsafe impl Send for MainQueue {}
// SAFETY: as above; all its functions lock the queue.
unsafe impl Sync for MainQueue {}

impl Drop for MainQueue {
    fn drop(&mut self) {
        // SAFETY: the reference that `rd_kafka_queue_get_main` gave, released once.
        unsafe { sys::rd_kafka_queue_destroy(self.0) };
    }
}

impl NativeProducer {
    pub(super) fn new(config: &ClientConfig) -> KafkaResult<Self> {
        let native = config.create_native_config()?;
        // SAFETY: `native` is a live configuration, owned here until the client takes it.
        unsafe {
            sys::rd_kafka_conf_set_events(
                native.ptr(),
                sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_LOG,
            );
        }
        let client = Client::new(config, native, RDKafkaType::RD_KAFKA_PRODUCER, LibraryLog::default())?;
        // SAFETY: the client is live; the queue's reference is released by `MainQueue`, before the client.
        let main_queue = MainQueue(unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) });
        Ok(Self { main_queue, client })
    }

    /// For what rdkafka's safe interface offers.
    pub(super) fn client(&self) -> &Client<LibraryLog> {
        &self.client
    }

    /// The next event, waiting for it at most `timeout` (whole milliseconds) or until [`wake`](Self::wake).
    pub(super) fn poll(&self, timeout: Duration) -> Option<Event<'_>> {
        let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives as long as `self`.
        let event = unsafe { sys::rd_kafka_queue_poll(self.main_queue.0, milliseconds) };
        (!event.is_null()).then_some(Event { event, producer: PhantomData })
    }

    /// Ends a [`poll`](Self::poll) that waits, or the next one.
    pub(super) fn wake(&self) {
        // SAFETY: the queue lives as long as `self`.
        unsafe { sys::rd_kafka_queue_yield(self.main_queue.0) };
    }

    /// Fails every record that librdkafka holds; their reports follow.
    pub(super) fn purge(&self) {
        let what = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT | sys::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the client lives as long as `self`.
        let error = unsafe { sys::rd_kafka_purge(self.client.native_ptr(), what) };
        let code = RDKafkaErrorCode::from(error);
        if code != RDKafkaErrorCode::NoError {
            tracing::error!(error = %code, "librdkafka did not purge its queues");
        }
    }

    /// The fatal error that ended this producer, if one did.
    pub(super) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: the client lives as long as `self`; librdkafka writes at most the length given, with a closing zero.
        let error = unsafe { sys::rd_kafka_fatal_error(self.client.native_ptr(), reason.as_mut_ptr(), reason.len()) };
        let code = RDKafkaErrorCode::from(error);
        (code != RDKafkaErrorCode::NoError).then(|| {
            // SAFETY: zero-terminated: initialised with zeros, written as said above.
            let reason = unsafe { CStr::from_ptr(reason.as_ptr()) };
            (code, format!("{code}: {}", reason.to_string_lossy()))
        })
    }

    /// The fatal error that a record's error only points at: after one, librdkafka purges what it holds, and refuses the rest with no more than
    /// the word.
    pub(super) fn fatal_error_behind(&self, code: RDKafkaErrorCode) -> Option<RDKafkaErrorCode> {
        use RDKafkaErrorCode as E;
        match code {
            E::PurgeQueue | E::PurgeInflight | E::Fatal => self.fatal_error().map(|(code, _)| code),
            _ => None,
        }
    }

    #[cfg(test)]
    pub(super) fn raise_fatal_error(&self) {
        let code = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        // SAFETY: the client lives as long as `self`, the string for ever.
        unsafe {
            sys::rd_kafka_test_fatal_error(self.client.native_ptr(), code, c"raised for a test".as_ptr());
        }
    }
}

/// An event of the main queue.
pub(super) struct Event<'a> {
    event: *mut sys::rd_kafka_event_t,
    producer: PhantomData<&'a NativeProducer>,
}

/// What an event says.
pub(super) enum Said<'e> {
    Reports(Reports<'e>),
    Log(RDKafkaLogLevel, &'e CStr, &'e CStr),
    Error { code: RDKafkaErrorCode, reason: &'e CStr },
    Nothing,
}

impl Event<'_> {
    pub(super) fn said(&mut self) -> Said<'_> {
        // SAFETY: the event is live until `drop`; strings are checked against null and belong to it, hence the lifetime of the borrow.
        unsafe {
            match sys::rd_kafka_event_type(self.event) {
                sys::RD_KAFKA_EVENT_DR => {
                    Said::Reports(Reports { event: self.event, given_up: false, borrow: PhantomData })
                }
                sys::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut message, mut level) = (ptr::null(), ptr::null(), 0);
                    let failed = sys::rd_kafka_event_log(self.event, &mut facility, &mut message, &mut level);
                    if failed != 0 || facility.is_null() || message.is_null() {
                        return Said::Nothing;
                    }
                    Said::Log(log_level(level), CStr::from_ptr(facility), CStr::from_ptr(message))
                }
                sys::RD_KAFKA_EVENT_ERROR => {
                    let reason = sys::rd_kafka_event_error_string(self.event);
                    Said::Error {
                        code: sys::rd_kafka_event_error(self.event).into(),
                        reason: if reason.is_null() { c"" } else { CStr::from_ptr(reason) },
                    }
                }
                _ => Said::Nothing,
            }
        }
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        // SAFETY: polled once, destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.event) };
    }
}

/// syslog's numbers.
fn log_level(level: i32) -> RDKafkaLogLevel {
    match level {
        ..=3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}

/// The delivery reports of one event.
pub(super) struct Reports<'e> {
    event: *mut sys::rd_kafka_event_t,
    given_up: bool,
    borrow: PhantomData<&'e mut ()>,
}

impl Reports<'_> {
    /// With the records themselves, where they were purged.
    pub(super) fn with_what_was_given_up(mut self, given_up: bool) -> Self {
        self.given_up = given_up;
        self
    }
}

/// librdkafka's last word on one record.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) mark: Mark,
    pub(super) partition: PartitionId,
    pub(super) result: Result<Stored, Refusal>,
}

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: RDKafkaErrorCode,
    pub(super) possibly_persisted: bool,
    /// The record, where that was asked for and it was purged.
    pub(super) given_up: Option<Box<Undelivered>>,
}

impl Iterator for Reports<'_> {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        // SAFETY: the event is live while borrowed; the message belongs to it and is read before the next call; all is copied out.
        unsafe {
            let message = sys::rd_kafka_event_message_next(self.event);
            let record = message.as_ref()?;
            let result = match RDKafkaErrorCode::from(record.err) {
                RDKafkaErrorCode::NoError => {
                    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                    let timestamp = sys::rd_kafka_message_timestamp(message, &mut kind);
                    let offset = (record.offset >= 0).then_some(Offset(record.offset));
                    Ok(Stored { partition: PartitionId(record.partition), offset, timestamp })
                }
                code => {
                    let status = sys::rd_kafka_message_status(message);
                    let possibly_persisted = status != sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
                    let purged = matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight);
                    let record = (purged && self.given_up).then(|| copied(message));
                    let given_up = record.map(|record| Box::new(Undelivered { record, possibly_persisted }));
                    Err(Refusal { code, possibly_persisted, given_up })
                }
            };
            Some(Report {
                mark: Mark(record._private as usize as u64),
                partition: PartitionId(record.partition),
                result,
            })
        }
    }
}

/// The record of a report, but for its timestamp: librdkafka does not tell that of a record that failed.
///
/// # Safety
/// `message` is a message of a live event.
unsafe fn copied(message: *const sys::rd_kafka_message_t) -> ProducerRecord<'static> {
    // SAFETY: the caller's promise. Key and value are null or have the length given; the topic's name and the headers' names are zero-terminated; all
    // is owned by the message and copied here.
    unsafe {
        let record = &*message;
        let bytes = |start: *const c_void, length: usize| {
            (!start.is_null()).then(|| std::slice::from_raw_parts(start.cast::<u8>(), length).to_vec())
        };
        let text = |name: *const c_char| CStr::from_ptr(name).to_string_lossy().into_owned();
        let mut copy = ProducerRecord::to(text(sys::rd_kafka_topic_name(record.rkt))).partition(record.partition);
        copy.key = bytes(record.key, record.key_len).map(Into::into);
        copy.value = bytes(record.payload, record.len).map(Into::into);
        let mut headers = ptr::null_mut();
        let found = sys::rd_kafka_message_headers(message, &mut headers);
        if found == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            let next = |place, name: &mut _, value: &mut _, length: &mut _| {
                sys::rd_kafka_header_get_all(headers, place, name, value, length)
                    == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            };
            let mut place = 0;
            while next(place, &mut name, &mut value, &mut length) {
                copy.headers.push((text(name).into(), bytes(value, length).map(Into::into)));
                place += 1;
            }
        }
        copy
    }
}

/// A topic's handle, so that producing looks nothing up by name.
pub(super) struct NativeTopic {
    topic: *mut sys::rd_kafka_topic_t,
    producer: Arc<NativeProducer>,
}

/// One record for [`NativeTopic`].
#[derive(Clone, Copy)]
pub(super) struct NativeRecord<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) mark: Mark,
}

/// What became of records offered to librdkafka. Those not named are queued, and reported later.
#[derive(Debug, Default)]
pub(super) struct Produced {
    /// Refused for good, by their places among those offered.
    pub(super) refused: Vec<(usize, RDKafkaErrorCode)>,
    /// The queue was full from this place on: none of those is queued.
    pub(super) full_from: Option<usize>,
}

/// The array that a batch is handed over in, kept to be used again.
#[derive(Default)]
pub(super) struct Scratch(Vec<sys::rd_kafka_message_t>);

impl NativeTopic {
    /// `name` must hold no zero byte, which no valid topic name does.
    pub(super) fn new(producer: Arc<NativeProducer>, name: &str) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(name).map_err(|_zero| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the client is live, the name zero-terminated and copied; no configuration is handed over.
        let topic = unsafe { sys::rd_kafka_topic_new(producer.client.native_ptr(), name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            // SAFETY: reads this thread's own error, set by the call above.
            return Err(unsafe { sys::rd_kafka_last_error() }.into());
        }
        Ok(Self { topic, producer })
    }

    /// Queues records without headers or timestamps for `partition`, in order.
    pub(super) fn produce<'a>(
        &self,
        partition: PartitionId,
        records: impl Iterator<Item = NativeRecord<'a>>,
        scratch: &mut Scratch,
    ) -> Produced {
        let messages = &mut scratch.0;
        messages.clear();
        messages.extend(records.map(|record| {
            // SAFETY: a struct of numbers and nullable pointers, for which all zeros is a value.
            let mut message: sys::rd_kafka_message_t = unsafe { std::mem::zeroed() };
            (message.payload, message.len) = part(record.value);
            (message.key, message.key_len) = part(record.key);
            message._private = record.mark.0 as usize as *mut c_void;
            message
        }));
        let mut produced = Produced::default();
        // A batch has at most 2^16 records.
        let count = messages.len() as i32;
        // SAFETY: topic and array are live; the slices that the messages point into are borrowed for 'a, which outlives this call, and librdkafka copies
        // them in it.
        let queued = unsafe {
            sys::rd_kafka_produce_batch(self.topic, partition.0, sys::RD_KAFKA_MSG_F_COPY, messages.as_mut_ptr(), count)
        };
        if queued < count {
            for (place, message) in messages.iter().enumerate() {
                match RDKafkaErrorCode::from(message.err) {
                    RDKafkaErrorCode::NoError => {}
                    RDKafkaErrorCode::QueueFull => {
                        // librdkafka refuses the rest of a batch from its first such record on.
                        produced.full_from = Some(place);
                        break;
                    }
                    code => produced.refused.push((place, code)),
                }
            }
        }
        messages.clear();
        produced
    }

    /// Queues one record with headers or a timestamp for `partition`.
    pub(super) fn produce_one<'a>(
        &self,
        partition: PartitionId,
        record: NativeRecord<'a>,
        timestamp: Option<i64>,
        headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), RDKafkaErrorCode> {
        use sys::rd_kafka_vtype_t as vtype;

        let headers = Headers::new(headers)?;
        let (value, value_len) = part(record.value);
        let (key, key_len) = part(record.key);
        // SAFETY: the arguments follow rdkafka.h's list of types per tag and end with `END`; the topic is live, the slices are borrowed during the call and
        // copied in it, the headers are live and given up only if it succeeds.
        let error = unsafe {
            sys::rd_kafka_producev(
                self.producer.client.native_ptr(),
                vtype::RD_KAFKA_VTYPE_RKT,
                self.topic,
                vtype::RD_KAFKA_VTYPE_PARTITION,
                partition.0,
                vtype::RD_KAFKA_VTYPE_MSGFLAGS,
                sys::RD_KAFKA_MSG_F_COPY,
                vtype::RD_KAFKA_VTYPE_VALUE,
                value,
                value_len,
                vtype::RD_KAFKA_VTYPE_KEY,
                key,
                key_len,
                vtype::RD_KAFKA_VTYPE_OPAQUE,
                record.mark.0 as usize as *mut c_void,
                vtype::RD_KAFKA_VTYPE_TIMESTAMP,
                timestamp.unwrap_or(0),
                vtype::RD_KAFKA_VTYPE_HEADERS,
                headers.0,
                vtype::RD_KAFKA_VTYPE_END,
            )
        };
        match RDKafkaErrorCode::from(error) {
            RDKafkaErrorCode::NoError => {
                std::mem::forget(headers);
                Ok(())
            }
            code => Err(code),
        }
    }
}

impl Drop for NativeTopic {
    fn drop(&mut self) {
        // SAFETY: the reference that `rd_kafka_topic_new` gave, released once, while `self.producer` keeps the client alive.
        unsafe { sys::rd_kafka_topic_destroy(self.topic) };
    }
}

fn part(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    match bytes {
        // A slice's pointer is never null, also that of an empty one.
        Some(bytes) => (bytes.as_ptr().cast_mut().cast(), bytes.len()),
        None => (ptr::null_mut(), 0),
    }
}

struct Headers(*mut sys::rd_kafka_headers_t);

impl Headers {
    fn new<'a>(headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Result<Self, RDKafkaErrorCode> {
        // SAFETY: allocates; the result is owned here.
        let list = Self(unsafe { sys::rd_kafka_headers_new(headers.len()) });
        for (name, value) in headers {
            let (value, value_len) = part(value);
            // SAFETY: the list is live; name and value are read with the lengths given and copied.
            let error = unsafe {
                sys::rd_kafka_header_add(list.0, name.as_ptr().cast(), name.len() as isize, value, value_len as isize)
            };
            match RDKafkaErrorCode::from(error) {
                RDKafkaErrorCode::NoError => {}
                code => return Err(code),
            }
        }
        Ok(list)
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: owned, and not handed over: a list that is, is forgotten.
        unsafe { sys::rd_kafka_headers_destroy(self.0) };
    }
}
