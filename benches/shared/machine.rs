//! The machine under it all, and whether it has anything else to do.

use std::time::Duration;

/// Above this share of the processors in use before the start, the figures are doubtful.
const BUSY_PERCENT: f64 = 5.0;
const WATCH: Duration = Duration::from_secs(3);

/// Prints what the figures depend on, with a warning where something else runs.
pub(crate) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown");
    let before = jiffies();
    std::thread::sleep(WATCH);
    let after = jiffies();
    let busy = 100.0 * (1.0 - (after.idle - before.idle) as f64 / (after.all - before.all).max(1) as f64);
    let warning = if busy > BUSY_PERCENT {
        "\nWARNING: something else runs on this machine. Rates are too low, and processor time is not worth comparing."
    } else {
        ""
    };
    format!(
        "{model}, {} cores; Linux {}; librdkafka {}\nload average {}; processors {busy:.0} % in use before the start{warning}",
        cpus.lines().filter(|line| line.starts_with("processor")).count(),
        read("/proc/sys/kernel/osrelease").trim(),
        rdkafka::util::get_rdkafka_version().1,
        read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
    )
}

struct Jiffies {
    idle: u64,
    all: u64,
}

fn jiffies() -> Jiffies {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let times: Vec<u64> =
        stat.lines().next().unwrap_or_default().split_whitespace().filter_map(|time| time.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what follows is contained in the first two.
    Jiffies { idle: times.iter().skip(3).take(2).sum(), all: times.iter().take(8).sum() }
}
