//! The phases of a load, and how each did.

use std::fmt;

use super::super::result::Outcome;
use super::sections::{close, note, open};
use super::svg::Band;
use super::text::{self, Text, grouped};

const COUNTS: [&str; 7] = ["from", "for", "target", "sent", "acked", "records/s", "late"];
const LATENCIES: [&str; 6] = ["p50", "p90", "p99", "p99.9", "max", "count"];

/// Nothing where there are not two.
pub(super) fn phases(f: &mut fmt::Formatter<'_>, result: &Outcome) -> fmt::Result {
    let phases = &result.phases;
    if phases.len() < 2 {
        return Ok(());
    }
    open(f, "phases", "Phases")?;
    head(f, &["phase"], &COUNTS)?;
    for it in phases {
        let target =
            if it.from == it.to { grouped(it.from) } else { format!("{} to {}", grouped(it.from), grouped(it.to)) };
        let cells = [
            text::seconds(it.start_seconds),
            text::seconds(it.seconds),
            target,
            grouped(it.sent),
            grouped(it.acked),
            grouped(it.rate.round() as u64),
            grouped(it.late),
        ];
        write!(f, "<tr><th>{}</th>", Text(&it.name))?;
        numbers(f, COUNTS.iter().zip(cells))?;
    }
    f.write_str("</table>\n")?;
    head(f, &["phase", "latency"], &LATENCIES)?;
    for it in phases {
        for (family, summary) in it.latency.each() {
            write!(f, "<tr><th>{}</th><td data-name=\"latency\">{}</td>", Text(&it.name), Text(family.title()))?;
            let cells = summary.map_or_else(
                || ["-"; 6].map(str::to_owned),
                |it| {
                    let [p50, p90, p99, p99_9, max] =
                        [it.p50, it.p90, it.p99, it.p99_9, it.max].map(|micros| text::micros(micros as f64));
                    [p50, p90, p99, p99_9, max, grouped(it.count)]
                },
            );
            numbers(f, LATENCIES.iter().zip(cells))?;
        }
    }
    f.write_str("</table>\n")?;
    for it in phases {
        if let Some(why) = it.refusal() {
            note(f, format_args!("Phase {}, without figures: {why}.", it.name))?;
        }
    }
    note(f, "A record belongs to the phase in which it was to be sent.")?;
    close(f)
}

fn head(f: &mut fmt::Formatter<'_>, names: &[&str], columns: &[&str]) -> fmt::Result {
    f.write_str("<table class=\"folds\"><thead><tr>")?;
    names.iter().try_for_each(|name| write!(f, "<th>{name}</th>"))?;
    columns.iter().try_for_each(|column| write!(f, "<th class=\"number\">{column}</th>"))?;
    f.write_str("</tr></thead>")
}

/// The rest of a row.
fn numbers<'a>(f: &mut fmt::Formatter<'_>, cells: impl Iterator<Item = (&'a &'a str, String)>) -> fmt::Result {
    for (column, cell) in cells {
        write!(f, "<td class=\"number\" data-name=\"{column}\">{}</td>", Text(cell))?;
    }
    f.write_str("</tr>")
}

/// Where each phase was on; none where there are not two.
pub(super) fn bands(result: &Outcome) -> impl Iterator<Item = Band> {
    let phases = if result.phases.len() < 2 { &[] } else { &*result.phases };
    phases.iter().map(|it| Band {
        from: it.start_seconds,
        to: it.start_seconds + it.seconds,
        label: it.name.clone(),
        short: it.name.split(' ').next().map(str::to_owned),
        shaded: false,
    })
}
