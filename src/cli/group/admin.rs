//! What rdkafka has no safe function for. A group's coordinator is asked who its members are and what it has committed, and to take other
//! commits in their place; the leaders of partitions are asked for offsets, so that one that does not answer spoils no other's answer, as it
//! does with `offsets_for_times`.
//!
//! # Why its `unsafe` is sound
//! The objects of a request (queue, options, arguments) are made and destroyed in one call on one thread, and librdkafka copies the
//! arguments as it takes a request. What an event lends (results, descriptions, strings) is copied before the event is destroyed. A reply
//! that comes after its queue was destroyed is librdkafka's to drop.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Duration;

use kafka_troupe::ids::TopicPartition;
use kafka_troupe::offsets::CommittedOffset;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{IsError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka_sys as sys;
pub(super) use sys::rd_kafka_IsolationLevel_t as Isolation;
use sys::rd_kafka_admin_op_t as Operation;
use sys::rd_kafka_consumer_group_state_t as NativeState;
use troupe_actors::committed_offsets_from_raw;

/// librdkafka ends a request at its deadline; its word of that is waited for so much longer.
const GRACE: Duration = Duration::from_secs(1);
/// The longest that librdkafka lets a request take.
const LONGEST: Duration = Duration::from_secs(3600);

/// A request without success.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: RDKafkaErrorCode,
    /// In librdkafka's or the broker's words.
    pub(crate) why: String,
}

/// A group, as its coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// Kafka's name of its state, `Stable` for example; librdkafka does not know all of the new protocol's.
    pub(crate) state: String,
    /// It has members or commits.
    pub(crate) exists: bool,
    pub(crate) members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) host: String,
    /// The `group.instance.id` of a static member.
    pub(crate) instance: Option<String>,
    /// What it has been given.
    pub(crate) partitions: Vec<TopicPartition>,
}

/// Who the group's members are: of groups of either protocol.
pub(super) fn describe<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    group: &str,
    within: Duration,
) -> Result<Description, Refused> {
    let group = c_string(group)?;
    let mut groups = [group.as_ptr()];
    // SAFETY: see the module's head. A result of another kind is null; the result has a description for each group.
    unsafe {
        ask(
            client,
            Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
            within,
            |client, options, queue| {
                sys::rd_kafka_DescribeConsumerGroups(client, groups.as_mut_ptr(), groups.len(), options, queue);
            },
            |event| {
                let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event);
                let mut count = 0;
                let descriptions = match result.is_null() {
                    true => ptr::null_mut(),
                    false => sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count),
                };
                if count == 0 { Err(no_answer()) } else { description(*descriptions) }
            },
        )
    }
}

/// What the group has committed: of these partitions, or of all that it has committed anything of.
pub(super) fn commits<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    group: &str,
    of: Option<&TopicPartitionList>,
    within: Duration,
) -> Result<Vec<CommittedOffset>, Refused> {
    let group = c_string(group)?;
    let partitions = of.map_or(ptr::null(), |list| list.ptr().cast_const());
    // SAFETY: see the module's head. The request copies group and list; the result's lists live as long as the event.
    unsafe {
        let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), partitions);
        let answer = ask(
            client,
            Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            within,
            |client, options, queue| {
                sys::rd_kafka_ListConsumerGroupOffsets(client, &raw mut request, 1, options, queue);
            },
            |event| {
                let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event);
                let mut count = 0;
                let groups = match result.is_null() {
                    true => ptr::null_mut(),
                    false => sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count),
                };
                if count == 0 { Err(no_answer()) } else { partitions_of(*groups) }
            },
        );
        sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
        answer
    }
}

/// Commits these offsets for the group, as one that is no member; each answer tells whether it was taken. The commits' metadata is empty.
pub(super) fn alter<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    group: &str,
    offsets: &TopicPartitionList,
    within: Duration,
) -> Result<Vec<CommittedOffset>, Refused> {
    let group = c_string(group)?;
    // SAFETY: as in `commits`.
    unsafe {
        let mut request = sys::rd_kafka_AlterConsumerGroupOffsets_new(group.as_ptr(), offsets.ptr());
        let answer = ask(
            client,
            Operation::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS,
            within,
            |client, options, queue| {
                sys::rd_kafka_AlterConsumerGroupOffsets(client, &raw mut request, 1, options, queue);
            },
            |event| {
                let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event);
                let mut count = 0;
                let groups = match result.is_null() {
                    true => ptr::null_mut(),
                    false => sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count),
                };
                if count == 0 { Err(no_answer()) } else { partitions_of(*groups) }
            },
        );
        sys::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
        answer
    }
}

/// What a leader says of one of its partitions.
pub(super) struct ListedOffset {
    pub(super) partition: TopicPartition,
    /// -1 where there is none; `None` where the leader did not answer.
    pub(super) offset: Option<i64>,
    pub(super) error: Option<RDKafkaErrorCode>,
}

