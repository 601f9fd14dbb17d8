use std::fs;

use serde::Serialize;

/// Of the clock in which Linux tells processor time, whatever the kernel's own: `USER_HZ`.
const TICKS_A_SECOND: f64 = 100.0;

/// What this process has taken so far, as Linux tells. Elsewhere there is nothing to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Resources {
    /// In user and kernel mode, of all threads.
    pub(crate) cpu_seconds: Option<f64>,
    /// The most memory it ever had resident.
    pub(crate) peak_rss_bytes: Option<u64>,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
}

impl Resources {
    pub(crate) fn now() -> Self {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        Self::of(&read("/proc/self/stat"), &read("/proc/self/status"))
    }

    fn of(stat: &str, status: &str) -> Self {
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Self {
            cpu_seconds: cpu_seconds(stat),
            peak_rss_bytes: line("VmHWM:").map(|kib| kib * 1024),
            rss_bytes: line("VmRSS:").map(|kib| kib * 1024),
            threads: line("Threads:"),
        }
    }
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name, in parentheses, may hold anything. Behind it utime and stime are the 12th and 13th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_as_linux_writes_them() {
        let stat = "7 (a ) name) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 1 2 3";
        let status = "Name:\ttroupe\nVmPeak:\t  9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t9\n";
        let expected = Resources {
            cpu_seconds: Some(3.0),
            peak_rss_bytes: Some(2 << 20),
            rss_bytes: Some(1 << 20),
            threads: Some(9),
        };
        assert_eq!(Resources::of(stat, status), expected);
        assert_eq!(Resources::of("", ""), Resources::default());
    }
}
