//! When finished work is committed, as one text: `100ms`, `500 records`, `chunk` or `manual`.

use std::time::Duration;

use serde::{Deserializer, Serializer};
use troupe_actors::consume::CommitWhen;

use super::duration;
use super::text::{Text, read};

const WHAT: &str = "a duration as in 100ms, a count as in \"500 records\", chunk or manual";

fn parse(text: &str) -> Result<CommitWhen, String> {
    let records = |number: &str| number.trim_end().parse::<u64>().ok();
    match text {
        "chunk" => return Ok(CommitWhen::Chunk),
        "manual" => return Ok(CommitWhen::Manual),
        _ => {}
    }
    match text.strip_suffix(" records").or_else(|| text.strip_suffix(" record")).map(records) {
        Some(Some(0)) => Err("a commit every 0 records: use 1 or more".to_owned()),
        Some(Some(records)) => Ok(CommitWhen::Records(records)),
        Some(None) => Err(format!("use {WHAT}")),
        None => match duration::parse(text) {
            Ok(Duration::ZERO) => Err("it must be above 0".to_owned()),
            Ok(interval) => Ok(CommitWhen::Interval(interval)),
            Err(_) => Err(format!("use {WHAT}")),
        },
    }
}

pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CommitWhen, D::Error> {
    read(deserializer, Text { what: WHAT, parse, number: |_| Err(format!("use {WHAT}")) })
}

pub(in crate::config) fn serialize<S: Serializer>(when: &CommitWhen, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&match when {
        CommitWhen::Interval(interval) => duration::show(*interval),
        CommitWhen::Records(records) => format!("{records} records"),
        CommitWhen::Chunk => "chunk".to_owned(),
        CommitWhen::Manual => "manual".to_owned(),
        other => format!("{other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_a_count_and_two_words_are_read() {
        assert_eq!(parse("250ms"), Ok(CommitWhen::Interval(Duration::from_millis(250))));
        assert_eq!(parse("500 records"), Ok(CommitWhen::Records(500)));
        assert_eq!(parse("1 record"), Ok(CommitWhen::Records(1)));
        assert_eq!(parse("chunk"), Ok(CommitWhen::Chunk));
        assert_eq!(parse("manual"), Ok(CommitWhen::Manual));
        for text in ["", "0s", "0 records", "records", "ten records", "500", "never"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
