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
