//! What is said in words and tables.

use std::fmt::{self, Display};

use serde_json::Value;

use super::super::result::{RunResult, Told};
use super::text::{self, Text, grouped};
use super::{named, plots};
use crate::load::families::Family;
use crate::load::latencies::Summary;
use crate::load::plan::{Length, Pace};

type Page<'a, 'b> = &'a mut fmt::Formatter<'b>;

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

/// First what it came to, then the few figures that everybody asks for.
pub(super) fn verdict(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
    let judgement = named(result.judgement());
    let figures = &result.figures;
    write!(
        f,
        "<section id=\"verdict\">\n<div class=\"verdict\"><span class=\"badge {judgement}\">{}</span><h1>{}</h1></div>\n",
        judgement.to_uppercase(),
        Text(headline(result))
    )?;
    let reasons: Vec<String> = result
        .verdict
        .reasons
        .iter()
        .cloned()
        .chain(result.first_error.iter().map(|it| format!("the first record that was not confirmed: {it}")))
        .chain(
            result.stopped_early.then(|| "a signal ended the load, or the wait for its last records, early".to_owned()),
        )
        .collect();
    if !reasons.is_empty() {
        f.write_str("<ul class=\"reasons\">")?;
        reasons.iter().try_for_each(|reason| write!(f, "<li>{}</li>", Text(reason)))?;
        f.write_str("</ul>\n")?;
    }
    f.write_str("<dl class=\"tiles\">")?;
    let late = format!("{} of {}", grouped(figures.late), grouped(figures.scheduled));
    let end_to_end = |of: fn(&Summary) -> u64| {
        figures.latency.end_to_end.as_ref().map_or_else(|| "none".to_owned(), |it| micros(of(it)))
    };
    tile(f, "confirmed, records/s", grouped(figures.rate.round() as u64))?;
    tile(f, "handled", grouped(figures.handled))?;
    tile(f, "lost", grouped(figures.lost))?;
    tile(f, "duplicated", grouped(figures.duplicated))?;
    tile(f, "sent late", late)?;
    tile(f, "end to end, p50", end_to_end(|it| it.p50))?;
    tile(f, "end to end, p99", end_to_end(|it| it.p99))?;
    tile(f, "end to end, max", end_to_end(|it| it.max))?;
    f.write_str("</dl>\n")?;
    note(
        f,
        format_args!(
            "Started {}; broker: {}; topic {}, group {}, seed {}.",
            result.started, result.broker, result.plan.topic, result.plan.group, result.plan.seed
        ),
    )?;
    close(f)
}

fn headline(result: &RunResult) -> String {
    let pace = match &result.plan.pace {
        Pace::ClosedLoop { in_flight } => format!("{} records unanswered at any time", grouped(u64::from(*in_flight))),
        Pace::OpenLoop { rate, .. } => format!("{} records/s", grouped(*rate)),
        Pace::Phases(phases) => format!("{} phases", phases.len()),
        Pace::Backlog => "a backlog".to_owned(),
    };
    let length = match &result.plan.length {
        Length::Seconds(duration) => format!("for {}", text::seconds(duration.as_secs_f64())),
        Length::Records(records) => format!("of {} records", grouped(*records)),
    };
    format!("Load: {pace} {length}")
}

fn tile(f: Page<'_, '_>, name: &str, value: impl Display) -> fmt::Result {
    write!(f, "<div><dt>{}</dt><dd>{}</dd></div>", Text(name), Text(value))
}

/// What was done to members, and how the group got over it; nothing where nothing was.
pub(super) fn faults(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
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
    if let Some(excused) = result.figures.excused {
        note(f, format_args!("They excuse {} repeats.", grouped(excused)))?;
    }
    close(f)
}

/// What became of them, one by one.
pub(super) fn records(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
    let figures = &result.figures;
    open(f, "records", "Records")?;
    f.write_str("<dl class=\"counts\">")?;
    for (name, count) in [("sent", figures.sent), ("confirmed", figures.acked), ("handled", figures.handled)] {
        count_of(f, name, "", count)?;
    }
    for (name, count) in [
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
        let class = if count == 0 { "good" } else { "bad" };
        count_of(f, name, class, count)?;
    }
    for (times, records) in &figures.times_handled {
        count_of(f, &format!("handled {times} times"), "", *records)?;
    }
    if figures.failed_attempts > 0 {
        count_of(f, "attempts that were to fail", "", figures.failed_attempts)?;
    }
    f.write_str("</dl>\n")?;
    close(f)
}

