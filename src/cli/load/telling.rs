use std::fmt::Display;
use std::io;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::lines::Lines;
use crate::cli::data;
use crate::cli::exit::Exit;
use crate::cli::terminal::Terminal;
use crate::load::sample::Sample;
use crate::load::verdict::Judgement;

/// The live lines have their header again after so many.
const PAGE: usize = 20;
/// So many samples wait for who reads them: a minute's worth.
const MOST: usize = 60;
/// How long it is waited in the end for who has not read them.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How a run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A line a second, and a report.
    People,
    /// A line a second, and the result as one JSON object.
    Json,
    /// An object a line.
    Ndjson,
}

/// A line of `--ndjson`.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a, R> {
    Sample(&'a Sample),
    Result(&'a R),
}

/// What is shown while a run goes on.
pub(super) struct Live {
    lines: Lines<Sample>,
    format: Format,
}

impl Live {
    /// `enough` is cancelled where nobody reads of the run any longer.
    pub(super) fn start(terminal: &Terminal, format: Format, enough: &CancellationToken) -> anyhow::Result<Self> {
        let (terminal, enough) = (terminal.clone(), enough.clone());
        let lines = match format {
            Format::Ndjson => Lines::start(MOST, || to_stdout(enough)),
            Format::People | Format::Json => Lines::start(MOST, || to_stderr(terminal)),
        };
        Ok(Self { lines: lines.context("a thread cannot be started")?, format })
    }

    pub(super) fn show(&self, sample: &Sample) {
        self.lines.put(sample.clone());
    }

    /// What waits to be shown is, as far as somebody takes it, and what was not is told of.
    pub(super) fn end(self) {
        let ended = self.lines.end(LAST_LINES);
        // A stderr on which nobody takes the lines takes none of these words either.
        let is_heard = ended.through || self.format == Format::Ndjson;
        if ended.dropped > 0 && is_heard {
            tracing::warn!("{} live lines were dropped: nobody read them in time", ended.dropped);
        }
    }
}

fn to_stdout(enough: CancellationToken) -> impl FnMut(Sample) -> bool {
    // As long as it is at a line, whatever becomes of that, nothing else is printed: the result comes last.
    let stdout = io::stdout().lock();
    move |sample| {
        let _stdout = &stdout;
        // Where this fails for another reason, the result cannot be printed either, which is then told.
        let read = !matches!(serde_json::to_string(&Line::<()>::Sample(&sample)).map(data::offer), Ok(Ok(false)));
        if !read {
            enough.cancel();
            tracing::info!(
                "nobody reads the lines any longer: no more is sent, and the verdict will be in the run's folder"
            );
        }
        read
    }
}

fn to_stderr(terminal: Terminal) -> impl FnMut(Sample) -> bool {
    let mut lines: usize = 0;
    move |sample| {
        if lines.is_multiple_of(PAGE) {
            terminal.summarize(Sample::HEADER, || {});
        }
        lines += 1;
        terminal.summarize(&sample, || {
            tracing::info!(sample = serde_json::to_string(&sample).unwrap_or_default(), "sample");
        });
        true
    }
}

impl Format {
    /// Prints what came of a run: the result, or its report.
    pub(super) fn print(self, result: &impl Serialize, report: impl Display) -> anyhow::Result<()> {
        match self {
            Self::People => data::print(report),
            Self::Json => data::print(serde_json::to_string(result)?),
            Self::Ndjson => data::print(serde_json::to_string(&Line::Result(result))?),
        }
    }
}

pub(super) fn exit(judgement: Judgement) -> Exit {
    match judgement {
        Judgement::Passed => Exit::Fine,
        Judgement::Failed => Exit::Failed,
        Judgement::Invalid => Exit::Invalid,
    }
}
