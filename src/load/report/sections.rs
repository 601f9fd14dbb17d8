//! What is said in words and tables.

use std::fmt::{self, Display};

use super::super::result::Outcome;
use super::text::{self, Text, grouped};
use super::{Page, named, plots};
use crate::load::families::Family;
use crate::load::figures::Figures;
use crate::load::latencies::Summary;
use crate::load::plan::{Length, Pace};

/// Opens a section.
pub(super) fn open(f: Page<'_, '_>, id: &str, title: &str) -> fmt::Result {
    write!(f, "<section id=\"{id}\">\n<h2>{}</h2>\n", Text(title))
}

pub(super) fn close(f: Page<'_, '_>) -> fmt::Result {
    f.write_str("</section>\n")
}

pub(super) fn note(f: Page<'_, '_>, note: impl Display) -> fmt::Result {
    writeln!(f, "<p class=\"note\">{}</p>", Text(note))
}

/// First what it came to, then the few figures that everybody asks for. Leaves the section open.
pub(super) fn verdict(
    f: Page<'_, '_>,
    result: &Outcome,
    headline: &str,
    tiles: impl IntoIterator<Item = (&'static str, String)>,
) -> fmt::Result {
    let judgement = named(result.judgement());
    write!(
        f,
        "<section id=\"verdict\">\n<div class=\"verdict\"><span class=\"badge {judgement}\">{}</span><h1>{}</h1></div>\n",
        judgement.to_uppercase(),
        Text(headline)
    )?;
    let reasons: Vec<String> = result
        .verdict
        .reasons
        .iter()
        .cloned()
        .chain(result.first_error.iter().map(|it| format!("the first record that was not confirmed: {it}")))
        .chain(result.stopped_early.then(|| {
            "a signal ended the load, or the wait for its last records, early; or nobody read its lines any longer"
                .to_owned()
        }))
        .collect();
    if !reasons.is_empty() {
        f.write_str("<ul class=\"reasons\">")?;
        reasons.iter().try_for_each(|reason| write!(f, "<li>{}</li>", Text(reason)))?;
        f.write_str("</ul>\n")?;
    }
    f.write_str("<dl class=\"tiles\">")?;
    tiles.into_iter().try_for_each(|(name, value)| tile(f, name, value))?;
    f.write_str("</dl>\n")
}

/// How many records of the load were sent late.
pub(super) fn late(figures: &Figures) -> String {
    format!("{} of {}", grouped(figures.late), grouped(figures.scheduled))
}

/// The median, the 99th percentile and the most, under these names.
pub(super) fn latency_tiles(names: [&'static str; 3], of: Option<Summary>) -> [(&'static str, String); 3] {
    let figures = of.map(|it| [it.p50, it.p99, it.max].map(micros));
    let [p50, p99, max] = figures.unwrap_or_else(|| ["none"; 3].map(str::to_owned));
    let [of_p50, of_p99, of_max] = names;
    [(of_p50, p50), (of_p99, p99), (of_max, max)]
}

/// How records are sent, and for how long: `300 records/s for 30s`.
pub(super) fn load(pace: &Pace, length: &Length) -> String {
    let pace = match pace {
        Pace::ClosedLoop { in_flight } => format!("{} records unanswered at any time", grouped(u64::from(*in_flight))),
        Pace::OpenLoop { rate, .. } => format!("{} records/s", grouped(*rate)),
        Pace::Phases(phases) => format!("{} phases", phases.len()),
        Pace::Backlog => "a backlog".to_owned(),
    };
    let length = match length {
        Length::Seconds(duration) => format!("for {}", text::seconds(duration.as_secs_f64())),
        Length::Records(records) => format!("of {} records", grouped(*records)),
    };
    format!("{pace} {length}")
}

fn tile(f: Page<'_, '_>, name: &str, value: impl Display) -> fmt::Result {
    write!(f, "<div><dt>{}</dt><dd>{}</dd></div>", Text(name), Text(value))
}

/// What a number of records says.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Neutral,
    /// Right is 0.
    Fault,
}

