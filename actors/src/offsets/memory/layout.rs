//! The four ways to write runs down, what each would cost, and how far it gets in the room there is.

use std::cmp::Reverse;

use super::DecodeError;
use super::bits::{BitReader, BitWriter, WIDTH_BITS, best_rice, largest_number, largest_rice, number_cost, rice_cost};
use super::runs::{RangeBuilder, Run};

const LAYOUT_BITS: u32 = 2;
/// How often a plan that does not hold everything is made anew with parameters that suit what it held.
const REFITS: usize = 2;

/// How runs are written. Each suits another shape of holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// How many finished offsets lie before each unfinished one, and behind the last: few scattered holes.
    Holes { k: u32 },
    /// How many unfinished offsets lie before each finished one: few scattered completions.
    Sparse { k: u32 },
    /// The lengths of gaps and of runs in turn: both long.
    Runs { gap_k: u32, length_k: u32 },
    /// A bit for each offset: holes without any order, about as many as not.
    Bitmap,
}

/// What of some runs a layout holds in the room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) layout: Layout,
    /// How many of the runs it holds, at least one.
    runs: usize,
    /// How much of the last of them.
    last_length: u64,
    /// Finished offsets in all.
    finished: u64,
    bits: u64,
}

/// The codes before a run, while a plan is made.
struct Tally {
    bits: u64,
    /// Codes in all; of a bitmap, bits.
    codes: u64,
    /// The length of the run before.
    before: Option<u64>,
}

impl Plan {
    /// The plan for `runs` that remembers the most in `room` bits, and of equal ones the smallest.
    pub(super) fn best(runs: &[Run], room: u64) -> Option<Self> {
        [Layout::Holes { k: 0 }, Layout::Sparse { k: 0 }, Layout::Runs { gap_k: 0, length_k: 0 }, Layout::Bitmap]
            .into_iter()
            .filter_map(|layout| layout.plan(runs, room))
            .min_by_key(Plan::rank)
    }

    /// `runs`, cut to what the plan holds.
    pub(super) fn cut(&self, runs: &mut Vec<Run>) {
        runs.truncate(self.runs);
        if let Some(last) = runs.last_mut() {
            last.length = self.last_length;
        }
    }

    fn rank(&self) -> (Reverse<u64>, u64) {
        (Reverse(self.finished), self.bits)
    }

    fn holds_all(&self, runs: &[Run]) -> bool {
        self.runs == runs.len() && runs.last().is_some_and(|last| last.length == self.last_length)
    }
}

impl Layout {
    /// What it holds of `runs` with parameters that suit them.
    fn plan(self, runs: &[Run], room: u64) -> Option<Plan> {
        let mut best = self.fitted(runs).prefix(runs, room);
        for _ in 0..REFITS {
            if self == Self::Bitmap || best.is_some_and(|plan| plan.holds_all(runs)) {
                break;
            }
            // What does not fit should not shape what does.
            let held = best.map_or(1, |plan| plan.runs).min(runs.len());
            let refitted = self.fitted(&runs[..held]).prefix(runs, room);
            best = [best, refitted].into_iter().flatten().min_by_key(Plan::rank);
        }
        best
    }

    /// The same layout with the parameters that write `runs` in the fewest bits.
    fn fitted(self, runs: &[Run]) -> Self {
        match self {
            Self::Holes { .. } => {
                let scattered = runs.windows(2).map(|pair| (pair[0].length, 1));
                let touching =
                    runs.iter().enumerate().map(|(at, run)| (0, if at == 0 { run.gap } else { run.gap - 1 }));
                Self::Holes { k: best_rice(scattered.chain(touching)) }
            }
            Self::Sparse { .. } => {
                Self::Sparse { k: best_rice(runs.iter().flat_map(|run| [(run.gap, 1), (0, run.length - 1)])) }
            }
            Self::Runs { .. } => Self::Runs {
                gap_k: best_rice(runs.iter().enumerate().map(|(at, run)| (coded_gap(run.gap, at == 0), 1))),
                length_k: best_rice(runs.iter().map(|run| (run.length - 1, 1))),
            },
            Self::Bitmap => self,
        }
    }

