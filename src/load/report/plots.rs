//! What is shown over time, over percentiles and over partitions.

use std::fmt;

use super::super::result::Outcome;
use super::Page;
use super::axis::{Axis, Unit};
use super::phases;
use super::sections::{close, note, open};
use super::svg::{Band, Bar, Bars, Chart, Line};
use super::text::{grouped, short};
use crate::load::families::Family;
use crate::load::latencies::Summary;
use crate::load::sample::{Phase, Sample};

/// A stretch that is shorter tells no rate: it is taken together with its neighbour.
const SHORTEST: f64 = 0.5;
/// Bars side by side.
const MOST_BARS: usize = 64;
const NO_SAMPLES: &str = "The run was too short: no second of it was sampled.";

/// Records a second, in a stretch that ends then.
#[derive(Debug, PartialEq)]
struct Rates {
    until: f64,
    target: Option<f64>,
    sent: Option<f64>,
    acked: Option<f64>,
    done: Option<f64>,
    processors: Option<f64>,
}

/// Samples as rates.
fn rates(samples: &[Sample]) -> Vec<Rates> {
    let mut stretches: Vec<(f64, Sample)> = Vec::new();
    let mut from = 0.0;
    for sample in samples {
        let length = sample.seconds - from;
        from = sample.seconds;
        let last = stretches.last_mut();
        match last.filter(|(before, it)| it.phase == sample.phase && (length < SHORTEST || *before < SHORTEST)) {
            Some((before, last)) => {
                last.absorb(sample);
                *before += length;
            }
            None => stretches.push((length, sample.clone())),
        }
    }
    let rate = |(length, sample): (f64, Sample)| {
        let length = length.max(1e-3);
        // A short stretch between two phases counts as part of half a second.
        let a_second = |count: Option<u64>| count.map(|it| it as f64 / length.max(SHORTEST));
        Rates {
            until: sample.seconds,
            target: sample.target.map(|it| it as f64),
            sent: a_second(sample.sent),
            acked: a_second(sample.acked),
            done: a_second(sample.done),
            processors: sample.cpu_seconds.map(|it| it / length),
        }
    };
    stretches.into_iter().map(rate).collect()
}

/// From the first second to the last.
fn time(samples: &[Sample]) -> Axis {
    Axis::up_to(Unit::Seconds, samples.iter().map(|it| it.seconds))
}

/// Where the load was not on.
fn shades(samples: &[Sample]) -> Vec<Band> {
    let (mut bands, mut from): (Vec<Band>, f64) = (Vec::new(), 0.0);
    // Another host has the load.
    if samples.iter().all(|it| it.phase == Phase::Wait) {
        return bands;
    }
    for sample in samples {
        let label = match sample.phase {
            Phase::Fill => Some("backlog made"),
            Phase::Warmup => Some("warm-up"),
            Phase::Drain => Some("drain"),
            Phase::Wait => Some("wait"),
            Phase::Load => None,
        };
        if let Some(label) = label {
            match bands.last_mut().filter(|last| last.label == label && last.to == from) {
                Some(last) => last.to = sample.seconds,
                None => {
                    bands.push(Band { from, to: sample.seconds, label: label.to_owned(), short: None, shaded: true })
                }
            }
        }
        from = sample.seconds;
    }
    bands
}

fn line(label: &str, color: usize, points: impl Iterator<Item = (f64, Option<f64>)>) -> Line {
    Line { label: label.to_owned(), color, dashed: false, points: points.collect() }
}

/// A chart over time of these lines, without those that have nothing.
fn over_time(name: &'static str, unit: Unit, result: &Outcome, mut lines: Vec<Line>) -> Option<Chart> {
    let samples = &result.samples;
    lines.retain(|line| line.points.iter().any(|(_, y)| y.is_some()));
    let values = || lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y));
    let y = if unit == Unit::Micros { Axis::latencies(values()) } else { Axis::up_to(unit, values()) };
    (!lines.is_empty()).then(|| Chart {
        name,
        x: time(samples),
        y,
        lines,
        bands: shades(samples).into_iter().chain(phases::bands(result)).collect(),
    })
}

