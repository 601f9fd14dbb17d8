//! The ways to do the work, what an arm is told and what it answers.

use serde::{Deserialize, Serialize};

use crate::settings::{Properties, Settings};
use crate::{arm, drain, end_to_end, measure};

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

/// `false` if this process is no arm.
pub(crate) fn ran_as_arm() -> bool {
    arm::ran_as_arm(|request: &Request| {
        let (figures, properties) = match request.work {
            Work::Drain { records } => {
                let (drained, properties) = drain::run(request, records);
                (Figures::Drain(drained), properties)
            }
            Work::EndToEnd { rate, warm_up_seconds, seconds } => {
                let (latencies, properties) = end_to_end::run(request, rate, warm_up_seconds, seconds);
                (Figures::EndToEnd(latencies), properties)
            }
        };
        Answer { figures, peak_resident: measure::peak_resident(), glibc_heap: measure::glibc_heap(), properties }
    })
}