    /// The longest prefix of `runs` that fits.
    fn prefix(self, runs: &[Run], room: u64) -> Option<Plan> {
        let mut best = None;
        let mut finished = 0_u64;
        let mut tally = Tally { bits: self.parameter_bits(), codes: 0, before: None };
        for (index, run) in runs.iter().enumerate() {
            self.open(&mut tally, run.gap);
            if tally.bits > room {
                break;
            }
            if let Some(last_length) = self.longest_end(&tally, run.length, room) {
                let bits = self.close(&tally, last_length);
                let finished = finished + last_length;
                best = Some(Plan { layout: self, runs: index + 1, last_length, finished, bits });
            }
            self.pass(&mut tally, run.length);
            finished += run.length;
        }
        best
    }

    fn parameter_bits(self) -> u64 {
        let parameters = match self {
            Self::Holes { .. } | Self::Sparse { .. } => 1,
            Self::Runs { .. } => 2,
            Self::Bitmap => 0,
        };
        u64::from(LAYOUT_BITS + parameters * WIDTH_BITS)
    }

    /// Adds the codes of a gap, up to the run behind it.
    fn open(self, tally: &mut Tally, gap: u64) {
        let (bits, codes) = match self {
            Self::Holes { .. } if gap == 0 => (0, 0),
            Self::Holes { k } => {
                let first = rice_cost(tally.before.unwrap_or(0), k);
                (first.saturating_add((gap - 1).saturating_mul(u64::from(k) + 1)), gap)
            }
            Self::Sparse { k } => (rice_cost(gap, k), 1),
            Self::Runs { gap_k, .. } => (rice_cost(coded_gap(gap, tally.before.is_none()), gap_k), 1),
            Self::Bitmap => (gap, gap),
        };
        tally.bits = tally.bits.saturating_add(bits);
        tally.codes = tally.codes.saturating_add(codes);
    }

    /// Adds the codes of a run that is not the last.
    fn pass(self, tally: &mut Tally, length: u64) {
        let (bits, codes) = match self {
            Self::Holes { .. } => (0, 0),
            Self::Sparse { k } => ((length - 1).saturating_mul(u64::from(k) + 1), length - 1),
            Self::Runs { length_k, .. } => (rice_cost(length - 1, length_k), 0),
            Self::Bitmap => (length, length),
        };
        tally.bits = tally.bits.saturating_add(bits);
        tally.codes = tally.codes.saturating_add(codes);
        tally.before = Some(length);
    }

    /// How much of a last run of `length` fits: `None` for nothing.
    fn longest_end(self, tally: &Tally, length: u64, room: u64) -> Option<u64> {
        if self.close(tally, length) <= room {
            return Some(length);
        }
        let left = room.checked_sub(tally.bits)?;
        match self {
            Self::Holes { .. } => largest_number(left.checked_sub(number_cost(tally.codes))?),
            Self::Sparse { k } => {
                let code = u64::from(k) + 1;
                // The count is among what has to fit, so first how long the run could be without it.
                let most = tally.codes + left / code;
                Some(left.checked_sub(number_cost(most))? / code + 1)
            }
            Self::Runs { length_k, .. } => {
                Some(largest_rice(left.checked_sub(number_cost(tally.codes))?, length_k)? + 1)
            }
            Self::Bitmap => left.checked_sub(number_cost(tally.codes + left)),
        }
        .map(|longest| longest.min(length))
        .filter(|longest| *longest > 0)
    }

