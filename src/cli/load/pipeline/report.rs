use std::fmt;
use std::path::Path;

use super::super::folder::RESULT;
use super::super::latency_table::latency_table;
use crate::load::pipeline::ledger::{Fault, Kind};
use crate::load::pipeline::result::{Part, PipelineResult, Verification};
use crate::load::verdict::Judgement;

/// A result as people read it: the verdict first.
pub(super) struct Report<'a> {
    pub(super) result: &'a PipelineResult,
    pub(super) folder: &'a Path,
    /// What the manifest's file is called.
    pub(super) manifest: &'static str,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PipelineResult { verdict, figures, verification, part, .. } = self.result;
        f.write_str(match (verdict.verdict, part) {
            (Judgement::Passed, Part::ProduceOnly) => "verdict: passed, for what was sent; nothing is verified yet",
            (Judgement::Passed, _) => "verdict: passed",
            (Judgement::Failed, _) => "verdict: FAILED",
            (Judgement::Invalid, _) => "verdict: INVALID",
        })?;
        verdict.reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))?;
        if let Some(error) = &self.result.first_error {
            write!(f, "\n  the first record that was not confirmed: {error}")?;
        }
        if let Some(verification) = verification {
            write!(f, "\n  it was waited until {}", verification.waited_until)?;
            verification.faults.iter().try_for_each(|fault| write!(f, "\n  {}", Told(fault, &verification.topic)))?;
        }
        write!(f, "\n\n{} sent, {} acked", figures.sent, figures.acked)?;
        if let Some(verification) = verification {
            write!(
                f,
                ", {} came out; lost {}, unseen {}, filtered {}, duplicated {}, reordered {}, corrupted {}, foreign {} ({} of them \
                 without an identity)",
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
        write!(f, "\nload: {:.0} records/s, {} of {} late\n\n", figures.rate, figures.late, figures.scheduled)?;
        write!(f, "{}", self.latencies())?;
        if let Some(Verification { two_clocks: true, before_sent, not_timed, .. }) = verification {
            write!(
                f,
                "\n  end to end compares the clocks of two hosts: {before_sent} records came before they were sent by it. {not_timed} were \
                 there before this host looked, and count for no latency"
            )?;
        }
        write!(f, "\n\nrun {}, broker: {}", self.result.run, self.result.broker)?;
        if *part == Part::ProduceOnly {
            let manifest = self.folder.join(self.manifest);
            write!(f, "\nmanifest: {}; the verifying host needs it: --manifest", manifest.display())?;
        }
        write!(f, "\nresult: {}", self.folder.join(RESULT).display())
    }
}

impl Report<'_> {
    fn latencies(&self) -> impl fmt::Display {
        let latency = &self.result.figures.latency;
        latency_table([
            ("schedule delay", latency.schedule_delay),
            ("produce ack", latency.produce_ack),
            ("end to end", latency.end_to_end),
        ])
    }
}

/// `lost: producer 0, sequence 17`, and where it stands in OUT.
struct Told<'a>(&'a Fault, &'a str);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Fault { fault, who, place }, topic) = self;
        f.write_str(match fault {
            Kind::Missing => "missing",
            Kind::Duplicated => "again",
            Kind::Reordered => "late in its key",
            Kind::Corrupted => "damaged",
        })?;
        if let Some(who) = who {
            write!(f, ": producer {}, sequence {}", who.producer, who.sequence)?;
        }
        match place {
            Some(at) => write!(f, ", at {topic} [{}] offset {}", at.partition, at.offset),
            None => Ok(()),
        }
    }
}
