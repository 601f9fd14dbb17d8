#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn dense(from: i64, to: i64, finished: Finished) -> TileProgress {
    TileProgress {
        tile: Tile::new(NextOffset(from), NextOffset(to)),
        records: u32::try_from(to - from).unwrap(),
        offsets: None,
        finished,
    }
}

fn sparse(from: i64, to: i64, offsets: &[i64], finished: Finished) -> TileProgress {
    TileProgress {
        tile: Tile::new(NextOffset(from), NextOffset(to)),
        records: u32::try_from(offsets.len()).unwrap(),
        offsets: Some(offsets.into()),
        finished,
    }
}

fn mark(from: i64, to: i64) -> TileProgress {
    TileProgress::end_of_partition(Tile::new(NextOffset(from), NextOffset(to)))
}

fn bitmap(records: u32, finished: impl IntoIterator<Item = u32>) -> Finished {
    let mut words = vec![0; records.div_ceil(64) as usize];
    for index in finished {
        words[index as usize / 64] |= 1 << (index % 64);
    }
    Finished::Bitmap(words.into())
}

fn holes(ledger: &OffsetLedger) -> Vec<i64> {
    ledger.holes().map(|offset| offset.0).collect()
}

fn finished_above(ledger: &OffsetLedger) -> Vec<(i64, i64)> {
    ledger.finished_above().map(|range| (range.first.0, range.last.0)).collect()
}

#[test]
fn a_new_ledger_is_settled_at_its_start() {
    let ledger = OffsetLedger::new(NextOffset(7));
    assert_eq!(ledger.watermark(), NextOffset(7));
    assert!(ledger.is_settled());
    assert_eq!(ledger.highest_finished(), None);
}

#[test]
fn tiles_finished_in_order_move_the_watermark_and_leave_nothing_behind() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    for from in (0..5120).step_by(512) {
        let recorded = ledger.record(dense(from, from + 512, Finished::All)).unwrap();
        assert_eq!(recorded, Recorded { newly_finished: 512, advanced: true });
        assert!(ledger.open.is_empty());
    }
    assert_eq!(ledger.watermark(), NextOffset(5120));
    assert_eq!(ledger.finished(), 5120);
}

#[test]
fn a_later_chunk_finished_first_waits_for_the_earlier_one() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    let recorded = ledger.record(dense(10, 20, Finished::All)).unwrap();
    assert_eq!(recorded, Recorded { newly_finished: 10, advanced: false });
    assert_eq!(ledger.watermark(), NextOffset(0));
    assert_eq!(finished_above(&ledger), [(10, 19)]);
    assert_eq!(holes(&ledger), [0; 0], "the chunk nobody spoke of has no known records");

    let recorded = ledger.record(dense(0, 10, Finished::Prefix(3))).unwrap();
    assert!(recorded.advanced);
    assert_eq!(ledger.watermark(), NextOffset(3));
    assert_eq!(holes(&ledger), [3, 4, 5, 6, 7, 8, 9]);

    ledger.record(dense(0, 10, Finished::All)).unwrap();
    assert_eq!(ledger.watermark(), NextOffset(20));
    assert!(ledger.is_settled());
}

#[test]
fn the_watermark_jumps_what_compaction_took_out() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(sparse(0, 100, &[5, 40, 41], Finished::Prefix(0))).unwrap();
    assert_eq!(ledger.watermark(), NextOffset(5));
    ledger.record(sparse(0, 100, &[5, 40, 41], Finished::Prefix(1))).unwrap();
    assert_eq!(ledger.watermark(), NextOffset(40));
    ledger.record(sparse(0, 100, &[5, 40, 41], Finished::All)).unwrap();
    assert_eq!(ledger.watermark(), NextOffset(100));
}

#[test]
fn an_end_of_partition_mark_carries_the_watermark_over_transaction_markers() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(dense(0, 3, Finished::All)).unwrap();
    assert!(ledger.record(mark(3, 5)).unwrap().advanced);
    assert_eq!(ledger.watermark(), NextOffset(5));
    assert_eq!(ledger.record(mark(5, 5)).unwrap(), Recorded::default(), "the same end, said again");
    assert!(ledger.is_settled());
}

#[test]
fn an_end_of_partition_mark_behind_unfinished_work_waits_for_it() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(mark(3, 5)).unwrap();
    ledger.record(dense(0, 3, Finished::Prefix(2))).unwrap();
    assert_eq!(ledger.watermark(), NextOffset(2));
    ledger.record(dense(0, 3, Finished::All)).unwrap();
    assert_eq!(ledger.watermark(), NextOffset(5));
}

