use std::fmt;
use std::path::Path;

use indicatif::HumanBytes;

use super::folder::REPORT;
use super::latency_table::latency_table;
use super::left::Left;
use super::phase_table::PhaseTable;
use crate::cli::table::{Column, Table};
use crate::load::result::{Outcome, RunResult};
use crate::load::verdict::Judgement;

/// A result as people read it: the verdict first.
pub(super) struct Report<'a> {
    pub(super) result: &'a RunResult,
    /// The run's folder, where all could be written.
    pub(super) folder: Option<&'a Path>,
    pub(super) left: Option<Left<'a>>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunResult { outcome, plan, .. } = self.result;
        let Outcome { verdict, figures, resources, .. } = outcome;
        f.write_str(match verdict.verdict {
            Judgement::Passed => "verdict: passed",
            Judgement::Failed => "verdict: FAILED",
            Judgement::Invalid => "verdict: INVALID",
        })?;
        verdict.reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))?;
        if let Some(error) = &outcome.first_error {
            write!(f, "\n  the first record that was not confirmed: {error}")?;
        }
        if outcome.stopped_early {
            f.write_str(
                "\n  a signal ended the load, or the wait for its last records, early; or nobody read its lines any longer",
            )?;
        }
        write!(
            f,
            "\n\n{} sent, {} acked, {} handled; lost {}, unseen {}, duplicated {}, redelivered {}, reordered {}, corrupted {}, foreign {}, \
             committed ahead {}, redelivered after commit {}",
            figures.sent,
            figures.acked,
            figures.handled,
            figures.lost,
            figures.unseen,
            figures.duplicated,
            figures.redelivered,
            figures.reordered,
            figures.corrupted,
            figures.foreign,
            figures.committed_ahead,
            figures.redelivered_after_commit
        )?;
        for (times, records) in &figures.times_handled {
            write!(f, "\n  handled {times} times: {records}")?;
        }
        if figures.failed_attempts > 0 {
            write!(f, "\n  attempts that failed as they were to, and were made again: {}", figures.failed_attempts)?;
        }
        write!(f, "\nload: {:.0} records/s, {} of {} late\n\n", figures.rate, figures.late, figures.scheduled)?;

        if figures.never_sent > 0 {
            writeln!(
                f,
                "{} of these were never sent: they are late, and no schedule delay has them\n",
                figures.never_sent
            )?;
        }
        if let Some(excused) = figures.excused {
            const COLUMNS: [Column; 7] = [
                Column::Text("fault"),
                Column::Number("at"),
                Column::Number("member"),
                Column::Number("shared out after"),
                Column::Number("recovered after"),
                Column::Number("most behind"),
                Column::Number("repeated"),
            ];
            let mut table = Table::new(COLUMNS);
            for it in &self.result.faults {
                let after = |millis: Option<u64>| millis.map_or_else(|| "-".to_owned(), |it| format!("{it}ms"));
                table.row([
                    it.fault.name().to_owned(),
                    format!("{:.1}s", it.at_ms as f64 / 1e3),
                    it.member.to_string(),
                    after(it.shared_out_after_ms),
                    after(it.recovered_after_ms),
                    it.most_behind.to_string(),
                    it.repeated.to_string(),
                ]);
            }
            write!(f, "{table}\nthe faults excuse {excused} repeats\n\n")?;
        }

        let table = latency_table(figures.latency.each().map(|(family, summary)| (family.title(), *summary)));
        write!(f, "{table}\n\n{}", PhaseTable(&outcome.phases))?;

        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        writeln!(
            f,
            "resources of this process: {} CPU s per million records, peak RSS {}, {} threads",
            or_dash(resources.cpu_seconds_per_million_records.map(|it| format!("{it:.2}"))),
            or_dash(resources.peak_rss_bytes.map(|it| HumanBytes(it).to_string())),
            or_dash(resources.threads.map(|it| it.to_string())),
        )?;
        write!(f, "broker: {}; keys {}, order {}, seed {}", outcome.broker, plan.keys, plan.order, plan.seed)?;
        if let Some(left) = &self.left {
            write!(f, "\n{left}")?;
        }
        match self.folder {
            Some(folder) => write!(f, "\nreport: {}", folder.join(REPORT).display()),
            None => Ok(()),
        }
    }
}
