//! Committed offsets with their metadata, as bytes: other clients write there what they like, and rdkafka's own reader panics on what is
//! not UTF-8.

use std::ffi::CStr;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use crate::ids::{NextOffset, TopicPartition};

/// What a group has committed of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Where.
    pub partition: TopicPartition,
    /// The committed offset; `None` where there is none.
    pub next: Option<NextOffset>,
    /// The leader epoch that was committed with it, where the client that committed knew one.
    pub leader_epoch: Option<i32>,
    /// The commit's metadata; empty where there is none.
    pub metadata: Box<[u8]>,
    /// What the broker said of this partition instead.
    pub error: Option<RDKafkaErrorCode>,
}

/// Reads a list as a look-up of committed offsets has filled it.
pub fn committed_offsets(list: &TopicPartitionList) -> Vec<CommittedOffset> {
    // SAFETY: the list is live for the call.
    unsafe { from_raw(list.ptr()) }
}

/// The same of a list that only librdkafka holds.
///
/// # Safety
/// `list` is null or a valid list.
pub unsafe fn from_raw(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<CommittedOffset> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: `elems` points to `cnt` elements whose topics are C strings, and `metadata` to `metadata_size` bytes, or is null.
    unsafe {
        let list = &*list;
        if list.cnt == 0 {
            return Vec::new();
        }
        let elements = std::slice::from_raw_parts(list.elems, list.cnt as usize);
        elements
            .iter()
            .map(|each| {
                let topic = CStr::from_ptr(each.topic).to_string_lossy();
                let metadata: &[u8] = match each.metadata.is_null() {
                    true => &[],
                    false => std::slice::from_raw_parts(each.metadata.cast(), each.metadata_size),
                };
                CommittedOffset {
                    partition: TopicPartition::new(&*topic, each.partition),
                    next: (each.offset >= 0).then_some(NextOffset(each.offset)),
                    leader_epoch: Some(sys::rd_kafka_topic_partition_get_leader_epoch(each))
                        .filter(|epoch| *epoch >= 0),
                    metadata: metadata.into(),
                    error: (each.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| each.err.into()),
                }
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rdkafka::topic_partition_list::Offset;

    use super::*;

    #[test]
    fn metadata_that_is_not_utf8_is_read_as_it_is() {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("t", 3, Offset::Offset(7)).unwrap();
        list.add_partition("t", 4);
        let bytes = [0xff_u8, 0, 0xfe];
        // SAFETY: librdkafka frees the list's metadata with the list, by `free`.
        unsafe {
            let element = &mut *(*list.ptr()).elems;
            let copy = sys::rd_kafka_mem_malloc(std::ptr::null_mut(), bytes.len());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy.cast(), bytes.len());
            (element.metadata, element.metadata_size) = (copy, bytes.len());
            sys::rd_kafka_topic_partition_set_leader_epoch(element, 4);
        }
        let read = committed_offsets(&list);
        assert_eq!((read[0].next, &*read[0].metadata), (Some(NextOffset(7)), &bytes[..]));
        assert_eq!((read[1].next, &*read[1].metadata), (None, &[][..]));
        assert_eq!((read[0].leader_epoch, read[1].leader_epoch), (Some(4), None));
    }
}
