//! The drain of a backlog, and what each arm tells of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::arm::PARTITIONS;
use crate::arms::{Client, Request};
use crate::measure::Mark;
use crate::{by_hand, ours};

/// From the first record in the handler's hands on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Drained {
    /// By the time to the last one handled *and* the group's position behind it.
    pub(crate) records_per_second: f64,
    /// User and kernel mode, all threads.
    pub(crate) cpu_us_per_record: f64,
    /// The sum of the numbers of all records handled.
    pub(crate) checksum: u64,
    /// Of the partition that had least handled when half of all was, by the one that had most.
    pub(crate) fairness: f64,
    /// When each partition's last record was handled, in seconds.
    pub(crate) partitions_ended: Vec<f64>,
}

/// What handlers have seen. Each partition's figures are on cache lines of their own.
#[derive(Default)]
pub(crate) struct Seen {
    first: OnceLock<Mark>,
    partitions: [Partition; PARTITIONS],
}

#[derive(Default)]
#[repr(align(128))]
struct Partition {
    records: AtomicU64,
    checksum: AtomicU64,
}

impl Seen {
    pub(crate) fn begin(&self) {
        self.first.get_or_init(Mark::now);
    }

    pub(crate) fn add(&self, partition: i32, number: u64) {
        let partition = &self.partitions[partition as usize];
        partition.checksum.fetch_add(number, Ordering::Relaxed);
        partition.records.fetch_add(1, Ordering::Release);
    }

    fn records(&self) -> [u64; PARTITIONS] {
        self.partitions.each_ref().map(|partition| partition.records.load(Ordering::Acquire))
    }
}

/// Looks at what has been handled, every millisecond: what it costs, it costs every arm.
pub(crate) fn watch(seen: &Seen, records: u64) -> Watched {
    let (mut at_half, mut seen_last, mut ended) = (None, [0; PARTITIONS], [None; PARTITIONS]);
    loop {
        let now = seen.records();
        let sum: u64 = now.iter().sum();
        if at_half.is_none() && sum * 2 >= records {
            at_half = Some(now);
        }
        for at in (0..PARTITIONS).filter(|at| now[*at] != seen_last[*at]) {
            ended[at] = Some(Mark::now());
        }
        seen_last = now;
        if sum >= records {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Watched { at_half: at_half.unwrap_or(seen_last), ended }
}

pub(crate) struct Watched {
    at_half: [u64; PARTITIONS],
    ended: [Option<Mark>; PARTITIONS],
}

pub(crate) fn run(request: &Request, records: u64) -> Drained {
    let seen: std::sync::Arc<Seen> = std::sync::Arc::default();
    let (watched, done) = match request.client {
        Client::Ours(order) => ours::drain(request, order, &seen, records),
        Client::ByHand | Client::ByHandSpawned | Client::TaskPerPartition => by_hand::drain(request, &seen, records),
    };
    let first = *seen.first.get().unwrap();
    let (took, cpu) = done.since(&first);
    let [least, most] =
        [watched.at_half.iter().min(), watched.at_half.iter().max()].map(|count| *count.unwrap() as f64);
    let checksums = seen.partitions.iter().map(|partition| partition.checksum.load(Ordering::Relaxed));
    Drained {
        records_per_second: records as f64 / took.as_secs_f64(),
        cpu_us_per_record: cpu.as_secs_f64() * 1e6 / records as f64,
        checksum: checksums.fold(0, u64::wrapping_add),
        fairness: least / most,
        partitions_ended: watched.ended.iter().flatten().map(|mark| mark.since(&first).0.as_secs_f64()).collect(),
    }
}