#[test]
fn a_late_smaller_report_takes_nothing_back() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(dense(0, 70, bitmap(70, [0, 1, 2, 69]))).unwrap();
    for late in [Finished::Prefix(1), bitmap(70, [2])] {
        let recorded = ledger.record(dense(0, 70, late)).unwrap();
        assert_eq!(recorded, Recorded::default());
    }
    assert_eq!(ledger.watermark(), NextOffset(3));
    assert_eq!(ledger.finished(), 4);
}

#[test]
fn a_report_of_a_forgotten_tile_changes_nothing() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(dense(0, 10, Finished::All)).unwrap();
    ledger.record(dense(10, 20, Finished::All)).unwrap();
    assert_eq!(ledger.record(dense(0, 10, Finished::Prefix(4))).unwrap(), Recorded::default());
    assert_eq!(ledger.watermark(), NextOffset(20));
    assert_eq!(ledger.finished(), 20);
}

#[test]
fn prefix_and_bitmap_reports_of_one_tile_add_up() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(dense(0, 130, Finished::Prefix(64))).unwrap();
    let recorded = ledger.record(dense(0, 130, bitmap(130, [3, 100, 129]))).unwrap();
    assert_eq!(recorded, Recorded { newly_finished: 2, advanced: false });
    assert_eq!(ledger.watermark(), NextOffset(64));
    let recorded = ledger.record(dense(0, 130, Finished::Prefix(128))).unwrap();
    assert_eq!(recorded.newly_finished, 63);
    assert_eq!(holes(&ledger), [128]);
    assert_eq!(finished_above(&ledger), [(129, 129)]);
}

#[test]
fn a_bitmap_with_every_bit_set_is_as_good_as_all() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(dense(0, 128, bitmap(128, 0..128))).unwrap();
    assert_eq!(ledger.watermark(), NextOffset(128));
}

#[test]
fn finished_runs_join_across_tiles_and_gaps_but_not_across_the_unknown() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(dense(0, 4, bitmap(4, [3]))).unwrap();
    ledger.record(mark(4, 6)).unwrap();
    ledger.record(sparse(6, 20, &[8, 15], Finished::All)).unwrap();
    ledger.record(dense(20, 22, Finished::Prefix(1))).unwrap();
    ledger.record(dense(30, 32, Finished::All)).unwrap();
    ledger.record(dense(40, 42, Finished::All)).unwrap();
    assert_eq!(finished_above(&ledger), [(3, 20), (30, 31), (40, 41)]);
}

#[test]
fn a_tile_below_the_start_is_refused() {
    let mut ledger = OffsetLedger::new(NextOffset(10));
    let error = ledger.record(dense(9, 12, Finished::All)).unwrap_err();
    assert_eq!(error.to_string(), "tile [9, 12) lies below the epoch's start 10");
    assert_eq!(ledger.watermark(), NextOffset(10));
}

#[test]
fn an_overlapping_tile_is_refused_and_changes_nothing() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(dense(0, 10, Finished::All)).unwrap();
    ledger.record(dense(20, 30, Finished::Prefix(5))).unwrap();
    for (from, to) in [(5, 15), (15, 21), (15, 40), (20, 25), (20, 31), (25, 27), (29, 40)] {
        let error = ledger.record(dense(from, to, Finished::All)).unwrap_err();
        assert!(matches!(error, LedgerError::Overlap { .. }), "[{from}, {to}): {error}");
    }
    assert_eq!(ledger.finished(), 15);
    assert_eq!(ledger.delivered(), 20);
    assert_eq!(ledger.watermark(), NextOffset(10));
    ledger.record(dense(10, 20, Finished::All)).unwrap();
    assert_eq!(ledger.watermark(), NextOffset(25));
}

