//! Bits as characters that a broker takes, behind a tag and a checksum.

use std::str;

use super::bits::{BitReader, BitWriter};
use super::{DecodeError, VERSION};

/// Product, version and packing: `T1d`.
const TAG_CHARACTERS: usize = 3;
const CHECKSUM_BITS: u32 = 32;
/// 32,768 code points with no surrogate, control or unassigned block boundary rules to heed: one UTF-16 unit each.
const DENSE_FIRST: u32 = 0x5000;
const DENSE_BITS: u32 = 15;
const BASE64_BITS: u32 = 6;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How bits become text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// 15 bits in each character, of U+5000 to U+CFFF: one UTF-16 unit, three bytes of UTF-8.
    ///
    /// For brokers that limit characters, as Apache Kafka does: by default 4,095 pass, of whatever alphabet.
    Dense,
    /// 6 bits in each ASCII character: for brokers that limit bytes, and for tools that cannot show the others.
    Base64,
}

impl Packing {
    /// The packing that a text says it has; `None` where it is not of this version, or of another program. The text may be damaged.
    pub fn of(text: &[u8]) -> Option<Self> {
        untagged(text).ok().map(|(packing, _)| packing)
    }

    fn bits(self) -> u32 {
        match self {
            Self::Dense => DENSE_BITS,
            Self::Base64 => BASE64_BITS,
        }
    }

    fn letter(self) -> u8 {
        match self {
            Self::Dense => b'd',
            Self::Base64 => b'b',
        }
    }

    /// How many bits below the checksum `limit` characters hold.
    pub(super) fn room(self, limit: usize) -> Option<u64> {
        let bits = (limit.checked_sub(TAG_CHARACTERS)? as u64).saturating_mul(u64::from(self.bits()));
        bits.checked_sub(u64::from(CHECKSUM_BITS))
    }
}

/// The text of what `write` writes.
pub(super) fn seal(packing: Packing, write: impl FnOnce(&mut BitWriter)) -> String {
    let mut bits = BitWriter::default();
    bits.put(0, CHECKSUM_BITS);
    write(&mut bits);
    let (mut bytes, length) = bits.into_bytes(packing.bits());
    let checksum = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_be_bytes());

    let mut text = String::with_capacity(TAG_CHARACTERS + bytes.len() * 2);
    text.extend(['T', char::from(b'0' + VERSION), char::from(packing.letter())]);
    let mut reader = BitReader::new(&bytes, length);
    while let Ok(unit) = reader.take(packing.bits()) {
        text.extend(match packing {
            Packing::Dense => char::from_u32(DENSE_FIRST + unit as u32),
            Packing::Base64 => Some(char::from(BASE64[unit as usize])),
        });
    }
    text
}

/// Hands the bits below the checksum to `read`, once the checksum is found to be right.
pub(super) fn open<T>(
    text: &[u8],
    read: impl FnOnce(&mut BitReader<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let (packing, packed) = untagged(text)?;
    let packed = str::from_utf8(packed).map_err(|_| DecodeError::Corrupt("it is not UTF-8"))?;
    let mut bits = BitWriter::default();
    let mut length = 0;
    for character in packed.chars() {
        let unit = unit_of(character, packing).ok_or(DecodeError::Corrupt("a character is not of its alphabet"))?;
        bits.put(unit, packing.bits());
        length += u64::from(packing.bits());
    }
    let (bytes, _) = bits.into_bytes(packing.bits());
    let mut reader = BitReader::new(&bytes, length);
    let checksum = reader.take(CHECKSUM_BITS)?;
    if checksum != u64::from(crc32fast::hash(&bytes[4..])) {
        return Err(DecodeError::Corrupt("the checksum is wrong"));
    }
    let value = read(&mut reader)?;
    let padding = reader.remaining();
    if padding >= u64::from(packing.bits()) || reader.take(padding as u32)? != 0 {
        return Err(DecodeError::Corrupt("something follows its end"));
    }
    Ok(value)
}

fn untagged(text: &[u8]) -> Result<(Packing, &[u8]), DecodeError> {
    let Some(([b'T', version @ b'1'..=b'9', packing], packed)) = text.split_first_chunk::<TAG_CHARACTERS>() else {
        return Err(DecodeError::NotOurs);
    };
    match (version - b'0', packing) {
        (VERSION, b'd') => Ok((Packing::Dense, packed)),
        (VERSION, b'b') => Ok((Packing::Base64, packed)),
        (newer, b'a'..=b'z') if newer > VERSION => Err(DecodeError::Version(newer)),
        _ => Err(DecodeError::NotOurs),
    }
}

fn unit_of(character: char, packing: Packing) -> Option<u64> {
    let unit = match (packing, character) {
        (Packing::Dense, _) => u32::from(character).checked_sub(DENSE_FIRST)?,
        (Packing::Base64, 'A'..='Z') => u32::from(character) - u32::from('A'),
        (Packing::Base64, 'a'..='z') => u32::from(character) - u32::from('a') + 26,
        (Packing::Base64, '0'..='9') => u32::from(character) - u32::from('0') + 52,
        (Packing::Base64, '-') => 62,
        (Packing::Base64, '_') => 63,
        (Packing::Base64, _) => return None,
    };
    (unit < 1 << packing.bits()).then_some(u64::from(unit))
}
