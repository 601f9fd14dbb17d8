//! Where records go that may go to any partition. Pure.

use std::num::NonZeroU32;

use super::limits::BatchBounds;
use crate::ids::PartitionId;

/// To one partition for a *run*, then to another. A run is as long as a batch was configured to be, however large the batches of a topic with many
/// partitions are, and ends with its batch, so that few records that come slowly are spread too.
///
/// The next run goes to the partition that has had the fewest records, the next in turn where several have. Just in turn, batches of two sizes that alternate
/// would end their runs early at the same partitions for ever.
#[derive(Debug, Default)]
pub(super) struct Sticky {
    /// Records, by partition.
    had: Vec<u64>,
    partition: usize,
    /// What the run has taken.
    records: usize,
    bytes: usize,
}

impl Sticky {
    /// The next record begins a run.
    pub(super) fn end_run(&mut self) {
        (self.records, self.bytes) = (0, 0);
    }

    /// Where a record of `bytes` goes, one of `partitions`; `run` bounds what a partition gets in a row. A record above its bytes is a run of its own.
    pub(super) fn place(&mut self, bytes: usize, run: BatchBounds, partitions: NonZeroU32) -> PartitionId {
        let partitions = partitions.get() as usize;
        if self.had.len() != partitions {
            // New ones would get all there is until they have had as many as the others.
            *self = Self { had: vec![0; partitions], ..Self::default() };
        }
        let goes_on = (1..run.records).contains(&self.records) && self.bytes.saturating_add(bytes) <= run.bytes;
        if !goes_on {
            // A batch may begin where the last one ended, to catch up.
            let others = if self.records == 0 { self.partition + 1 } else { self.partition };
            let in_turn = (self.partition + 1..partitions).chain(0..others);
            self.partition = in_turn.min_by_key(|partition| self.had[*partition]).unwrap_or(self.partition);
            self.end_run();
        }
        self.records += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.had[self.partition] += 1;
        // Kafka counts partitions in an i32.
        PartitionId(self.partition as i32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Where the records of these batches go, by their bytes: each batch's runs, as partition, records and bytes.
    fn runs(
        sticky: &mut Sticky,
        batch: &[usize],
        run: BatchBounds,
        partitions: NonZeroU32,
    ) -> Vec<(i32, usize, usize)> {
        sticky.end_run();
        let mut runs: Vec<(i32, usize, usize)> = Vec::new();
        for bytes in batch {
            let partition = sticky.place(*bytes, run, partitions).0;
            match runs.last_mut() {
                Some((last, records, of_all)) if *last == partition => {
                    (*records, *of_all) = (*records + 1, *of_all + bytes)
                }
                _ => runs.push((partition, 1, *bytes)),
            }
        }
        runs
    }

    fn partitions(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
    }

    #[test]
    fn a_batch_that_has_grown_is_many_runs_of_the_size_that_was_configured() {
        let run = BatchBounds { records: 512, bytes: 256 << 10 };
        let runs_of = |batch: &[usize]| runs(&mut Sticky::default(), batch, run, partitions(512));
        let by_count = runs_of(&[100; 12_500]);
        let records: Vec<_> = by_count.iter().map(|(_, records, _)| *records).collect();
        assert_eq!(records, [[512; 24].to_vec(), vec![212]].concat());
        assert!(by_count.iter().map(|(partition, ..)| *partition).eq(1..=25));
        let by_bytes = runs_of(&[1_000; 2_097]);
        assert!(by_bytes[..8].iter().all(|(_, records, _)| *records == 262), "{by_bytes:?}");
    }

    #[test]
    fn each_batch_begins_a_run_and_what_is_new_is_not_flooded() {
        let (run, mut sticky) = (BatchBounds { records: 512, bytes: 1_000 }, Sticky::default());
        let mut of = |count, batch: &[usize]| runs(&mut sticky, batch, run, partitions(count));
        let few = [of(3, &[1; 2]), of(3, &[1; 2]), of(3, &[1; 2]), of(3, &[1; 2])].concat();
        assert_eq!(few, [(1, 2, 2), (2, 2, 2), (0, 2, 2), (1, 2, 2)]);
        // A fourth partition: it gets its share from here on.
        let grown: Vec<_> = (0..4).map(|_| of(4, &[1; 2])[0].0).collect();
        assert_eq!(grown, [1, 2, 3, 0]);
        assert_eq!(of(1, &[1; 2]), [(0, 2, 2)]);
    }

    proptest! {
        #[test]
        fn in_a_batch_no_partition_gets_more_in_a_row_than_was_configured(
            batches in vec(vec(0..300_usize, 0..40), 1..40),
            run in (1..20_usize, 1..1_000_usize),
            count in 2..12_u32,
        ) {
            let (run, mut sticky) = (BatchBounds { records: run.0, bytes: run.1 }, Sticky::default());
            for batch in &batches {
                for (_, records, bytes) in runs(&mut sticky, batch, run, partitions(count)) {
                    prop_assert!(records <= run.records && (bytes <= run.bytes || records == 1));
                }
            }
        }

        #[test]
        fn of_no_batches_does_a_partition_get_a_run_more_than_another(
            sizes in vec(0..40_usize, 1..100),
            records in 1..20_usize,
            count in 1..12_u32,
        ) {
            let (run, mut sticky) = (BatchBounds { records, bytes: usize::MAX }, Sticky::default());
            let mut had = vec![0; count as usize];
            for size in sizes {
                for (partition, records, _) in runs(&mut sticky, &vec![1; size], run, partitions(count)) {
                    had[partition as usize] += records;
                }
            }
            let spread = had.iter().max().unwrap_or(&0) - had.iter().min().unwrap_or(&0);
            prop_assert!(spread <= records, "{had:?}");
        }
    }
}
