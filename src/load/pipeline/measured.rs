use crate::load::families::ByFamily;
use crate::load::figures::Figures;
use crate::load::latencies::Latencies;
use crate::load::of_phases::OfPhase;
use crate::load::resources::Resources;
use crate::load::sample::Sample;

use super::expect::Expect;
use super::ledger::{Fault, Findings, Kind};
use super::out::Book;
use super::verdict::{Circumstances, Waited};

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) figures: Figures,
    pub(crate) around: Circumstances,
    /// Of a load with phases that this host sends, each of them.
    pub(crate) phases: Vec<OfPhase>,
    pub(crate) samples: Vec<Sample>,
    /// Percentiles of the latencies in `figures`.
    pub(crate) curves: ByFamily<Vec<(f64, u64)>>,
    /// When the load ended; of a host that only verifies, when the wait did.
    pub(crate) resources: Resources,
    /// The first record that was not confirmed, and why.
    pub(crate) first_error: Option<String>,
    /// Somebody asked for an early end.
    pub(crate) stopped: bool,
    /// Where OUT was looked at.
    pub(crate) verified: Option<Verified>,
}

#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) waited: Waited,
    /// Whether sending and receiving were timed by two clocks.
    pub(crate) two_clocks: bool,
    pub(crate) before_sent: u64,
    pub(crate) not_timed: u64,
    pub(crate) without_identity: u64,
    /// Different records that came out, by partition of OUT.
    pub(crate) partitions: Vec<u64>,
    pub(crate) faults: Vec<Fault>,
}

impl Verified {
    pub(super) fn of(book: &Book, mut found: Findings, expect: Expect, waited: Waited, two_clocks: bool) -> Self {
        // What may be left out is not at fault.
        found.faults.retain(|it| !expect.filtered || it.fault != Kind::Missing);
        Self {
            waited,
            two_clocks,
            before_sent: book.before_sent,
            not_timed: book.not_timed,
            without_identity: found.nameless,
            partitions: book.partitions.clone(),
            faults: found.faults,
        }
    }
}

/// Latencies that mean something: behind a broker that fell behind for good there are none from the intended send on, behind such an application
/// none end to end.
pub(super) fn meant(
    latencies: &ByFamily<Latencies>,
    queued: bool,
    saturated: bool,
) -> anyhow::Result<ByFamily<Latencies>> {
    let mut meant = latencies.clone();
    if queued {
        meant.produce_ack = Latencies::new()?;
    }
    if queued || saturated {
        meant.end_to_end = Latencies::new()?;
    }
    Ok(meant)
}

/// Of what is missing and may be left out, how much might have come, had nobody ended the wait.
pub(super) fn undecided(found: &Findings, expect: Expect, waited: Waited) -> u64 {
    if expect.filtered && waited == Waited::Stopped { found.missing } else { 0 }
}

/// What is missing is lost where it was waited for, left out where that was expected, and else only not seen.
pub(super) fn with_findings(figures: Figures, found: &Findings, expect: Expect, waited: Waited) -> Figures {
    let [mut lost, mut unseen, mut filtered] = [0; 3];
    match waited {
        _ if expect.filtered => filtered = found.missing,
        Waited::Stopped => unseen = found.missing,
        Waited::AllCame | Waited::Settled(_) => lost = found.missing,
    }
    Figures {
        handled: found.came,
        lost,
        unseen,
        filtered,
        duplicated: found.duplicated,
        times_handled: found.times.clone(),
        reordered: found.reordered,
        corrupted: found.corrupted,
        foreign: found.foreign + found.nameless,
        ..figures
    }
}
