//! Durations as people write them.

use std::time::Duration;

use serde::{Deserializer, Serializer};

use super::text::{Text, read};

const TEXT: Text<Duration> = Text { what: "a duration with its unit, as in 250ms, 10s, 5m or 1h", parse, number: bare };

/// The units, with their microseconds.
const UNITS: [(&str, u64); 5] = [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// Reads a duration as a person writes it: `250ms`, `10s`, `5m` or `1h`; `us` are millionths of a second.
///
/// # Errors
/// What is wrong with it. A bare number is refused: what it counts would have to be guessed.
pub fn parse(text: &str) -> Result<Duration, String> {
    let unit_at =
        text.find(|c: char| !c.is_ascii_digit()).ok_or("a duration carries its unit, as in 250ms, 10s, 5m or 1h")?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| "a duration starts with a whole number, as in 250ms or 10s")?;
    let Some((_, micros)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("{unit:?} is none of the units us, ms, s, m and h"));
    };
    number.checked_mul(*micros).map(Duration::from_micros).ok_or_else(|| "this is too long".to_owned())
}

fn bare(_: u64) -> Result<Duration, String> {
    Err("a duration carries its unit, as in 250ms, 10s, 5m or 1h".to_owned())
}

/// A duration as [`parse`] reads it, in the largest unit that leaves no rest. What is finer than millionths of a second is cut off.
pub(in crate::config) fn show(duration: Duration) -> String {
    let micros = duration.as_micros();
    let unit = UNITS.iter().find(|(_, each)| micros != 0 && micros.is_multiple_of(u128::from(*each)));
    unit.map_or_else(|| "0s".to_owned(), |(name, each)| format!("{}{name}", micros / u128::from(*each)))
}

pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    read(deserializer, TEXT)
}

pub(in crate::config) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*duration))
}

/// The same, without 0.
pub(in crate::config) mod above_zero {
    pub(in crate::config) use super::serialize;
    use super::*;

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let parse = |text: &str| match parse(text)? {
            Duration::ZERO => Err("it must be above 0".to_owned()),
            duration => Ok(duration),
        };
        read(deserializer, Text { parse, ..TEXT })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "10", "s", "-1s", "1.5s", "10 s", "10d", "10S", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(number in 0..1_000_000_000_u64, unit in 0..UNITS.len()) {
            let duration = Duration::from_micros(number.saturating_mul(UNITS[unit].1));
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }
    }
}
