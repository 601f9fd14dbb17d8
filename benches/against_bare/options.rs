//! The command line.

use std::path::PathBuf;

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
    pub(crate) seed: u64,
    pub(crate) bootstrap_server: Option<String>,
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            runs: 9,
            trials: 3,
            records: 4_000_000,
            seconds: 30,
            seed: u64::from(std::process::id()),
            bootstrap_server: None,
            json: None,
        };
        let mut arguments = arguments;
        let (mut quick, mut runs) = (false, None);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
            match argument.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--quick" => quick = true,
                "--runs" => runs = Some(number(&value()?)? as usize),
                "--seed" => options.seed = number(&value()?)?,
                "--records" => options.records = number(&value()?)?,
                "--bootstrap-server" => options.bootstrap_server = Some(value()?),
                "--json" => options.json = Some(value()?.into()),
                _ => return Err(format!("{argument}?\n{USAGE}")),
            }
        }
        if quick {
            (options.runs, options.trials, options.seconds) = (5, 1, 10);
        }
        options.runs = runs.unwrap_or(options.runs);
        // Every partition gets as many, and end to end every one gets some.
        if options.runs == 0 || options.records == 0 || !options.records.is_multiple_of(8) {
            return Err("--runs must be above 0, --records a multiple of 8".to_owned());
        }
        Ok(options)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text} is no number\n{USAGE}"))
}