/// `done` is what became of the records in the end.
pub(super) fn throughput(f: Page<'_, '_>, result: &Outcome, done: &str) -> fmt::Result {
    let rates = rates(&result.samples);
    let targeted = rates.iter().any(|it| it.target.is_some());
    let title = if targeted { "Throughput against target, records/s" } else { "Throughput, records/s" };
    open(f, "throughput", title)?;
    let of = |get: fn(&Rates) -> Option<f64>| rates.iter().map(move |it| (it.until, get(it)));
    let mut lines = vec![
        line("sent", 1, of(|it| it.sent)),
        line("confirmed", 3, of(|it| it.acked)),
        line(done, 2, of(|it| it.done)),
    ];
    lines.push(Line { dashed: true, ..line("target", 6, of(|it| it.target)) });
    match over_time("Throughput over time", Unit::Number, result, lines) {
        Some(chart) => write!(f, "{chart}")?,
        None => note(f, NO_SAMPLES)?,
    }
    if !targeted && rates.iter().any(|it| it.sent.is_some()) {
        note(f, "There is no target: records were sent as answers came.")?;
    }
    close(f)
}

/// The run was above saturation: end to end there is nothing to show but the backlog.
pub(super) fn is_refused(result: &Outcome) -> bool {
    let figures = &result.figures;
    figures.latency.end_to_end.is_none() && result.samples.iter().any(|it| it.end_to_end.is_some())
}

pub(super) fn latency_over_time(f: Page<'_, '_>, result: &Outcome) -> fmt::Result {
    open(f, "latency", "Latency over time")?;
    let refused = is_refused(result);
    let of = |family: Family, get: fn(&Summary) -> u64| {
        result.samples.iter().map(move |it| {
            let summary = if family == Family::E2e { it.end_to_end } else { it.produce_ack };
            (it.seconds, summary.map(|it| get(&it) as f64))
        })
    };
    let mut lines = Vec::new();
    if !refused {
        lines.push(line("end to end, p50", 1, of(Family::E2e, |it| it.p50)));
        lines.push(line("end to end, p99", 2, of(Family::E2e, |it| it.p99)));
        lines.push(line("end to end, max", 5, of(Family::E2e, |it| it.max)));
    }
    if result.figures.latency.produce_ack.is_some() {
        lines.push(Line { dashed: true, ..line("produce ack, p99", 3, of(Family::Ack, |it| it.p99)) });
    }
    match over_time("Latency over time", Unit::Micros, result, lines) {
        Some(chart) => write!(f, "{chart}")?,
        None => note(f, "No latency was measured.")?,
    }
    if refused {
        note(f, "End to end is not shown: the load was not kept up with, and the backlog's depth is no latency.")?;
    }
    close(f)
}

pub(super) fn percentiles(f: Page<'_, '_>, result: &Outcome) -> fmt::Result {
    open(f, "percentiles", "Latency by percentile")?;
    let lines: Vec<Line> = (1..)
        .zip(result.curves.each())
        .filter(|(_, (_, curve))| !curve.is_empty())
        .map(|(color, (family, curve))| {
            let count = result.figures.latency.of(family).map_or(1, |it| it.count).max(1) as f64;
            // The last record is where one of so many is left; all percentiles of a few are drawn as far as 90 %.
            let places = |share: f64| if share < 1.0 { -(1.0 - share).log10() } else { count.log10().max(1.0) };
            line(family.title(), color, curve.iter().map(|(share, micros)| (places(*share), Some(*micros as f64))))
        })
        .collect();
    if lines.is_empty() {
        note(f, "No latency was measured.")?;
        return close(f);
    }
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let chart = Chart {
        name: "Latency by percentile",
        x: Axis::up_to(Unit::Percentile, points().map(|(x, _)| *x)),
        y: Axis::latencies(points().filter_map(|(_, y)| *y)),
        lines,
        bands: Vec::new(),
    };
    write!(f, "{chart}")?;
    close(f)
}

/// What was on its way. `unseen` is what is confirmed, and what it waits for.
pub(super) fn waiting(f: Page<'_, '_>, result: &Outcome, title: &str, unseen: &str) -> fmt::Result {
    open(f, "lag", title)?;
    let of = |get: fn(&Sample) -> Option<u64>| {
        result.samples.iter().map(move |it| (it.seconds, get(it).map(|it| it as f64)))
    };
    let lines = vec![
        line("lag: confirmed, not committed", 2, of(|it| it.uncommitted)),
        line(unseen, 1, of(|it| it.lag)),
        Line { dashed: true, ..line("in flight: sent, not answered", 6, of(|it| it.in_flight)) },
    ];
    match over_time("Records on their way over time", Unit::Number, result, lines) {
        Some(chart) => write!(f, "{chart}")?,
        None => note(f, NO_SAMPLES)?,
    }
    close(f)
}

/// How records lie in partitions.
pub(super) struct Skew {
    /// Of the chart, for who cannot see it.
    pub(super) name: &'static str,
    /// What became of them.
    pub(super) what: &'static str,
    /// And of those that are marked.
    pub(super) marked: Option<&'static str>,
    /// By number: how many, and how many of them are marked.
    pub(super) partitions: Vec<(u64, u64)>,
}

