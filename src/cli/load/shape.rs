//! What the load looks like, and who bears it.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::cli::exit::Misuse;
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
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_fraction_or_a_percentage() {
        assert_eq!((share("0.25"), share("1%"), share("0"), share("90%")), (Ok(0.25), Ok(0.01), Ok(0.0), Ok(0.9)));
        for text in ["", "1", "-0.1", "91%", "NaN", "x%"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
