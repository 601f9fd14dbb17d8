//! An arm is one way to do the work, run once in a process of its own. It is told what to do by its only argument and answers on stdout,
//! both in JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::settings::{Properties, Settings};
use crate::{drain, end_to_end, measure};

/// The argument with which this program runs itself as an arm.
pub(crate) const AS_ARM: &str = "--as-arm";
/// Partitions of each topic.
pub(crate) const PARTITIONS: usize = 8;
/// Bytes of each record's value. The first eight are its number, or the time it was meant to be sent at.
pub(crate) const VALUE_BYTES: usize = 100;

/// Whose consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Client {
    /// `BaseConsumer::poll`, each record's offset stored once it is handled, stored offsets committed by librdkafka: safe.
    BareBase(Settings),
    /// `StreamConsumer::recv` on tokio, offsets stored by librdkafka as it hands records out: the least work, and not safe.
    BareStream(Settings),
    /// `kafka_troupe::Consumer` with its defaults.
    Ours,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Read `records` that are there already.
    Drain { records: u64 },
    /// Send `rate` records a second, at the times of a schedule, and receive them. The first `warm_up_seconds` do not count.
    EndToEnd { rate: u64, warm_up_seconds: u64, seconds: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) client: Client,
    pub(crate) work: Work,
    pub(crate) bootstrap_servers: String,
    pub(crate) topic: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) figures: Figures,
    pub(crate) peak_resident: u64,
    /// Where `malloc` of the C library went: see [`measure::glibc_heap`].
    pub(crate) glibc_heap: u64,
    /// But for the broker's address and the group.
    pub(crate) properties: Properties,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Figures {
    Drain(drain::Drained),
    EndToEnd(end_to_end::Latencies),
}

/// Does what the argument says, if there is one; `false` if this process is no arm.
pub(crate) fn ran_as_arm() -> bool {
    let mut arguments = std::env::args();
    if !arguments.any(|argument| argument == AS_ARM) {
        return false;
    }
    let request: Request = serde_json::from_str(&arguments.next().unwrap()).unwrap();
    let (figures, properties) = match request.work {
        Work::Drain { records } => {
            let (drained, properties) = drain::run(&request, records);
            (Figures::Drain(drained), properties)
        }
        Work::EndToEnd { rate, warm_up_seconds, seconds } => {
            let (latencies, properties) = end_to_end::run(&request, rate, warm_up_seconds, seconds);
            (Figures::EndToEnd(latencies), properties)
        }
    };
    let answer =
        Answer { figures, peak_resident: measure::peak_resident(), glibc_heap: measure::glibc_heap(), properties };
    println!("{}", serde_json::to_string(&answer).unwrap());
    true
}

/// A group that nobody has used before.
pub(crate) fn fresh_group() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("against-bare-{}-{}", std::process::id(), now.as_nanos())
}