#[test]
fn a_report_that_contradicts_itself_or_an_earlier_one_is_refused() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(sparse(0, 10, &[1, 2, 3], Finished::Prefix(1))).unwrap();
    let wrong = [
        dense(20, 24, Finished::Prefix(5)),
        dense(20, 24, Finished::Bitmap([0b1_0000].into())),
        dense(20, 24, Finished::Bitmap([0, 0].into())),
        dense(20, 24, Finished::Bitmap([].into())),
        sparse(20, 24, &[20, 20], Finished::All),
        sparse(20, 24, &[22, 21], Finished::All),
        sparse(20, 24, &[19], Finished::All),
        sparse(20, 24, &[24], Finished::All),
        sparse(20, 22, &[20, 21, 22], Finished::All),
        TileProgress { records: 2, ..dense(20, 24, Finished::All) },
        TileProgress { records: 5, ..dense(20, 24, Finished::All) },
        TileProgress { records: 1, ..sparse(20, 24, &[20, 21], Finished::All) },
        mark(24, 20),
        mark(0, i64::MIN),
        sparse(0, 10, &[1, 2], Finished::All),
        sparse(0, 10, &[1, 2, 4], Finished::All),
    ];
    for report in wrong {
        let error = ledger.record(report.clone()).unwrap_err();
        assert!(matches!(error, LedgerError::Inconsistent { .. }), "{report:?}: {error}");
    }
    assert_eq!(ledger.delivered(), 3);
    assert_eq!(ledger.finished(), 1);
    assert_eq!(ledger.watermark(), NextOffset(2));
}

#[test]
fn a_finished_tile_above_a_hole_keeps_no_bit_per_record() {
    let mut ledger = OffsetLedger::new(NextOffset(0));
    ledger.record(sparse(100, 1000, &[100, 200, 300], bitmap(3, 0..3))).unwrap();
    let tile = &ledger.open[&NextOffset(100)];
    assert_eq!(tile.marks, Finished::All);
    assert!(tile.offsets.is_none());
    assert_eq!(finished_above(&ledger), [(100, 300)]);
}

/// What the ledger should say, kept as plain sets.
#[derive(Default)]
struct Model {
    start: i64,
    /// Every reported tile: its end and its records.
    tiles: BTreeMap<i64, (i64, Vec<i64>)>,
    finished: BTreeSet<i64>,
}

impl Model {
    fn records(&self) -> impl Iterator<Item = i64> {
        self.tiles.values().flat_map(|(_, offsets)| offsets.iter().copied())
    }

    fn contiguous_end(&self) -> i64 {
        let mut end = self.start;
        while let Some((to, _)) = self.tiles.get(&end) {
            end = *to;
        }
        end
    }

    fn watermark(&self) -> i64 {
        let end = self.contiguous_end();
        let open = self.records().find(|offset| !self.finished.contains(offset));
        open.filter(|offset| *offset < end).unwrap_or(end)
    }

    fn holes(&self) -> Vec<i64> {
        let highest = self.finished.last().copied().unwrap_or(i64::MIN);
        let open = self.records().filter(|offset| !self.finished.contains(offset));
        open.filter(|offset| *offset < highest).collect()
    }

    fn finished_above(&self) -> Vec<(i64, i64)> {
        let watermark = self.watermark();
        let known = |offset: i64| {
            let tile = self.tiles.range(..=offset).next_back();
            tile.is_some_and(|(_, (to, _))| offset < *to)
        };
        let records: BTreeSet<i64> = self.records().collect();
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for offset in self.finished.range(watermark..).copied() {
            let joins = runs.last().is_some_and(|(_, last)| {
                (last + 1..offset).all(|between| known(between) && !records.contains(&between))
            });
            match runs.last_mut() {
                Some((_, last)) if joins => *last = offset,
                _ => runs.push((offset, offset)),
            }
        }
        runs
    }

    fn is_settled(&self) -> bool {
        let last = self.tiles.values().map(|(to, _)| *to).max().unwrap_or(self.start);
        self.contiguous_end() == last && self.finished.len() == self.records().count()
    }
}

/// A tile to be, and the cumulative states its worker reports, as sets of indexes.
#[derive(Clone, Debug)]
struct Script {
    tile: Tile,
    offsets: Vec<i64>,
    states: Vec<BTreeSet<u32>>,
}

/// One report: the number of the script, and of its state.
type Step = (usize, usize);

