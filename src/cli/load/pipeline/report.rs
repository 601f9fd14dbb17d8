use std::fmt;
use std::path::PathBuf;

use super::super::latency_table::latency_table;
use super::super::phase_table::PhaseTable;
use crate::load::families::Family;
use crate::load::pipeline::ledger::Fault;
use crate::load::pipeline::part::Part;
use crate::load::pipeline::result::{PipelineResult, Verification};
use crate::load::result::Outcome;
use crate::load::verdict::Judgement;

/// A result as people read it: the verdict first.
pub(super) struct Report<'a> {
    pub(super) result: &'a PipelineResult,
    /// What could be written.
    pub(super) report: Option<PathBuf>,
    pub(super) manifest: Option<PathBuf>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PipelineResult { outcome, run, verification, part, .. } = self.result;
        let Outcome { verdict, figures, .. } = outcome;
        f.write_str(match (verdict.verdict, part) {
            (Judgement::Passed, Part::ProduceOnly) => "verdict: passed, for what was sent; nothing is verified yet",
            (Judgement::Passed, _) => "verdict: passed",
            (Judgement::Failed, _) => "verdict: FAILED",
            (Judgement::Invalid, _) => "verdict: INVALID",
        })?;
        verdict.reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))?;
        if let Some(error) = &outcome.first_error {
            write!(f, "\n  the first record that was not confirmed: {error}")?;
        }
        if let Some(verification) = verification {
            write!(f, "\n  it was waited until {}", verification.waited_until)?;
            verification.faults.iter().try_for_each(|fault| write!(f, "\n  {}", Told(fault, &verification.topic)))?;
        }
        f.write_str("\n\n")?;
        if self.result.knows_sent() {
            write!(f, "{} sent, {} acked", figures.sent, figures.acked)?;
            f.write_str(if verification.is_some() { ", " } else { "" })?;
        }
        if let Some(verification) = verification {
            write!(
                f,
                "{} came out; lost {}, unseen {}, filtered {}, duplicated {}, reordered {}, corrupted {}, foreign {} ({} of them without an \
                 identity)",
                figures.handled,
                figures.lost,
                figures.unseen,
                figures.filtered,
                figures.duplicated,
                figures.reordered,
                figures.corrupted,
                figures.foreign,
                verification.without_identity
            )?;
        }
        for (times, records) in &figures.times_handled {
            write!(f, "\n  came out {times} times: {records}")?;
        }
        if self.result.knows_sent() {
            write!(f, "\nload: {:.0} records/s, {} of {} late", figures.rate, figures.late, figures.scheduled)?;
        }
        let measured = Family::ALL.into_iter().filter(|family| part.measures(*family));
        let table = latency_table(measured.map(|family| (family.title(), *figures.latency.of(family))));
        write!(f, "\n\n{table}")?;
        if let Some(Verification { two_clocks: true, before_sent, not_timed, .. }) = verification {
            write!(
                f,
                "\n  end to end compares the clocks of two hosts: {before_sent} records came before they were sent by it. {not_timed} were \
                 there before this host looked, and count for no latency"
            )?;
        }
        write!(f, "\n\n{}run {run}, broker: {}", PhaseTable(&outcome.phases), outcome.broker)?;
        if let Some(manifest) = &self.manifest {
            write!(f, "\nmanifest: {}; the verifying host needs it: --manifest", manifest.display())?;
        }
        match &self.report {
            Some(report) => write!(f, "\nreport: {}", report.display()),
            None => Ok(()),
        }
    }
}

/// `lost: producer 0, sequence 17`, and where it stands in OUT.
struct Told<'a>(&'a Fault, &'a str);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Fault { fault, who, place }, topic) = self;
        f.write_str(fault.told())?;
        if let Some(who) = who {
            write!(f, ": producer {}, sequence {}", who.producer, who.sequence)?;
        }
        match place {
            Some(at) => write!(f, ", at {topic} [{}] offset {}", at.partition, at.offset),
            None => Ok(()),
        }
    }
}
