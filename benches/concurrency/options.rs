//! The command line.

use crate::arms::Handling;
use crate::command_line::{self, Common, number};

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
    pub(crate) common: Common,
}

impl Options {
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut only, mut handled) = (None, None);
        let common = command_line::parse(arguments, USAGE, |argument, value| {
            match argument {
                "--only" => only = Some(part(&value()?)?),
                "--handling" => handled = Some(handling(&value()?)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let (runs, seconds) = if common.quick { (3, 8) } else { (7, 30) };
        Ok(Self { runs: common.runs.unwrap_or(runs), seconds, only, handling: handled, common })
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
        _ => Err(format!("{text} is no part of it")),
    }
}

fn handling(text: &str) -> Result<Handling, String> {
    let (sleep, calls) = text.split_once(',').ok_or_else(|| format!("{text}: MS,CALLS"))?;
    Ok(Handling { sleep_ms: number(sleep)?, concurrency: number(calls)? as usize })
}
