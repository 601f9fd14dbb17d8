use std::fmt::Display;

use serde::Serialize;

use crate::cli::data;
use crate::cli::exit::Exit;
use crate::cli::terminal::Terminal;
use crate::load::sample::Sample;
use crate::load::verdict::Judgement;

/// The live lines have their header again after so many.
const PAGE: usize = 20;

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
pub(super) struct Live<'a> {
    terminal: &'a Terminal,
    format: Format,
    lines: usize,
}

impl<'a> Live<'a> {
    pub(super) fn new(terminal: &'a Terminal, format: Format) -> Self {
        Self { terminal, format, lines: 0 }
    }

    pub(super) fn show(&mut self, sample: &Sample) {
        if self.format == Format::Ndjson {
            // Whoever reads it has gone, or the result cannot be printed either, which is then told.
            let _ = serde_json::to_string(&Line::<()>::Sample(sample)).map(data::print);
            return;
        }
        if self.lines.is_multiple_of(PAGE) {
            self.terminal.summarize(Sample::HEADER, || {});
        }
        self.lines += 1;
        self.terminal.summarize(sample, || {
            tracing::info!(sample = serde_json::to_string(sample).unwrap_or_default(), "sample");
        });
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
