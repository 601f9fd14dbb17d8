//! A record as one line of JSON: what `troupe consume --json` prints and `troupe produce --input records` reads, without loss.
//!
//! ```json
//! {"topic":"orders","partition":3,"offset":17,"timestamp":1700000000000,"key":"k","value":"v","headers":[{"name":"n","value":"v"}]}
//! ```
//! The fields come in this order. A null key, value or header value is `null`; a record without a timestamp has `null` there; `headers` is
//! left out where there are none. Bytes that are not UTF-8 stand under another name, as base64: `key_base64`, `value_base64`, in a header
//! `value_base64`. Headers are an array, so that their order and repeated names survive.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kafka_troupe::Record;
use serde::{Deserialize, Serialize};

/// A record to print. It borrows everything.
#[derive(Clone, Copy)]
pub(crate) struct RecordToPrint<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp: Option<i64>,
    /// `None` for a null key.
    pub(crate) key: Option<&'a [u8]>,
    /// `None` for a null value.
    pub(crate) value: Option<&'a [u8]>,
}

impl<'a> From<&'a Record> for RecordToPrint<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            topic: record.topic(),
            partition: record.partition().0,
            offset: record.offset().0,
            timestamp: record.timestamp(),
            key: record.key(),
            value: record.value(),
        }
    }
}

/// Appends the record to `line` as JSON, without a line end. Nothing is allocated but what `line` grows by.
///
/// `headers` are names and values in their order, as [`Record::headers`] gives them.
pub(crate) fn write<'h>(
    line: &mut Vec<u8>,
    record: RecordToPrint<'_>,
    headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
) {
    line.extend_from_slice(b"{\"topic\":");
    json(line, record.topic);
    line.extend_from_slice(b",\"partition\":");
    json(line, &record.partition);
    line.extend_from_slice(b",\"offset\":");
    json(line, &record.offset);
    line.extend_from_slice(b",\"timestamp\":");
    json(line, &record.timestamp);
    line.push(b',');
    bytes(line, "key", record.key);
    line.push(b',');
    bytes(line, "value", record.value);
    let mut first = true;
    for (name, value) in headers {
        line.extend_from_slice(if first { b",\"headers\":[{\"name\":" } else { b",{\"name\":" });
        first = false;
        json(line, name);
        line.push(b',');
        bytes(line, "value", value);
        line.push(b'}');
    }
    line.extend_from_slice(if first { b"}" } else { b"]}" });
}

fn json(line: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Neither strings and numbers nor a Vec that is written to can fail.
    let written = serde_json::to_writer(line, value);
    debug_assert!(written.is_ok());
}

/// `"name":"text"`, or `"name_base64":"..."` where the bytes are no text.
fn bytes(line: &mut Vec<u8>, name: &str, bytes: Option<&[u8]>) {
    line.push(b'"');
    line.extend_from_slice(name.as_bytes());
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => line.extend_from_slice(b"\":null"),
        Some((_, Ok(text))) => {
            line.extend_from_slice(b"\":");
            json(line, text);
        }
        Some((bytes, Err(_))) => {
            line.extend_from_slice(b"_base64\":\"");
            let start = line.len();
            // 4 characters for each 3 bytes begun.
            line.resize(start + bytes.len().div_ceil(3) * 4, 0);
            let written = STANDARD.encode_slice(bytes, &mut line[start..]);
            debug_assert_eq!(written, Ok(line.len() - start));
            line.push(b'"');
        }
    }
}

/// A record as it was read. What needs no unescaping is borrowed from the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReadRecord<'a> {
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Cow<'a, [u8]>>,
    pub(crate) value: Option<Cow<'a, [u8]>>,
    pub(crate) headers: Vec<ReadHeader<'a>>,
}

/// A header's name and value.
pub(crate) type ReadHeader<'a> = (Cow<'a, str>, Option<Cow<'a, [u8]>>);

/// Reads what [`write()`] wrote. Fields may come in any order and be left out: a missing key or value is a null one.
///
/// # Errors
/// What is wrong with the line, without its line number.
pub(crate) fn read(line: &[u8]) -> Result<ReadRecord<'_>, Unreadable> {
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(Unreadable::Json)?;
    let headers = fields.headers.unwrap_or_default().into_iter().map(|header| {
        let value = either("a header's value", header.value, header.value_base64)?;
        Ok((header.name.0, value))
    });
    Ok(ReadRecord {
        partition: fields.partition,
        timestamp: fields.timestamp,
        key: either("key", fields.key, fields.key_base64)?,
        value: either("value", fields.value, fields.value_base64)?,
        headers: headers.collect::<Result<_, _>>()?,
    })
}

fn either<'a>(
    name: &'static str,
    text: Option<Text<'a>>,
    base64: Option<Text<'a>>,
) -> Result<Option<Cow<'a, [u8]>>, Unreadable> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(Text(Cow::Borrowed(text))), None) => Ok(Some(Cow::Borrowed(text.as_bytes()))),
        (Some(Text(Cow::Owned(text))), None) => Ok(Some(Cow::Owned(text.into_bytes()))),
        (None, Some(Text(base64))) => match STANDARD.decode(base64.as_bytes()) {
            Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
            Err(error) => Err(Unreadable::Base64(name, error)),
        },
        (Some(_), Some(_)) => Err(Unreadable::Both(name)),
    }
}

