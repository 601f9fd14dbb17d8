//! The figures in lines that can be read, and beside the targets.

use kafka_troupe::consume::Order;

use crate::arms::{Answer, Client, Figures, Work};
use crate::columns::{Columns, MEGABYTE};
use crate::driver::{Arm, Runs, drains, open_loops};
use crate::stats::Spread;

const COLUMNS: Columns = Columns { median: 8, range: 18, what: 80, target: 7 };

/// By key: records a second at least, and microseconds of processor time each at most.
const BY_KEY: [(u64, usize, f64, Option<f64>); 4] = [
    (0, 100, 2_500_000.0, Some(0.7)),
    (1, 1000, 350_000.0, Some(1.5)),
    (10, 1000, 84_000.0, None),
    (10, 10_000, 400_000.0, None),
];

pub(crate) fn print_drains(runs: &Runs) {
    println!("\nDrain, 10,000 keys as often as one another: median (lowest to highest)");
    println!("  {:<42}{:^26}{:^24}{:^20}{:^16}", "", "k records/s", "CPU us/record", "peak RSS MB", "slowest/fastest");
    let mut arms: Vec<Arm> = runs.arms().into_iter().filter(|arm| matches!(arm.work, Work::Drain { .. })).collect();
    arms.sort_by_key(|arm| (arm.handling.sleep_ms, arm.handling.concurrency));
    for arm in &arms {
        println!(
            "  {}{}  {}{}{}",
            name(*arm),
            COLUMNS.cell(Spread::of(rates(runs, *arm)), 1e3, 1),
            COLUMNS.cell(Spread::of(cpu(runs, *arm)), 1.0, 2),
            COLUMNS.cell(Spread::of(runs.of(*arm, |answer| answer.peak_resident as f64)), MEGABYTE, 0),
            COLUMNS.cell(Spread::of(drains(runs, *arm, |drained| drained.fairness)), 1.0, 2),
        );
    }
    println!("\nTargets: median of the rounds' ratios (lowest to highest)");
    for arm in arms.iter().filter(|arm| matches!(arm.client, Client::Ours(_))) {
        let same = |other: &&Arm| other.handling == arm.handling && !matches!(other.client, Client::Ours(_));
        let median = |arm: &&Arm| Spread::of(rates(runs, **arm)).median;
        let Some(better) = arms.iter().filter(same).max_by(|one, other| median(one).total_cmp(&median(other))) else {
            continue;
        };
        let busy = arm.handling.sleep_ms == 0 && matches!(better.client, Client::ByHand | Client::ByHandSpawned);
        let what = |figure| format!("{figure} of {}, of {}", name(*arm).trim_end(), client(better.client));
        COLUMNS.at_least(
            &what("rate"),
            Spread::of_ratios(&rates(runs, *arm), &rates(runs, *better)),
            if busy { 3.0 } else { 1.0 },
        );
        if better.client != Client::TaskPerPartition {
            COLUMNS.at_most(&what("CPU"), Spread::of_ratios(&cpu(runs, *arm), &cpu(runs, *better)), 1.0);
        }
    }
    for (sleep_ms, concurrency, rate, most) in BY_KEY {
        let is_it = |arm: &&Arm| {
            arm.client == Client::Ours(Order::Key)
                && (arm.handling.sleep_ms, arm.handling.concurrency) == (sleep_ms, concurrency)
        };
        let Some(arm) = arms.iter().find(is_it) else { continue };
        let of = name(*arm);
        COLUMNS.at_least(
            &format!("k records/s, {}", of.trim_end()),
            thousands(Spread::of(rates(runs, *arm))),
            rate / 1e3,
        );
        if let Some(most) = most {
            COLUMNS.at_most(&format!("CPU us/record, {}", of.trim_end()), Spread::of(cpu(runs, *arm)), most);
        }
    }
}

