//! The figures in lines that can be read, and beside the targets.

use crate::arms::{Answer, Client, Figures};
use crate::columns::{Columns, MEGABYTE};
use crate::driver::{Allocator, Arm, END_TO_END, Load, Runs, drained, latencies, rates};
use crate::settings::{Properties, Settings};
use crate::stats::Spread;

const COLUMNS: Columns = Columns { median: 7, range: 16, what: 64, target: 6 };

impl Settings {
    pub(crate) const ALL: [Self; 2] = [Self::AsOurs, Self::OwnDefaults];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AsOurs => "as ours",
            Self::OwnDefaults => "librdkafka's",
        }
    }
}

pub(crate) fn print(runs: &Runs, trials: &Runs, bare: &[Arm]) {
    println!("\nProperties");
    for settings in Settings::ALL {
        println!("  {:<13} {}", settings.name(), in_words(&settings.properties()));
    }
    for (name, client) in [("ours", Client::Ours), ("bare", Client::BareBase(Settings::AsOurs))] {
        let run = runs.0.iter().find(|run| run.arm == Arm { client, ..END_TO_END }).unwrap();
        println!("  {name} pair     {}; linger 0", in_words(&run.answer.properties));
    }
    println!("\nWhich settings each bare arm is faster with: M records/s, median (lowest to highest)");
    for arm in bare {
        for settings in Settings::ALL {
            let tried = Arm { client: with(arm.client, settings), ..*arm };
            let mark = if tried == *arm { "chosen" } else { "" };
            println!("  {}{} {mark}", name(tried), COLUMNS.cell(Spread::of(rates(trials, tried)), 1e6, 2));
        }
    }
    println!("\nDrain: median (lowest to highest)");
    println!(
        "  {:<48}{:^24}{:^24}{:^24}{:^18}",
        "", "M records/s, committed", "M records/s, handled", "CPU us/record", "peak RSS MB"
    );
    for arm in arms_of(runs, |load| load != Load::EndToEnd) {
        println!(
            "  {}{}{}{}{}",
            name(arm),
            COLUMNS.cell(Spread::of(rates(runs, arm)), 1e6, 2),
            COLUMNS.cell(Spread::of(runs.of(arm, |answer| drained(answer).handled_per_second)), 1e6, 2),
            COLUMNS.cell(Spread::of(cpu(runs, arm)), 1.0, 3),
            COLUMNS.cell(Spread::of(resident(runs, arm)), MEGABYTE, 0),
        );
    }
    println!("\nEnd to end, from the intended send time: median (lowest to highest)");
    println!(
        "  {:<48}{:^24}{:^24}{:^24}{:^24}{:^18}",
        "", "p50 ms", "p99 ms", "max ms", "CPU % of a core", "late sends"
    );
    for arm in arms_of(runs, |load| load == Load::EndToEnd) {
        let spread = |figure: fn(&Answer) -> f64| Spread::of(runs.of(arm, figure));
        println!(
            "  {}{}{}{}{}{}",
            name(arm),
            COLUMNS.cell(spread(|answer| latencies(answer).p50), 1.0, 2),
            COLUMNS.cell(spread(|answer| latencies(answer).p99), 1.0, 2),
            COLUMNS.cell(spread(|answer| latencies(answer).max), 1.0, 1),
            COLUMNS.cell(spread(|answer| latencies(answer).cpu_percent), 1.0, 1),
            COLUMNS.cell(spread(|answer| latencies(answer).late as f64), 1.0, 0),
        );
    }
    let lost: Vec<&Answer> = runs.0.iter().map(|run| &run.answer).filter(|answer| !held(answer)).collect();
    if !lost.is_empty() {
        println!("  INVALID: {} of these runs did not hold the schedule", lost.len());
    }
    print_targets(runs, bare);
}

