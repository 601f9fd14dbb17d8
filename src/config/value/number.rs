//! Whole numbers within bounds: those that the builders would refuse are refused where their place is known.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A whole number, or none.
pub(in crate::config) trait Whole {
    fn number(&self) -> Option<u64>;
}

impl Whole for u32 {
    fn number(&self) -> Option<u64> {
        Some(u64::from(*self))
    }
}

impl Whole for u64 {
    fn number(&self) -> Option<u64> {
        Some(*self)
    }
}

impl Whole for usize {
    fn number(&self) -> Option<u64> {
        u64::try_from(*self).ok()
    }
}

impl<T: Whole> Whole for Option<T> {
    fn number(&self) -> Option<u64> {
        self.as_ref().and_then(Whole::number)
    }
}

pub(in crate::config) fn above_zero<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Whole,
    D: Deserializer<'de>,
{
    match T::deserialize(deserializer)? {
        zero if zero.number() == Some(0) => Err(D::Error::custom("0: it must be above 0")),
        number => Ok(number),
    }
}

/// From 0 to 1.
pub(in crate::config) fn share<'de, D>(deserializer: D) -> Result<f64, D::Error>
where
    D: Deserializer<'de>,
{
    match f64::deserialize(deserializer)? {
        share if (0.0..=1.0).contains(&share) => Ok(share),
        outside => Err(D::Error::custom(format!("{outside}: it must be 0 to 1"))),
    }
}

pub(in crate::config) fn within<'de, const MIN: u64, const MAX: u64, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Whole,
    D: Deserializer<'de>,
{
    let number = T::deserialize(deserializer)?;
    match number.number() {
        Some(outside) if !(MIN..=MAX).contains(&outside) => {
            Err(D::Error::custom(format!("{outside}: it must be {MIN} to {MAX}")))
        }
        _ => Ok(number),
    }
}
