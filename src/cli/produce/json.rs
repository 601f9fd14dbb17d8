//! NDJSON: each line is a value, its key what a pointer (RFC 6901) finds in it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::row::Row;
use super::split::{BadInput, Splitter};
use crate::cli::record_json::of_one_line;

/// A JSON pointer, such as `/customer/id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let Some(tokens) = text.strip_prefix('/') else {
            return Err("a JSON pointer begins with a slash, as in /customer/id".to_owned());
        };
        let unescaped = |token: &str| {
            let stray = token.replace("~0", "").replace("~1", "").contains('~');
            if stray { Err("in a JSON pointer ~ is written ~0, and / within a name ~1".to_owned()) } else { Ok(()) }
                .map(|()| token.replace("~1", "/").replace("~0", "~"))
        };
        tokens.split('/').map(unescaped).collect::<Result<_, _>>().map(Self)
    }
}

/// See the module.
pub(super) struct JsonRows {
    splitter: Splitter,
    key: Pointer,
}

impl JsonRows {
    pub(super) fn new(splitter: Splitter, key: Pointer, from_line: u64) -> Self {
        let mut splitter = splitter.without_blanks(|line| line.trim_ascii().is_empty());
        splitter.skip_to(from_line);
        Self { splitter, key }
    }

    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, BadInput> {
        let Some(stretch) = self.splitter.next_line()? else {
            return Ok(None);
        };
        let (line, bytes) = (stretch.line, stretch.bytes);
        let bad = |what: String| BadInput { line, what };
        let found = find(bytes, &self.key.0).map_err(|error| bad(format!("no JSON: {}", of_one_line(&error))))?;
        let Some(found) = found else {
            return Err(bad(format!("there is nothing at /{}", self.key.0.join("/"))));
        };
        let key = key(found).map_err(|error| bad(format!("the key: {}", of_one_line(&error))))?;
        Ok(Some(Row { key, value: Some(Cow::Borrowed(bytes)), ..Row::at(line) }))
    }
}

/// A string is its characters, null is no key, and anything else is as it is written.
fn key(json: &str) -> serde_json::Result<Option<Cow<'_, [u8]>>> {
    Ok(match json {
        "null" => None,
        text if text.starts_with('"') => {
            if text.contains('\\') {
                Some(Cow::Owned(serde_json::from_str::<String>(text)?.into_bytes()))
            } else {
                Some(Cow::Borrowed(&text.as_bytes()[1..text.len() - 1]))
            }
        }
        other => Some(Cow::Borrowed(other.as_bytes())),
    })
}

/// What the pointer finds, as it is written. The whole line is read, for a half one is no value.
fn find<'a>(line: &'a [u8], path: &[String]) -> serde_json::Result<Option<&'a str>> {
    let mut json = serde_json::Deserializer::from_slice(line);
    let found = Step { path }.deserialize(&mut json)?;
    json.end()?;
    Ok(found)
}

/// Goes down one path of a document, and past everything else in it without keeping it.
#[derive(Clone, Copy)]
struct Step<'p> {
    path: &'p [String],
}

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        if self.path.is_empty() {
            let raw: &'de RawValue = serde::Deserialize::deserialize(json)?;
            return Ok(Some(raw.get()));
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (name, path) = self.path.split_first().ok_or_else(|| A::Error::custom("no path"))?;
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(name))? {
            if is_it {
                // Of repeated names the last one counts, as with most readers of JSON.
                found = map.next_value_seed(Step { path })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (name, path) = self.path.split_first().ok_or_else(|| A::Error::custom("no path"))?;
        // RFC 6901: no sign, no leading zero.
        let index = name.parse::<usize>().ok().filter(|index| index.to_string() == *name);
        let mut found = None;
        for at in 0.. {
            if Some(at) == index {
                match seq.next_element_seed(Step { path })? {
                    Some(element) => found = element,
                    None => break,
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a name is this one, without keeping it.
struct Is<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::split::tests::trickle;
    use super::*;

    fn first(pointer: &str, input: &str) -> Result<Option<String>, String> {
        let mut rows = JsonRows::new(trickle(input.as_bytes(), 7), Pointer::parse(pointer)?, 1);
        let row = rows.next().map_err(|error| error.to_string())?.unwrap();
        assert_eq!(row.value.as_deref(), Some(input.trim_matches('\n').as_bytes()));
        Ok(row.key.map(|key| String::from_utf8(key.into_owned()).unwrap()))
    }

    #[test]
    fn the_key_is_what_the_pointer_finds() {
        let line =
            r#" {"a":{"b":[1,{"c/d":"x\ny"}],"~":1.50},"a":{"b":["z",{"c/d":"é"}],"~":1.50,"n":null,"o":{"p": 1}}} "#;
        for (pointer, key) in [
            ("/a/b/0", Some("z")),
            ("/a/b/1/c~1d", Some("é")),
            ("/a/~0", Some("1.50")),
            ("/a/n", None),
            ("/a/o", Some(r#"{"p": 1}"#)),
        ] {
            assert_eq!(first(pointer, line).unwrap().as_deref(), key, "{pointer}");
        }
        assert_eq!(first("", "\n\n\"x\\ty\"\n").unwrap().as_deref(), Some("x\ty"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (pointer, input, what) in [
            ("/a", "{\"b\":1}", "line 1: there is nothing at /a"),
            ("/a/0", "{\"a\":7}", "line 1: there is nothing at /a/0"),
            ("/a/01", "{\"a\":[7,8]}", "line 1: there is nothing at /a/01"),
            ("/a", "{\"a\":1", "line 1: no JSON: EOF while parsing an object at column 6"),
            ("/a", "{\"a\":1} x", "line 1: no JSON: trailing characters at column 9"),
            ("/a", "{\"a\":tru}", "line 1: no JSON: expected ident at column 9"),
        ] {
            assert_eq!(first(pointer, input).unwrap_err(), what);
        }
        for pointer in ["a", "/a~", "/~2"] {
            assert!(Pointer::parse(pointer).is_err(), "{pointer}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a~/\"\\\\é]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a~/]{0,1}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_serde_json_finds(document in json(), pointer in "(/(0|1|a|~0|~1|)){0,3}") {
            let line = document.to_string();
            let path = Pointer::parse(&pointer).unwrap();
            let found = find(line.as_bytes(), &path.0).unwrap().map(|json| serde_json::from_str::<Value>(json).unwrap());
            prop_assert_eq!(found.as_ref(), document.pointer(&pointer));
        }
    }
}
