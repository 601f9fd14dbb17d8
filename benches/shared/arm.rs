//! An arm's own side: it is run once in a process of its own, is told what to do by its only argument and answers on stdout, both in JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use kafka_troupe::consume::ConsumerHandle;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The argument with which a bench runs a program as an arm.
pub(crate) const AS_ARM: &str = "--as-arm";
/// Partitions of each topic.
pub(crate) const PARTITIONS: usize = 8;
/// Bytes of each record's value. The first eight are its number, or the time it was meant to be sent at.
pub(crate) const VALUE_BYTES: usize = 100;

/// Does what the argument says, if there is one; `false` if this process is no arm.
pub(crate) fn ran_as_arm<R: DeserializeOwned, A: Serialize>(run: impl FnOnce(&R) -> A) -> bool {
    let mut arguments = std::env::args();
    if !arguments.any(|argument| argument == AS_ARM) {
        return false;
    }
    let request: R = serde_json::from_str(&arguments.next().unwrap()).unwrap();
    println!("{}", serde_json::to_string(&run(&request)).unwrap());
    true
}

/// The number at a value's head.
#[inline]
pub(crate) fn number(value: Option<&[u8]>) -> u64 {
    u64::from_be_bytes(value.and_then(<[u8]>::first_chunk).copied().unwrap_or_default())
}

/// A group that nobody has used before.
pub(crate) fn fresh_group() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("troupe-bench-{}-{}", std::process::id(), now.as_nanos())
}

/// The sum of what the broker has confirmed as committed.
pub(crate) fn committed(consumer: &ConsumerHandle) -> u64 {
    let state = consumer.state();
    assert_eq!(state.invariants.total(), 0, "{:?}", state.invariants);
    state.partitions.iter().filter_map(|partition| partition.committed).sum::<i64>() as u64
}
