//! What a commit's metadata holds, and whether the engine would believe it.

use kafka_troupe::ids::{NextOffset, Offset};
use kafka_troupe::offsets::FinishedRange;
use kafka_troupe::offsets::memory::{DecodeError, LogIdentity, Memory, Packing, decode};

/// The metadata of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Metadata {
    Empty,
    /// Written by kafka-troupe, and readable.
    Ours {
        version: u8,
        packing: Option<Packing>,
        /// What is finished above the commit, or why that is not believed.
        finished: Result<Vec<FinishedRange>, String>,
    },
    /// Written by a newer kafka-troupe.
    Newer {
        version: u8,
    },
    Damaged {
        why: String,
    },
    /// Written by another program.
    Other,
}

/// The log that a memory has to be of. Without it a memory is not believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfLog<'a> {
    pub(super) cluster: &'a str,
    pub(super) topic: &'a str,
    /// `None` where the cluster gives its topics no ids.
    pub(super) topic_id: Option<[u8; 16]>,
    pub(super) partition: i32,
    pub(super) high_watermark: i64,
}

impl Metadata {
    /// Reads the metadata of a commit at `committed`; of a log, or else why that is not known.
    pub(super) fn read(metadata: &[u8], committed: i64, log: Result<OfLog<'_>, &str>) -> Self {
        if metadata.is_empty() {
            return Self::Empty;
        }
        match decode(metadata) {
            Ok(memory) => Self::Ours {
                version: memory.version,
                packing: Packing::of(metadata),
                finished: believed(memory, committed, log),
            },
            Err(DecodeError::NotOurs) => Self::Other,
            Err(DecodeError::Version(version)) => Self::Newer { version },
            Err(error) => Self::Damaged { why: error.to_string() },
        }
    }

    /// What is finished above the commit, if anything is and it is believed.
    pub(super) fn finished(&self) -> Option<&[FinishedRange]> {
        match self {
            Self::Ours { finished: Ok(finished), .. } => Some(finished),
            _ => None,
        }
    }

    /// One word for it.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Empty => "-".to_owned(),
            Self::Ours { version, .. } | Self::Newer { version } => format!("v{version}"),
            Self::Damaged { .. } => "damaged".to_owned(),
            Self::Other => "other".to_owned(),
        }
    }

    /// What is to be said of it, if that is more than the word.
    pub(super) fn note(&self) -> Option<String> {
        match self {
            Self::Empty | Self::Ours { finished: Ok(_), .. } => None,
            Self::Ours { finished: Err(why), .. } => Some(format!("not believed: {why}")),
            Self::Newer { version } => {
                Some(format!("not read: version {version} of the format is newer than this troupe"))
            }
            Self::Damaged { why } => Some(why.clone()),
            Self::Other => Some("the metadata is another program's".to_owned()),
        }
    }
}

fn believed(memory: Memory, committed: i64, log: Result<OfLog<'_>, &str>) -> Result<Vec<FinishedRange>, String> {
    let OfLog { cluster, topic, topic_id, partition, high_watermark } = log?;
    if memory.names_topic_id() && topic_id.is_none() {
        return Err("it names the topic's id, which the cluster does not tell".to_owned());
    }
    let identity = |id| LogIdentity::of(cluster, topic, id, partition);
    memory
        .check(NextOffset(committed), identity(topic_id), identity(None), NextOffset(high_watermark))
        .map_err(|mismatch| mismatch.to_string())
}

/// How many offsets the runs hold.
pub(super) fn count(runs: &[FinishedRange]) -> u64 {
    runs.iter().map(|run| run.last.0.abs_diff(run.first.0).saturating_add(1)).sum()
}

