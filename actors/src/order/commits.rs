//! When a pump says that it is time for a commit.

use crate::consume::commit::{CommitPolicy, CommitWhen};
use crate::consume::control::ControlCell;

/// A partition's own side of the commit policy. Per record it costs a subtraction.
#[derive(Debug)]
pub(crate) struct Commits {
    policy: CommitPolicy,
    every: u64,
    /// Records until the next commit.
    left: u64,
}

impl Commits {
    pub(crate) fn new(policy: CommitPolicy) -> Self {
        let every = match policy.when {
            CommitWhen::Records(every) => every.max(1),
            _ => u64::MAX,
        };
        Self { policy, every, left: every }
    }

    pub(crate) fn awaited(&self) -> bool {
        self.policy.awaited
    }

    /// A record was finished: whether it is time for a commit.
    #[inline]
    pub(crate) fn is_due_after_record(&mut self) -> bool {
        self.left -= 1;
        if self.left == 0 {
            self.left = self.every;
            return true;
        }
        false
    }

    /// Whether a commit that the tracker began has to be waited for.
    #[inline]
    pub(crate) fn is_held(&self, cell: &ControlCell) -> bool {
        self.policy.awaited && cell.awaits_commit()
    }

    pub(crate) fn is_due_after_chunk(&self) -> bool {
        self.policy.when == CommitWhen::Chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so many records in a row, those after which it is time for a commit, from 1.
    fn due(when: CommitWhen, records: u64) -> Vec<u64> {
        let mut commits = Commits::new(CommitPolicy { when, awaited: false });
        (1..=records).filter(|_| commits.is_due_after_record()).collect()
    }

    #[test]
    fn only_by_records_one_is_due_after_each_nth_and_only_by_chunks_after_each_chunk() {
        assert_eq!(due(CommitWhen::Records(3), 10), [3, 6, 9]);
        assert_eq!(due(CommitWhen::Records(1), 3), [1, 2, 3]);
        for when in [CommitWhen::default(), CommitWhen::Chunk, CommitWhen::Manual] {
            assert!(due(when, 2000).is_empty(), "{when:?}");
        }
        for when in [CommitWhen::default(), CommitWhen::Chunk, CommitWhen::Manual, CommitWhen::Records(1)] {
            let after_chunk = Commits::new(CommitPolicy { when, awaited: false }).is_due_after_chunk();
            assert_eq!(after_chunk, when == CommitWhen::Chunk, "{when:?}");
        }
    }
}
