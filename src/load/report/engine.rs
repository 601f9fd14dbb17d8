//! The page of a run through the engine, or a bare client.

use std::fmt;

use super::super::result::RunResult;
use super::plots::{self, Skew};
use super::sections::{self, Count, close, count, note, open};
use super::text::{self, Text, grouped};
use super::{Page, configuration, page, phases};
use crate::load::families::Family;
use crate::load::plan::Plan;

/// As HTML.
pub(crate) struct EnginePage<'a>(pub(crate) &'a RunResult);

impl fmt::Display for EnginePage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = self.0;
        let outcome = &result.outcome;
        page(f, outcome, &result.plan.topic, |f| {
            verdict(f, result)?;
            faults(f, result)?;
            records(f, result)?;
            sections::gates(f, outcome)?;
            sections::latencies(f, outcome, &Family::ALL)?;
            close(f)?;
            phases::phases(f, outcome)?;
            plots::throughput(f, outcome, "handled")?;
            plots::latency_over_time(f, outcome)?;
            plots::percentiles(f, outcome)?;
            plots::waiting(f, outcome, "Lag and unseen over time, records", "unseen: confirmed, not handled")?;
            partitions(f, result)?;
            sections::resources(f, outcome)?;
            configuration::configuration(f, outcome, &serde_json::to_value(&result.plan).unwrap_or_default())
        })
    }
}

fn verdict(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
    let (outcome, plan) = (&result.outcome, &result.plan);
    let figures = &outcome.figures;
    let mut tiles = vec![
        ("confirmed, records/s", grouped(figures.rate.round() as u64)),
        ("handled", grouped(figures.handled)),
        ("lost", grouped(figures.lost)),
        ("duplicated", grouped(figures.duplicated)),
        ("sent late", sections::late(figures)),
    ];
    tiles.extend(sections::latency_tiles(
        ["end to end, p50", "end to end, p99", "end to end, max"],
        figures.latency.end_to_end,
    ));
    sections::verdict(f, outcome, &headline(plan), tiles)?;
    note(
        f,
        format_args!(
            "Started {}; broker: {}; topic {}, group {}, seed {}.",
            outcome.started, outcome.broker, plan.topic, plan.group, plan.seed
        ),
    )?;
    close(f)
}

fn headline(plan: &Plan) -> String {
    format!("Load: {}", sections::load(&plan.pace, &plan.length))
}

/// What was done to members, and how the group got over it; nothing where nothing was.
fn faults(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
    const COLUMNS: [&str; 6] = ["at", "member", "shared out after", "recovered after", "most behind", "repeated"];
    if result.faults.is_empty() {
        return Ok(());
    }
    open(f, "faults", "Faults")?;
    f.write_str("<table class=\"folds\"><thead><tr><th>fault</th>")?;
    COLUMNS.iter().try_for_each(|column| write!(f, "<th class=\"number\">{column}</th>"))?;
    f.write_str("</tr></thead>")?;
    for it in &result.faults {
        let after = |millis: Option<u64>| millis.map_or_else(|| "not".to_owned(), |it| text::micros(it as f64 * 1e3));
        let cells = [
            text::seconds(it.at_ms as f64 / 1e3),
            it.member.to_string(),
            after(it.shared_out_after_ms),
            after(it.recovered_after_ms),
            grouped(it.most_behind),
            grouped(it.repeated),
        ];
        write!(f, "<tr><th>{}</th>", Text(it.fault.name()))?;
        for (column, cell) in COLUMNS.iter().zip(cells) {
            write!(f, "<td class=\"number\" data-name=\"{column}\">{}</td>", Text(cell))?;
        }
        f.write_str("</tr>")?;
    }
    f.write_str("</table>\n")?;
    if let Some(excused) = result.outcome.figures.excused {
        note(f, format_args!("They excuse {} repeats.", grouped(excused)))?;
    }
    close(f)
}

/// What became of them, one by one.
fn records(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
    let figures = &result.outcome.figures;
    open(f, "records", "Records")?;
    f.write_str("<dl class=\"counts\">")?;
    for (name, number) in [("sent", figures.sent), ("confirmed", figures.acked), ("handled", figures.handled)] {
        count(f, name, Count::Neutral, number)?;
    }
    for (name, number) in [
        ("lost", figures.lost),
        ("unseen in the end", figures.unseen),
        ("handled more than once", figures.duplicated),
        ("redelivered", figures.redelivered),
        ("redelivered after their commit", figures.redelivered_after_commit),
        ("reordered", figures.reordered),
        ("corrupted", figures.corrupted),
        ("foreign", figures.foreign),
        ("committed ahead of their handler", figures.committed_ahead),
        ("not confirmed", figures.failed),
    ] {
        count(f, name, Count::Fault, number)?;
    }
    for (times, records) in &figures.times_handled {
        count(f, &format!("handled {times} times"), Count::Neutral, *records)?;
    }
    if figures.failed_attempts > 0 {
        count(f, "attempts that were to fail", Count::Neutral, figures.failed_attempts)?;
    }
    f.write_str("</dl>\n")?;
    close(f)
}

fn partitions(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
    let of_one = |it: &super::super::run::OfPartition| (it.end, it.end.saturating_sub(it.handled));
    let skew = Skew {
        name: "Confirmed records by partition",
        what: "confirmed",
        marked: Some("not handled"),
        partitions: result.partitions.iter().map(of_one).collect(),
    };
    plots::partitions(f, "Records by partition", &skew)
}
