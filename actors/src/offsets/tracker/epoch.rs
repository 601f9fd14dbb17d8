//! One partition's epoch as the tracker sees it: its ledger, and what of it is committed.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::consume::command::{CommitEntry, Metadata};
use crate::consume::control::ControlCell;
use crate::consume::state::Cluster;
use crate::ids::{Epoch, NextOffset};
use crate::invariants::{At, InvariantCounts};
use crate::offsets::memory::{self, LogIdentity};
use crate::offsets::remembered::{Remembered, union};
use crate::offsets::{FinishedRange, LedgerError, OffsetLedger, TileProgress};

/// The pause before a commit that failed in passing is built again: it doubles up to the second.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_AT_MOST: Duration = Duration::from_secs(1);

pub(super) struct TrackedEpoch {
    pub(super) cell: Arc<ControlCell>,
    pub(super) ledger: OffsetLedger,
    /// What the group has, as far as this member knows: the resolved offset, then each confirmed commit's.
    pub(super) committed: Option<NextOffset>,
    /// The last commit that is known of, or the epoch's start: no commit goes below.
    pub(super) confirmed: NextOffset,
    /// How many records were finished when that commit was built: with more, what it remembers is out of date.
    told: u64,
    /// A commit of it failed in passing, so often in a row, and is not tried before this.
    failures: u32,
    again_at: Option<Instant>,
    /// An offset that the app wants committed.
    pub(super) asked: Option<AskedOffset>,
    pub(super) drained: bool,
    /// The listener is being told how far it came: nothing reported from here on counts, and only what the app asks for is committed.
    pub(super) sealed: bool,
    /// Neither reports nor what the app asks for counts from here on.
    pub(super) closed: bool,
    /// Its partition stays, and begins another epoch where this one stands: what the app asks for meanwhile is that one's.
    pub(super) goes_on: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct AskedOffset {
    pub(super) next: NextOffset,
    pub(super) past_watermark: bool,
    /// With what is finished above, as far as nothing was finished since.
    pub(super) remember: bool,
}

impl TrackedEpoch {
    pub(super) fn new(cell: Arc<ControlCell>) -> Self {
        let committed = cell.committed();
        Self {
            ledger: OffsetLedger::new(cell.start),
            committed,
            confirmed: committed.unwrap_or(cell.start),
            told: 0,
            failures: 0,
            again_at: None,
            asked: None,
            drained: false,
            sealed: false,
            closed: false,
            goes_on: false,
            cell,
        }
    }

    /// The partition's worker died, and this epoch goes on where `old` stood: with what is committed, perhaps since the poller looked, and with
    /// what the app has asked for. That may be on its way; no answer to it is this epoch's, so that it is sent once more.
    pub(super) fn take_over(&mut self, old: &Self) {
        if let Some(committed) = old.committed.filter(|committed| self.committed < Some(*committed)) {
            (self.committed, self.confirmed) = (Some(committed), committed);
            self.cell.set_committed(committed);
        }
        let Some(asked) = old.asked.filter(|asked| self.committed.is_none_or(|committed| committed < asked.next))
        else {
            return;
        };
        if self.committed.is_none() {
            self.confirmed = self.confirmed.min(asked.next);
        }
        self.asked = Some(asked);
    }

    /// Takes in a report that was made in the epoch `reported`, which is to be this one: who hands it in sees to that.
    pub(super) fn take_in(
        &mut self,
        reported: Epoch,
        progress: TileProgress,
        invariants: &InvariantCounts,
    ) -> Result<(), LedgerError> {
        let recorded = self.ledger.record(progress)?;
        self.cell.set_watermark(self.ledger.watermark());
        invariants.old_epochs_inert(self.at(), reported, recorded.advanced || recorded.newly_finished > 0);
        invariants.one_outcome(self.at(), self.ledger.delivered(), self.ledger.finished(), false);
        Ok(())
    }

    /// I1 and I8, now that the worker has said its last word or had its time. Drained is what left no tile open: what it had in hand and did not
    /// begin is the next owner's.
    pub(super) fn check_end(&self, invariants: &InvariantCounts) {
        let (lowest_open, end) = self.ledger.frontier();
        invariants.watermark(self.at(), self.ledger.watermark(), lowest_open, end);
        let (delivered, finished) = (self.ledger.delivered(), self.ledger.finished());
        invariants.one_outcome(self.at(), delivered, finished, self.ledger.is_settled());
    }

