//! Records on their way into librdkafka, by the batch of one partition.

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as sys;

use super::super::in_flight::Mark;
use super::NativeProducer;
use crate::ids::PartitionId;

/// A topic's handle, so that producing looks nothing up by name.
pub(in crate::produce) struct NativeTopic {
    topic: *mut sys::rd_kafka_topic_t,
    producer: Arc<NativeProducer>,
}

/// One record for [`NativeTopic`].
#[derive(Clone, Copy)]
pub(in crate::produce) struct NativeRecord<'a> {
    pub(in crate::produce) key: Option<&'a [u8]>,
    pub(in crate::produce) value: Option<&'a [u8]>,
    pub(in crate::produce) mark: Mark,
}

/// What became of records offered to librdkafka. Those not named are queued, and reported later.
#[derive(Debug, Default)]
pub(in crate::produce) struct Produced {
    /// Refused for good, by their places among those offered.
    pub(in crate::produce) refused: Vec<(usize, RDKafkaErrorCode)>,
    /// The queue was full from this place on: none of those is queued.
    pub(in crate::produce) full_from: Option<usize>,
}

/// The array that a batch is handed over in, kept to be used again.
#[derive(Default)]
pub(in crate::produce) struct Scratch(Vec<sys::rd_kafka_message_t>);

impl NativeTopic {
    /// `name` must hold no zero byte, which no valid topic name does.
    pub(in crate::produce) fn new(producer: Arc<NativeProducer>, name: &str) -> Result<Self, RDKafkaErrorCode> {
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
    pub(in crate::produce) fn produce<'a>(
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
    pub(in crate::produce) fn produce_one<'a>(
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
