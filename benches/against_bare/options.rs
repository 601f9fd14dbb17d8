//! The command line.

use crate::command_line::{self, Common, number};

const USAGE: &str =
    "cargo bench --bench against_bare -- [--quick] [--runs N] [--seed N] [--bootstrap-server HOST:PORT] [--json FILE]";

/// What to measure, and on what.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) runs: usize,
    /// Runs in which each bare arm's settings are chosen.
    pub(crate) trials: usize,
    /// Records of a drain.
    pub(crate) records: u64,
    /// Seconds of an end-to-end run that count.
    pub(crate) seconds: u64,
    pub(crate) common: Common,
}

impl Options {
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut records = 4_000_000;
        let common = command_line::parse(arguments, USAGE, |argument, value| {
            let is_known = argument == "--records";
            if is_known {
                records = number(&value()?)?;
            }
            Ok(is_known)
        })?;
        // Every partition gets as many, and end to end every one gets some.
        if records == 0 || !records.is_multiple_of(8) {
            return Err("--records must be a multiple of 8, and above 0".to_owned());
        }
        let (runs, trials, seconds) = if common.quick { (5, 1, 10) } else { (9, 3, 30) };
        Ok(Self { runs: common.runs.unwrap_or(runs), trials, records, seconds, common })
    }
}
