//! What goes to a worker and what comes back, as text: a line of JSON for each record, and one line for its answer.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use serde::Deserialize;

use crate::cli::record_json::{self, RecordToPrint, of_one_line};

/// The longest line that is taken as an answer, in bytes without its end.
pub(super) const LONGEST_ANSWER: usize = 64 * 1024;
/// The longest pause that a worker may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// The pause after an outcome `retry` that names none.
const PAUSE: Duration = Duration::from_secs(1);
/// How much of a cause is kept, in characters.
const CAUSE: usize = 1_000;
/// How much is shown of a line that is no answer, in characters.
const EXCERPT: usize = 100;

/// Appends the record's line: what `troupe consume --json` prints of it, and which attempt at it this is.
pub(super) fn append_record<'h>(
    line: &mut Vec<u8>,
    record: RecordToPrint<'_>,
    headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
    attempt: u32,
) {
    record_json::write(line, record, headers);
    // Its closing brace.
    line.pop();
    // Nothing that is written to a Vec can fail.
    let written = writeln!(line, ",\"attempt\":{attempt}}}");
    debug_assert!(written.is_ok());
}

/// What a worker says of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    /// The attempt failed.
    Failed {
        cause: String,
    },
    /// Another attempt is wanted, which does not count as a failure.
    Retry {
        after: Duration,
        cause: String,
    },
    DeadLetter {
        cause: String,
    },
    Stop {
        cause: String,
    },
}

/// Why what a worker wrote is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer {
    wrote: String,
    why: Cow<'static, str>,
}

impl NoAnswer {
    /// `why` goes on after "it wrote …".
    pub(super) fn new(wrote: &[u8], why: impl Into<Cow<'static, str>>) -> Self {
        // More bytes than the excerpt can show need not be looked at: a character has four at most.
        let wrote = &wrote[..wrote.len().min(4 * EXCERPT + 1)];
        Self { wrote: shortened(&String::from_utf8_lossy(wrote), EXCERPT).into_owned(), why: why.into() }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it wrote {:?}, {}", self.wrote, self.why)
    }
}

/// Reads one line, without its end.
pub(super) fn parse(line: &[u8]) -> Result<Answer, NoAnswer> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        b"ok" => Ok(Answer::Done),
        b"error" => Ok(Answer::Failed { cause: "the worker gives no reason".to_owned() }),
        [b'{', ..] => json(line).map_err(|why| NoAnswer::new(line, why)),
        _ => match line.strip_prefix(b"error ") {
            Some(text) => Ok(Answer::Failed { cause: cause(&String::from_utf8_lossy(text)) }),
            None => {
                let why = "which is no answer: ok, error TEXT, or {\"outcome\":...} is one";
                Err(NoAnswer::new(line, why))
            }
        },
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    outcome: Kind,
    #[serde(borrow)]
    cause: Option<Cow<'a, str>>,
    after_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Done,
    Retry,
    DeadLetter,
    Stop,
}

fn json(line: &[u8]) -> Result<Answer, String> {
    let no = |why: &dyn fmt::Display| format!("which is no answer: {why}");
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(|error| no(&of_one_line(&error)))?;
    if fields.after_ms.is_some() && fields.outcome != Kind::Retry {
        return Err(no(&"after_ms goes with the outcome retry only"));
    }
    let cause = cause(fields.cause.as_deref().unwrap_or("the worker asks for it"));
    Ok(match fields.outcome {
        Kind::Done => Answer::Done,
        Kind::DeadLetter => Answer::DeadLetter { cause },
        Kind::Stop => Answer::Stop { cause },
        Kind::Retry => match fields.after_ms.map_or(PAUSE, Duration::from_millis) {
            after if after <= LONGEST_PAUSE => Answer::Retry { after, cause },
            _ => return Err(no(&format!("after_ms is {} at most", LONGEST_PAUSE.as_millis()))),
        },
    })
}

fn cause(text: &str) -> String {
    shortened(text.trim(), CAUSE).into_owned()
}

fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((at, _)) => Cow::Owned(format!("{}...", &text[..at])),
    }
}

/// What a worker has written and is not taken yet: one line at most, for it has one record.
#[derive(Debug, Default)]
pub(super) struct Heard {
    bytes: Vec<u8>,
    /// Where the first line end is.
    end: Option<usize>,
}

impl Heard {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.end.is_none() {
            self.end = memchr::memchr(b'\n', bytes).map(|at| self.bytes.len() + at);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What was written though nothing was asked.
    pub(super) fn unasked(&self) -> Option<NoAnswer> {
        (!self.bytes.is_empty()).then(|| NoAnswer::new(self.first_line(), "and had no record to answer for"))
    }

    /// The answer, once all of its line is there.
    pub(super) fn answer(&self) -> Result<Option<Answer>, NoAnswer> {
        let Some(end) = self.end else {
            if self.bytes.len() <= LONGEST_ANSWER {
                return Ok(None);
            }
            return Err(NoAnswer::new(&self.bytes, TOO_LONG));
        };
        if end > LONGEST_ANSWER {
            return Err(NoAnswer::new(&self.bytes, TOO_LONG));
        }
        let answer = parse(&self.bytes[..end])?;
        match &self.bytes[end + 1..] {
            [] => Ok(Some(answer)),
            more => Err(NoAnswer::new(line_of(more), "after it had answered already: a record has one line of answer")),
        }
    }

    /// A line that was begun, to name it.
    pub(super) fn begun(&self) -> Option<NoAnswer> {
        (!self.bytes.is_empty()).then(|| NoAnswer::new(self.first_line(), "and not the end of the line"))
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.end = None;
    }

    fn first_line(&self) -> &[u8] {
        &self.bytes[..self.end.unwrap_or(self.bytes.len())]
    }
}

const TOO_LONG: &str = "and more: an answer has 65536 bytes at most";

fn line_of(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(b'\n', bytes).unwrap_or(bytes.len())]
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
