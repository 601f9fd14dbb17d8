//! What the engine counts, per chunk or per event.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The engine's counters, bumped per chunk or per event.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// What an engine counted since its start.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct CounterState {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> CounterState {
                CounterState { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Records handed to workers.
    delivered,
    /// Records finished.
    finished,
    /// Chunks handed to workers.
    chunks,
    /// Attempts that failed and were, or will be, repeated.
    retries,
    /// Failed records that the app's policy passed over.
    passed_over,
    /// Records whose attempts were exhausted.
    exhausted,
    /// Handler calls, builds or drops that panicked.
    panics,
    /// Workers that died and were replaced.
    workers_replaced,
    /// Reports of an old epoch: they changed nothing.
    fenced_reports,
    /// Records dropped because librdkafka fetched them a second time.
    refetched,
    /// Logs that went back.
    rewinds,
    /// Partitions that a person had go on elsewhere in their logs.
    seeks,
    /// Offsets that the log no longer had when they were to be read, and that were passed over: at most so many records are lost.
    offsets_lost,
    /// Records not handled because an earlier owner had finished them.
    remembered,
    /// Commits confirmed by the broker.
    commits,
    /// Commits that failed, as a whole or for a partition, and were repeated or given up.
    failed_commits,
    /// Bytes of keys, offsets and metadata in the commits sent, repeated and last ones included.
    commit_bytes,
    /// Commits sent again with less metadata, or none, because the broker found it too long.
    metadata_refused,
    /// Commit reports not told, because the callback fell behind by more than 1,024.
    reports_dropped,
    /// Calls of the rebalance listener that failed or panicked.
    listener_failures,
    /// Calls of the rebalance listener that a rebalance or stop went on without, because they had not returned by their deadline.
    listener_overdue,
    /// Partitions assigned.
    assigned,
    /// Partitions given up after a drain.
    revoked,
    /// Partitions lost without one.
    lost,
    /// Drains that met their deadline with records unfinished.
    drains_cut_short,
    /// Drains whose last commit did not go through: the next owner repeats what it held.
    drains_uncommitted,
    /// How long the last rebalance kept all partitions from fetching, milliseconds.
    last_rebalance_stall_ms,
    /// How often the poller woke.
    wakes,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