fn scripts() -> impl Strategy<Value = (i64, Vec<Script>)> {
    let tile = (
        proptest::collection::vec(0..4_u8, 0..150),
        proptest::collection::vec(proptest::collection::vec(any::<bool>(), 150), 0..4),
        0..4_u8,
    );
    (0..1000_i64, proptest::collection::vec(tile, 1..8)).prop_map(|(start, tiles)| {
        let mut from = start;
        let mut scripts = Vec::new();
        for (steps, masks, kind) in tiles {
            // Two kinds in four are dense; the others have gaps before, between and behind their records.
            let gap = |step: u8| {
                if kind < 2 { 0 } else { i64::from(step.saturating_sub(1)) }
            };
            let mut to = from;
            let mut offsets = Vec::new();
            for step in &steps {
                to += gap(*step);
                offsets.push(to);
                to += 1;
            }
            to += if kind == 3 || steps.is_empty() { 2 } else { 0 };
            let records = u32::try_from(offsets.len()).unwrap();
            let mut states = vec![BTreeSet::new()];
            for mask in masks {
                let mut state = states.last().unwrap().clone();
                state.extend((0..records).filter(|index| mask[*index as usize]));
                states.push(state);
            }
            // Most tiles are finished in the end; some are not.
            if kind != 1 {
                states.push((0..records).collect());
            }
            scripts.push(Script { tile: Tile::new(NextOffset(from), NextOffset(to)), offsets, states });
            from = to;
        }
        (start, scripts)
    })
}

/// All states of all tiles, each once or twice, in any order: later tiles first, later states first.
fn stories() -> impl Strategy<Value = (i64, Vec<Script>, Vec<Step>)> {
    scripts().prop_flat_map(|(start, scripts)| {
        let mut steps = Vec::new();
        for (tile, script) in scripts.iter().enumerate() {
            for state in 0..script.states.len() {
                steps.extend([(tile, state), (tile, state)]);
            }
        }
        let length = steps.len();
        (Just(start), Just(scripts), Just(steps).prop_shuffle(), 0..=length).prop_map(
            |(start, scripts, mut steps, keep)| {
                steps.truncate(keep);
                (start, scripts, steps)
            },
        )
    })
}

/// The same state, in any of the ways a worker may write it.
fn written(script: &Script, state: &BTreeSet<u32>, way: u8) -> TileProgress {
    let records = u32::try_from(script.offsets.len()).unwrap();
    let count = u32::try_from(state.len()).unwrap();
    let is_prefix = state.iter().copied().eq(0..count);
    let finished = match way % 3 {
        0 if count == records => Finished::All,
        1 if is_prefix => Finished::Prefix(count),
        _ => bitmap(records, state.iter().copied()),
    };
    let gaps = i64::from(records) != script.tile.to.0 - script.tile.from.0;
    let list = gaps || way >= 128;
    TileProgress { tile: script.tile, records, offsets: list.then(|| script.offsets.as_slice().into()), finished }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_ledger_agrees_with_sets_of_offsets_whatever_the_order(
        (start, scripts, steps) in stories(),
        ways in proptest::collection::vec(any::<u8>(), 128),
    ) {
        let mut ledger = OffsetLedger::new(NextOffset(start));
        let mut model = Model { start, ..Model::default() };
        for (number, (tile, state)) in steps.into_iter().enumerate() {
            let script = &scripts[tile];
            let before = (model.finished.len(), model.watermark());
            let state = &script.states[state];
            let (from, to) = (script.tile.from.0, script.tile.to.0);
            model.tiles.insert(from, (to, script.offsets.clone()));
            model.finished.extend(state.iter().map(|index| script.offsets[*index as usize]));

            let recorded = ledger.record(written(script, state, ways[number % 128])).unwrap();

            let newly = model.finished.len() - before.0;
            prop_assert_eq!(recorded.newly_finished as usize, newly);
            prop_assert_eq!(recorded.advanced, model.watermark() > before.1);
            prop_assert_eq!(ledger.watermark(), NextOffset(model.watermark()));
            prop_assert_eq!(holes(&ledger), model.holes());
            prop_assert_eq!(finished_above(&ledger), model.finished_above());
            prop_assert_eq!(ledger.highest_finished().map(|offset| offset.0), model.finished.last().copied());
            prop_assert_eq!(ledger.is_settled(), model.is_settled());
            prop_assert_eq!(ledger.finished() as usize, model.finished.len());
            prop_assert_eq!(ledger.delivered() as usize, model.records().count());
        }
    }

    #[test]
    fn a_refused_report_leaves_the_ledger_as_it_was(
        (start, scripts, steps) in stories(),
        from in -5..1000_i64,
        width in 1..40_i64,
    ) {
        let mut ledger = OffsetLedger::new(NextOffset(start));
        for (tile, state) in steps {
            let script = &scripts[tile];
            ledger.record(written(script, &script.states[state], 2)).unwrap();
        }
        let before = format!("{ledger:?}");
        if ledger.record(dense(from, from + width, Finished::Prefix(0))).is_err() {
            prop_assert_eq!(format!("{ledger:?}"), before);
        }
    }
}