    fn at(&self) -> At<'_> {
        At { partition: &self.cell.partition, epoch: self.cell.epoch }
    }

    /// A commit failed in passing: the next waits, longer each time. Gives how often that was so in a row.
    pub(super) fn fail(&mut self, now: Instant) -> u32 {
        let pause = AGAIN * (1 << self.failures.min(4));
        self.again_at = Some(now + pause.min(AGAIN_AT_MOST));
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Whether its commits wait after one that failed.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.again_at.is_some_and(|at| now < at)
    }

    /// Whether there is something to commit: a higher offset, or more to remember above it. Where the app has committed past the watermark,
    /// not before that has caught up.
    pub(super) fn is_due(&self) -> bool {
        // What a person chose to start at is committed as it is: the group may be further, and would be again after a crash.
        if self.cell.chosen && self.committed.is_none() {
            return true;
        }
        match self.ledger.watermark().cmp(&self.committed.unwrap_or(self.cell.start)) {
            Ordering::Greater => true,
            Ordering::Equal => {
                self.ledger.finished() != self.told && self.finished_above(self.ledger.watermark()).next().is_some()
            }
            Ordering::Less => false,
        }
    }

    /// The app wants this committed, and what it has asked for before; never less.
    pub(super) fn ask(&mut self, asked: AskedOffset) {
        if self.asked.is_none_or(|before| before.next <= asked.next) {
            self.asked = Some(asked);
        }
    }

    /// All that is finished, and what is finished above.
    pub(super) fn entry(&self, cluster: Option<&Cluster>) -> CommitEntry {
        let next = self.ledger.watermark();
        let metadata = cluster.and_then(|cluster| self.metadata(next, cluster));
        self.entry_at(next, metadata, false)
    }

    /// What the app asked for. Of an offset of its own nothing is remembered: what lies above is the app's to have again.
    pub(super) fn asked_entry(&self, asked: AskedOffset, cluster: Option<&Cluster>) -> CommitEntry {
        if asked.remember && asked.next == self.ledger.watermark() {
            return self.entry(cluster);
        }
        self.entry_at(asked.next, None, asked.past_watermark)
    }

    fn entry_at(&self, next: NextOffset, metadata: Option<Metadata>, past_watermark: bool) -> CommitEntry {
        let entry = CommitEntry::plain(self.cell.slot, self.cell.epoch, self.cell.partition.clone(), next);
        CommitEntry { metadata, finished: self.ledger.finished(), past_watermark, ..entry }
    }

    fn metadata(&self, base: NextOffset, cluster: &Cluster) -> Option<Metadata> {
        let mut finished = self.finished_above(base).peekable();
        finished.peek()?;
        let (packing, limit) = cluster.limit.with(|limit| limit.next())?;
        let (partition, id) = (&self.cell.partition, self.cell.topic_id().map(|id| id.bytes()));
        let log = LogIdentity::of(&cluster.id, &partition.topic, id, partition.partition.0);
        let text = memory::encode(base, finished, log, packing, limit)?;
        Some(Metadata { packing, text: text.into() })
    }

    /// What the ledger has seen finished, and what an earlier owner had.
    fn finished_above(&self, base: NextOffset) -> impl Iterator<Item = FinishedRange> {
        union(self.ledger.finished_above(), self.cell.remembered.from(base))
    }

    /// The same for the epoch that begins at the watermark.
    pub(super) fn remembered(&self) -> Remembered {
        Remembered::new(self.finished_above(self.ledger.watermark()))
    }

    /// A commit of this epoch is stored.
    pub(super) fn confirm(&mut self, entry: &CommitEntry) {
        self.confirmed = entry.next;
        self.committed = Some(entry.next);
        self.told = entry.finished;
        (self.failures, self.again_at) = (0, None);
        if self.asked.is_some_and(|asked| asked.next <= entry.next) {
            self.asked = None;
        }
        self.cell.set_committed(entry.next);
    }
}
