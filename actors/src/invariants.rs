//! What must always be true of the engine, I1 to I8, in one place: tests fail on a breach, production counts it.
//!
//! An engine owns one [`InvariantCounts`] and shares it with its parts. Each check is a comparison; the rest happens
//! only when one fails: it is counted, and logged at the first, second, fourth, eighth breach and so on, so that a
//! fault on a hot path does not drown the log. Production never panics for it.
//!
//! Under `cfg(test)` or the feature `testing` a breach panics, unless the counts were made with
//! [`InvariantCounts::counting`]. No check belongs into a callback from C, where a panic ends the process.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, NextOffset, Offset, TopicPartition};

/// One of the eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Invariant {
    /// I1: the watermark is the lowest offset not terminal within the contiguous tiles, or else their end.
    Watermark,
    /// I2: nothing above the watermark is committed.
    CommitWithinWatermark,
    /// I3: within an epoch, commits never go down.
    CommitsRise,
    /// I4: nothing is committed for a partition that is not owned.
    CommitsOwned,
    /// I5: a report of an old epoch changes nothing.
    OldEpochsInert,
    /// I6: no two handler calls hold the same key (or partition) at once, across epochs too.
    OneCallPerKey,
    /// I7: the credits in use are the records handed out and not terminal, and never above their bound.
    CreditsExact,
    /// I8: a delivered record has at most one terminal outcome per epoch, exactly one if the epoch ends drained.
    OneOutcome,
}

/// Where a check was made.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The partition.
    pub partition: &'a TopicPartition,
    /// Its epoch.
    pub epoch: Epoch,
}

/// How often each invariant was broken in one engine. Belongs to the engine, in an `Arc`.
#[derive(Debug)]
pub struct InvariantCounts {
    breaches: [AtomicU64; Invariant::ALL.len()],
    panics: bool,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvariantSnapshot {
    /// Breaches of I1.
    pub watermark: u64,
    /// Breaches of I2.
    pub commit_within_watermark: u64,
    /// Breaches of I3.
    pub commits_rise: u64,
    /// Breaches of I4.
    pub commits_owned: u64,
    /// Breaches of I5.
    pub old_epochs_inert: u64,
    /// Breaches of I6.
    pub one_call_per_key: u64,
    /// Breaches of I7.
    pub credits_exact: u64,
    /// Breaches of I8.
    pub one_outcome: u64,
}

impl Invariant {
    /// All of them, I1 first.
    pub const ALL: [Invariant; 8] = [
        Invariant::Watermark,
        Invariant::CommitWithinWatermark,
        Invariant::CommitsRise,
        Invariant::CommitsOwned,
        Invariant::OldEpochsInert,
        Invariant::OneCallPerKey,
        Invariant::CreditsExact,
        Invariant::OneOutcome,
    ];

    /// The short name, `I1` to `I8`.
    pub fn name(self) -> &'static str {
        ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8"][self as usize]
    }
}

impl InvariantCounts {
    /// Counts that panic at a breach where the build is for tests, and only count elsewhere.
    pub fn new() -> Self {
        Self { breaches: Default::default(), panics: cfg!(any(test, feature = "testing")) }
    }

    /// Counts that never panic, for a test that breaks an invariant on purpose.
    pub fn counting() -> Self {
        Self { panics: false, ..Self::new() }
    }

    /// The counts so far.
    pub fn snapshot(&self) -> InvariantSnapshot {
        let of = |invariant: Invariant| self.breaches[invariant as usize].load(Ordering::Relaxed);
        InvariantSnapshot {
            watermark: of(Invariant::Watermark),
            commit_within_watermark: of(Invariant::CommitWithinWatermark),
            commits_rise: of(Invariant::CommitsRise),
            commits_owned: of(Invariant::CommitsOwned),
            old_epochs_inert: of(Invariant::OldEpochsInert),
            one_call_per_key: of(Invariant::OneCallPerKey),
            credits_exact: of(Invariant::CreditsExact),
            one_outcome: of(Invariant::OneOutcome),
        }
    }

    /// I1, from the lowest offset not terminal in the contiguous tiles and the end of the last of them. True if it holds,
    /// like all of these.
    pub fn watermark(
        &self,
        at: At<'_>,
        watermark: NextOffset,
        lowest_open: Option<Offset>,
        contiguous_end: NextOffset,
    ) -> bool {
        let expected = lowest_open.map_or(contiguous_end, |open| NextOffset(open.0));
        watermark == expected || self.broken(Invariant::Watermark, at, &expected, &watermark)
    }