/// Ratios are those within each round.
fn print_targets(runs: &Runs, bare: &[Arm]) {
    println!("\nTargets: median of the rounds' ratios (lowest to highest)");
    for allocator in [Allocator::Mimalloc, Allocator::Glibc] {
        let ours = Arm { client: Client::Ours, allocator, load: Load::Even };
        let median = |arm: &Arm| Spread::of(rates(runs, *arm)).median;
        let same = bare.iter().filter(|arm| arm.allocator == allocator);
        let better = *same.max_by(|one, other| median(one).total_cmp(&median(other))).unwrap();
        let of = format!("of {}", name(better).trim_end());
        COLUMNS.at_least(&format!("rate {of}"), Spread::of_ratios(&rates(runs, ours), &rates(runs, better)), 1.3);
        COLUMNS.at_most(&format!("CPU {of}"), Spread::of_ratios(&cpu(runs, ours), &cpu(runs, better)), 0.75);
    }
    let ours = Arm { client: Client::Ours, allocator: Allocator::Mimalloc, load: Load::Even };
    let is_usual = |arm: &&Arm| arm.allocator == Allocator::Glibc && matches!(arm.client, Client::BareBase(_));
    let usual = *bare.iter().find(is_usual).unwrap();
    COLUMNS.at_least(
        "rate of ours as built, of the safe loop as built",
        Spread::of_ratios(&rates(runs, ours), &rates(runs, usual)),
        2.5,
    );
    let skewed = Arm { load: Load::Skewed, ..ours };
    COLUMNS.at_least(
        "rate of ours skewed, of ours even",
        Spread::of_ratios(&rates(runs, skewed), &rates(runs, ours)),
        0.9,
    );
    let theirs = Arm { client: Client::BareBase(Settings::AsOurs), ..END_TO_END };
    let pairs = |figure: fn(&Answer) -> f64| Spread::of_ratios(&runs.of(END_TO_END, figure), &runs.of(theirs, figure));
    COLUMNS.at_most("p50 of our pair, of the bare pair", pairs(|answer| latencies(answer).p50), 1.0);
    COLUMNS.at_most("p99 of our pair, of the bare pair", pairs(|answer| latencies(answer).p99), 1.0);
    for arm in arms_of(runs, |_| true).into_iter().filter(|arm| arm.client == Client::Ours) {
        let peak = Spread::of(resident(runs, arm).into_iter().map(|bytes| bytes / MEGABYTE));
        // The most of all runs counts.
        let text = format!("peak RSS in MB, {}", name(arm).trim_end());
        COLUMNS.verdict(&text, Spread { median: peak.high, ..peak }, "at most", 100.0, peak.high <= 100.0);
    }
}

/// A run as it ends, for stderr.
pub(crate) fn in_a_line(arm: Arm, answer: &Answer) -> String {
    let figures = match &answer.figures {
        Figures::Drain(drained) => {
            format!("{:.2} M records/s, {:.3} us/record", drained.records_per_second / 1e6, drained.cpu_us_per_record)
        }
        Figures::EndToEnd(latencies) => format!(
            "p50 {:.2} ms, p99 {:.2} ms, {} late sends{}",
            latencies.p50,
            latencies.p99,
            latencies.late,
            if latencies.held { "" } else { ": INVALID" }
        ),
    };
    format!("{}{figures}, {:.0} MB", name(arm), answer.peak_resident as f64 / MEGABYTE)
}

fn arms_of(runs: &Runs, wanted: impl Fn(Load) -> bool) -> Vec<Arm> {
    let mut arms = runs.arms();
    arms.retain(|arm| wanted(arm.load));
    arms.sort_by_key(|arm| name(*arm));
    arms
}

fn cpu(runs: &Runs, arm: Arm) -> Vec<f64> {
    runs.of(arm, |answer| drained(answer).cpu_us_per_record)
}

fn resident(runs: &Runs, arm: Arm) -> Vec<f64> {
    runs.of(arm, |answer| answer.peak_resident as f64)
}

fn held(answer: &Answer) -> bool {
    match &answer.figures {
        Figures::EndToEnd(latencies) => latencies.held,
        Figures::Drain(_) => true,
    }
}

fn with(client: Client, settings: Settings) -> Client {
    match client {
        Client::BareBase(_) => Client::BareBase(settings),
        Client::BareStream(_) => Client::BareStream(settings),
        Client::Ours => Client::Ours,
    }
}

/// An arm's name, as wide as any.
fn name(arm: Arm) -> String {
    let (client, settings) = match arm.client {
        Client::BareBase(settings) => ("BaseConsumer", settings.name()),
        Client::BareStream(settings) => ("StreamConsumer", settings.name()),
        Client::Ours => ("ours", "as ours"),
    };
    let allocator = match arm.allocator {
        Allocator::Mimalloc => "mimalloc",
        Allocator::Glibc => "glibc",
    };
    let load = match arm.load {
        Load::Even => "even",
        Load::Skewed => "skewed",
        Load::EndToEnd => "pair",
    };
    format!("{load:<7}{allocator:<9}{client:<15}{settings:<13}    ")
}

fn in_words(properties: &Properties) -> String {
    properties.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}
