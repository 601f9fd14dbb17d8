//! CSV (RFC 4180): the value is the row as it stands, the key one of its fields.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

use super::row::Row;
use super::split::{BadInput, Splitter, Stretch};
use crate::cli::exit::Misuse;

/// Rows of a CSV file, behind its header.
pub(super) struct CsvRows {
    splitter: Splitter,
    columns: usize,
    key: Option<usize>,
    /// Columns that become headers: place and name.
    headers: Vec<(usize, String)>,
}

impl CsvRows {
    /// Reads the header. `key` is the name of the column that holds the keys, `headers` those of columns that become headers.
    pub(super) fn new(
        splitter: Splitter,
        key: Option<&str>,
        headers: &[String],
        from_line: u64,
    ) -> anyhow::Result<Self> {
        let mut splitter = splitter.without_blanks(<[u8]>::is_empty);
        let Some(Stretch { bytes, .. }) = next(&mut splitter)? else {
            return Err(BadInput { line: 1, what: "the input is empty, where CSV has a header".to_owned() }.into());
        };
        let header = fields(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
        let named = |key: &str| {
            header.iter().position(|name| **name == *key.as_bytes()).ok_or_else(|| {
                let names: Vec<_> = header.iter().map(|name| String::from_utf8_lossy(name)).collect();
                Misuse(format!("there is no column {key}; the columns are {}", names.join(", ")))
            })
        };
        let key = key.map(named).transpose()?;
        let headers = headers.iter().map(|name| Ok((named(name)?, name.clone()))).collect::<Result<_, Misuse>>()?;
        let columns = header.len();
        splitter.skip_to(from_line);
        Ok(Self { splitter, columns, key, headers })
    }

    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, BadInput> {
        let Some(Stretch { line, bytes }) = next(&mut self.splitter)? else {
            return Ok(None);
        };
        let (found, key) = pick(bytes, self.key.unwrap_or(usize::MAX));
        if found != self.columns {
            let what = format!("{found} fields, where the header has {}", self.columns);
            return Err(BadInput { line, what });
        }
        let mut headers = Vec::new();
        if !self.headers.is_empty() {
            let fields = fields(bytes);
            headers.extend(self.headers.iter().map(|(at, name)| (Cow::Borrowed(&**name), Some(fields[*at].clone()))));
        }
        Ok(Some(Row { key, value: Some(Cow::Borrowed(bytes)), headers, ..Row::at(line) }))
    }
}

/// The next row, over as many lines as it takes.
fn next(splitter: &mut Splitter) -> Result<Option<Stretch<'_>>, BadInput> {
    let mut place = Place::FieldStart;
    let goes_on = |line: &[u8]| {
        if place == Place::FieldStart && memchr(b'"', line).is_none() {
            return false;
        }
        place = line.iter().fold(place, |place, byte| place.after(*byte));
        place == Place::Quoted
    };
    splitter.next_while(goes_on, "a quoted field begins in this row and does not end")
}

/// Where a reader stands within a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Bare,
    Quoted,
    /// Behind a quote within quotes: it ends them, unless another follows.
    Quote,
}

impl Place {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::FieldStart | Self::Quote, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Quoted, _) => Self::Quoted,
            (_, b',') => Self::FieldStart,
            _ => Self::Bare,
        }
    }
}

/// How many fields a row has, and the one at `wanted`, without its quotes.
fn pick(row: &[u8], wanted: usize) -> (usize, Option<Cow<'_, [u8]>>) {
    if memchr(b'"', row).is_some() {
        let mut fields = fields(row);
        let count = fields.len();
        return (count, (wanted < count).then(|| fields.swap_remove(wanted)));
    }
    let (mut count, mut start, mut picked) = (0, 0, None);
    for end in memchr_iter(b',', row).chain([row.len()]) {
        if count == wanted {
            picked = Some(Cow::Borrowed(&row[start..end]));
        }
        count += 1;
        start = end + 1;
    }
    (count, picked)
}

/// The fields of a row, without their quotes.
fn fields(row: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let (mut fields, mut start, mut place) = (Vec::new(), 0, Place::FieldStart);
    for (at, byte) in row.iter().enumerate() {
        place = place.after(*byte);
        if place == Place::FieldStart {
            fields.push(unquoted(&row[start..at]));
            start = at + 1;
        }
    }
    fields.push(unquoted(&row[start..]));
    fields
}