/// The holes: offsets from `base` on that are in no run, but below the last.
pub(super) fn holes_between(base: i64, runs: &[FinishedRange]) -> Vec<FinishedRange> {
    let mut next = Offset(base);
    let mut holes = Vec::new();
    for run in runs {
        if run.first > next {
            holes.push(FinishedRange { first: next, last: Offset(run.first.0 - 1) });
        }
        next = Offset(run.last.0.saturating_add(1));
    }
    holes
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use kafka_troupe::offsets::memory::{encode, holes};
    use proptest::prelude::*;

    use super::*;

    const ID: [u8; 16] = [7; 16];
    const RUNS: [(i64, i64); 2] = [(12, 12), (20, 29)];

    fn runs(runs: &[(i64, i64)]) -> Vec<FinishedRange> {
        runs.iter().map(|(first, last)| FinishedRange { first: Offset(*first), last: Offset(*last) }).collect()
    }

    fn written(topic: &str, topic_id: Option<[u8; 16]>) -> String {
        let log = LogIdentity::of("cluster", topic, topic_id, 3);
        encode(NextOffset(10), runs(&RUNS).into_iter(), log, Packing::Dense, 4095).unwrap()
    }

    fn log(topic_id: Option<[u8; 16]>, high_watermark: i64) -> Result<OfLog<'static>, &'static str> {
        Ok(OfLog { cluster: "cluster", topic: "t", topic_id, partition: 3, high_watermark })
    }

    fn read(metadata: &[u8], committed: i64, log: Result<OfLog<'_>, &str>) -> (String, Option<String>, u64) {
        let metadata = Metadata::read(metadata, committed, log);
        (metadata.kind(), metadata.note(), metadata.finished().map_or(0, count))
    }

    #[test]
    fn what_fits_its_log_is_believed_with_or_without_the_topics_id() {
        for id in [None, Some(ID)] {
            let text = written("t", id);
            assert_eq!(read(text.as_bytes(), 10, log(Some(ID), 30)), ("v1".to_owned(), None, 11));
        }
        assert_eq!(read(written("t", None).as_bytes(), 10, log(None, 30)), ("v1".to_owned(), None, 11));
    }

    #[test]
    fn what_does_not_fit_is_not_believed_and_the_reason_is_given() {
        let text = written("t", Some(ID));
        let why = |committed, log| {
            let (kind, note, finished) = read(text.as_bytes(), committed, log);
            assert_eq!((kind.as_str(), finished), ("v1", 0));
            note.unwrap()
        };
        assert!(why(11, log(Some(ID), 30)).contains("committed at offset 10, but the committed offset is 11"));
        assert!(why(10, log(Some(ID), 29)).contains("names offset 29 as finished, but the high watermark is 29"));
        assert!(why(10, log(Some([8; 16]), 30)).contains("of another log"));
        assert!(why(10, log(None, 30)).contains("the topic's id"));
        assert!(why(10, Err("no leader")).contains("no leader"));
        let elsewhere = written("other", None);
        assert!(read(elsewhere.as_bytes(), 10, log(Some(ID), 30)).1.unwrap().contains("of another log"));
    }

    #[test]
    fn what_is_not_ours_is_told_apart_from_what_is_damaged_or_newer() {
        let kind = |metadata: &[u8]| {
            let (kind, note, finished) = read(metadata, 10, log(None, 30));
            assert_eq!((finished, note.is_some()), (0, !metadata.is_empty()));
            kind
        };
        assert_eq!(kind(b""), "-");
        assert_eq!(kind(b"somebody's"), "other");
        assert_eq!(kind(b"\xff\xfe\x80"), "other");
        assert_eq!(kind(b"T1d\xff\xfe\x00"), "damaged");
        assert_eq!(kind(b"T2dxyz"), "v2");
        let mut cut = written("t", None);
        cut.pop();
        assert_eq!(kind(cut.as_bytes()), "damaged");
    }

    #[test]
    fn holes_lie_between_the_base_and_the_last_run() {
        assert_eq!(holes_between(10, &runs(&RUNS)), runs(&[(10, 11), (13, 19)]));
        assert_eq!(holes_between(12, &runs(&RUNS)), runs(&[(13, 19)]));
        assert_eq!(holes_between(10, &[]), []);
        assert_eq!(count(&runs(&[(0, i64::MAX)])), 1 << 63);
        assert_eq!(holes_between(5, &runs(&[(5, i64::MAX)])), []);
    }

    proptest! {
        #[test]
        fn the_holes_are_as_many_as_the_library_counts(
            base in 0..1_000_i64,
            lengths in proptest::collection::vec((1..50_i64, 1..50_i64), 0..40),
        ) {
            let mut at = base;
            let mut ranges = Vec::new();
            for (gap, length) in lengths {
                ranges.push((at + gap, at + gap + length - 1));
                at += gap + length;
            }
            let ranges = runs(&ranges);
            let between = holes_between(base, &ranges);
            prop_assert_eq!(count(&between), holes(&ranges, NextOffset(base)));
            prop_assert_eq!(count(&between) + count(&ranges), at.abs_diff(base));
        }
    }
}
