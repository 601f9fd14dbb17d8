//! Each invariant that the tracker checks is broken once, to see it counted.

use super::*;
use crate::invariants::InvariantSnapshot;

/// Ten records reported, the first three finished.
fn stage() -> Stage {
    let mut stage = Stage::on(Board::counting(), CommitWhen::default());
    stage.begin(1);
    stage.report_in(0, 1, 0..3);
    let tile = Tile::new(NextOffset(3), NextOffset(10));
    let progress = TileProgress { tile, records: 7, offsets: None, finished: Finished::Prefix(0) };
    stage.tracker.record(ChunkProgress { slot: 0, epoch: Epoch(1), progress, commit: false });
    stage
}

impl Stage {
    fn tracked(&mut self) -> &mut TrackedEpoch {
        self.tracker.current(0, Epoch(1)).unwrap()
    }

    fn drained(&mut self) {
        self.tracker.handle(EpochDrained { slot: 0, epoch: Epoch(1) }, &mut Context::new());
    }

    #[track_caller]
    fn assert_breaches(&self, expected: InvariantSnapshot) {
        assert_eq!(self.tracker.board.invariants.snapshot(), expected);
    }
}

#[test]
fn what_goes_right_breaks_nothing() {
    let mut stage = stage();
    assert_eq!(stage.commit(), Some((1, 3)));
    stage.answer(1, 3, None);
    stage.report(7, 3);
    stage.drained();
    stage.tracker.last_commits(&[(0, Epoch(1))], &BTreeSet::new());
    stage.assert_breaches(InvariantSnapshot::default());
}

#[test]
fn a_watermark_that_is_not_where_the_tiles_say_is_a_breach() {
    for misplaced in [2, 4, 10] {
        let mut stage = stage();
        stage.tracked().ledger.misplace_watermark(NextOffset(misplaced));
        stage.drained();
        stage.assert_breaches(InvariantSnapshot { watermark: 1, ..Default::default() });
    }
}

#[test]
fn a_watermark_is_looked_at_when_a_ledger_is_closed_too() {
    let mut stage = stage();
    stage.tracked().ledger.misplace_watermark(NextOffset(10));
    stage.tracker.handle(CloseLedger { slot: 0, epoch: Epoch(1), rewound: false }, &mut Context::new());
    stage.assert_breaches(InvariantSnapshot { watermark: 1, ..Default::default() });
}

#[test]
fn an_entry_past_the_watermark_is_a_breach_unless_the_app_asked_for_it() {
    let stage = stage();
    let entry = CommitEntry::plain(0, Epoch(1), TopicPartition::new("t", 0), NextOffset(4));
    stage.tracker.check_owned_and_finished(&[CommitEntry { past_watermark: true, ..entry.clone() }]);
    stage.assert_breaches(InvariantSnapshot::default());
    stage.tracker.check_owned_and_finished(&[entry]);
    stage.assert_breaches(InvariantSnapshot { commit_within_watermark: 1, ..Default::default() });
}

#[test]
fn a_round_with_an_entry_of_an_ended_epoch_or_of_another_partition_is_a_breach() {
    for (epoch, partition) in [(2, 0), (1, 1)] {
        let stage = stage();
        let entry = CommitEntry::plain(0, Epoch(epoch), TopicPartition::new("t", partition), NextOffset(3));
        stage.tracker.check_owned_and_finished(&[entry]);
        stage.assert_breaches(InvariantSnapshot { commits_owned: 1, ..Default::default() });
    }
}

#[test]
fn a_commit_that_falls_is_a_breach() {
    let mut stage = stage();
    stage.answer(1, 3, None);
    stage.answer(1, 2, None);
    stage.assert_breaches(InvariantSnapshot { commits_rise: 1, ..Default::default() });
}

#[test]
fn a_report_of_an_old_epoch_that_changes_something_is_a_breach() {
    let mut stage = stage();
    let board = Arc::clone(&stage.tracker.board);
    let tile = Tile::new(NextOffset(3), NextOffset(10));
    let progress = TileProgress { tile, records: 7, offsets: None, finished: Finished::All };
    stage.tracked().take_in(Epoch(7), progress, &board.invariants).unwrap();
    stage.assert_breaches(InvariantSnapshot { old_epochs_inert: 1, ..Default::default() });
}

#[test]
fn a_second_outcome_is_a_breach_at_once_and_a_count_that_is_off_at_the_end_of_a_drain() {
    let mut stage = stage();
    stage.report_in(0, 1, 3..10);
    stage.tracked().ledger.miscount();
    stage.drained();
    stage.assert_breaches(InvariantSnapshot { one_outcome: 1, ..Default::default() });
    stage.report_in(0, 1, 10..20);
    stage.assert_breaches(InvariantSnapshot { one_outcome: 2, ..Default::default() });
}
