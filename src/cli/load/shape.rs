//! What the load looks like, and who bears it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kafka_troupe::config::tool::parse_duration;

use crate::cli::exit::Misuse;
use crate::load::phases::Phase;
use crate::load::phases_file;
use crate::load::plan::Engine;
use crate::load::sizes::{Content, Sizes};
use crate::load::work::Work;

#[derive(Args, Debug)]
pub(super) struct Shape {
    /// Bytes of a record's value, 48 at least: BYTES, uniform:FROM:TO, or lognormal:MEDIAN:SIGMA
    #[arg(long, value_name = "SIZE", default_value = "100", conflicts_with = "payload_file")]
    record_size: Sizes,
    /// A file whose lines are what values hold, each as likely, behind the 48 bytes that every value begins with
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// What handles the records: troupe, or a bare loop of librdkafka's consumer
    ///
    /// The bare loop has the engine's settings for librdkafka, handles one record after the other
    /// on a thread per member, and leaves commits of what is done to librdkafka, once a second. It
    /// is verified like the engine, to compare them.
    #[arg(long, value_name = "ENGINE", default_value = "troupe", verbatim_doc_comment)]
    pub(super) engine: Engine,
    /// What a handler does: none, sleep:TIME or spin:TIME; a TIME is a duration or lognormal:MEDIAN:SIGMA
    ///
    /// One that sleeps lets others run; one that spins keeps its thread, and the partitions that
    /// share it wait. Which record takes how long follows from the seed.
    #[arg(long, value_name = "WORK", default_value = "none", verbatim_doc_comment)]
    pub(super) work: Work,
    /// The share of a handler's attempts that fail, as in 0.01 or 1%
    ///
    /// Which ones follows from the seed. The engine tries the record again until it succeeds; its
    /// retry pauses are settings (consumer.retry_pause). Such an attempt is no duplicate.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share, verbatim_doc_comment)]
    pub(super) failure_rate: f64,
    /// Make a backlog of so many records first, and measure how fast it is handled
    ///
    /// Members start when all is confirmed. The rate is that of handling, from the first record to
    /// the last; there is no end-to-end latency, for a record's age says only when it was made.
    #[arg(long, value_name = "RECORDS", verbatim_doc_comment, value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(conflicts_with_all = ["rate", "arrivals", "in_flight", "duration", "records", "warmup", "phases", "fault"])]
    pub(super) backlog: Option<u64>,
    /// A TOML file of phases: constant, poisson, ramp and step, in place of rate, arrivals and length
    ///
    /// Each table of the array phase has a kind, a duration, and rate (constant, poisson), from and
    /// to (ramp), or from, to and steps (step). Those at the start may have warmup = true.
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    #[arg(conflicts_with_all = ["rate", "arrivals", "in_flight", "duration", "records", "warmup"])]
    phases: Option<PathBuf>,
    /// Neither verify nor time: to measure what that takes. The result is invalid
    #[arg(long, hide = true, conflicts_with = "fault")]
    pub(super) no_verify: bool,
}

impl Shape {
    /// # Errors
    /// Of a file that cannot be read; [`Misuse`] of one without a line.
    pub(super) fn content(&self) -> anyhow::Result<Content> {
        let Some(path) = &self.payload_file else {
            return Ok(Content::Filler(self.record_size));
        };
        let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let content = Content::lines(&file);
        content.ok_or_else(|| {
            Misuse(format!("{} has no line that is not empty: --payload-file needs one", path.display())).into()
        })
    }

    /// The phases of the file, if there is one.
    ///
    /// # Errors
    /// Of a file that cannot be read; [`Misuse`] with line and key of what is wrong in it.
    pub(super) fn phases(&self) -> anyhow::Result<Option<Vec<Phase>>> {
        let Some(path) = &self.phases else { return Ok(None) };
        let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = String::from_utf8(file).map_err(|error| {
            Misuse(format!("{} is no text in UTF-8, from byte {} on", path.display(), error.utf8_error().valid_up_to()))
        })?;
        let phases = phases_file::parse(&text).map_err(|why| Misuse(format!("{}: {why}", path.display())))?;
        Ok(Some(phases))
    }
}

/// Records a second. Kafka's own tools take -1 for no limit.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    if text == "-1" {
        return Err("there is no load without a rate by a schedule: --in-flight RECORDS sends as fast as answers come"
            .to_owned());
    }
    let rate = text.parse().ok().filter(|rate| (1..=10_000_000).contains(rate));
    rate.ok_or_else(|| "it is 1 to 10000000 records a second".to_owned())
}

/// A duration, 0 too.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err("a duration is not less than 0".to_owned());
    }
    parse_duration(text)
}

/// How long a load lasts.
pub(super) fn length(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a load that lasts for no time measures nothing: it is above 0, as in 30s".to_owned()),
        length => Ok(length),
    }
}

/// Of so many members some have no partition.
pub(super) fn idle(members: u16, partitions: u32) -> Option<String> {
    let idle = u32::from(members).saturating_sub(partitions);
    (idle > 0).then(|| {
        format!(
            "{partitions} partitions are for {partitions} members at most: {idle} of {members} will have nothing to do"
        )
    })
}

fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    let share = share.ok().filter(|share| (0.0..=0.9).contains(share));
    share.ok_or_else(|| "it is a share of 1, 0.9 at most, as in 0.01 or 1%".to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_load_lasts_for_some_time_and_a_drain_need_not() {
        assert_eq!((length("1us"), length("30s")), (Ok(Duration::from_micros(1)), Ok(Duration::from_secs(30))));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(length("0s").unwrap_err().contains("measures nothing"));
        for text in ["-1s", "-1", "--rate"] {
            assert!(length(text).unwrap_err().contains("not less than 0") && duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn members_without_a_partition_are_told_of() {
        assert_eq!((idle(4, 4), idle(1, 8)), (None, None));
        assert!(idle(12, 4).unwrap().ends_with("8 of 12 will have nothing to do"));
    }

    #[test]
    fn a_share_is_a_fraction_or_a_percentage() {
        assert_eq!((share("0.25"), share("1%"), share("0"), share("90%")), (Ok(0.25), Ok(0.01), Ok(0.0), Ok(0.9)));
        for text in ["", "1", "-0.1", "91%", "NaN", "x%"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
