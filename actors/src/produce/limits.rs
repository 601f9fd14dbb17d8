//! The bounds of what one intake holds, and of its batches. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use super::batch::MAX_BATCH_RECORDS;

/// Partitions that the configured bounds of a batch serve.
const PARTITIONS: usize = 8;
/// An arena is addressed with 32 bits, and may hold one record of as much beyond that.
pub(super) const MAX_BATCH_BYTES: usize = 1 << 30;
/// So many batches of a topic have room in the buffer: one is filled while others are placed, and while others are on their way.
const BATCHES: usize = 8;

/// The bounds of one intake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Accepted and not yet answered.
    pub(super) buffer_records: usize,
    /// The same in bytes.
    pub(super) buffer_bytes: usize,
    /// Of a batch of a topic with few partitions.
    pub(super) batch: BatchBounds,
    /// How long a batch that is not full waits for more.
    pub(super) linger: Duration,
}

/// What makes a batch full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchBounds {
    /// At most `MAX_BATCH_RECORDS`.
    pub(super) records: usize,
    /// A larger record is a batch of its own.
    pub(super) bytes: usize,
}

/// A part of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Limits {
    /// Once so much of what one intake holds is answered, its credits wait for no further answers, to its own records or those of others: a quarter.
    pub(super) fn at_once(&self) -> Share {
        Share { records: self.buffer_records / 4, bytes: self.buffer_bytes / 4 }
    }

    /// The bounds of a batch of a topic with so many partitions. librdkafka takes, queues and sends each partition's records for themselves, so what a
    /// record costs depends on how many of its partition a batch holds. A batch hence grows with the partitions, within a part of the buffer. One that is to
    /// hold a single record is not to wait for more.
    pub(super) fn batch_of(&self, partitions: NonZeroU32) -> BatchBounds {
        let times = (partitions.get() as usize).div_ceil(PARTITIONS);
        let grown = |one: usize, most: usize| one.max(one.saturating_mul(times).min(most));
        BatchBounds {
            records: match self.batch.records {
                1 => 1,
                records => grown(records, MAX_BATCH_RECORDS.min(self.buffer_records / BATCHES)),
            },
            bytes: grown(self.batch.bytes, MAX_BATCH_BYTES.min(self.buffer_bytes / BATCHES)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(buffer: (usize, usize), batch: (usize, usize)) -> Limits {
        Limits {
            buffer_records: buffer.0,
            buffer_bytes: buffer.1,
            batch: BatchBounds { records: batch.0, bytes: batch.1 },
            linger: Duration::ZERO,
        }
    }

    #[test]
    fn a_batch_grows_with_the_partitions_up_to_a_part_of_the_buffer() {
        let defaults = limits((100_000, 64 << 20), (512, 256 << 10));
        for (partitions, records, bytes) in [
            (1, 512, 256 << 10),
            (8, 512, 256 << 10),
            (9, 1_024, 512 << 10),
            (64, 4_096, 2 << 20),
            (512, 12_500, 8 << 20),
            (u32::MAX, 12_500, 8 << 20),
        ] {
            let batch = defaults.batch_of(NonZeroU32::new(partitions).unwrap_or(NonZeroU32::MIN));
            assert_eq!(batch, BatchBounds { records, bytes }, "{partitions}");
        }
        let alone = limits((100_000, 64 << 20), (1, 256 << 10));
        assert_eq!(alone.batch_of(NonZeroU32::MAX).records, 1);
    }

    proptest! {
        #[test]
        fn a_batch_is_never_smaller_than_was_asked_for_and_its_places_fit_a_mark(
            buffer in (1..=1_usize << 31, 1..=usize::MAX),
            batch in (1..=MAX_BATCH_RECORDS, 1..=1_usize << 30),
            partitions: std::num::NonZeroU32,
        ) {
            let limits = limits(buffer, batch);
            let grown = limits.batch_of(partitions);
            prop_assert!((limits.batch.records..=MAX_BATCH_RECORDS).contains(&grown.records));
            prop_assert!((limits.batch.bytes..=limits.batch.bytes.max(1 << 30)).contains(&grown.bytes));
        }
    }
}