pub(super) fn count(f: Page<'_, '_>, name: &str, says: Count, number: u64) -> fmt::Result {
    let class = match (says, number) {
        (Count::Neutral, _) => "",
        (Count::Fault, 0) => "good",
        (Count::Fault, _) => "bad",
    };
    write!(f, "<div><dt>{}</dt><dd class=\"{class}\">{}</dd></div>", Text(name), grouped(number))
}

pub(super) fn gates(f: Page<'_, '_>, result: &Outcome) -> fmt::Result {
    open(f, "gates", "Gates")?;
    let gates = &result.verdict.gates;
    if gates.is_empty() {
        note(f, "None were given with --assert; the rules that hold for every run were applied.")?;
        return close(f);
    }
    f.write_str(
        "<table class=\"folds\"><thead><tr><th>gate</th><th class=\"number\">value</th><th>held</th></tr></thead>",
    )?;
    for gate in gates {
        let (class, held) = match gate.held {
            Some(true) => ("good", "yes"),
            Some(false) => ("bad", "no"),
            None => ("bad", "nothing to compare"),
        };
        let value = match gate.value {
            None => "none".to_owned(),
            Some(value) if gate.timed => text::micros(value),
            Some(value) => text::short(value),
        };
        write!(
            f,
            "<tr><th>{}</th><td class=\"number\" data-name=\"value\">{}</td><td class=\"{class}\" data-name=\"held\">{held}</td></tr>",
            Text(&gate.gate),
            Text(value)
        )?;
    }
    f.write_str("</table>\n")?;
    close(f)
}

/// Of those that such a run measures. Leaves the section open.
pub(super) fn latencies(f: Page<'_, '_>, result: &Outcome, measured: &[Family]) -> fmt::Result {
    const COLUMNS: [&str; 8] = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max", "count"];
    open(f, "latencies", "Latency")?;
    f.write_str("<table class=\"folds\"><thead><tr><th>of the load</th>")?;
    COLUMNS.iter().try_for_each(|column| write!(f, "<th class=\"number\">{column}</th>"))?;
    f.write_str("</tr></thead>")?;
    let mut nothing = Vec::new();
    for family in measured {
        let Some(Summary { min, p50, p90, p99, p99_9, p99_99, max, count }) = *result.figures.latency.of(*family)
        else {
            nothing.push(*family);
            continue;
        };
        write!(f, "<tr><th>{}</th>", Text(family.title()))?;
        let values = [min, p50, p90, p99, p99_9, p99_99, max].map(micros);
        for (column, value) in COLUMNS.iter().zip(values.into_iter().chain([grouped(count)])) {
            write!(f, "<td class=\"number\" data-name=\"{column}\">{}</td>", Text(value))?;
        }
        f.write_str("</tr>")?;
    }
    f.write_str("</table>\n")?;
    if !nothing.is_empty() {
        let names = nothing.iter().map(|it| it.title()).collect::<Vec<_>>().join(", ");
        let why = match (plots::is_refused(result), nothing.contains(&Family::E2e)) {
            (true, true) => "above saturation they would say how long the backlog was, and not how long a record takes",
            _ => "none were measured",
        };
        note(f, format_args!("Without figures: {names}; {why}."))?;
    }
    Ok(())
}

/// Microseconds with as many digits as are kept.
fn micros(micros: u64) -> String {
    text::micros(micros as f64)
}

pub(super) fn resources(f: Page<'_, '_>, result: &Outcome) -> fmt::Result {
    let spent = &result.resources;
    open(f, "resources", "Resources of this process")?;
    f.write_str("<dl class=\"tiles\">")?;
    let known = [
        ("CPU s per million records", spent.cpu_seconds_per_million_records.map(|it| format!("{it:.2}"))),
        ("CPU s during the load", spent.load_cpu_seconds.map(|it| format!("{it:.1}"))),
        ("peak resident memory", spent.peak_rss_bytes.map(|it| text::bytes(it as f64))),
        ("threads", spent.threads.map(|it| it.to_string())),
    ];
    for (name, value) in known {
        tile(f, name, value.unwrap_or_else(|| "not told".to_owned()))?;
    }
    f.write_str("</dl>\n")?;
    plots::resources(f, result)?;
    if result.broker == "embedded" {
        note(f, "The embedded broker is in these figures.")?;
    }
    close(f)
}