fn count_of(f: Page<'_, '_>, name: &str, class: &str, count: u64) -> fmt::Result {
    write!(f, "<div><dt>{}</dt><dd class=\"{class}\">{}</dd></div>", Text(name), grouped(count))
}

fn pair(f: Page<'_, '_>, name: &str, value: impl Display) -> fmt::Result {
    write!(f, "<dt>{}</dt><dd>{}</dd>", Text(name), Text(value))
}

pub(super) fn gates(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
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
            // Of a latency, whose name has a dot.
            Some(value) if gate.gate.split(['<', '>', '=', '!']).next().is_some_and(|name| name.contains('.')) => {
                text::micros(value)
            }
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

pub(super) fn latencies(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
    const COLUMNS: [&str; 8] = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max", "count"];
    open(f, "latencies", "Latency")?;
    f.write_str("<table class=\"folds\"><thead><tr><th>of the load</th>")?;
    COLUMNS.iter().try_for_each(|column| write!(f, "<th class=\"number\">{column}</th>"))?;
    f.write_str("</tr></thead>")?;
    let mut nothing = Vec::new();
    for (family, summary) in result.figures.latency.each() {
        let Some(Summary { min, p50, p90, p99, p99_9, p99_99, max, count }) = *summary else {
            nothing.push(family);
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
    close(f)
}

/// Microseconds with as many digits as are kept.
fn micros(micros: u64) -> String {
    text::micros(micros as f64)
}

pub(super) fn resources(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
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

pub(super) fn configuration(f: Page<'_, '_>, result: &RunResult) -> fmt::Result {
    open(f, "configuration", "Configuration")?;
    f.write_str("<h3>Plan</h3>\n")?;
    values(f, &serde_json::to_value(&result.plan).unwrap_or_default())?;
    f.write_str("<h3>Host</h3>\n")?;
    values(f, &serde_json::to_value(&result.host).unwrap_or_default())?;
    for (of, told) in [("Producer", &result.settings.producer), ("Consumer", &result.settings.consumer)] {
        settings(f, of, told)?;
    }
    close(f)
}

fn settings(f: Page<'_, '_>, of: &str, told: &[Told]) -> fmt::Result {
    if told.is_empty() {
        return Ok(());
    }
    write!(f, "<details><summary>{of}: {} settings</summary>\n<dl class=\"pairs\">", told.len())?;
    for Told { name, value, from } in told {
        let value = if value.is_empty() { "-" } else { value };
        let from = if from == "default" { String::new() } else { format!(" ({from})") };
        pair(f, name, format_args!("{value}{from}"))?;
    }
    f.write_str("</dl></details>\n")
}

/// What is not nothing of a value's fields, those of fields in fields behind a dot.
fn values(f: Page<'_, '_>, value: &Value) -> fmt::Result {
    let mut pairs = Vec::new();
    flatten(String::new(), value, &mut pairs);
    f.write_str("<dl class=\"pairs\">")?;
    pairs.iter().try_for_each(|(name, value)| pair(f, name, value))?;
    f.write_str("</dl>\n")
}

fn flatten(name: String, value: &Value, pairs: &mut Vec<(String, String)>) {
    let within = |field: &str| if name.is_empty() { field.to_owned() } else { format!("{name}.{field}") };
    match value {
        Value::Null => {}
        Value::Object(fields) => fields.iter().for_each(|(field, value)| flatten(within(field), value, pairs)),
        Value::Array(list) => {
            (1..).zip(list).for_each(|(number, value)| flatten(within(&number.to_string()), value, pairs));
        }
        Value::String(text) => pairs.push((name, text.clone())),
        other => pairs.push((name, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_in_fields_stand_behind_a_dot_and_nothing_is_left_out() {
        let mut pairs = Vec::new();
        flatten(String::new(), &json!({"a": {"b": 1, "c": null}, "d": ["x", {"e": true}]}), &mut pairs);
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("a.b", "1"), ("d.1", "x"), ("d.2.e", "true")]);
    }
}
