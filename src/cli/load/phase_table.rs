use std::fmt;

use crate::cli::table::{Column, Table};
use crate::load::of_phases::OfPhase;
use crate::load::sample::milliseconds;

/// What each phase of a load came to; dashes where it has no latency. Nothing where there is only one phase.
pub(super) struct PhaseTable<'a>(pub(super) &'a [OfPhase]);

impl fmt::Display for PhaseTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const COLUMNS: [Column; 13] = [
            Column::Text("phase"),
            Column::Number("target"),
            Column::Number("sent"),
            Column::Number("acked"),
            Column::Number("records/s"),
            Column::Number("late"),
            Column::Text("latency"),
            Column::Number("p50"),
            Column::Number("p90"),
            Column::Number("p99"),
            Column::Number("p99.9"),
            Column::Number("max"),
            Column::Number("count"),
        ];
        if self.0.len() < 2 {
            return Ok(());
        }
        let mut table = Table::new(COLUMNS);
        for phase in self.0 {
            let mut counts = [
                phase.name.clone(),
                phase.target(),
                phase.sent.to_string(),
                phase.acked.to_string(),
                format!("{:.0}", phase.rate),
                phase.late.to_string(),
            ];
            for (family, summary) in phase.latency.each() {
                let latency = summary.map_or_else(
                    || ["-"; 6].map(str::to_owned),
                    |it| {
                        let [p50, p90, p99, p99_9, max] = [it.p50, it.p90, it.p99, it.p99_9, it.max].map(milliseconds);
                        [p50, p90, p99, p99_9, max, it.count.to_string()]
                    },
                );
                // The counts stand in the phase's first line only.
                let [name, target, sent, acked, rate, late] = std::mem::take(&mut counts);
                let [p50, p90, p99, p99_9, max, count] = latency;
                let title = family.title().to_owned();
                table.row([name, target, sent, acked, rate, late, title, p50, p90, p99, p99_9, max, count]);
            }
        }
        write!(f, "{table}")?;
        for phase in self.0 {
            if let Some(why) = phase.refusal() {
                write!(f, "\n  phase {}: {why}", phase.name)?;
            }
        }
        f.write_str("\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::families::FromIntended;
    use crate::load::latencies::Summary;

    fn phase(name: &str, to: u64, saturated: bool) -> OfPhase {
        let summary =
            Summary { min: 1, p50: 812, p90: 902, p99: 1_234, p99_9: 5_000, p99_99: 3, max: 7_000, count: 50 };
        OfPhase {
            name: name.to_owned(),
            kind: "ramp",
            from: 100,
            to,
            start_seconds: 0.0,
            seconds: 1.0,
            sent: 50,
            acked: 49,
            rate: 48.6,
            scheduled: 51,
            late: 2,
            overdue: false,
            saturated,
            queued: false,
            held_up: false,
            piled_up: false,
            latency: FromIntended {
                schedule_delay: Some(summary),
                produce_ack: Some(summary),
                end_to_end: Some(summary).filter(|_| !saturated),
            },
        }
    }

    #[test]
    fn phases_stand_below_each_other_and_a_backlog_is_named_in_place_of_a_latency() {
        let shown = PhaseTable(&[phase("1 constant", 100, false), phase("2 ramp", 2_000, true)]).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[..2],
            [
                "phase            target  sent  acked  records/s  late  latency             p50      p90      p99    p99.9      max  count",
                "1 constant          100    50     49         49     2  schedule delay  0.812ms  0.902ms  1.234ms  5.000ms  7.000ms     50",
            ]
        );
        assert!(lines[4].starts_with("2 ramp      100 to 2000"), "{shown}");
        assert!(lines[6].trim_start().starts_with("end to end            -        -"), "{shown}");
        assert_eq!(
            lines[7],
            "  phase 2 ramp: handlers did not keep up, or had the backlog of an earlier phase to make good"
        );
        assert_eq!(PhaseTable(&[phase("1 constant", 100, false)]).to_string(), "");
    }
}