/// The offsets that belong to the times in the list: [`Offset::Beginning`](rdkafka::Offset::Beginning), [`Offset::End`](rdkafka::Offset::End), or a timestamp.
pub(super) fn list_offsets<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    times: &TopicPartitionList,
    isolation: Isolation,
    within: Duration,
) -> Result<Vec<ListedOffset>, Refused> {
    // SAFETY: see the module's head. The request copies the list; each of the result's infos has a partition, whose topic is a C string.
    unsafe {
        ask(
            client,
            Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
            within,
            |client, options, queue| {
                // Options of this operation take it, so there is no error to free.
                sys::rd_kafka_AdminOptions_set_isolation_level(options.cast_mut(), isolation);
                sys::rd_kafka_ListOffsets(client, times.ptr(), options, queue);
            },
            |event| {
                let result = sys::rd_kafka_event_ListOffsets_result(event);
                let mut count = 0;
                let infos = match result.is_null() {
                    true => ptr::null_mut(),
                    false => sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count),
                };
                let listed = (0..count).map(|index| {
                    let each = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
                    ListedOffset {
                        partition: TopicPartition::new(text(each.topic), each.partition),
                        // Of a leader that did not answer librdkafka gives no error, and an offset that is none.
                        offset: (each.offset >= -1).then_some(each.offset),
                        error: each.err.is_error().then(|| each.err.into()),
                    }
                });
                Ok(listed.collect())
            },
        )
    }
}

/// Sends a request and waits for its answer.
///
/// # Safety
/// `send` makes one call of librdkafka's admin API with what it is given. `read` gets a live event without an error, and keeps nothing of it.
unsafe fn ask<C: ConsumerContext, T>(
    client: &BaseConsumer<C>,
    operation: Operation,
    within: Duration,
    send: impl FnOnce(*mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    read: impl FnOnce(*mut sys::rd_kafka_event_t) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let native = client.client().native_ptr();
    let within = within.min(LONGEST);
    // SAFETY: the client lives for the call, and what is made here is destroyed here.
    unsafe {
        let queue = sys::rd_kafka_queue_new(native);
        let options = sys::rd_kafka_AdminOptions_new(native, operation);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis(within), ptr::null_mut(), 0);
        send(native, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, millis(within + GRACE));
        let answer = if event.is_null() {
            Err(no_answer())
        } else {
            let code = sys::rd_kafka_event_error(event);
            let answer = match code.is_error() {
                true => Err(said(code, text(sys::rd_kafka_event_error_string(event)))),
                false => read(event),
            };
            sys::rd_kafka_event_destroy(event);
            answer
        };
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        answer
    }
}

/// # Safety
/// `group` is of a live event.
unsafe fn description(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> Result<Description, Refused> {
    // SAFETY: what the group lends lives as long as it.
    unsafe {
        match refusal(sys::rd_kafka_ConsumerGroupDescription_error(group)) {
            Some(Refused { code: RDKafkaErrorCode::GroupIdNotFound, .. }) => {
                return Ok(Description { state: "Dead".to_owned(), exists: false, members: Vec::new() });
            }
            Some(refused) => return Err(refused),
            None => {}
        }
        let state = sys::rd_kafka_ConsumerGroupDescription_state(group);
        let members = (0..sys::rd_kafka_ConsumerGroupDescription_member_count(group))
            .map(|index| member(sys::rd_kafka_ConsumerGroupDescription_member(group, index)))
            .collect();
        Ok(Description {
            state: text(sys::rd_kafka_consumer_group_state_name(state)),
            exists: state != NativeState::RD_KAFKA_CONSUMER_GROUP_STATE_DEAD,
            members,
        })
    }
}

/// # Safety
/// `member` is of a live event.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> Member {
    // SAFETY: what the member lends lives as long as it; a member without an assignment may have none, or an empty one.
    unsafe {
        let instance = sys::rd_kafka_MemberDescription_group_instance_id(member);
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let partitions = match assignment.is_null() {
            true => ptr::null(),
            false => sys::rd_kafka_MemberAssignment_partitions(assignment),
        };
        Member {
            id: text(sys::rd_kafka_MemberDescription_consumer_id(member)),
            client_id: text(sys::rd_kafka_MemberDescription_client_id(member)),
            host: text(sys::rd_kafka_MemberDescription_host(member)),
            instance: (!instance.is_null()).then(|| text(instance)),
            partitions: committed_offsets_from_raw(partitions).into_iter().map(|each| each.partition).collect(),
        }
    }
}

/// # Safety
/// `group` is of a live event.
unsafe fn partitions_of(group: *const sys::rd_kafka_group_result_t) -> Result<Vec<CommittedOffset>, Refused> {
    // SAFETY: the group's list lives as long as it.
    unsafe {
        match refusal(sys::rd_kafka_group_result_error(group)) {
            Some(refused) => Err(refused),
            None => Ok(committed_offsets_from_raw(sys::rd_kafka_group_result_partitions(group))),
        }
    }
}

/// # Safety
/// `error` is null, or live.
unsafe fn refusal(error: *const sys::rd_kafka_error_t) -> Option<Refused> {
    // SAFETY: null has the code of success.
    unsafe {
        let code = sys::rd_kafka_error_code(error);
        code.is_error().then(|| said(code, text(sys::rd_kafka_error_string(error))))
    }
}

/// A broker may send no words with its code, and then librdkafka's end in a colon.
fn said(code: sys::rd_kafka_resp_err_t, why: String) -> Refused {
    let code = RDKafkaErrorCode::from(code);
    let why = if why.is_empty() || why.trim_end().ends_with(':') { format!("{why}{code}") } else { why };
    Refused { code, why }
}

/// # Safety
/// `text` is null, or a C string.
unsafe fn text(text: *const c_char) -> String {
    // SAFETY: as the caller says.
    if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
}

fn c_string(group: &str) -> Result<CString, Refused> {
    let refused = |_| Refused { code: RDKafkaErrorCode::InvalidGroupId, why: "it contains a zero byte".to_owned() };
    CString::new(group).map_err(refused)
}

fn no_answer() -> Refused {
    Refused { code: RDKafkaErrorCode::OperationTimedOut, why: "no answer came".to_owned() }
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}