/// Why a line is no record.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Json(serde_json::Error),
    Base64(&'static str, base64::DecodeError),
    Both(&'static str),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => f.write_str(&of_one_line(error)),
            Self::Base64(name, error) => write!(f, "{name} is no base64: {error}"),
            Self::Both(name) => write!(f, "{name} stands there twice, as text and as base64"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// What is wrong with a line of JSON. serde_json counts lines too, but has only seen the one.
pub(crate) fn of_one_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// Topic and offset are read, for a line without loss has them, and not used.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow, rename = "topic")]
    _topic: Option<Text<'a>>,
    partition: Option<i32>,
    #[serde(rename = "offset")]
    _offset: Option<i64>,
    timestamp: Option<i64>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow)]
    key_base64: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    value_base64: Option<Text<'a>>,
    #[serde(borrow)]
    headers: Option<Vec<Header<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    value_base64: Option<Text<'a>>,
}

/// serde borrows a `Cow` where it stands alone, and copies one within an `Option`; hence this type between them.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Headers<'a> = [(&'a str, Option<&'a [u8]>)];

    fn record() -> RecordToPrint<'static> {
        RecordToPrint { topic: "t", partition: 3, offset: 17, timestamp: Some(5), key: Some(b"k"), value: Some(b"v") }
    }

    fn written(record: RecordToPrint<'_>, headers: &Headers<'_>) -> String {
        let mut line = Vec::new();
        write(&mut line, record, headers.iter().copied());
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn the_fields_come_in_their_order_and_no_headers_are_left_out() {
        let plain = r#"{"topic":"t","partition":3,"offset":17,"timestamp":5,"key":"k","value":"v"}"#;
        assert_eq!(written(record(), &[]), plain);
        let headers: &Headers<'_> = &[("a", Some(b"1")), ("a", None), ("b", Some(b"\xff\xfe"))];
        let nothing = RecordToPrint { timestamp: None, key: None, value: Some(b"\x00\xff"), ..record() };
        assert_eq!(
            written(nothing, headers),
            r#"{"topic":"t","partition":3,"offset":17,"timestamp":null,"key":null,"value_base64":"AP8=","#.to_owned()
                + r#""headers":[{"name":"a","value":"1"},{"name":"a","value":null},{"name":"b","value_base64":"//4="}]}"#
        );
    }

    #[test]
    fn what_needs_no_unescaping_is_borrowed() {
        let line = written(record(), &[("n", Some(b"v"))]);
        let read = read(line.as_bytes()).unwrap();
        assert!(matches!(read.key, Some(Cow::Borrowed(b"k"))));
        assert!(matches!(read.value, Some(Cow::Borrowed(b"v"))));
        assert!(matches!(read.headers[0], (Cow::Borrowed("n"), Some(Cow::Borrowed(b"v")))));
    }

    #[test]
    fn a_line_that_is_no_record_says_why() {
        let why = |line: &str| read(line.as_bytes()).unwrap_err().to_string();
        assert!(why("{\"key\":").contains("EOF while parsing a value at column 7"));
        assert!(why(r#"{"kee":"k"}"#).contains("unknown field `kee`"));
        assert!(why(r#"{"key":1}"#).contains("expected a string"));
        assert!(why(r#"{"key":"k","key_base64":"aw=="}"#).contains("key stands there twice"));
        assert!(why(r#"{"value_base64":"%"}"#).contains("value is no base64"));
        assert!(why(r#"{"headers":[{"value":"v"}]}"#).contains("missing field `name`"));
        assert!(why("[]").contains("invalid"));
    }

    #[test]
    fn what_is_missing_is_null() {
        let nothing = ReadRecord { partition: None, timestamp: None, key: None, value: None, headers: Vec::new() };
        assert_eq!(read(b"{}").unwrap(), nothing);
        assert_eq!(read(br#"{"key":null,"value":null,"headers":null}"#).unwrap(), nothing);
    }

    fn part() -> impl Strategy<Value = Option<Vec<u8>>> {
        let text = ".{0,20}".prop_map(String::into_bytes);
        proptest::option::of(prop_oneof![text, proptest::collection::vec(any::<u8>(), 0..20)])
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again(
            partition in 0..i32::MAX,
            offset in 0..i64::MAX,
            timestamp in proptest::option::of(any::<i64>()),
            key in part(),
            value in part(),
            headers in proptest::collection::vec((".{0,10}", part()), 0..4),
        ) {
            let printed = RecordToPrint {
                topic: "t", partition, offset, timestamp, key: key.as_deref(), value: value.as_deref(),
            };
            let mut line = Vec::new();
            write(&mut line, printed, headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
            prop_assert!(!line.contains(&b'\n'), "more than one line");
            let read = read(&line).unwrap();
            prop_assert_eq!(read.partition, Some(partition));
            prop_assert_eq!(read.timestamp, timestamp);
            prop_assert_eq!(read.key.as_deref(), key.as_deref());
            prop_assert_eq!(read.value.as_deref(), value.as_deref());
            let again: Vec<_> = read.headers.iter().map(|(n, v)| (n.to_string(), v.as_deref().map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(again, headers);
        }
    }
}