    /// I2, for an offset about to be committed or known to be.
    pub fn commit_within_watermark(&self, at: At<'_>, committed: NextOffset, watermark: NextOffset) -> bool {
        committed <= watermark || self.broken(Invariant::CommitWithinWatermark, at, &watermark, &committed)
    }

    /// I3, for a commit and the one before it in the same epoch.
    pub fn commits_rise(&self, at: At<'_>, before: NextOffset, committed: NextOffset) -> bool {
        committed >= before || self.broken(Invariant::CommitsRise, at, &before, &committed)
    }

    /// I4, for a commit made in the epoch of `at`, while the partition is owned in epoch `owned`, or not at all.
    pub fn commits_owned(&self, at: At<'_>, committed: NextOffset, owned: Option<Epoch>) -> bool {
        owned == Some(at.epoch) || {
            let owned = owned.map_or_else(|| "no epoch".to_owned(), |epoch| format!("epoch {epoch}"));
            self.broken(Invariant::CommitsOwned, at, &owned, &committed)
        }
    }

    /// I5, for a report made in the epoch `reported`, at a partition now in the epoch of `at`.
    pub fn old_epochs_inert(&self, at: At<'_>, reported: Epoch, changed: bool) -> bool {
        reported == at.epoch || !changed || self.broken(Invariant::OldEpochsInert, at, &at.epoch, &reported)
    }

    /// I6, for a handler call that begins with the record at `offset`, with `running` calls that hold its key, itself
    /// included.
    pub fn one_call_per_key(&self, at: At<'_>, offset: Offset, running: u32) -> bool {
        running <= 1 || {
            let actual = format!("{running} calls at offset {offset}");
            self.broken(Invariant::OneCallPerKey, at, &"1 call", &actual)
        }
    }

    /// I7, from the credits the gate has given away, the records handed out and not terminal, and the bound.
    pub fn credits_exact(&self, at: At<'_>, in_use: u64, outstanding: u64, bound: u64) -> bool {
        let expected = outstanding.min(bound);
        (in_use == outstanding && in_use <= bound) || self.broken(Invariant::CreditsExact, at, &expected, &in_use)
    }

    /// I8, from the records delivered and the terminal outcomes seen in an epoch, and whether it has ended drained.
    pub fn one_outcome(&self, at: At<'_>, delivered: u64, outcomes: u64, drained: bool) -> bool {
        (outcomes <= delivered && (!drained || outcomes == delivered))
            || self.broken(Invariant::OneOutcome, at, &delivered, &outcomes)
    }

    /// Counts and tells. Always false, so that a check reads `holds || broken`.
    #[cold]
    fn broken(&self, invariant: Invariant, at: At<'_>, expected: &dyn Display, actual: &dyn Display) -> bool {
        let breaches = 1 + self.breaches[invariant as usize].fetch_add(1, Ordering::Relaxed);
        let (topic, partition) = (&*at.partition.topic, at.partition.partition);
        let epoch = at.epoch;
        if breaches.is_power_of_two() {
            tracing::error!(
                invariant = invariant.name(),
                topic,
                partition = partition.0,
                epoch = epoch.0,
                %expected,
                %actual,
                breaches,
                "invariant broken: {invariant:?}",
            );
        }
        assert!(
            !self.panics,
            "{} broken at {topic}-{partition}, epoch {epoch}: {invariant:?}: {expected} expected, {actual} found",
            invariant.name(),
        );
        false
    }
}

impl Default for InvariantCounts {
    fn default() -> Self {
        Self::new()
    }
}

