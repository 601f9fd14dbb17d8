//! The ledger of one partition in one epoch: reports go in, in any order; the position that may be committed comes out.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use thiserror::Error;

use super::progress::{Finished, Tile, TileProgress};
use crate::ids::{NextOffset, Offset};

#[cfg(test)]
mod tests;

/// Keeps which records of a partition are finished, from the first position of an epoch on.
///
/// A tile that is finished and lies against the finished ones before it is dropped at once, so in-order work costs
/// constant time per report and no memory. What waits above an unfinished record costs a bit per record, and some 100
/// bytes per tile.
///
/// The epoch is not the ledger's business: who owns the ledgers drops reports of an old epoch before they get here.
#[derive(Debug)]
pub struct OffsetLedger {
    start: NextOffset,
    /// All below is finished, and forgotten.
    settled: NextOffset,
    watermark: NextOffset,
    /// By their `from`. The first of them is never both finished and at `settled`.
    open: BTreeMap<NextOffset, OpenTile>,
    highest_finished: Option<Offset>,
    delivered: u64,
    finished: u64,
}

/// What a report changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Records that no report before had called finished. Summed over an epoch, never more than were delivered.
    pub newly_finished: u32,
    /// Whether the watermark rose.
    pub advanced: bool,
}

/// A report that cannot be true. The ledger is as it was before.
///
/// All of these mean a fault in this engine, not in what Kafka sent: the class is fatal for the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The tile begins before the position at which the epoch began.
    #[error("tile {tile} lies below the epoch's start {start}")]
    BelowStart {
        /// The tile reported.
        tile: Tile,
        /// Where the epoch began.
        start: NextOffset,
    },
    /// The tile covers offsets of another one.
    #[error("tile {tile} overlaps {known}")]
    Overlap {
        /// The tile reported.
        tile: Tile,
        /// The one it collides with, or all that is settled.
        known: Tile,
    },
    /// The counts within the report contradict each other, or those of an earlier report of the same tile.
    #[error("report of tile {tile} is inconsistent: {what}")]
    Inconsistent {
        /// The tile reported.
        tile: Tile,
        /// The contradiction.
        what: &'static str,
    },
}

/// A run of finished records with no unfinished and no unknown one between them.
///
/// It begins at a finished record and ends behind one. Offsets in between that hold no record belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FinishedRange {
    /// The first record of the run.
    pub first: Offset,
    /// Its last record.
    pub last: Offset,
}

#[derive(Debug)]
struct OpenTile {
    to: NextOffset,
    records: u32,
    finished: u32,
    /// No record below this index is unfinished. It only rises, so finding the watermark looks at each word once.
    cursor: u32,
    marks: Finished,
    /// The first and the last record; `None` for a tile without records.
    ends: Option<(Offset, Offset)>,
    /// Only where there are gaps, and only until the tile is finished: it costs 64 times what the marks cost.
    offsets: Option<Arc<[i64]>>,
}

impl OffsetLedger {
    /// An epoch that starts at `start`, with nothing delivered yet.
    pub fn new(start: NextOffset) -> Self {
        Self {
            start,
            settled: start,
            watermark: start,
            open: BTreeMap::new(),
            highest_finished: None,
            delivered: 0,
            finished: 0,
        }
    }

    /// Takes a report in: of any tile, in any order, again, or late.
    ///
    /// # Errors
    /// When the report cannot be true; nothing has changed then.
    pub fn record(&mut self, progress: TileProgress) -> Result<Recorded, LedgerError> {
        let tile = progress.tile;
        if let Some(what) = progress.contradiction() {
            return Err(LedgerError::Inconsistent { tile, what });
        }
        if tile.from < self.start {
            let start = self.start;
            return Err(LedgerError::BelowStart { tile, start });
        }
        if tile.is_empty() || tile.to <= self.settled {
            return Ok(Recorded::default());
        }

        let records = progress.records;
        let last_finished = progress.finished.last(records);
        let last_finished = last_finished.map(|index| progress.offset_of(index));
        let newly_finished = match self.open.get_mut(&tile.from) {
            Some(known) => known.update(progress)?,
            None => {
                self.find_room(tile)?;
                self.delivered += u64::from(records);
                let finished = progress.finished.count(records);
                if tile.from == self.settled && finished == records {
                    // In order and whole, as most are: it never enters the map.
                    self.settled = tile.to;
                } else {
                    self.open.insert(tile.from, OpenTile::new(progress));
                }
                finished
            }
        };
        self.finished += u64::from(newly_finished);
        self.highest_finished = self.highest_finished.max(last_finished);
        let before = self.watermark;
        if tile.from <= self.settled {
            self.advance();
        }
        Ok(Recorded { newly_finished, advanced: self.watermark > before })
    }

    /// The lowest offset not finished within the tiles that lie end to end from the start, or else their end.
    ///
    /// This is what may be committed. It never falls.
    pub fn watermark(&self) -> NextOffset {
        self.watermark
    }

    /// What the watermark must agree with, looked for anew in the tiles: the lowest record not finished of those that lie end to end, and where
    /// these end.
    pub(crate) fn frontier(&self) -> (Option<Offset>, NextOffset) {
        let mut end = self.settled;
        for (from, tile) in &self.open {
            if *from != end {
                break;
            }
            if let Some(open) = tile.unfinished().next() {
                return (Some(open), tile.to);
            }
            end = tile.to;
        }
        (None, end)
    }

    /// The records below the highest finished one that are not finished, lowest first.
    ///
    /// Only known tiles are looked at: a tile that nobody has reported has no holes yet.
    pub fn holes(&self) -> impl Iterator<Item = Offset> {
        self.open.values().flat_map(OpenTile::unfinished).take_while(|hole| Some(*hole) < self.highest_finished)
    }

