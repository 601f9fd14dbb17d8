use std::ffi::OsString;
use std::fmt::Write;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

use anyhow::Context;
use clap::Args;
use kafka_troupe::offsets::FinishedRange;
use kafka_troupe::offsets::memory::{DecodeError, Packing, decode, holes};
use serde::Serialize;

use super::remembered::count;
use super::show::packing_name;
use crate::cli::data;
use crate::cli::exit::{self, Exit, Misuse};

/// How many runs are shown without --all.
const SHOWN: usize = 20;
/// No broker stores so many bytes: Kafka's own limit is 32,767.
const LONGEST: u64 = 1 << 20;

/// Say what a commit's metadata remembers
///
/// kafka-troupe writes into a commit's metadata which records above it are finished, so that the
/// next owner of the partition skips them. This reads such a text. Whether it fits the partition
/// that it was found at, troupe offsets show tells.
///
/// A text that cannot be read ends with exit code 1, and the reason.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = exit::help("  troupe offsets decode T1bAAAA…
  troupe offsets show … --json | jq -r '.partitions[0].metadata' | troupe offsets decode -
  … --all --json | jq '.runs'"))]
pub(super) struct Decode {
    /// The metadata; - is stdin
    metadata: OsString,
    /// Show every run of finished offsets, not the first 20 only
    #[arg(long)]
    all: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Decode {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let text = if self.metadata == "-" { stdin()? } else { self.metadata.clone().into_vec() };
        let most = if self.all { usize::MAX } else { SHOWN };
        let report = Report::of(&text, most);
        match self.json {
            true => data::print(serde_json::to_string(&report)?)?,
            false => data::print(report.text())?,
        }
        Ok(if report.is_readable() { Exit::Fine } else { Exit::Failed })
    }
}

/// What stands on stdin, without the line end that a person or a program puts behind it.
fn stdin() -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    io::stdin().lock().take(LONGEST + 1).read_to_end(&mut text).context("cannot read stdin")?;
    if text.len() as u64 > LONGEST {
        return Err(Misuse("stdin holds more than a commit's metadata ever does".to_owned()).into());
    }
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let length = line.strip_suffix(b"\r").unwrap_or(line).len();
    text.truncate(length);
    Ok(text)
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Report {
    Readable(Contents),
    Unreadable { readable: bool, why: String },
}

#[derive(Debug, Serialize)]
struct Contents {
    readable: bool,
    version: u8,
    packing: Option<&'static str>,
    bytes: usize,
    /// UTF-16 units: what Kafka's limit counts.
    characters: usize,
    /// The committed offset that it was written with.
    base: i64,
    /// Whether the topic's id went into it.
    names_topic_id: bool,
    /// Finished offsets at or above the base.
    finished: u64,
    /// Offsets that are not finished, though a later one is.
    holes: u64,
    /// How many runs there are.
    run_count: usize,
    /// The first of them, each as its first and last offset.
    runs: Vec<[i64; 2]>,
}

impl Report {
    fn of(text: &[u8], most: usize) -> Self {
        let memory = match decode(text) {
            Ok(memory) => memory,
            Err(error) => {
                let why = match error {
                    DecodeError::NotOurs if text.is_empty() => "there is no metadata".to_owned(),
                    error => error.to_string(),
                };
                return Self::Unreadable { readable: false, why };
            }
        };
        let runs = &memory.finished;
        let pair = |run: &FinishedRange| [run.first.0, run.last.0];
        Self::Readable(Contents {
            readable: true,
            version: memory.version,
            packing: Packing::of(text).map(packing_name),
            bytes: text.len(),
            characters: String::from_utf8_lossy(text).encode_utf16().count(),
            base: memory.base.0,
            names_topic_id: memory.names_topic_id(),
            finished: count(runs),
            holes: holes(runs, memory.base),
            run_count: runs.len(),
            runs: runs.iter().take(most).map(pair).collect(),
        })
    }

    fn is_readable(&self) -> bool {
        matches!(self, Self::Readable(_))
    }

    fn text(&self) -> String {
        match self {
            Self::Readable(contents) => contents.text(),
            Self::Unreadable { why, .. } => format!("not readable: {why}"),
        }
    }
}

impl Contents {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{name:16}{value}");
        };
        row("version", &self.version);
        row("packing", &self.packing.unwrap_or("-"));
        row("length", &format_args!("{} characters, {} bytes", self.characters, self.bytes));
        row("base", &self.base);
        row("names_topic_id", &if self.names_topic_id { "yes" } else { "no" });
        row("finished", &self.finished);
        row("holes", &self.holes);
        row("runs", &self.run_count);
        for [first, last] in &self.runs {
            match first == last {
                true => row("run", first),
                false => row("run", &format_args!("{first}-{last}")),
            }
        }
        match self.run_count - self.runs.len() {
            0 => {}
            more => row("", &format_args!("and {more} more: --all shows them")),
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use kafka_troupe::ids::{NextOffset, Offset};
    use kafka_troupe::offsets::memory::{LogIdentity, encode};

    use super::*;

    fn metadata(runs: &[(i64, i64)], packing: Packing) -> String {
        let runs = runs.iter().map(|(first, last)| FinishedRange { first: Offset(*first), last: Offset(*last) });
        encode(NextOffset(10), runs, LogIdentity::of("c", "t", None, 0), packing, 4095).unwrap()
    }

    #[test]
    fn a_memory_is_told_with_its_runs() {
        let text = metadata(&[(12, 12), (20, 29)], Packing::Base64);
        let length = text.len();
        assert_eq!(
            Report::of(text.as_bytes(), SHOWN).text(),
            format!(
                "version         1\npacking         base64\nlength          {length} characters, {length} bytes\n\
                 base            10\nnames_topic_id  no\nfinished        11\nholes           9\nruns            2\n\
                 run             12\nrun             20-29"
            )
        );
    }

    #[test]
    fn of_many_runs_the_first_are_shown_and_the_rest_counted() {
        let runs: Vec<_> = (0..50).map(|number| (12 + 2 * number, 12 + 2 * number)).collect();
        let text = metadata(&runs, Packing::Dense);
        assert!(text.len() > text.chars().count());
        let shown = Report::of(text.as_bytes(), SHOWN).text();
        assert_eq!(shown.lines().filter(|line| line.starts_with("run ")).count(), SHOWN);
        assert!(shown.ends_with("\n                and 30 more: --all shows them"), "{shown}");
        let all = Report::of(text.as_bytes(), usize::MAX).text();
        assert!(all.ends_with("run             110"), "{all}");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, why) in [
            (&b""[..], "there is no metadata"),
            (b"somebody's", "not written by kafka-troupe"),
            (b"T1d\xff", "damaged"),
            (b"T7bAAAA", "version 7"),
        ] {
            let report = Report::of(text, SHOWN);
            assert!(!report.is_readable());
            let shown = report.text();
            assert!(shown.starts_with("not readable: ") && shown.contains(why), "{shown}");
        }
    }
}
