//! `report.html`: a run on one page that needs nothing else, neither network nor script.
//!
//! [`sections`], and [`phases`] of a load with several, says in words and tables what [`plots`] shows over time; [`svg`] draws along an [`axis`]; [`text`] is the only way of text into the page.

mod axis;
mod phases;
mod plots;
mod sections;
mod svg;
mod text;

use std::fmt;

use super::result::RunResult;
use super::verdict::Judgement;
use text::Text;

const STYLE: &str = include_str!("style.css");

/// The page of a run, as HTML.
pub(crate) struct Page<'a>(pub(crate) &'a RunResult);

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = self.0;
        // What should ever get in as more than text would still not be run, and fetches nothing.
        write!(
            f,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
            named(result.judgement()),
            Text(&result.plan.topic)
        )?;
        sections::verdict(f, result)?;
        sections::faults(f, result)?;
        sections::records(f, result)?;
        sections::gates(f, result)?;
        sections::latencies(f, result)?;
        phases::phases(f, result)?;
        plots::throughput(f, result)?;
        plots::latency_over_time(f, result)?;
        plots::percentiles(f, result)?;
        plots::lag(f, result)?;
        plots::partitions(f, result)?;
        sections::resources(f, result)?;
        sections::configuration(f, result)?;
        write!(
            f,
            "<footer>troupe {}, librdkafka {}; result.json schema {}</footer>\n</main>\n</body>\n</html>\n",
            Text(&result.versions.troupe),
            Text(&result.versions.librdkafka),
            result.schema
        )
    }
}

fn named(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Passed => "passed",
        Judgement::Failed => "failed",
        Judgement::Invalid => "invalid",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by panicking")]
mod tests;
