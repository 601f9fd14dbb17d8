//! Java's `.properties` files, as `java.util.Properties` reads them, in UTF-8.

use std::fmt;
use std::str::Chars;

/// Why a file could not be read: the line, counted from 1, and what is wrong with it. Never what stands there, for it may be a secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    line: usize,
    what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Malformed {}

/// A property, and the line that it begins in, counted from 1.
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) value: String,
}

/// Reads names and values, in the file's order. Like Kafka's own tools it takes white space off both ends of a value.
pub(super) fn parse(file: &[u8]) -> Result<Vec<Line>, Malformed> {
    let text = match std::str::from_utf8(file) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line = 1 + file[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            return Err(Malformed { line, what: "not UTF-8" });
        }
    };
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut properties = Vec::new();
    let mut lines = text.split('\n').enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start_matches(is_blank);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while continues(&logical) {
            logical.pop();
            let Some((_, more)) = lines.next() else { break };
            logical.push_str(more.trim_start_matches(is_blank));
        }
        let (name, value) = split(&logical);
        let unescaped = |text| unescape(text).map_err(|what| Malformed { line: index + 1, what });
        let (name, value) = (unescaped(name)?, unescaped(value)?.trim().to_owned());
        properties.push(Line { number: index + 1, name, value });
    }
    Ok(properties)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// A line that ends in an odd number of backslashes goes on in the next.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The name ends at the first `=`, `:` or blank that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c| {
        let ends = !escaped && (matches!(c, '=' | ':') || is_blank(c));
        escaped = !escaped && c == '\\';
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    (name, rest.strip_prefix(['=', ':']).unwrap_or(rest))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('t') => plain.push('\t'),
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some('f') => plain.push('\u{c}'),
                Some('u') => plain.push(unicode(&mut chars)?),
                Some(other) => plain.push(other),
                None => {}
            },
            c => plain.push(c),
        }
    }
    Ok(plain)
}

/// The character behind `\u`: one UTF-16 unit, or a pair of them.
fn unicode(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    let first = unit(chars)?;
    let mut units = vec![first];
    if (0xd800..0xdc00).contains(&first) {
        if chars.next() != Some('\\') || chars.next() != Some('u') {
            return Err("half a pair of \\u escapes");
        }
        units.push(unit(chars)?);
    }
    match char::decode_utf16(units).next() {
        Some(Ok(c)) => Ok(c),
        _ => Err("half a pair of \\u escapes"),
    }
}

fn unit(chars: &mut Chars<'_>) -> Result<u16, &'static str> {
    const WHAT: &str = "\\u takes four hexadecimal digits";
    let digits: String = chars.by_ref().take(4).collect();
    if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(WHAT);
    }
    u16::from_str_radix(&digits, 16).map_err(|_| WHAT)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).unwrap().into_iter().map(|line| (line.name, line.value)).collect()
    }

    fn is(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(read(text), expected, "{text:?}");
    }

    #[test]
    fn a_name_ends_at_equals_colon_or_blank() {
        is(
            "a=1\nb:2\nc 3\nd = 4\ne :5\nf\t=\t6\ng",
            &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5"), ("f", "6"), ("g", "")],
        );
        is(
            "a=b=c:d\na:=x\ne\\=f=1\ng\\:h:2\ni\\ j 3",
            &[("a", "b=c:d"), ("a", "=x"), ("e=f", "1"), ("g:h", "2"), ("i j", "3")],
        );
    }

    #[test]
    fn comments_and_blank_lines_say_nothing() {
        is("# a=1\n  ! b=2\n\n   \t\nc=3 # not a comment\r\n\rd=4", &[("c", "3 # not a comment"), ("d", "4")]);
    }

    #[test]
    fn a_backslash_at_the_end_goes_on_and_two_do_not() {
        is("a=1,\\\n   2,\\\n\t3\nb=x\\\\\nc=y", &[("a", "1,2,3"), ("b", "x\\"), ("c", "y")]);
        is("# a comment \\\na=1", &[("a", "1")]);
        is("a=1\\", &[("a", "1")]);
    }

    #[test]
    fn escapes_are_read() {
        is(r"a=\t\n\\\u00e9\q\=\u20ac\ud83d\ude00", &[("a", "\t\n\\éq=€😀".trim())]);
        for (text, what) in [
            (r"a=\u12", "\\u takes four"),
            (r"a=\u+123", "\\u takes four"),
            (r"a=\ud83d", "half a pair"),
            (r"a=\ude00", "half a pair"),
        ] {
            let error = parse(format!("x=1\n{text}").as_bytes()).err().unwrap().to_string();
            assert!(error.starts_with("line 2: ") && error.contains(what), "{error}");
        }
        assert_eq!(parse(b"a=1\nb=\xff").err().unwrap().to_string(), "line 2: not UTF-8");
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_again(name in "[a-z.:= \\\\#!é]{1,12}", value in "[a-z:= \\\\\t\n#!é]{0,12}") {
            let escaped = |text: &str| -> String {
                text.chars().map(|c| match c {
                    '\n' => "\\n".to_owned(),
                    '\t' => "\\t".to_owned(),
                    c if c.is_ascii_alphanumeric() || c == '.' => c.to_string(),
                    c if c.is_ascii() => format!("\\{c}"),
                    c => format!("\\u{:04x}", u32::from(c)),
                }).collect()
            };
            let line = format!("{}={}", escaped(&name), escaped(&value));
            prop_assert_eq!(read(&line), vec![(name, value.trim().to_owned())]);
        }
    }
}
