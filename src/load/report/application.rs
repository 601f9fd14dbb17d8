//! The page of a run through somebody's application, or of one host's part of it: without what such a part cannot know.

use std::fmt;

use serde_json::json;

use super::plots::{self, Skew};
use super::sections::{self, Count, close, count, note, open};
use super::text::{Text, grouped};
use super::{Page, configuration, page, phases};
use crate::load::families::Family;
use crate::load::pipeline::part::Part;
use crate::load::pipeline::result::{PipelineResult, Verification};

/// As HTML.
pub(crate) struct ApplicationPage<'a>(pub(crate) &'a PipelineResult);

impl fmt::Display for ApplicationPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = self.0;
        let (outcome, part) = (&result.outcome, result.part);
        page(f, outcome, &format!("run {}", result.run), |f| {
            verdict(f, result)?;
            records(f, result)?;
            faults(f, result)?;
            sections::gates(f, outcome)?;
            latencies(f, result)?;
            phases::phases(f, outcome)?;
            plots::throughput(f, outcome, "came out")?;
            plots::latency_over_time(f, outcome)?;
            plots::percentiles(f, outcome)?;
            match part {
                Part::Whole => {
                    let (title, unseen) = ("Unseen over time, records", "unseen: confirmed in IN, not in OUT");
                    plots::waiting(f, outcome, title, unseen)?;
                }
                Part::ProduceOnly => plots::waiting(f, outcome, "In flight over time, records", "")?,
                Part::VerifyOnly => {}
            }
            partitions(f, result)?;
            sections::resources(f, outcome)?;
            configuration(f, result)
        })
    }
}

fn verdict(f: Page<'_, '_>, result: &PipelineResult) -> fmt::Result {
    let outcome = &result.outcome;
    let figures = &outcome.figures;
    let mut tiles = Vec::new();
    if result.knows_sent() {
        tiles.push(("confirmed, records/s", grouped(figures.rate.round() as u64)));
    }
    if result.part.verifies() {
        tiles.push(("came out", grouped(figures.handled)));
        tiles.push(("lost", grouped(figures.lost)));
        tiles.push(("duplicated", grouped(figures.duplicated)));
        tiles.push(("reordered", grouped(figures.reordered)));
    } else {
        tiles.push(("confirmed", grouped(figures.acked)));
        tiles.push(("not confirmed", grouped(figures.failed)));
    }
    if result.knows_sent() {
        tiles.push(("sent late", sections::late(figures)));
    }
    tiles.extend(if result.part.verifies() {
        let names = ["end to end, p50", "end to end, p99", "end to end, max"];
        sections::latency_tiles(names, figures.latency.end_to_end)
    } else {
        let names = ["produce ack, p50", "produce ack, p99", "produce ack, max"];
        sections::latency_tiles(names, figures.latency.produce_ack)
    });
    sections::verdict(f, outcome, headline(result.part), tiles)?;
    if let Some(Verification { topic, expect, waited_until, .. }) = &result.verification {
        note(f, format_args!("What came out of {topic} is held to: {expect}. It was waited until {waited_until}."))?;
    } else {
        note(f, "What comes out is for the verifying host to say.")?;
    }
    note(f, format_args!("Started {}; broker: {}; run {}.", outcome.started, outcome.broker, result.run))?;
    close(f)
}

fn headline(part: Part) -> &'static str {
    match part {
        Part::Whole => "Load through an application",
        Part::ProduceOnly => "Load for an application, as it was sent",
        Part::VerifyOnly => "Load through an application, as it came out",
    }
}