    /// All bits, if a run of `length` is the last.
    fn close(self, tally: &Tally, length: u64) -> u64 {
        let bits = match self {
            Self::Holes { .. } => number_cost(tally.codes) + number_cost(length),
            Self::Sparse { k } => (length - 1)
                .saturating_mul(u64::from(k) + 1)
                .saturating_add(number_cost(tally.codes.saturating_add(length - 1))),
            Self::Runs { length_k, .. } => number_cost(tally.codes) + rice_cost(length - 1, length_k),
            Self::Bitmap => length.saturating_add(number_cost(tally.codes.saturating_add(length))),
        };
        tally.bits.saturating_add(bits)
    }

    /// Writes all of `runs`, with what a reader needs to know.
    pub(super) fn write(self, runs: &[Run], out: &mut BitWriter) {
        let gaps = || runs.iter().map(|run| run.gap).sum::<u64>();
        let lengths = || runs.iter().map(|run| run.length).sum::<u64>();
        match self {
            Self::Holes { k } => {
                out.put(0, LAYOUT_BITS);
                out.put(u64::from(k), WIDTH_BITS);
                out.number(gaps());
                let mut before = 0;
                for run in runs {
                    if run.gap > 0 {
                        out.rice(before, k);
                        out.repeat(false, (run.gap - 1) * (u64::from(k) + 1));
                    }
                    before = run.length;
                }
                out.number(before);
            }
            Self::Sparse { k } => {
                out.put(1, LAYOUT_BITS);
                out.put(u64::from(k), WIDTH_BITS);
                out.number(lengths());
                for run in runs {
                    out.rice(run.gap, k);
                    out.repeat(false, (run.length - 1) * (u64::from(k) + 1));
                }
            }
            Self::Runs { gap_k, length_k } => {
                out.put(2, LAYOUT_BITS);
                out.put(u64::from(gap_k), WIDTH_BITS);
                out.put(u64::from(length_k), WIDTH_BITS);
                out.number(runs.len() as u64);
                for (index, run) in runs.iter().enumerate() {
                    out.rice(coded_gap(run.gap, index == 0), gap_k);
                    out.rice(run.length - 1, length_k);
                }
            }
            Self::Bitmap => {
                out.put(3, LAYOUT_BITS);
                out.number(gaps() + lengths());
                for run in runs {
                    out.repeat(false, run.gap);
                    out.repeat(true, run.length);
                }
            }
        }
    }

    /// Reads what [`write`](Self::write) wrote. No count is believed that the bits left could not hold.
    pub(super) fn read(bits: &mut BitReader<'_>, ranges: &mut RangeBuilder) -> Result<(), DecodeError> {
        match bits.take(LAYOUT_BITS)? {
            0 => {
                let k = bits.rice_parameter()?;
                for _ in 0..count(bits, u64::from(k) + 1)? {
                    ranges.finish(bits.rice(k)?)?;
                    ranges.skip(1)?;
                }
                ranges.finish(bits.number()?)
            }
            1 => {
                let k = bits.rice_parameter()?;
                for _ in 0..count(bits, u64::from(k) + 1)? {
                    ranges.skip(bits.rice(k)?)?;
                    ranges.finish(1)?;
                }
                Ok(())
            }
            2 => {
                let (gap_k, length_k) = (bits.rice_parameter()?, bits.rice_parameter()?);
                for index in 0..count(bits, 2)? {
                    ranges.skip(bits.rice(gap_k)? + u64::from(index > 0))?;
                    ranges.finish(bits.rice(length_k)? + 1)?;
                }
                Ok(())
            }
            _ => {
                for _ in 0..count(bits, 1)? {
                    if bits.take(1)? == 1 { ranges.finish(1)? } else { ranges.skip(1)? }
                }
                Ok(())
            }
        }
    }
}

/// Between two runs lies at least one offset, which is not written.
fn coded_gap(gap: u64, first: bool) -> u64 {
    gap - u64::from(!first)
}

/// A count of codes that take `least` bits each, or more.
fn count(bits: &mut BitReader<'_>, least: u64) -> Result<u64, DecodeError> {
    let count = bits.number()?;
    if count > bits.remaining() / least {
        return Err(DecodeError::Corrupt("it counts more than it holds"));
    }
    Ok(count)
}
