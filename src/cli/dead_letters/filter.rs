use std::str::FromStr;

use clap::Args;

use super::letter::{Letter, Story};
use crate::cli::offsets::parse_datetime;

/// Which dead letters are meant: those that everything given here holds for. What is no dead letter of the engine's never is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which ones")]
pub(super) struct Filter {
    /// With this text in their error
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Given up at this time or later; UTC without a zone
    #[arg(long, value_name = "DATETIME", value_parser = parse_datetime)]
    since: Option<i64>,
    /// Given up before this time
    #[arg(long, value_name = "DATETIME", value_parser = parse_datetime)]
    until: Option<i64>,
    /// With this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Of this topic, or this partition of it
    #[arg(long, value_name = "TOPIC[:PARTITION]")]
    source: Option<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    topic: String,
    partition: Option<i32>,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((topic, partition)) = text.split_once(':') else {
            return Ok(Self { topic: text.to_owned(), partition: None });
        };
        let partition = partition.parse().map_err(|_| format!("{partition:?} is no partition's number"))?;
        Ok(Self { topic: topic.to_owned(), partition: Some(partition) })
    }
}

impl Filter {
    pub(super) fn takes(&self, letter: &Letter, story: &Story) -> bool {
        let Self { error, since, until, key, source } = self;
        let is_since = |since: &i64| letter.timestamp.is_some_and(|timestamp| timestamp >= *since);
        let is_before = |until: &i64| letter.timestamp.is_some_and(|timestamp| timestamp < *until);
        let is_of = |source: &Source| {
            source.topic == story.topic && source.partition.is_none_or(|partition| partition == story.partition)
        };
        error.as_ref().is_none_or(|error| story.message.contains(error))
            && since.as_ref().is_none_or(is_since)
            && until.as_ref().is_none_or(is_before)
            && key.as_ref().is_none_or(|key| letter.key.as_deref() == Some(key.as_bytes()))
            && source.as_ref().is_none_or(is_of)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::letter::tests::of;
    use super::*;

    fn takes(filter: Filter, letter: &Letter) -> bool {
        filter.takes(letter, &letter.story().unwrap())
    }

    #[test]
    fn each_condition_rules_out_what_it_does_not_hold_for() {
        let letter = Letter { timestamp: Some(100), ..of("orders", "2", "no such customer") };
        let some = |text: &str| Some(text.to_owned());
        let is_in = [
            Filter::default(),
            Filter { error: some("customer"), key: some("k"), ..Filter::default() },
            Filter { since: Some(100), until: Some(101), ..Filter::default() },
            Filter { source: "orders".parse().ok(), ..Filter::default() },
            Filter { source: "orders:2".parse().ok(), ..Filter::default() },
        ];
        let is_out = [
            Filter { error: some("warehouse"), ..Filter::default() },
            Filter { key: some("K"), ..Filter::default() },
            Filter { since: Some(101), ..Filter::default() },
            Filter { until: Some(100), ..Filter::default() },
            Filter { source: "order".parse().ok(), ..Filter::default() },
            Filter { source: "orders:1".parse().ok(), ..Filter::default() },
            Filter { error: some("customer"), key: some("other"), ..Filter::default() },
        ];
        assert!(is_in.into_iter().all(|filter| takes(filter, &letter)));
        assert!(is_out.into_iter().all(|filter| !takes(filter, &letter)));
        assert!("orders:x".parse::<Source>().is_err());
    }
}
