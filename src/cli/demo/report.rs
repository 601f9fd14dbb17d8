use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::verdict::Verdict;

/// The verdict and how long it took to get there, as people and programs read it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    pub(super) verdict: Verdict,
    pub(super) seconds: f64,
    pub(super) records_per_second: f64,
}

impl Report {
    pub(super) fn new(verdict: Verdict, took: Duration) -> Self {
        let seconds = took.as_secs_f64();
        Self { records_per_second: verdict.records as f64 / seconds.max(f64::EPSILON), verdict, seconds }
    }

    /// The job's result: a row per carrier.
    pub(super) fn carriers(&self) -> String {
        let mut table = format!("{:7}  {:>7}  {:>7}  {:>17}", "carrier", "flights", "arrived", "arr_delay_minutes");
        for (name, carrier) in &self.verdict.carriers {
            let _ = write!(
                table,
                "\n{name:7}  {:>7}  {:>7}  {:>17}",
                carrier.flights, carrier.arrived, carrier.arr_delay_minutes
            );
        }
        table
    }

    /// The verdict as an event of the log.
    pub(super) fn log(&self) {
        let verdict = &self.verdict;
        tracing::info!(
            clean = verdict.clean,
            records = verdict.records,
            lost = verdict.lost,
            duplicated = verdict.duplicated,
            out_of_order = verdict.out_of_order,
            foreign = verdict.foreign,
            keys_as_expected = verdict.keys_as_expected,
            carriers_as_expected = verdict.carriers_as_expected,
            partitions_moved = verdict.partitions_moved,
            records_per_second = self.records_per_second,
            seconds = self.seconds,
            "verdict"
        );
        for fault in &verdict.faults {
            tracing::warn!("{fault}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = &self.verdict;
        let of_expected = format!("of {}", verdict.expected);
        let whole = |yes| if yes { "as expected" } else { "DIFFERENT" };
        let mut row = |name: &str, value: String, note: &str| {
            writeln!(f, "{}", format!("{name:18}{value:>10}  {note}").trim_end())
        };
        row("records", verdict.records.to_string(), &of_expected)?;
        row("lost", verdict.lost.to_string(), "")?;
        row("duplicated", verdict.duplicated.to_string(), "")?;
        row("out of order", verdict.out_of_order.to_string(), "")?;
        row("foreign", verdict.foreign.to_string(), "")?;
        row("keys", verdict.keys.to_string(), whole(verdict.keys_as_expected))?;
        row("carriers", verdict.carriers.len().to_string(), whole(verdict.carriers_as_expected))?;
        row("partitions moved", verdict.partitions_moved.to_string(), "")?;
        row("rate", format!("{:.0}", self.records_per_second), "records/s")?;
        row("time", format!("{:.1}", self.seconds), "s")?;
        for fault in &verdict.faults {
            writeln!(f, "{fault}")?;
        }
        f.write_str(if verdict.clean { "verdict: clean" } else { "verdict: FAILED" })
    }
}
