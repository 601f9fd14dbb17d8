use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

/// How a value is read that people write as text, and perhaps as a number.
pub(super) struct Text<T> {
    /// What is expected.
    pub(super) what: &'static str,
    pub(super) parse: fn(&str) -> Result<T, String>,
    pub(super) number: fn(u64) -> Result<T, String>,
}

/// Reads such a value, from whatever format.
pub(super) fn read<'de, T, D: Deserializer<'de>>(deserializer: D, text: Text<T>) -> Result<T, D::Error> {
    deserializer.deserialize_any(TextVisitor(text))
}

struct TextVisitor<T>(Text<T>);

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.what)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0.parse)(text).map_err(|why| E::custom(format!("{text:?}: {why}")))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        (self.0.number)(number).map_err(|why| E::custom(format!("{number}: {why}")))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}
