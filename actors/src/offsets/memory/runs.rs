//! Finished offsets as lengths: so many unfinished, so many finished, and so on.

use super::DecodeError;
use crate::ids::{NextOffset, Offset};
use crate::offsets::FinishedRange;

/// Unfinished offsets and the finished ones behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Unfinished offsets. Only the first run may have none.
    pub(super) gap: u64,
    /// Finished offsets behind them, at least one.
    pub(super) length: u64,
}

/// The first `most` runs from `base` on, with those joined that touch. What lies below `base` is left out.
pub(super) fn runs(base: NextOffset, finished: impl Iterator<Item = FinishedRange>, most: usize) -> Vec<Run> {
    let Ok(mut at) = u64::try_from(base.0) else {
        return Vec::new();
    };
    let mut runs: Vec<Run> = Vec::new();
    for FinishedRange { first, last } in finished {
        // Neither is negative here, so the end fits: 2^63 at most.
        let (Ok(first), Ok(last)) = (u64::try_from(first.0.max(base.0)), u64::try_from(last.0)) else {
            continue;
        };
        let (first, end) = (first.max(at), last + 1);
        if first >= end {
            continue;
        }
        let (gap, length) = (first - at, end - first);
        let full = runs.len() == most;
        match runs.last_mut() {
            Some(run) if gap == 0 => run.length += length,
            _ if full => break,
            _ => runs.push(Run { gap, length }),
        }
        at = end;
    }
    runs
}

/// Finished ranges as they are read: each call moves on by so many offsets.
pub(super) struct RangeBuilder {
    at: u64,
    ranges: Vec<FinishedRange>,
}

impl RangeBuilder {
    pub(super) fn new(base: NextOffset) -> Self {
        Self { at: base.0.unsigned_abs(), ranges: Vec::new() }
    }

    /// The next `count` offsets are not finished.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), DecodeError> {
        self.at = self.end(count)?;
        Ok(())
    }

    /// The next `count` offsets are finished.
    pub(super) fn finish(&mut self, count: u64) -> Result<(), DecodeError> {
        if count == 0 {
            return Ok(());
        }
        let end = self.end(count)?;
        let (first, last) = (Offset(self.at as i64), Offset((end - 1) as i64));
        match self.ranges.last_mut() {
            Some(range) if range.last.0 as u64 + 1 == self.at => range.last = last,
            _ => self.ranges.push(FinishedRange { first, last }),
        }
        self.at = end;
        Ok(())
    }

    pub(super) fn build(self) -> Vec<FinishedRange> {
        self.ranges
    }

    /// The offset behind the next `count`: at most 2^63, behind the highest there is.
    fn end(&self, count: u64) -> Result<u64, DecodeError> {
        let end = self.at.checked_add(count).filter(|end| *end <= 1 << 63);
        end.ok_or(DecodeError::Corrupt("an offset is out of range"))
    }
}
