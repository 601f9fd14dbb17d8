//! Sizes in bytes, as people write them.

use serde::{Deserialize, Deserializer, Serializer};

use super::text::{Text, read};

/// The units, with their bytes. Those of ten's powers are left out: hardly anyone who writes MB means a million.
const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const WHAT: &str = "a size, as in 4MiB, 256KiB or 65536";

/// A number of bytes, whichever type counts them.
pub(in crate::config) trait Bytes: Copy + TryFrom<u64> + TryInto<u64> {}
impl Bytes for u64 {}
impl Bytes for usize {}

fn parse<T: Bytes>(text: &str) -> Result<T, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| format!("a size starts with a whole number: {WHAT}"))?;
    let bytes = match UNITS.iter().find(|(name, _)| *name == unit.trim_start()) {
        Some((_, bytes)) => *bytes,
        None if unit.is_empty() => 1,
        None => return Err(format!("{:?} is none of the units B, KiB, MiB, GiB and TiB", unit.trim_start())),
    };
    whole(number.checked_mul(bytes).ok_or("this is too much")?)
}

fn whole<T: Bytes>(bytes: u64) -> Result<T, String> {
    if bytes == 0 {
        return Err("it must be above 0".to_owned());
    }
    T::try_from(bytes).map_err(|_| "this is too much".to_owned())
}

/// A size in the largest unit that leaves no rest.
fn show(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, each)| bytes != 0 && bytes.is_multiple_of(*each));
    unit.map_or_else(|| bytes.to_string(), |(name, each)| format!("{}{name}", bytes / each))
}

pub(in crate::config) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Bytes + Deserialize<'de>,
    D: Deserializer<'de>,
{
    read(deserializer, Text { what: WHAT, parse, number: whole })
}

/// The same, for what is addressed with 30 bits.
pub(in crate::config) fn up_to_1_gib<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    fn bounded(bytes: usize) -> Result<usize, String> {
        if bytes > 1 << 30 { Err("it must not be above 1GiB".to_owned()) } else { Ok(bytes) }
    }
    let text = Text { what: WHAT, parse: |text| bounded(parse(text)?), number: |bytes| bounded(whole(bytes)?) };
    read(deserializer, text)
}

pub(in crate::config) fn serialize<T: Bytes, S: Serializer>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = (*bytes).try_into().unwrap_or(u64::MAX);
    serializer.serialize_str(&show(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_with_a_unit_or_as_bytes() {
        for (text, bytes) in [
            ("4MiB", 4 << 20),
            ("256KiB", 256 << 10),
            ("1 GiB", 1 << 30),
            ("65536", 65_536),
            ("7B", 7),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse::<u64>(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "4MB", "4mib", "1.5MiB", "-1", "0", "0MiB", "18446744073709551615KiB", "4MiB/s"] {
            assert!(parse::<u64>(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(number in 1..1_u64 << 23, unit in 0..UNITS.len()) {
            let bytes = number * UNITS[unit].1;
            prop_assert_eq!(parse::<u64>(&show(bytes)), Ok(bytes));
        }
    }
}