pub(crate) fn print_keys(runs: &Runs, [few, many]: [Arm; 2], [even, hot]: [Arm; 2], [uniform, zipf]: [Arm; 2]) {
    println!("\nKeys: median (lowest to highest)");
    for (text, arm) in [("10 keys, 0 ms", few), ("1,000,000 keys, 0 ms", many)] {
        println!(
            "  {text:<42}{} k records/s {} us/record",
            COLUMNS.cell(Spread::of(rates(runs, arm)), 1e3, 0),
            COLUMNS.cell(Spread::of(cpu(runs, arm)), 1.0, 2)
        );
    }
    for (text, arm) in [("10,000 keys evenly, 1 ms, 1,000 at once", even), ("Zipf 1.0, 1 ms, 1,000 at once", hot)] {
        let [hot, others] = [0, 1].map(|which| {
            Spread::of(drains(runs, arm, |drained| {
                let others = drained.partitions_ended[1..].iter().copied().fold(0.0, f64::max);
                [drained.partitions_ended[0], others][which]
            }))
        });
        println!(
            "  {text:<42}hot key's partition ended after {} s, the last other after {} s",
            COLUMNS.cell(hot, 1.0, 2),
            COLUMNS.cell(others, 1.0, 2)
        );
    }
    let Work::OpenLoop { rate, .. } = zipf.work else { panic!("a drain") };
    println!("  open loop at {rate} records/s, 1 ms, 100 at once: all keys but the hottest");
    for (text, arm) in [("10,000 keys evenly", uniform), ("Zipf 1.0", zipf)] {
        println!(
            "  {text:<42}{} records/s, p50 {} ms, p99 {} ms; all but the hottest hundred: p99 {} ms",
            COLUMNS.cell(Spread::of(open_loops(runs, arm, |found| found.others_per_second)), 1.0, 0),
            COLUMNS.cell(Spread::of(open_loops(runs, arm, |found| found.others.p50)), 1.0, 2),
            COLUMNS.cell(Spread::of(open_loops(runs, arm, |found| found.others.p99)), 1.0, 2),
            COLUMNS.cell(Spread::of(open_loops(runs, arm, |found| found.cold.p99)), 1.0, 2),
        );
    }
    println!("\nTargets: median of the rounds' ratios (lowest to highest)");
    let costs = Spread::of_ratios(&cpu(runs, many), &cpu(runs, few));
    COLUMNS.at_most("CPU per record, 1,000,000 keys by 10", costs, 1.3);
    let ratio = |figure: fn(&crate::open_loop::Latencies) -> f64| {
        Spread::of_ratios(&open_loops(runs, zipf, figure), &open_loops(runs, uniform, figure))
    };
    // Fewer of them are sent where one key has a tenth.
    let offered = 1.0 - zipf.keys.hottest();
    let rates = Spread::of_ratios(
        &open_loops(runs, zipf, |found| found.others_per_second / offered),
        &open_loops(runs, uniform, |found| found.others_per_second),
    );
    COLUMNS.at_least("Zipf: the other keys' rate, by what was sent", rates, 0.9);
    COLUMNS.at_most("Zipf: the other keys' p99, by the even case's", ratio(|found| found.others.p99), 1.2);
    COLUMNS.at_most("Zipf: the p99 of all but the hottest hundred, likewise", ratio(|found| found.cold.p99), 1.2);
}

pub(crate) fn print_latency(runs: &Runs, arms: &[Arm]) {
    println!(
        "\nAt 70 % of the rate that the handlers bound, open loop, from the intended time to the end of the handler: median (lowest to highest)"
    );
    println!(
        "  {:<42}{:>10}{:^26}{:^24}{:^24}{:^24}",
        "", "records/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU % of a core"
    );
    for arm in arms {
        let Work::OpenLoop { rate, .. } = arm.work else { continue };
        let spread = |figure: fn(&crate::open_loop::Latencies) -> f64| {
            COLUMNS.cell(Spread::of(open_loops(runs, *arm, figure)), 1.0, 2)
        };
        let invalid = open_loops(runs, *arm, |found| f64::from(u8::from(!found.held))).iter().sum::<f64>();
        let mark = if invalid > 0.0 { format!("INVALID: {invalid} did not hold the schedule") } else { String::new() };
        println!(
            "  {}{rate:>10}  {}{}{}{}{mark}",
            name(*arm),
            spread(|found| found.all.p50),
            spread(|found| found.all.p99),
            spread(|found| found.all.p999),
            spread(|found| found.cpu_percent),
        );
    }
}

/// A run as it ends, for stderr.
pub(crate) fn in_a_line(arm: Arm, answer: &Answer) -> String {
    let figures = match &answer.figures {
        Figures::Drain(drained) => {
            format!("{:.1} k records/s, {:.2} us/record", drained.records_per_second / 1e3, drained.cpu_us_per_record)
        }
        Figures::OpenLoop(found) => format!(
            "p50 {:.2} ms, p99 {:.2} ms, others p99 {:.2} ms, {:.0} % CPU{}",
            found.all.p50,
            found.all.p99,
            found.others.p99,
            found.cpu_percent,
            if found.held { "" } else { ": INVALID" }
        ),
    };
    format!("{} {:?}  {figures}, {:.0} MB", name(arm), arm.keys, answer.peak_resident as f64 / MEGABYTE)
}

fn rates(runs: &Runs, arm: Arm) -> Vec<f64> {
    drains(runs, arm, |drained| drained.records_per_second)
}

fn cpu(runs: &Runs, arm: Arm) -> Vec<f64> {
    drains(runs, arm, |drained| drained.cpu_us_per_record)
}

fn thousands(spread: Spread) -> Spread {
    Spread { median: spread.median / 1e3, low: spread.low / 1e3, high: spread.high / 1e3 }
}

/// An arm's name, as wide as any.
fn name(arm: Arm) -> String {
    let at_once = format!("{} ms x{}", arm.handling.sleep_ms, arm.handling.concurrency);
    format!("{at_once:<14}{:<28}", client(arm.client))
}

fn client(client: Client) -> &'static str {
    match client {
        Client::Ours(Order::Partition) => "ours, partition order",
        Client::Ours(Order::Key) => "ours, key order",
        Client::Ours(_) => "ours, unordered",
        Client::ByHand => "for_each_concurrent",
        Client::ByHandSpawned => "for_each_concurrent, spawned",
        Client::TaskPerPartition => "task per partition",
    }
}
