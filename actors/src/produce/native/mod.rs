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

mod event;
mod log;
mod topic;

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::Client;
use rdkafka::error::KafkaResult;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaType};
use rdkafka_sys as sys;

pub(super) use event::{Event, Report, Said};
pub(super) use log::LibraryLog;
pub(super) use topic::{NativeRecord, NativeTopic, Produced, Scratch};

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

    /// The fatal error that a record failed by. It may be the record's own; after one, librdkafka purges what it holds, and refuses the rest with no
    /// more than the word.
    pub(super) fn fatal_error_behind(&self, code: RDKafkaErrorCode) -> Option<RDKafkaErrorCode> {
        use RDKafkaErrorCode as E;
        let (fatal, _) = self.fatal_error()?;
        (code == fatal || matches!(code, E::PurgeQueue | E::PurgeInflight | E::Fatal)).then_some(fatal)
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
