//! What librdkafka says: delivery reports by the event, log lines, errors.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as sys;

use super::super::Undelivered;
use super::super::completion::Stored;
use super::super::in_flight::Mark;
use super::super::record::ProducerRecord;
use super::NativeProducer;
use crate::ids::{Offset, PartitionId};

/// An event of the main queue.
pub(in crate::produce) struct Event<'a> {
    pub(super) event: *mut sys::rd_kafka_event_t,
    pub(super) producer: PhantomData<&'a NativeProducer>,
}

/// What an event says.
pub(in crate::produce) enum Said<'e> {
    Reports(Reports<'e>),
    Log(RDKafkaLogLevel, &'e CStr, &'e CStr),
    Error { code: RDKafkaErrorCode, reason: &'e CStr },
    Nothing,
}

impl Event<'_> {
    pub(in crate::produce) fn said(&mut self) -> Said<'_> {
        // SAFETY: the event is live until `drop`; strings are checked against null and belong to it, hence the lifetime of the borrow.
        unsafe {
            match sys::rd_kafka_event_type(self.event) {
                sys::RD_KAFKA_EVENT_DR => Said::Reports(Reports {
                    event: self.event,
                    given_up: false,
                    tells_offsets: None,
                    borrow: PhantomData,
                }),
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

/// The delivery reports of one event: of one request.
pub(in crate::produce) struct Reports<'e> {
    event: *mut sys::rd_kafka_event_t,
    given_up: bool,
    /// Whether the broker told the offset of the first record, once that is read. librdkafka counts on from what is none (-1001 with `acks=0`, -1 where a
    /// retry was found to be stored already), so that later ones look like offsets.
    tells_offsets: Option<bool>,
    borrow: PhantomData<&'e mut ()>,
}

impl Reports<'_> {
    /// With the records themselves, where they were purged.
    pub(in crate::produce) fn with_what_was_given_up(mut self, given_up: bool) -> Self {
        self.given_up = given_up;
        self
    }
}

/// librdkafka's last word on one record.
#[derive(Debug)]
pub(in crate::produce) struct Report {
    pub(in crate::produce) mark: Mark,
    pub(in crate::produce) partition: PartitionId,
    pub(in crate::produce) result: Result<Stored, Refusal>,
}

#[derive(Debug)]
pub(in crate::produce) struct Refusal {
    pub(in crate::produce) code: RDKafkaErrorCode,
    pub(in crate::produce) possibly_persisted: bool,
    /// The record, where that was asked for and it was purged.
    pub(in crate::produce) given_up: Option<Box<Undelivered>>,
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
                    let tells = *self.tells_offsets.get_or_insert(record.offset >= 0);
                    let offset = (tells && record.offset >= 0).then_some(Offset(record.offset));
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
