//! Entries become settings, by serde; an error knows the entry that it comes of.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::ConfigError;
use super::file;
use super::layer::{Entry, Value};
use super::names;
use super::nearest::nearest;

/// Reads a table's settings.
pub(super) fn settings<'de, T: Deserialize<'de>>(
    entries: impl Iterator<Item = (&'de str, &'de Entry)>,
) -> Result<T, ConfigError> {
    let mut entries = Entries { rest: entries, value: None, at: None };
    T::deserialize(MapDeserializer(&mut entries)).map_err(|wrong| {
        let (name, origin) = match entries.at {
            Some(entry) => (entry.written.clone(), entry.origin.clone()),
            // No setting is required, so that an error is always one entry's.
            None => (String::new(), super::Origin::Default),
        };
        match wrong {
            Wrong::Name(meant) => {
                let nearest =
                    name.split_once('.').and_then(|(table, name)| match names::all().any(|each| each == name) {
                        true => Some(format!("{table}.kafka.{name}")),
                        false => meant.map(|meant| format!("{table}.{meant}")),
                    });
                ConfigError::Unknown { origin, name, nearest }
            }
            Wrong::Value(why) => ConfigError::Invalid { origin, name, why },
        }
    })
}

struct Entries<'de, I> {
    rest: I,
    value: Option<&'de Value>,
    /// The entry that is read.
    at: Option<&'de Entry>,
}

struct MapDeserializer<'e, E>(&'e mut E);

impl<'de, I: Iterator<Item = (&'de str, &'de Entry)>> Deserializer<'de> for MapDeserializer<'_, Entries<'de, I>> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_map(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, I: Iterator<Item = (&'de str, &'de Entry)>> MapAccess<'de> for &mut Entries<'de, I> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some((name, entry)) = self.rest.next() else { return Ok(None) };
        (self.at, self.value) = (Some(entry), Some(&entry.value));
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        seed.deserialize(self.value.take().unwrap_or(&Value::Table))
    }
}

impl Value {
    /// The value of a property.
    pub(super) fn text(&self) -> Result<String, String> {
        match self {
            Self::Text(text) | Self::Said(text) => Ok(text.clone()),
            Self::Integer(number) => Ok(number.to_string()),
            Self::Float(number) => Ok(number.to_string()),
            Self::Boolean(value) => Ok(value.to_string()),
            Self::List(_) => Err("librdkafka takes a list as one text, with commas".to_owned()),
            Self::Table => Err("a table stands where a value is expected".to_owned()),
        }
    }

    fn whole(&self) -> Result<i128, Wrong> {
        match self {
            Self::Integer(number) => Ok(i128::from(*number)),
            Self::Said(text) => {
                text.trim().parse().map_err(|_| Wrong::Value(format!("{text:?}: a whole number is expected")))
            }
            other => Err(de::Error::invalid_type(other.unexpected(), &"a whole number")),
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Text(text) | Self::Said(text) => Unexpected::Str(text),
            Self::Integer(number) => Unexpected::Signed(*number),
            Self::Float(number) => Unexpected::Float(*number),
            Self::Boolean(value) => Unexpected::Bool(*value),
            Self::List(_) => Unexpected::Seq,
            Self::Table => Unexpected::Map,
        }
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for &'de Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! whole_numbers {
    ($($method:ident: $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            let number = self.whole()?;
            match <$type>::try_from(number) {
                Ok(number) => visitor.visit_u64(u64::from(number)),
                Err(_) if number < 0 => Err(Wrong::Value(format!("{number}: it must not be below 0"))),
                Err(_) => Err(Wrong::Value(format!("{number}: it must be 0 to {}", <$type>::MAX))),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Value {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Value::Text(text) | Value::Said(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::List(list) => visitor.visit_seq(de::value::SeqDeserializer::new(list.iter())),
            Value::Table => Err(de::Error::invalid_type(Unexpected::Map, &visitor)),
        }
    }

    whole_numbers! { deserialize_u32: u32, deserialize_u64: u64, }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Said(text) => match text.parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(de::Error::invalid_type(self.unexpected(), &"a number")),
            },
            other => Err(de::Error::invalid_type(other.unexpected(), &"a number")),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Said(text) if text == "true" => visitor.visit_bool(true),
            Value::Said(text) if text == "false" => visitor.visit_bool(false),
            other => Err(de::Error::invalid_type(other.unexpected(), &"true or false")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Value::Said(text) if text.starts_with('[') => match file::list(text) {
                Some(list) => visitor.visit_seq(de::value::SeqDeserializer::new(list.into_iter())),
                None => Err(Wrong::Value(r#"it begins like a list, as in ["a", "b"], and is none"#.to_owned())),
            },
            Value::Said(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                visitor.visit_seq(de::value::SeqDeserializer::new(parts.map(StrDeserializer::<Wrong>::new)))
            }
            Value::List(_) => self.deserialize_any(visitor),
            other => Err(de::Error::invalid_type(other.unexpected(), &r#"a list, as in ["a", "b"]"#)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self {
            Value::Text(text) | Value::Said(text) => {
                StrDeserializer::new(text.as_str()).deserialize_enum(name, variants, visitor)
            }
            other => Err(de::Error::invalid_type(other.unexpected(), &OneOf(variants))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 char str string bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct map
        struct identifier ignored_any
    }
}

/// What is wrong with an entry.
#[derive(Debug)]
pub(super) enum Wrong {
    /// Its name, which may have been meant to be another.
    Name(Option<&'static str>),
    Value(String),
}

struct OneOf(&'static [&'static str]);

impl Expected for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", self.0.join(", "))
    }
}

/// What was found, without serde's words for it.
struct Found<'de>(Unexpected<'de>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Str(text) => write!(f, "{text:?}"),
            Unexpected::Unsigned(number) => number.fmt(f),
            Unexpected::Signed(number) => number.fmt(f),
            Unexpected::Float(number) => number.fmt(f),
            Unexpected::Bool(value) => value.fmt(f),
            Unexpected::Seq => f.write_str("a list"),
            Unexpected::Map => f.write_str("a table"),
            other => other.fmt(f),
        }
    }
}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self::Value(why.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Value(format!("{}: {expected} is expected", Found(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, variants: &'static [&'static str]) -> Self {
        Self::invalid_type(Unexpected::Str(found), &OneOf(variants))
    }

    fn unknown_field(name: &str, fields: &'static [&'static str]) -> Self {
        Self::Name(nearest(name, fields.iter().copied()))
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(_) => f.write_str("nothing has this name"),
            Self::Value(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Wrong {}
