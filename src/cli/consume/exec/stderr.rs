//! A worker's stderr, passed on line by line.

use std::io::ErrorKind;

use tokio::net::unix::pipe;

use crate::cli::terminal::PassOn;

/// A line that is longer is passed on in parts of this many bytes.
const LONGEST: usize = 8 * 1024;

/// Until the end of it.
pub(super) async fn pass_on(stderr: pipe::Receiver, number: usize, to: PassOn) {
    let mut lines = Lines::default();
    let mut bytes = vec![0; LONGEST];
    let pass = |line: &[u8]| to.line(number, &String::from_utf8_lossy(line));
    while stderr.readable().await.is_ok() {
        match stderr.try_read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => lines.push(&bytes[..read], pass),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    lines.end(pass);
}

/// Cuts bytes into lines, none longer than [`LONGEST`].
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = LONGEST - self.begun.len();
            let within = &bytes[..bytes.len().min(room)];
            let end = memchr::memchr(b'\n', within);
            self.begun.extend_from_slice(&within[..end.unwrap_or(within.len())]);
            bytes = &bytes[end.map_or(within.len(), |end| end + 1)..];
            if end.is_some() || self.begun.len() == LONGEST {
                line(&self.begun);
                self.begun.clear();
            }
        }
    }

    /// What was begun and has no end.
    fn end(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            line(&self.begun);
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        parts.iter().for_each(|part| lines.push(part, |line| all.push(line.to_vec())));
        lines.end(|line| all.push(line.to_vec()));
        all
    }

    #[test]
    fn a_long_line_comes_in_parts_and_one_without_an_end_at_the_end() {
        let long = [b'x'; LONGEST + 1];
        assert_eq!(lines(&[&long, b"\n\nend"]), [&long[..LONGEST], b"x", b"", b"end"]);
    }

    proptest! {
        #[test]
        fn lines_are_the_same_in_whatever_pieces_they_come(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 1..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = text.split_at(cut.index(text.len()));
            let mut expected: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            expected.pop_if(|last| last.is_empty());
            prop_assert_eq!(lines(&[head, tail]), expected);
        }
    }
}