/// What became of them, one by one.
fn records(f: Page<'_, '_>, result: &PipelineResult) -> fmt::Result {
    let figures = &result.outcome.figures;
    open(f, "records", "Records")?;
    f.write_str("<dl class=\"counts\">")?;
    if result.knows_sent() {
        count(f, "sent", Count::Neutral, figures.sent)?;
        count(f, "confirmed", Count::Neutral, figures.acked)?;
        count(f, "not confirmed", Count::Fault, figures.failed)?;
    }
    if let Some(verification) = &result.verification {
        let expected = |name| verification.expect.split(',').any(|it| it == name);
        let unless = |name| if expected(name) { Count::Neutral } else { Count::Fault };
        for (name, says, number) in [
            ("came out", Count::Neutral, figures.handled),
            ("lost", Count::Fault, figures.lost),
            ("unseen in the end", Count::Fault, figures.unseen),
            ("left out", Count::Neutral, figures.filtered),
            ("came out more than once", unless("at-least-once"), figures.duplicated),
            ("reordered", unless("unordered"), figures.reordered),
            ("corrupted", Count::Fault, figures.corrupted),
            ("of others", Count::Neutral, figures.foreign),
            ("of these without an identity", Count::Neutral, verification.without_identity),
        ] {
            count(f, name, says, number)?;
        }
    }
    for (times, records) in &figures.times_handled {
        count(f, &format!("came out {times} times"), Count::Neutral, *records)?;
    }
    f.write_str("</dl>\n")?;
    close(f)
}

/// The first records at fault, where there are any.
fn faults(f: Page<'_, '_>, result: &PipelineResult) -> fmt::Result {
    const COLUMNS: [&str; 4] = ["producer", "sequence", "partition", "offset"];
    let Some(verification) = result.verification.as_ref().filter(|it| !it.faults.is_empty()) else { return Ok(()) };
    open(f, "faults", "The first records at fault")?;
    f.write_str("<table class=\"folds\"><thead><tr><th>fault</th>")?;
    COLUMNS.iter().try_for_each(|column| write!(f, "<th class=\"number\">{column}</th>"))?;
    f.write_str("</tr></thead>")?;
    for fault in &verification.faults {
        write!(f, "<tr><th>{}</th>", Text(fault.fault.told()))?;
        let (who, place) = (fault.who.as_ref(), fault.place.as_ref());
        let cells = [
            who.map(|it| u64::from(it.producer)),
            who.map(|it| it.sequence),
            place.map(|it| u64::from(it.partition)),
            place.map(|it| it.offset),
        ];
        for (column, cell) in COLUMNS.iter().zip(cells) {
            let cell = cell.map_or_else(|| "-".to_owned(), grouped);
            write!(f, "<td class=\"number\" data-name=\"{column}\">{cell}</td>")?;
        }
        f.write_str("</tr>")?;
    }
    f.write_str("</table>\n")?;
    note(f, format_args!("Partition and offset are those in {}.", verification.topic))?;
    close(f)
}

fn latencies(f: Page<'_, '_>, result: &PipelineResult) -> fmt::Result {
    let measured: Vec<Family> = Family::ALL.into_iter().filter(|it| result.part.measures(*it)).collect();
    sections::latencies(f, &result.outcome, &measured)?;
    if let Some(Verification { two_clocks: true, before_sent, not_timed, .. }) = &result.verification {
        note(
            f,
            format_args!(
                "End to end compares the clocks of two hosts: {} records came before they were sent by it. {} were there before this host \
                 looked, and count for no latency.",
                grouped(*before_sent),
                grouped(*not_timed)
            ),
        )?;
    }
    close(f)
}

/// Of OUT. How they lie in IN is not counted.
fn partitions(f: Page<'_, '_>, result: &PipelineResult) -> fmt::Result {
    let Some(verification) = &result.verification else { return Ok(()) };
    let skew = Skew {
        name: "Records that came out by partition",
        what: "come out",
        marked: None,
        partitions: verification.partitions.iter().map(|came| (*came, 0)).collect(),
    };
    plots::partitions(f, "Records by partition of OUT", &skew)
}

fn configuration(f: Page<'_, '_>, result: &PipelineResult) -> fmt::Result {
    let verify = result.verification.as_ref();
    let verify =
        verify.map(|it| json!({ "topic": it.topic, "expect": it.expect, "settle_seconds": it.settle_seconds }));
    let plan = json!({ "run": result.run, "send": result.plan, "verify": verify, "id_pointer": result.id_pointer });
    configuration::configuration(f, &result.outcome, &plan)
}
