//! `report.html`: a run on one page that needs nothing else, neither network nor script.
//!
//! [`engine`] and [`application`] say which sections a page has. [`sections`], and [`phases`] of a load with several, says in words and tables what [`plots`] shows over time;
//! [`configuration`] is what was in force; [`svg`] draws along an [`axis`]; [`text`] is the only way of text into the page.

mod application;
mod axis;
mod configuration;
mod engine;
mod phases;
mod plots;
mod sections;
mod svg;
mod text;

use std::fmt;

use super::result::Outcome;
use super::verdict::Judgement;
pub(crate) use application::ApplicationPage;
pub(crate) use engine::EnginePage;
use text::Text;

const STYLE: &str = include_str!("style.css");

type Page<'a, 'b> = &'a mut fmt::Formatter<'b>;

/// All of a page but its sections, which `body` writes.
fn page(f: Page<'_, '_>, outcome: &Outcome, of: &str, body: impl FnOnce(Page<'_, '_>) -> fmt::Result) -> fmt::Result {
    // What should ever get in as more than text would still not be run, and fetches nothing.
    write!(
        f,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        named(outcome.judgement()),
        Text(of)
    )?;
    body(f)?;
    write!(
        f,
        "<footer>troupe {}, librdkafka {}; result.json schema {}</footer>\n</main>\n</body>\n</html>\n",
        Text(&outcome.versions.troupe),
        Text(&outcome.versions.librdkafka),
        outcome.schema
    )
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
