//! Finished offsets above the watermark as text in a commit's metadata, so that the next owner skips them.
//!
//! A commit moves only as far as the lowest unfinished record. What is finished above it would be processed again by
//! whoever owns the partition next, unless the commit says so: [`encode`] puts it into the metadata, [`decode`] and
//! [`Memory::check`] take it out again and refuse whatever may speak of other records.
//!
//! # Format, version 1
//! `T1d` ([`Packing::Dense`]) or `T1b` ([`Packing::Base64`]), then packed bits, the highest first:
//!
//! | What | Bits |
//! |---|---|
//! | CRC-32 over all that follows, filled up to bytes | 32 |
//! | hash of the log | 32 |
//! | whether the topic's id went into it | 1 |
//! | base: the committed offset | number |
//! | layout | 2 |
//! | its Rice parameters | 6 each |
//! | how many codes follow | number |
//! | codes | as the layout says |
//! | zeros, fewer than a character holds | |
//!
//! A *number* is 6 bits of width and the bits below the leading one. The golden files beside the tests pin the version.

mod bits;
mod identity;
mod layout;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod mutation;
mod runs;
#[cfg(test)]
mod tests;
mod text;

use thiserror::Error;

use self::layout::{Layout, Plan};
use self::runs::RangeBuilder;
use super::FinishedRange;
use crate::ids::{NextOffset, Offset};

pub use self::identity::LogIdentity;
pub use self::text::Packing;

const VERSION: u8 = 1;

/// What a commit's metadata remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The format it was written in.
    pub version: u8,
    /// The offset that was committed with it.
    pub base: NextOffset,
    /// The finished offsets at or above `base`: at least one run, rising, none touching another.
    pub finished: Vec<FinishedRange>,
    log: LogIdentity,
}

/// Why a text tells nothing. None of these is worth more than a log line: without memory, records are processed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Empty, or what another program wrote.
    #[error("the metadata was not written by kafka-troupe")]
    NotOurs,
    /// Written by a newer kafka-troupe.
    #[error("the metadata has version {0} of the format, and {VERSION} is the highest known here")]
    Version(u8),
    /// It begins like ours, and is damaged.
    #[error("the metadata is damaged: {0}")]
    Corrupt(&'static str),
}

/// Why a memory does not hold here. The records it names may be others by now, so it must be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The committed offset was changed and the metadata kept, as MirrorMaker does when it translates offsets.
    #[error("the memory was committed at offset {remembered}, but the committed offset is {committed}")]
    Base {
        /// The base that the memory names.
        remembered: NextOffset,
        /// The offset that it came with.
        committed: NextOffset,
    },
    /// It was written for another cluster, topic or partition, or before the topic was created anew.
    #[error("the memory is of another log")]
    Log,
    /// It names offsets that hold no record yet, so the log was cut or replaced since.
    #[error("the memory names offset {last} as finished, but the high watermark is {high_watermark}")]
    BeyondEnd {
        /// The highest offset that the memory names.
        last: Offset,
        /// The offset that the next record will get.
        high_watermark: NextOffset,
    },
}

/// Writes down `finished`: runs in rising order, at or above `base`. What does not rise, or lies below, is left out.
///
/// All of it, if that fits into `limit` characters, and else the longest prefix that does; a prefix may end within a run.
/// Characters are UTF-16 units, and with [`Packing::Base64`] bytes as well. With [`Packing::Dense`], 4,095 of them hold
/// 12,000 random holes in 100,000 offsets, or 6,500 in a million. Takes time in proportion to the runs that could fit,
/// whatever their lengths.
///
/// `None` if there is nothing to remember, if not one offset fits, or if `base` is negative.
pub fn encode(
    base: NextOffset,
    finished: impl Iterator<Item = FinishedRange>,
    log: LogIdentity,
    packing: Packing,
    limit: usize,
) -> Option<String> {
    let base_number = u64::try_from(base.0).ok()?;
    let room = packing.room(limit)?.checked_sub(header_bits(base_number))?;
    // Every layout spends at least a bit on each run behind the first.
    let most = usize::try_from(room).unwrap_or(usize::MAX).saturating_add(1);
    let mut runs = runs::runs(base, finished, most);
    let plan = Plan::best(&runs, room)?;
    plan.cut(&mut runs);
    Some(text::seal(packing, |out| {
        out.put(u64::from(log.hash), 32);
        out.put(u64::from(log.with_id), 1);
        out.number(base_number);
        plan.layout.write(&runs, out);
    }))
}

/// Reads what [`encode`] wrote. Any bytes may come, UTF-8 or not; time and memory are bounded by their number.
///
/// Only [`Memory::check`] tells whether the memory holds for a partition.
///
/// # Errors
/// When the text is of another program, of a newer version, or damaged.
pub fn decode(text: &[u8]) -> Result<Memory, DecodeError> {
    text::open(text, |bits| {
        let hash = bits.take(32)? as u32;
        let with_id = bits.take(1)? == 1;
        let base = NextOffset(bits.number()? as i64);
        let mut ranges = RangeBuilder::new(base);
        Layout::read(bits, &mut ranges)?;
        let finished = ranges.build();
        if finished.is_empty() {
            return Err(DecodeError::Corrupt("it remembers nothing"));
        }
        Ok(Memory { version: VERSION, base, finished, log: LogIdentity { hash, with_id } })
    })
}

impl Memory {
    /// The finished offsets, if the memory holds for the log it was read from.
    ///
    /// `base` is the committed offset that came with it. Of the two identities, the one counts that the writer used:
    /// it may not have known the topic's id. Who does not know the id either gives the same identity twice, and then
    /// refuses what was written with one.
    ///
    /// # Errors
    /// When the memory is of another base or log, or names offsets at or beyond `high_watermark`.
    pub fn check(
        self,
        base: NextOffset,
        log_with_id: LogIdentity,
        log_without_id: LogIdentity,
        high_watermark: NextOffset,
    ) -> Result<Vec<FinishedRange>, Mismatch> {
        if self.log != log_with_id && self.log != log_without_id {
            return Err(Mismatch::Log);
        }
        if self.base != base {
            return Err(Mismatch::Base { remembered: self.base, committed: base });
        }
        match self.finished.last() {
            Some(range) if range.last.0 >= high_watermark.0 => {
                Err(Mismatch::BeyondEnd { last: range.last, high_watermark })
            }
            _ => Ok(self.finished),
        }
    }

    /// Whether the topic's id went into the identity of the log: only who knows the id can check it.
    pub fn names_topic_id(&self) -> bool {
        self.log.with_id
    }

    /// The same memory as text again, or the longest prefix of it that `limit` characters hold: see [`encode`].
    pub fn shortened(&self, packing: Packing, limit: usize) -> Option<String> {
        encode(self.base, self.finished.iter().copied(), self.log, packing, limit)
    }
}

/// How many offsets from `base` on are not in `ranges`, but below the highest that is. `ranges` are as in [`Memory`].
pub fn holes(ranges: &[FinishedRange], base: NextOffset) -> u64 {
    let runs = runs::runs(base, ranges.iter().copied(), usize::MAX);
    runs.iter().map(|run| run.gap).sum()
}

fn header_bits(base: u64) -> u64 {
    32 + 1 + bits::number_cost(base)
}
