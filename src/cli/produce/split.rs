//! Cuts a stream into lines without copying them, and without waiting for more than the next line's end.

use std::fmt;
use std::io::{self, ErrorKind, Read};

use memchr::memchr;

/// What is read at a time, and the buffer's size while lines are shorter.
const CHUNK: usize = 256 * 1024;
/// A line above it is no line: no producer takes so much in a record.
const LONGEST: usize = 64 << 20;

/// Something in the input that cannot be sent, and with which it ends. All before it was good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadInput {
    /// The line it is in, counted from 1.
    pub(super) line: u64,
    pub(super) what: String,
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for BadInput {}

/// A line, or several that belong together, without the last one's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch<'a> {
    /// The number of its first line, counted from 1.
    pub(super) line: u64,
    pub(super) bytes: &'a [u8],
}

/// See the module.
pub(super) struct Splitter {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// What is in the buffer and not given out: from here to there.
    start: usize,
    end: usize,
    ended: bool,
    /// The number of the line that begins at `start`.
    line: u64,
    from: u64,
    is_blank: fn(&[u8]) -> bool,
}

impl Splitter {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, buffer: vec![0; CHUNK], start: 0, end: 0, ended: false, line: 1, from: 1, is_blank: |_| false }
    }

    /// Passes over stretches that are blank, by the format's word for it.
    pub(super) fn without_blanks(mut self, is_blank: fn(&[u8]) -> bool) -> Self {
        self.is_blank = is_blank;
        self
    }

    /// Passes over what begins before this line.
    pub(super) fn skip_to(&mut self, line: u64) {
        self.from = line;
    }

    /// The next line. Its end is `\n` or `\r\n`; the last one may have none.
    pub(super) fn next_line(&mut self) -> Result<Option<Stretch<'_>>, BadInput> {
        self.next_while(|_| false, "")
    }

    /// The next line, and those behind it for as long as `goes_on` says so of each. An input that ends while it goes on is bad: `unfinished`.
    pub(super) fn next_while(
        &mut self,
        mut goes_on: impl FnMut(&[u8]) -> bool,
        unfinished: &str,
    ) -> Result<Option<Stretch<'_>>, BadInput> {
        loop {
            let line = self.line;
            let Some(length) = self.find(&mut goes_on, unfinished)? else {
                return Ok(None);
            };
            let start = self.start;
            // Behind the line's end, unless the input ended without one.
            self.start = (start + length + 1).min(self.end);
            let bytes = &self.buffer[start..start + length];
            let length = bytes.strip_suffix(b"\r").unwrap_or(bytes).len();
            if line >= self.from && !(self.is_blank)(&bytes[..length]) {
                return Ok(Some(Stretch { line, bytes: &self.buffer[start..start + length] }));
            }
        }
    }

    fn broken(&self, error: &io::Error) -> BadInput {
        BadInput { line: self.line, what: format!("the input cannot be read from here on: {error}") }
    }

    /// How long the stretch at `start` is, up to its `\n` or the input's end.
    fn find(&mut self, goes_on: &mut impl FnMut(&[u8]) -> bool, unfinished: &str) -> Result<Option<usize>, BadInput> {
        let first = self.line;
        let bad = |line, what: String| Err(BadInput { line, what });
        // Both count from `start`, which moves when the buffer is compacted.
        let (mut line_at, mut searched) = (0, 0);
        loop {
            let rest = &self.buffer[self.start..self.end];
            if let Some(found) = memchr(b'\n', &rest[searched..]) {
                let end = searched + found;
                self.line += 1;
                if !goes_on(&rest[line_at..end]) {
                    return Ok(Some(end));
                }
                line_at = end + 1;
                searched = line_at;
                continue;
            }
            searched = rest.len();
            if self.ended {
                if rest.is_empty() {
                    return Ok(None);
                }
                if goes_on(&rest[line_at..]) {
                    return bad(first, unfinished.to_owned());
                }
                self.line += 1;
                return Ok(Some(searched));
            }
            if searched > LONGEST {
                return bad(first, format!("it is longer than {} MiB", LONGEST >> 20));
            }
            if let Err(error) = self.read() {
                return Err(self.broken(&error));
            }
        }
    }

    /// Reads what there is, and waits only where there is nothing.
    fn read(&mut self) -> io::Result<()> {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() - self.end < CHUNK / 2 {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(read) => {
                    self.ended = read == 0;
                    self.end += read;
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives out its bytes a few at a time.
    pub(in super::super) struct Trickle {
        pub(in super::super) bytes: Vec<u8>,
        pub(in super::super) at: usize,
        pub(in super::super) step: usize,
    }

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.step.min(self.bytes.len() - self.at).min(buffer.len());
            buffer[..read].copy_from_slice(&self.bytes[self.at..self.at + read]);
            self.at += read;
            Ok(read)
        }
    }

    pub(in super::super) fn trickle(bytes: &[u8], step: usize) -> Splitter {
        Splitter::new(Box::new(Trickle { bytes: bytes.to_vec(), at: 0, step }))
    }

    fn lines(mut splitter: Splitter) -> Vec<(u64, Vec<u8>)> {
        let mut lines = Vec::new();
        while let Some(Stretch { line, bytes }) = splitter.next_line().unwrap() {
            lines.push((line, bytes.to_vec()));
        }
        lines
    }

    #[test]
    fn the_last_line_may_have_no_end_and_an_empty_one_counts() {
        let numbered =
            |lines: &[&str]| (1..).zip(lines.iter().map(|line| line.as_bytes().to_vec())).collect::<Vec<_>>();
        assert_eq!(lines(trickle(b"", 1)), []);
        assert_eq!(lines(trickle(b"a\n\nb", 1)), numbered(&["a", "", "b"]));
        assert_eq!(lines(trickle(b"a\r\n\r\nb\r", 2)), numbered(&["a", "", "b"]));
        assert_eq!(lines(trickle(b"\n", 1)), numbered(&[""]));
    }

    #[test]
    fn what_begins_before_the_line_to_skip_to_is_passed_over() {
        let mut splitter = trickle(b"a\nb\nc\nd", 3);
        splitter.skip_to(3);
        assert_eq!(lines(splitter), [(3, b"c".to_vec()), (4, b"d".to_vec())]);
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_whole() {
        let long = vec![b'x'; 3 * CHUNK];
        let mut input = b"a\n".to_vec();
        input.extend_from_slice(&long);
        input.extend_from_slice(b"\nb\n");
        assert_eq!(lines(trickle(&input, 100_000)), [(1, b"a".to_vec()), (2, long), (3, b"b".to_vec())]);
    }

    #[test]
    fn a_line_that_does_not_end_is_given_up_before_it_fills_the_memory() {
        let mut splitter = Splitter::new(Box::new(io::repeat(b'x')));
        let error = splitter.next_line().unwrap_err();
        assert_eq!(error, BadInput { line: 1, what: "it is longer than 64 MiB".to_owned() });
    }

    #[test]
    fn an_input_that_breaks_off_gives_no_half_line() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("torn"))
            }
        }
        let mut splitter = Splitter::new(Box::new((&b"a\nb\nhal"[..]).chain(Broken)));
        assert_eq!(splitter.next_line().unwrap().unwrap().bytes, b"a");
        assert_eq!(splitter.next_line().unwrap().unwrap().bytes, b"b");
        let error = splitter.next_line().unwrap_err().to_string();
        assert!(error.starts_with("line 3: ") && error.ends_with("torn"), "{error}");
    }

    proptest! {
        #[test]
        fn the_lines_put_together_are_the_input(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            step in 1..50_usize,
        ) {
            let mut expected: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
            if expected.last().is_some_and(|line| line.is_empty()) {
                expected.pop();
            }
            let expected: Vec<_> = (1..).zip(expected.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())).collect();
            prop_assert_eq!(lines(trickle(&input, step)), expected);
        }
    }
}
