//! The ways to do the work, what an arm is told and what it answers.

use std::hint::black_box;
use std::time::Duration;

use kafka_troupe::consume::Order;
use serde::{Deserialize, Serialize};

use crate::arm::{self, number};
use crate::keys::Keys;
use crate::{drain, measure, open_loop};

/// Whose consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Client {
    /// `kafka_troupe::Consumer` in this order, its bounds and commits as they are by default.
    Ours(Order),
    /// `StreamConsumer::stream().for_each_concurrent(…)`: no order, and commits what is not finished.
    ByHand,
    /// The same with a `tokio::spawn` for each record.
    ByHandSpawned,
    /// A task for each partition, fed by a channel: order by partition, and commits what is not finished.
    TaskPerPartition,
}

/// What a handler does with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handling {
    /// It sleeps so long; 0: it does not wait at all.
    pub(crate) sleep_ms: u64,
    /// So many records at once in all. Per partition it is one where the order is by partition.
    pub(crate) concurrency: usize,
}

impl Handling {
    /// What every arm awaits for each record.
    pub(crate) async fn handle(self, value: Option<&[u8]>) -> u64 {
        let number = number(value);
        if self.sleep_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.sleep_ms)).await;
        }
        black_box(number)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Handle `records` that are there already.
    Drain { records: u64 },
    /// Send `rate` records a second with keys of this kind, at the times of a schedule, and handle them. The first `warm_up_seconds` do not count.
    OpenLoop { rate: u64, warm_up_seconds: u64, seconds: u64, keys: Keys },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) client: Client,
    pub(crate) handling: Handling,
    pub(crate) work: Work,
    pub(crate) bootstrap_servers: String,
    pub(crate) topic: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) figures: Figures,
    pub(crate) peak_resident: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Figures {
    Drain(drain::Drained),
    OpenLoop(open_loop::Latencies),
}

/// `false` if this process is no arm.
pub(crate) fn ran_as_arm() -> bool {
    arm::ran_as_arm(|request: &Request| {
        let figures = match request.work {
            Work::Drain { records } => Figures::Drain(drain::run(request, records)),
            Work::OpenLoop { rate, warm_up_seconds, seconds, keys } => {
                Figures::OpenLoop(open_loop::run(request, rate, [warm_up_seconds, seconds], keys))
            }
        };
        Answer { figures, peak_resident: measure::peak_resident() }
    })
}