impl Skew {
    /// Of partitions that share a bar the largest is shown.
    fn bar(&self, first: usize, shared: &[(u64, u64)]) -> Option<Bar> {
        let (at, (records, marked)) = shared.iter().enumerate().max_by_key(|(_, (records, _))| *records)?;
        let partition = first + at;
        let and = self.marked.map_or_else(String::new, |what| format!(", {} {what}", grouped(*marked)));
        Some(Bar {
            label: partition.to_string(),
            title: format!("partition {partition}: {} {}{and}", grouped(*records), self.what),
            height: *records as f64,
            marked: *marked as f64,
        })
    }
}

pub(super) fn partitions(f: Page<'_, '_>, title: &str, skew: &Skew) -> fmt::Result {
    open(f, "partitions", title)?;
    let partitions = &skew.partitions;
    let group = partitions.len().div_ceil(MOST_BARS).max(1);
    let numbered = partitions.chunks(group).enumerate();
    let bars: Vec<Bar> = numbered.filter_map(|(number, shared)| skew.bar(number * group, shared)).collect();
    let counts = || partitions.iter().map(|(records, _)| *records);
    let sum: u64 = counts().sum();
    if sum == 0 {
        note(f, format_args!("Not one record is {}.", skew.what))?;
        return close(f);
    }
    let y = Axis::up_to(Unit::Number, bars.iter().map(|it| it.height));
    write!(f, "{}", Bars { name: skew.name, y, bars })?;
    let mean = sum as f64 / partitions.len() as f64;
    let (least, most) = (counts().min().unwrap_or_default(), counts().max().unwrap_or_default());
    let marked = skew.marked.map_or_else(String::new, |what| format!(" What is {what} is red."));
    let shared = if group > 1 { format!(" Each bar is the largest of {group} partitions.") } else { String::new() };
    note(
        f,
        format_args!(
            "{} partitions: the least has {}, the most {}, {:.2} times the mean of {}.{marked}{shared}",
            grouped(partitions.len() as u64),
            grouped(least),
            grouped(most),
            most as f64 / mean,
            short(mean)
        ),
    )?;
    close(f)
}

/// Below the figures of the whole load.
pub(super) fn resources(f: Page<'_, '_>, result: &Outcome) -> fmt::Result {
    let samples = &result.samples;
    let busy = rates(samples).into_iter().map(|it| (it.until, it.processors));
    let memory = samples.iter().map(|it| (it.seconds, it.rss_bytes.map(|it| it as f64)));
    let (busy, memory) = (vec![line("processors busy", 4, busy)], vec![line("resident memory", 3, memory)]);
    let charts = [
        over_time("Processors busy over time", Unit::Number, result, busy),
        over_time("Resident memory over time", Unit::Bytes, result, memory),
    ];
    charts.into_iter().flatten().try_for_each(|chart| write!(f, "{chart}"))
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::tests::sample;
    use super::*;

    #[test]
    fn a_short_stretch_is_taken_together_with_its_neighbour() {
        let sent = |seconds, phase, sent| Sample { sent: Some(sent), cpu_seconds: Some(1.0), ..sample(seconds, phase) };
        let samples = [
            sent(1.0, Phase::Warmup, 100),
            sent(2.0, Phase::Load, 200),
            sent(2.25, Phase::Load, 50),
            sent(2.3, Phase::Drain, 5),
        ];
        let rates = rates(&samples);
        let found: Vec<_> =
            rates.iter().map(|it| (it.until, it.sent.unwrap_or_default().round(), it.processors)).collect();
        assert_eq!(found[..2], [(1.0, 100.0, Some(1.0)), (2.25, 200.0, Some(1.6))]);
        // And of a phase that was shorter nothing is made up.
        assert_eq!(found[2].1, 10.0);
    }

    #[test]
    fn what_is_not_the_load_is_shaded() {
        let samples = [(2.0, Phase::Warmup), (3.0, Phase::Load), (4.0, Phase::Drain), (5.0, Phase::Drain)];
        let bands = shades(&samples.map(|(seconds, phase)| sample(seconds, phase)));
        let band = |from, to, label: &str| Band { from, to, label: label.to_owned(), short: None, shaded: true };
        assert_eq!(bands, [band(0.0, 2.0, "warm-up"), band(3.0, 5.0, "drain")]);
        assert_eq!(shades(&[sample(1.0, Phase::Wait)]), []);
    }
}