fn unquoted(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.starts_with(b"\"") {
        return Cow::Borrowed(field);
    }
    let (mut plain, mut place) = (Vec::with_capacity(field.len()), Place::FieldStart);
    for byte in field {
        let before = place;
        place = place.after(*byte);
        // The quotes around it, and the first of two within, are not the field's.
        let is_quote =
            *byte == b'"' && matches!((before, place), (Place::FieldStart, _) | (Place::Quoted, Place::Quote));
        if !is_quote {
            plain.push(*byte);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::super::split::tests::trickle;
    use super::*;

    type Keyed = (u64, Option<Vec<u8>>, Vec<u8>);

    fn rows(input: &[u8], key: Option<&str>, from_line: u64) -> Result<Vec<Keyed>, String> {
        let mut rows = CsvRows::new(trickle(input, 7), key, &[], from_line).map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(|error| error.to_string())? {
            all.push((row.line, row.key.map(Cow::into_owned), row.value.unwrap().into_owned()));
        }
        Ok(all)
    }

    fn row(line: u64, key: &str, value: &str) -> Keyed {
        (line, Some(key.into()), value.into())
    }

    #[test]
    fn the_header_is_not_sent_and_the_value_is_the_row_as_it_stands() {
        let input = b"\xef\xbb\xbfa,\"b \"\"x\"\"\",c\r\n1,2,3\r\n\r\n\"4,\"\"\",\" 5 \",\n";
        assert_eq!(
            rows(input, Some("b \"x\""), 1).unwrap(),
            [row(2, "2", "1,2,3"), row(4, " 5 ", "\"4,\"\"\",\" 5 \",")]
        );
        assert_eq!(rows(input, Some("a"), 1).unwrap()[1], row(4, "4,\"", "\"4,\"\"\",\" 5 \","));
        assert_eq!(rows(input, Some("c"), 1).unwrap()[1].1, Some(Vec::new()));
        assert_eq!(rows(input, None, 1).unwrap()[0].1, None);
    }

    #[test]
    fn a_field_may_span_lines() {
        let input = b"k,v\n1,\"a\nb\r\nc\"\n2,d\n";
        assert_eq!(rows(input, Some("k"), 1).unwrap(), [row(2, "1", "1,\"a\nb\r\nc\""), row(5, "2", "2,d")]);
        assert_eq!(rows(input, Some("k"), 3).unwrap(), [row(5, "2", "2,d")]);
    }

    #[test]
    fn a_quote_within_a_bare_field_is_a_character() {
        assert_eq!(rows(b"k,v\n5\" pipe,x\n", Some("k"), 1).unwrap(), [row(2, "5\" pipe", "5\" pipe,x")]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let error = rows(b"a,b\n1,2\n", Some("c"), 1).unwrap_err();
        assert_eq!(error, "there is no column c; the columns are a, b");
        assert_eq!(rows(b"a,b\n1,2\n1\n", Some("b"), 1).unwrap_err(), "line 3: 1 fields, where the header has 2");
        let error = rows(b"a,b\n1,2\n\"1,2\n3,4\n", Some("b"), 1).unwrap_err();
        assert_eq!(error, "line 3: a quoted field begins in this row and does not end");
        assert!(rows(b"", None, 1).unwrap_err().contains("empty"));
    }

    proptest! {
        #[test]
        fn rows_are_read_as_the_csv_crate_reads_them(
            table in proptest::collection::vec(proptest::collection::vec("[a,\"\n ]{0,6}", 3), 1..20),
            bare in "[ab,\"]{0,8}",
        ) {
            let mut writer = csv::WriterBuilder::new().from_writer(b"k,v,w\n".to_vec());
            for fields in &table {
                writer.write_record(fields).unwrap();
            }
            let mut input = writer.into_inner().unwrap();
            let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bare.as_bytes());
            let theirs: Vec<_> = reader.byte_headers().unwrap().iter().map(<[u8]>::to_vec).collect();
            if !bare.is_empty() && Place::Quoted != bare.bytes().fold(Place::FieldStart, Place::after) {
                prop_assert_eq!(fields(bare.as_bytes()).iter().map(|field| field.to_vec()).collect::<Vec<_>>(), theirs);
            }
            let read = rows(&input, Some("v"), 1).unwrap();
            let keys: Vec<_> = read.iter().map(|(_, key, _)| key.clone().unwrap()).collect();
            let expected: Vec<_> = table.iter().map(|fields| fields[1].clone().into_bytes()).collect();
            prop_assert_eq!(keys, expected);
            let mut together = b"k,v,w\n".to_vec();
            for (_, _, value) in &read {
                together.extend_from_slice(value);
                together.push(b'\n');
            }
            input.truncate(together.len());
            prop_assert_eq!(together, input);
        }
    }
}
