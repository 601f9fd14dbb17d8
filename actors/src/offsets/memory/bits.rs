//! Bits, and the two codes that numbers are written in: one for single values, one for thousands of similar ones.
//!
//! - A *number* is 6 bits of width and then its bits below the leading one: 6 bits for 0 and 1, 68 for the largest.
//! - A *Rice code* with parameter `k` is `value >> k` ones, a zero, and the lowest `k` bits. It costs about half a bit
//!   more than the entropy of random gaps. [`ESCAPE`] ones mean that the value follows as a number: one huge gap
//!   among thousands of small ones then costs some 70 bits, and not a bit for each `1 << k`.

use super::DecodeError;

/// The number of ones that announces a value written as a number. No zero follows them.
const ESCAPE: u64 = 24;
/// Keeps the largest Rice code below 2^61.
pub(super) const MAX_RICE: u32 = 56;
/// What a Rice parameter and the width of a number take.
pub(super) const WIDTH_BITS: u32 = 6;
/// The largest number: 63 bits, as many as an offset has.
const MAX_NUMBER: u64 = i64::MAX as u64;

fn width(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// How many bits `value` takes as a number.
pub(super) fn number_cost(value: u64) -> u64 {
    u64::from(WIDTH_BITS + width(value).saturating_sub(1))
}

/// The largest number that takes at most `bits`.
pub(super) fn largest_number(bits: u64) -> Option<u64> {
    let below_leading_one = bits.checked_sub(u64::from(WIDTH_BITS))?;
    Some(1_u64.checked_shl(below_leading_one.min(63) as u32 + 1).map_or(MAX_NUMBER, |end| (end - 1).min(MAX_NUMBER)))
}

/// How many bits `value` takes as a Rice code.
pub(super) fn rice_cost(value: u64, k: u32) -> u64 {
    let ones = value >> k;
    if ones < ESCAPE { ones + 1 + u64::from(k) } else { ESCAPE + number_cost(value) }
}

/// The largest value whose Rice code takes at most `bits`.
pub(super) fn largest_rice(bits: u64, k: u32) -> Option<u64> {
    let escaped = bits.checked_sub(ESCAPE).and_then(largest_number).filter(|value| value >> k >= ESCAPE);
    escaped.or_else(|| {
        let ones = bits.checked_sub(u64::from(k) + 1)?.min(ESCAPE - 1);
        Some(ones << k | ((1 << k) - 1))
    })
}

/// Up to so many values all parameters are tried.
const FEW: usize = 128;

/// The Rice parameter that takes the fewest bits for `values`, each with how often it comes.
pub(super) fn best_rice(values: impl Iterator<Item = (u64, u64)> + Clone) -> u32 {
    // Trying all parameters on all values takes too long, and the mean is worth little where a few values are huge. So
    // values are counted by their width, which tells the best parameter but for one.
    let mut counts = [0_u64; 65];
    let mut sums = [0_u64; 65];
    for (value, times) in values.clone() {
        let width = width(value) as usize;
        counts[width] = counts[width].saturating_add(times);
        sums[width] = sums[width].saturating_add(value.saturating_mul(times));
    }
    let estimate = |k: u32| {
        counts.iter().zip(sums).zip(0_u64..).fold(0_u64, |cost, ((count, sum), width)| {
            let unary = if width > u64::from(k) { (sum >> k).saturating_sub(count / 2) } else { 0 };
            let code = unary.saturating_add(count.saturating_mul(u64::from(k) + 1));
            cost.saturating_add(code.min(count.saturating_mul(ESCAPE + 5 + width)))
        })
    };
    let exact = |k: u32| {
        values.clone().fold(0_u64, |sum, (value, times)| sum.saturating_add(times.saturating_mul(rice_cost(value, k))))
    };
    // Among few values one counts, and the estimate may be further off.
    let few = values.clone().nth(FEW).is_none();
    let near = (0..=MAX_RICE).min_by_key(|k| estimate(*k)).unwrap_or(0);
    let near = if few { 0..=MAX_RICE } else { near.saturating_sub(1)..=(near + 1).min(MAX_RICE) };
    near.min_by_key(|k| exact(*k)).unwrap_or(0)
}

/// Bits on their way into bytes, the highest of each byte first.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// The lowest `pending` of them are not in `bytes` yet.
    word: u64,
    pending: u32,
}

