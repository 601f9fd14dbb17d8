//! The command line.

use std::path::PathBuf;

use crate::arms::Handling;

const USAGE: &str = "cargo bench --bench concurrency -- [--quick] [--only drains|keys|latency] [--handling MS,CALLS] [--runs N] \
                     [--seed N] [--bootstrap-server HOST:PORT] [--json FILE]";

/// A third of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Rates beside the loops.
    Drains,
    /// Few keys, many keys, a hot key.
    Keys,
    /// At 70 % of the rate that an arm can do at most.
    Latency,
}

/// What to measure, and on what.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) runs: usize,
    /// Seconds of an open-loop run that count.
    pub(crate) seconds: u64,
    pub(crate) only: Option<Part>,
    /// Only drains by handlers that sleep so long, so many at once.
    pub(crate) handling: Option<Handling>,
    pub(crate) seed: u64,
    pub(crate) bootstrap_server: Option<String>,
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            runs: 7,
            seconds: 30,
            only: None,
            handling: None,
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
                "--only" => options.only = Some(part(&value()?)?),
                "--handling" => options.handling = Some(handling(&value()?)?),
                "--runs" => runs = Some(number(&value()?)? as usize),
                "--seed" => options.seed = number(&value()?)?,
                "--bootstrap-server" => options.bootstrap_server = Some(value()?),
                "--json" => options.json = Some(value()?.into()),
                _ => return Err(format!("{argument}?\n{USAGE}")),
            }
        }
        if quick {
            (options.runs, options.seconds) = (3, 8);
        }
        options.runs = runs.unwrap_or(options.runs);
        if options.runs == 0 {
            return Err("--runs must be above 0".to_owned());
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

fn part(text: &str) -> Result<Part, String> {
    match text {
        "drains" => Ok(Part::Drains),
        "keys" => Ok(Part::Keys),
        "latency" => Ok(Part::Latency),
        _ => Err(format!("{text} is no part of it\n{USAGE}")),
    }
}

fn handling(text: &str) -> Result<Handling, String> {
    let (sleep, calls) = text.split_once(',').ok_or_else(|| format!("{text}: MS,CALLS\n{USAGE}"))?;
    Ok(Handling { sleep_ms: number(sleep)?, concurrency: number(calls)? as usize })
}

fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text} is no number\n{USAGE}"))
}
