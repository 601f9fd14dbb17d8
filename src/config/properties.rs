use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use troupe_actors::secret;

use super::names;

/// Properties of librdkafka's, by name. Of two names for the same thing (`acks`, `request.required.acks`) the one that is set last counts.
///
/// Values of secret ones are neither shown by `Debug` nor serialized: `***` stands in their place.
///
/// Deserialized from a table of texts, numbers, truth values, and tables of these: `bootstrap.servers = "kafka:9092"` is a table in a table
/// to TOML, `"bootstrap.servers" = "kafka:9092"` is not, and both mean the same.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// The value of a property, by any of its names, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(names::canonical(name)).map(String::as_str)
    }

    /// Sets a property.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(names::canonical(name).to_owned(), value.into());
    }

    /// Names and values, in the names' order: librdkafka's own names, but for `bootstrap.servers`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All but this one.
    pub(super) fn without(&self, name: &str) -> Self {
        let mut others = self.clone();
        others.0.remove(names::canonical(name));
        others
    }

    fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().map(|(name, value)| (name, secret::shown(name, value)))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.shown())
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut properties = Self::default();
        if let Branch::Table(table) = Branch::deserialize(deserializer)? {
            take(&mut properties, "", table);
            return Ok(properties);
        }
        Err(D::Error::custom("librdkafka's properties stand in a table"))
    }
}

fn take(properties: &mut Properties, before: &str, table: Vec<(String, Branch)>) {
    for (name, branch) in table {
        let name = if before.is_empty() { name } else { format!("{before}.{name}") };
        match branch {
            Branch::Value(value) => properties.set(&name, value),
            Branch::Table(table) => take(properties, &name, table),
        }
    }
}

enum Branch {
    Value(String),
    Table(Vec<(String, Branch)>),
}

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BranchVisitor;

        impl<'de> Visitor<'de> for BranchVisitor {
            type Value = Branch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Branch, E> {
                Ok(Branch::Value(text.to_owned()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Branch, E> {
                Ok(Branch::Value(value.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Branch, E> {
                Ok(Branch::Value(number.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Branch, E> {
                Ok(Branch::Value(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Branch, E> {
                Ok(Branch::Value(number.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Branch, A::Error> {
                let mut table = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    table.push(entry);
                }
                Ok(Branch::Table(table))
            }
        }

        deserializer.deserialize_any(BranchVisitor)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_are_read_quoted_or_not() {
        let text = "bootstrap.servers = 'a:1'\n'client.id' = 'me'\nfetch.min.bytes = 7\nfetch.max.bytes = 9\nssl.key.password='x'\n\
                    enable.idempotence = false";
        let properties: Properties = toml::from_str(text).unwrap();
        let expected = [
            ("bootstrap.servers", "a:1"),
            ("client.id", "me"),
            ("enable.idempotence", "false"),
            ("fetch.max.bytes", "9"),
            ("fetch.min.bytes", "7"),
            ("ssl.key.password", "x"),
        ];
        assert_eq!(properties.iter().collect::<Vec<_>>(), expected);
        assert!(toml::from_str::<Properties>("a = ['b']").is_err());
    }

    #[test]
    fn two_names_of_one_thing_do_not_stand_beside_each_other() {
        let mut properties = Properties::default();
        properties.set("request.required.acks", "1");
        properties.set("acks", "all");
        assert_eq!(properties.iter().collect::<Vec<_>>(), [("request.required.acks", "all")]);
        assert_eq!(properties.get("acks"), Some("all"));
    }

    #[test]
    fn secrets_are_neither_shown_nor_serialized() {
        let mut properties = Properties::default();
        properties.set("sasl.password", "hunter2");
        properties.set("client.id", "me");
        let serialized = toml::Table::try_from(&properties).unwrap();
        let shown = format!("{properties:?} {serialized:?}");
        assert!(!shown.contains("hunter2") && shown.contains("***") && shown.contains("me"), "{shown}");
    }
}