impl InvariantSnapshot {
    /// Breaches of all invariants together.
    pub fn total(&self) -> u64 {
        let Self {
            watermark,
            commit_within_watermark,
            commits_rise,
            commits_owned,
            old_epochs_inert,
            one_call_per_key,
            credits_exact,
            one_outcome,
        } = *self;
        let commits = commit_within_watermark + commits_rise + commits_owned;
        watermark + commits + old_epochs_inert + one_call_per_key + credits_exact + one_outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `check` against counts that do not panic, and returns what it said and what was counted.
    fn checked(check: impl Fn(&InvariantCounts, At<'_>) -> bool) -> (bool, InvariantSnapshot) {
        let counts = InvariantCounts::counting();
        let partition = TopicPartition::new("orders", 3);
        let holds = check(&counts, At { partition: &partition, epoch: Epoch(7) });
        (holds, counts.snapshot())
    }

    fn holds(check: impl Fn(&InvariantCounts, At<'_>) -> bool) {
        assert_eq!(checked(check), (true, InvariantSnapshot::default()));
    }

    fn breaks(check: impl Fn(&InvariantCounts, At<'_>) -> bool, field: fn(&InvariantSnapshot) -> u64) {
        let (held, snapshot) = checked(check);
        assert!(!held);
        assert_eq!((field(&snapshot), snapshot.total()), (1, 1), "{snapshot:?}");
    }

    #[test]
    fn the_watermark_is_the_lowest_open_offset_or_else_the_end() {
        let (low, end) = (NextOffset(4), NextOffset(9));
        holds(|counts, at| counts.watermark(at, low, Some(Offset(4)), end));
        holds(|counts, at| counts.watermark(at, end, None, end));
        breaks(|counts, at| counts.watermark(at, end, Some(Offset(4)), end), |counts| counts.watermark);
        breaks(|counts, at| counts.watermark(at, low, None, end), |counts| counts.watermark);
    }

    #[test]
    fn a_commit_stays_within_the_watermark_and_does_not_fall() {
        let (low, high) = (NextOffset(4), NextOffset(5));
        holds(|counts, at| counts.commit_within_watermark(at, low, low));
        breaks(|counts, at| counts.commit_within_watermark(at, high, low), |counts| counts.commit_within_watermark);
        holds(|counts, at| counts.commits_rise(at, low, low));
        breaks(|counts, at| counts.commits_rise(at, high, low), |counts| counts.commits_rise);
    }

    #[test]
    fn a_commit_needs_the_epoch_that_owns_the_partition() {
        let offset = NextOffset(4);
        holds(|counts, at| counts.commits_owned(at, offset, Some(Epoch(7))));
        breaks(|counts, at| counts.commits_owned(at, offset, Some(Epoch(8))), |counts| counts.commits_owned);
        breaks(|counts, at| counts.commits_owned(at, offset, None), |counts| counts.commits_owned);
    }

    #[test]
    fn a_report_of_an_old_epoch_may_come_but_not_count() {
        holds(|counts, at| counts.old_epochs_inert(at, Epoch(7), true));
        holds(|counts, at| counts.old_epochs_inert(at, Epoch(6), false));
        breaks(|counts, at| counts.old_epochs_inert(at, Epoch(6), true), |counts| counts.old_epochs_inert);
    }

    #[test]
    fn two_calls_may_not_hold_one_key() {
        holds(|counts, at| counts.one_call_per_key(at, Offset(1), 1));
        breaks(|counts, at| counts.one_call_per_key(at, Offset(1), 2), |counts| counts.one_call_per_key);
    }

    #[test]
    fn credits_match_what_is_out_and_keep_their_bound() {
        holds(|counts, at| counts.credits_exact(at, 5, 5, 5));
        breaks(|counts, at| counts.credits_exact(at, 4, 5, 9), |counts| counts.credits_exact);
        breaks(|counts, at| counts.credits_exact(at, 6, 6, 5), |counts| counts.credits_exact);
    }

    #[test]
    fn a_record_has_one_outcome_and_a_drained_epoch_misses_none() {
        holds(|counts, at| counts.one_outcome(at, 5, 3, false));
        holds(|counts, at| counts.one_outcome(at, 5, 5, true));
        breaks(|counts, at| counts.one_outcome(at, 5, 6, false), |counts| counts.one_outcome);
        breaks(|counts, at| counts.one_outcome(at, 5, 4, true), |counts| counts.one_outcome);
    }

    #[test]
    #[should_panic(expected = "I2 broken at orders-3, epoch 7: CommitWithinWatermark: 4 expected, 5 found")]
    fn a_breach_fails_the_test_it_happens_in() {
        let partition = TopicPartition::new("orders", 3);
        let at = At { partition: &partition, epoch: Epoch(7) };
        InvariantCounts::new().commit_within_watermark(at, NextOffset(5), NextOffset(4));
    }

    #[test]
    fn the_snapshot_names_every_invariant() {
        let json = serde_json::to_value(InvariantSnapshot::default()).unwrap_or_default();
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(Invariant::ALL.len()));
    }
}
