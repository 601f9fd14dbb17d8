//! What a run comes to, in numbers with names: for gates, the report and programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::families::{ByFamily, Family};
use super::latencies::Summary;

/// How much, how fast, and what was wrong.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Records given to the producers, of warm-up and load.
    pub(crate) sent: u64,
    /// Records the broker confirmed.
    pub(crate) acked: u64,
    /// Records the producers gave up.
    pub(crate) failed: u64,
    /// Different records handled.
    pub(crate) handled: u64,
    /// Confirmed, in no log and handled by nobody; or passed over by a commit.
    pub(crate) lost: u64,
    /// Confirmed, and not handled when the run ended: they stand before the group.
    pub(crate) unseen: u64,
    /// Confirmed, and left out by an application that may do that.
    pub(crate) filtered: u64,
    /// Records handled more than once.
    pub(crate) duplicated: u64,
    /// How many may have been, for the faults of the run: what members had handled and not committed when they were lost. `None` without faults.
    pub(crate) excused: Option<u64>,
    /// How many records were handled so many times, from 2 on.
    pub(crate) times_handled: BTreeMap<u32, u64>,
    /// Calls for an offset that a handler had had before.
    pub(crate) redelivered: u64,
    /// Handled after a later record of the same partition or key.
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
    pub(crate) foreign: u64,
    /// Offsets that were committed before a handler was through with them.
    pub(crate) committed_ahead: u64,
    /// Calls for an offset that was known to be committed when the record was received.
    pub(crate) redelivered_after_commit: u64,
    /// Attempts of handlers that failed because they were to; the records were tried again.
    pub(crate) failed_attempts: u64,
    /// Records of the load that were sent late.
    pub(crate) late: u64,
    /// Of these, those that were not sent at all: no schedule delay has them.
    pub(crate) never_sent: u64,
    /// Records of the load, by their intended time.
    pub(crate) scheduled: u64,
    /// Confirmed records of the load, a second, until the last confirmation.
    pub(crate) rate: f64,
    /// Microseconds that the slowest recovery from a fault took; `None` without faults, and where there is one that the group did not recover from.
    #[serde(skip)]
    pub(crate) recovery: Option<u64>,
    pub(crate) latency: Latency,
}

/// Latencies of the load, microseconds; `None` where there are none to speak of.
pub(crate) type Latency = ByFamily<Option<Summary>>;

/// A number by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Count(&'static str),
    /// A share of 1.
    Ratio(&'static str),
    /// Records a second.
    Rate,
    Latency(Family, Stat),
    /// A time as well: from a fault to the group's recovery.
    Recovery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stat {
    Min,
    P50,
    P90,
    P99,
    P99_9,
    P99_99,
    Max,
}

const COUNTS: [&str; 17] = [
    "lost",
    "unseen",
    "filtered",
    "duplicated",
    "redelivered",
    "reordered",
    "corrupted",
    "foreign",
    "committed_ahead",
    "redelivered_after_commit",
    "failed",
    "late",
    "never_sent",
    "sent",
    "acked",
    "handled",
    "failed_attempts",
];
const RATIOS: [&str; 2] = ["dup_rate", "late_rate"];
const STATS: [(&str, Stat); 7] = [
    ("min", Stat::Min),
    ("p50", Stat::P50),
    ("p90", Stat::P90),
    ("p99", Stat::P99),
    ("p99.9", Stat::P99_9),
    ("p99.99", Stat::P99_99),
    ("max", Stat::Max),
];

impl Metric {
    pub(crate) fn named(name: &str) -> Option<Self> {
        let among = |names: &'static [&'static str]| names.iter().find(|it| **it == name).copied();
        match name {
            "rate" => return Some(Self::Rate),
            "recovery" => return Some(Self::Recovery),
            _ => {}
        }
        if let Some(name) = among(&COUNTS) {
            return Some(Self::Count(name));
        }
        if let Some(name) = among(&RATIOS) {
            return Some(Self::Ratio(name));
        }
        let (family, stat) = name.split_once('.')?;
        let family = Family::ALL.into_iter().find(|it| it.short() == family)?;
        Some(Self::Latency(family, STATS.iter().find(|(name, _)| *name == stat)?.1))
    }

    /// All names, for who used another one.
    pub(crate) fn names() -> String {
        let plain = COUNTS.iter().chain(&RATIOS).chain(&["rate", "recovery"]).copied().collect::<Vec<_>>().join(", ");
        let families = Family::ALL.map(Family::short).join(", ");
        let stats = STATS.map(|(name, _)| name).join(", ");
        format!("{plain}; and of {families}, behind a dot, {stats}, as in e2e.p99")
    }
}

