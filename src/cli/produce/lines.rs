//! Lines: each is a value, or a key and a value.

use std::borrow::Cow;

use memchr::memmem::Finder;

use super::row::Row;
use super::split::{BadInput, Splitter};

/// See the module.
pub(super) struct LineRows {
    splitter: Splitter,
    separator: Option<Finder<'static>>,
}

impl LineRows {
    /// With a separator, what stands before its first occurrence is the key.
    pub(super) fn new(mut splitter: Splitter, separator: Option<&str>, from_line: u64) -> Self {
        splitter.skip_to(from_line);
        Self { splitter, separator: separator.map(|separator| Finder::new(separator).into_owned()) }
    }

    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, BadInput> {
        let Some(stretch) = self.splitter.next_line()? else {
            return Ok(None);
        };
        let (line, bytes) = (stretch.line, stretch.bytes);
        let (key, value) = match &self.separator {
            None => (None, bytes),
            Some(separator) => {
                let Some(at) = separator.find(bytes) else {
                    let what = format!("there is no {:?} in it", String::from_utf8_lossy(separator.needle()));
                    return Err(BadInput { line, what });
                };
                (Some(Cow::Borrowed(&bytes[..at])), &bytes[at + separator.needle().len()..])
            }
        };
        Ok(Some(Row { key, value: Some(Cow::Borrowed(value)), ..Row::at(line) }))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::super::split::tests::trickle;
    use super::*;

    #[test]
    fn the_key_ends_at_the_first_separator() {
        let mut rows = LineRows::new(trickle(b"a::b::c\n::\nx", 3), Some("::"), 1);
        for (line, key, value) in [(1, "a", "b::c"), (2, "", "")] {
            let row = rows.next().unwrap().unwrap();
            assert_eq!((row.line, row.key.as_deref()), (line, Some(key.as_bytes())));
            assert_eq!(row.value.as_deref(), Some(value.as_bytes()));
        }
        assert_eq!(rows.next().unwrap_err().to_string(), "line 3: there is no \"::\" in it");
    }

    #[test]
    fn without_a_separator_a_line_is_a_value_and_there_is_no_key() {
        let mut rows = LineRows::new(trickle(b"a\n\n", 3), None, 1);
        let row = rows.next().unwrap().unwrap();
        assert_eq!((row.key.as_deref(), row.value.as_deref()), (None, Some(&b"a"[..])));
        assert_eq!(rows.next().unwrap().unwrap().value.as_deref(), Some(&b""[..]));
        assert_eq!(rows.next().unwrap(), None);
    }
}