impl BitWriter {
    /// Appends the lowest `width` bits of `value`, which has no others.
    pub(super) fn put(&mut self, value: u64, width: u32) {
        if width > 32 {
            self.put(value >> 32, width - 32);
            return self.put(value & u64::from(u32::MAX), 32);
        }
        self.word = self.word << width | value;
        self.pending += width;
        while self.pending >= 8 {
            self.pending -= 8;
            self.bytes.push((self.word >> self.pending) as u8);
        }
    }

    /// Appends `count` times the same bit.
    pub(super) fn repeat(&mut self, bit: bool, mut count: u64) {
        while count > 0 {
            let width = count.min(32) as u32;
            self.put(if bit { (1 << width) - 1 } else { 0 }, width);
            count -= u64::from(width);
        }
    }

    pub(super) fn number(&mut self, value: u64) {
        let width = width(value);
        self.put(u64::from(width), WIDTH_BITS);
        if width > 1 {
            self.put(value & !(1 << (width - 1)), width - 1);
        }
    }

    pub(super) fn rice(&mut self, value: u64, k: u32) {
        let ones = value >> k;
        if ones < ESCAPE {
            self.repeat(true, ones);
            self.put(0, 1);
            self.put(value & ((1 << k) - 1), k);
        } else {
            self.repeat(true, ESCAPE);
            self.number(value);
        }
    }

    /// The bytes, and how many bits of them count: zeros lie behind the last bit up to a whole multiple of `unit` bits.
    pub(super) fn into_bytes(mut self, unit: u32) -> (Vec<u8>, u64) {
        let bits = self.bytes.len() as u64 * 8 + u64::from(self.pending);
        let padded = bits.next_multiple_of(u64::from(unit));
        self.repeat(false, padded.next_multiple_of(8) - bits);
        (self.bytes, padded)
    }
}

/// Reads what a [`BitWriter`] wrote. Whatever lies behind the end is an error, so a reader does no more than the bits allow.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: u64,
    end: u64,
}

impl<'a> BitReader<'a> {
    /// Reads the first `bits` of `bytes`.
    pub(super) fn new(bytes: &'a [u8], bits: u64) -> Self {
        Self { bytes, at: 0, end: bits.min(bytes.len() as u64 * 8) }
    }

    pub(super) fn remaining(&self) -> u64 {
        self.end - self.at
    }

    pub(super) fn take(&mut self, width: u32) -> Result<u64, DecodeError> {
        if u64::from(width) > self.remaining() {
            return Err(DecodeError::Corrupt("it ends too early"));
        }
        let mut value = 0;
        let mut missing = width;
        while missing > 0 {
            let used = (self.at % 8) as u32;
            let step = missing.min(8 - used);
            let byte = u64::from(self.bytes[(self.at / 8) as usize]);
            value = value << step | (byte >> (8 - used - step)) & ((1 << step) - 1);
            self.at += u64::from(step);
            missing -= step;
        }
        Ok(value)
    }

    pub(super) fn number(&mut self) -> Result<u64, DecodeError> {
        match self.take(WIDTH_BITS)? as u32 {
            0 => Ok(0),
            width => Ok(1 << (width - 1) | self.take(width - 1)?),
        }
    }

    pub(super) fn rice_parameter(&mut self) -> Result<u32, DecodeError> {
        let k = self.take(WIDTH_BITS)? as u32;
        if k > MAX_RICE { Err(DecodeError::Corrupt("a parameter is out of range")) } else { Ok(k) }
    }

    pub(super) fn rice(&mut self, k: u32) -> Result<u64, DecodeError> {
        let mut ones = 0;
        while self.take(1)? == 1 {
            ones += 1;
            if ones == ESCAPE {
                return self.number();
            }
        }
        Ok(ones << k | self.take(k)?)
    }
}