impl Figures {
    /// A metric's value: counts and rates as they are, shares of 1, latencies in microseconds.
    pub(crate) fn value(&self, metric: Metric) -> Option<f64> {
        let share = |part: u64, of: u64| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        match metric {
            Metric::Rate => Some(self.rate),
            Metric::Recovery => self.recovery.map(|micros| micros as f64),
            Metric::Count(name) => self.count(name).map(|count| count as f64),
            Metric::Ratio("dup_rate") => Some(share(self.duplicated, self.handled)),
            Metric::Ratio("late_rate") => Some(share(self.late, self.scheduled)),
            Metric::Ratio(_) => None,
            Metric::Latency(family, stat) => self.latency.of(family).map(|it| it.at(stat) as f64),
        }
    }

    fn count(&self, name: &str) -> Option<u64> {
        Some(match name {
            "lost" => self.lost,
            "unseen" => self.unseen,
            "filtered" => self.filtered,
            "duplicated" => self.duplicated,
            "redelivered" => self.redelivered,
            "reordered" => self.reordered,
            "corrupted" => self.corrupted,
            "foreign" => self.foreign,
            "committed_ahead" => self.committed_ahead,
            "redelivered_after_commit" => self.redelivered_after_commit,
            "failed" => self.failed,
            "late" => self.late,
            "never_sent" => self.never_sent,
            "sent" => self.sent,
            "acked" => self.acked,
            "handled" => self.handled,
            "failed_attempts" => self.failed_attempts,
            _ => return None,
        })
    }
}

impl Summary {
    fn at(&self, stat: Stat) -> u64 {
        match stat {
            Stat::Min => self.min,
            Stat::P50 => self.p50,
            Stat::P90 => self.p90,
            Stat::P99 => self.p99,
            Stat::P99_9 => self.p99_9,
            Stat::P99_99 => self.p99_99,
            Stat::Max => self.max,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_value_of_its_own() {
        let summary = |from: u64| Summary {
            min: from,
            p50: from + 1,
            p90: from + 2,
            p99: from + 3,
            p99_9: from + 4,
            p99_99: from + 5,
            max: from + 6,
            count: 9,
        };
        let figures = Figures {
            sent: 1,
            acked: 2,
            failed: 3,
            handled: 100,
            lost: 5,
            unseen: 6,
            filtered: 17,
            duplicated: 7,
            excused: None,
            redelivered: 8,
            reordered: 9,
            corrupted: 10,
            foreign: 11,
            committed_ahead: 12,
            redelivered_after_commit: 15,
            failed_attempts: 16,
            late: 13,
            never_sent: 18,
            recovery: Some(19),
            scheduled: 26,
            rate: 14.5,
            times_handled: BTreeMap::new(),
            latency: Latency {
                schedule_delay: Some(summary(1_000)),
                produce_ack: Some(summary(2_000)),
                end_to_end: Some(summary(3_000)),
                residence: Some(summary(4_000)),
                handler: Some(summary(5_000)),
                commit_lag: Some(summary(6_000)),
            },
        };
        let mut names: Vec<String> =
            COUNTS.iter().chain(&RATIOS).chain(&["rate", "recovery"]).map(|it| (*it).to_owned()).collect();
        for family in Family::ALL {
            names.extend(STATS.iter().map(|(stat, _)| format!("{}.{stat}", family.short())));
        }
        let values: Vec<f64> = names.iter().map(|it| figures.value(Metric::named(it).unwrap()).unwrap()).collect();
        let mut distinct = values.clone();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        assert_eq!(distinct.len(), values.len(), "{values:?}");
        let value = |name| figures.value(Metric::named(name).unwrap());
        assert_eq!((value("dup_rate"), value("late_rate"), value("e2e.p99")), (Some(0.07), Some(0.5), Some(3_003.0)));
        assert_eq!(Figures::default().value(Metric::named("e2e.p99").unwrap()), None);
        assert!(names.iter().all(|name| name.split('.').all(|part| Metric::names().contains(part))));
    }
}
