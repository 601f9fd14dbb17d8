use std::fmt;

use serde::Serialize;

use crate::load::latencies::Summary;
use crate::load::sample::milliseconds;

/// What is the case at one second of a run through somebody's application. Counts of what is sent are `None` where that is done elsewhere.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Moment {
    /// Since the warm-up began.
    pub(crate) seconds: f64,
    pub(crate) phase: Phase,
    /// Records since the last moment.
    pub(crate) sent: Option<u64>,
    pub(crate) acked: Option<u64>,
    /// New ones in OUT; `None` where nobody looks.
    pub(crate) came: Option<u64>,
    /// Confirmed in IN, and not in OUT.
    pub(crate) behind: Option<u64>,
    /// From the intended send to OUT, of the load, since the last moment.
    pub(crate) end_to_end: Option<Summary>,
    /// Since the start.
    pub(crate) late: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Warmup,
    Load,
    /// For what has not come out yet.
    Wait,
}

impl Moment {
    pub(crate) const HEADER: &str = "    time  phase       sent     acked      came    behind        p50        p99      p99.9        max    late   dup  reord";
}

/// One line below [`Moment::HEADER`].
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Warmup => "warmup",
            Phase::Load => "load",
            Phase::Wait => "wait",
        };
        write!(f, "{:>7.0}s  {phase:6}", self.seconds)?;
        for count in [self.sent, self.acked, self.came, self.behind] {
            write!(f, "  {:>8}", count.map_or_else(|| "-".to_owned(), |count| count.to_string()))?;
        }
        let latency = |of: fn(&Summary) -> u64| {
            self.end_to_end.as_ref().map_or_else(|| "-".to_owned(), |summary| milliseconds(of(summary)))
        };
        for latency in [latency(|it| it.p50), latency(|it| it.p99), latency(|it| it.p99_9), latency(|it| it.max)] {
            write!(f, "  {latency:>9}")?;
        }
        write!(f, "  {:>6}  {:>4}  {:>5}", self.late, self.duplicated, self.reordered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_below_its_header() {
        let mut moment = Moment {
            seconds: 12.04,
            phase: Phase::Warmup,
            sent: Some(1_001),
            acked: Some(999),
            came: Some(998),
            behind: Some(7),
            end_to_end: None,
            late: 4,
            duplicated: 5,
            reordered: 6,
        };
        let line = moment.to_string();
        assert_eq!(line.len(), Moment::HEADER.len());
        assert!(line.ends_with("       4     5      6"), "{line}");
        (moment.sent, moment.acked, moment.behind, moment.phase) = (None, None, None, Phase::Wait);
        assert_eq!(moment.to_string().len(), Moment::HEADER.len());
    }
}
