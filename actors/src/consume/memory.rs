//! How much memory records can take. Pure.

use crate::consume::control::Credits;

/// The bounds on what is buffered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryBounds {
    /// What librdkafka may hold of one partition: its queue's limit, one fetch, and what it spends on records itself.
    pub(crate) queue_bytes: u64,
    /// What the engine may have handed out and not finished, of one partition.
    pub(crate) per_partition: Credits,
    /// And of all, but for a chunk for each partition that has nothing else.
    pub(crate) in_all: Credits,
    /// What goes to a worker at a time.
    pub(crate) chunk: Credits,
    /// Above it, an assignment is warned of.
    pub(crate) budget: u64,
}

impl MemoryBounds {
    /// The most that the records of so many partitions can take, in bytes, but for the one record by which each bound may be passed.
    pub(crate) fn worst_case(&self, partitions: u64) -> u64 {
        let chunks = partitions.saturating_mul(self.chunk.bytes.min(self.per_partition.bytes));
        let handed_out =
            partitions.saturating_mul(self.per_partition.bytes).min(self.in_all.bytes.saturating_add(chunks));
        partitions.saturating_mul(self.queue_bytes).saturating_add(handed_out)
    }

    /// How many partitions the budget is enough for.
    pub(crate) fn partitions_within_budget(&self) -> u64 {
        // It grows with the partitions: look between those that surely fit and those that surely do not.
        let (mut fit, mut too_many) = (0, self.budget / self.queue_bytes.max(1) + 1);
        while fit + 1 < too_many {
            let middle = fit + (too_many - fit) / 2;
            if self.worst_case(middle) <= self.budget { fit = middle } else { too_many = middle }
        }
        fit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: MemoryBounds = MemoryBounds {
        queue_bytes: 1000,
        per_partition: Credits { records: 10, bytes: 400 },
        in_all: Credits { records: 1000, bytes: 2000 },
        chunk: Credits { records: 5, bytes: 100 },
        budget: 50_000,
    };

    #[test]
    fn a_few_partitions_are_bounded_each_and_many_of_them_together() {
        assert_eq!(BOUNDS.worst_case(0), 0);
        assert_eq!(BOUNDS.worst_case(2), 2 * (1000 + 400));
        assert_eq!(BOUNDS.worst_case(100), 100 * 1000 + 2000 + 100 * 100);
    }

    #[test]
    fn the_budget_is_enough_for_just_so_many_partitions() {
        let fit = BOUNDS.partitions_within_budget();
        assert!(BOUNDS.worst_case(fit) <= BOUNDS.budget && BOUNDS.worst_case(fit + 1) > BOUNDS.budget, "{fit}");
        assert_eq!(MemoryBounds { budget: 0, ..BOUNDS }.partitions_within_budget(), 0);
    }
}