    /// The finished records above the watermark, as runs, lowest first.
    pub fn finished_above(&self) -> impl Iterator<Item = FinishedRange> {
        let mut tiles = self.open.iter().peekable();
        // Below the first tile's cursor lies what the watermark has passed; all others are still at 0.
        let mut index = self.open.values().next().map_or(0, |tile| tile.cursor);
        let mut edge = self.settled;
        iter::from_fn(move || {
            let mut run: Option<FinishedRange> = None;
            while let Some((from, tile)) = tiles.peek() {
                let first = tile.marks.next_finished(index, tile.records);
                let interrupted = first > index || (index == 0 && **from != edge);
                if run.is_some() && interrupted {
                    break;
                }
                if first < tile.records {
                    index = tile.marks.next_unfinished(first, tile.records);
                    let last = tile.offset_of(index - 1);
                    let first = run.map_or_else(|| tile.offset_of(first), |run| run.first);
                    run = Some(FinishedRange { first, last });
                    if index < tile.records {
                        break;
                    }
                }
                edge = tile.to;
                index = 0;
                tiles.next();
            }
            run
        })
    }

    /// The highest record finished so far, at or above the watermark or below.
    pub fn highest_finished(&self) -> Option<Offset> {
        self.highest_finished
    }

    /// Whether every known record is finished and no tile is missing between the known ones.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Records in all tiles known so far, the forgotten ones included.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How many of [`delivered`](Self::delivered) are finished.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// Puts the watermark where it does not belong.
    #[cfg(test)]
    pub(crate) fn misplace_watermark(&mut self, watermark: NextOffset) {
        self.watermark = watermark;
    }

    /// Counts a record as finished that is none.
    #[cfg(test)]
    pub(crate) fn miscount(&mut self) {
        self.finished += 1;
    }

    /// Errs when `tile`, which is not known, covers what another one covers.
    fn find_room(&self, tile: Tile) -> Result<(), LedgerError> {
        let settled = Tile::new(self.start, self.settled);
        if tile.from < self.settled {
            let known = settled;
            return Err(LedgerError::Overlap { tile, known });
        }
        // Tiles do not overlap each other, so the last one that begins before this one's end is the only candidate.
        match self.open.range(..tile.to).next_back() {
            Some((from, known)) if known.to > tile.from => {
                let known = Tile::new(*from, known.to);
                Err(LedgerError::Overlap { tile, known })
            }
            _ => Ok(()),
        }
    }

    /// Forgets the tiles that are settled now, and looks for the watermark behind them.
    fn advance(&mut self) {
        self.watermark = loop {
            let Some(mut entry) = self.open.first_entry() else {
                break self.settled;
            };
            if *entry.key() != self.settled {
                break self.settled;
            }
            let tile = entry.get_mut();
            if tile.finished < tile.records {
                break NextOffset(tile.first_unfinished().0);
            }
            self.settled = entry.remove().to;
        };
    }
}

impl OpenTile {
    fn new(progress: TileProgress) -> Self {
        let records = progress.records;
        let finished = progress.finished.count(records);
        let ends = records.checked_sub(1).map(|last| (progress.offset_of(0), progress.offset_of(last)));
        let dense = progress.tile.to.0 - progress.tile.from.0 == i64::from(records);
        let mut tile = Self {
            to: progress.tile.to,
            records,
            finished,
            cursor: 0,
            marks: progress.finished,
            ends,
            offsets: progress.offsets.filter(|_| !dense),
        };
        tile.slim();
        tile
    }

    /// Adds a report of the same tile and returns how many records it finished.
    fn update(&mut self, progress: TileProgress) -> Result<u32, LedgerError> {
        self.check_same(&progress)?;
        let newly_finished = self.marks.merge(progress.finished, self.records);
        self.finished += newly_finished;
        self.slim();
        Ok(newly_finished)
    }

    fn check_same(&self, progress: &TileProgress) -> Result<(), LedgerError> {
        let tile = progress.tile;
        if tile.to != self.to {
            let known = Tile::new(tile.from, self.to);
            return Err(LedgerError::Overlap { tile, known });
        }
        let what = "an earlier report of the tile counts other records";
        let same = self.records == progress.records
            && match (&self.offsets, &progress.offsets) {
                (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs) || mine == theirs,
                // A dense tile may list its offsets or not, and a finished one has forgotten them.
                _ => true,
            };
        if same { Ok(()) } else { Err(LedgerError::Inconsistent { tile, what }) }
    }

    /// Lets go of what a finished tile does not need.
    fn slim(&mut self) {
        if self.finished == self.records {
            self.marks = Finished::All;
            self.offsets = None;
        }
    }

    fn first_unfinished(&mut self) -> Offset {
        self.cursor = self.marks.next_unfinished(self.cursor, self.records);
        self.offset_of(self.cursor)
    }

    fn unfinished(&self) -> impl Iterator<Item = Offset> {
        let mut index = 0;
        iter::from_fn(move || {
            index = self.marks.next_unfinished(index, self.records);
            (index < self.records).then(|| {
                let offset = self.offset_of(index);
                index += 1;
                offset
            })
        })
    }

    /// The offset of the record at `index`, which the caller knows to exist. Of a finished tile only the ends are known.
    fn offset_of(&self, index: u32) -> Offset {
        match (&self.offsets, self.ends) {
            (Some(offsets), _) => Offset(offsets[index as usize]),
            (None, Some((_, last))) if index + 1 == self.records => last,
            (None, Some((first, _))) => Offset(first.0 + i64::from(index)),
            (None, None) => Offset(self.to.0),
        }
    }
}
