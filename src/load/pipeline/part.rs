use serde::Serialize;

use crate::load::families::Family;
use crate::load::figures::Metric;

/// Which part of a run this host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    Whole,
    ProduceOnly,
    VerifyOnly,
}

impl Part {
    /// It sends to IN.
    pub(crate) fn sends(self) -> bool {
        self != Self::VerifyOnly
    }

    /// It looks at OUT.
    pub(crate) fn verifies(self) -> bool {
        self != Self::ProduceOnly
    }

    /// Whether it measures this latency. What goes on inside of an application nobody sees.
    pub(crate) fn measures(self, family: Family) -> bool {
        match family {
            Family::Schedule | Family::Ack => self.sends(),
            Family::E2e => self.verifies(),
            Family::Residence | Family::Handler | Family::Commit => false,
        }
    }

    /// Whether it can say anything of this figure, so that a gate can be on it. How much was sent the verifying host is told by the manifest.
    pub(crate) fn knows(self, metric: Metric) -> bool {
        const INSIDE: [&str; 4] = ["redelivered", "redelivered_after_commit", "committed_ahead", "failed_attempts"];
        const SENDING: [&str; 4] = ["sent", "acked", "failed", "late"];
        match metric {
            Metric::Latency(family, _) => self.measures(family),
            Metric::Rate | Metric::Ratio("late_rate") => true,
            Metric::Recovery => false,
            Metric::Count("never_sent") => self.sends(),
            Metric::Ratio(_) => self.verifies(),
            Metric::Count(name) if INSIDE.contains(&name) => false,
            Metric::Count(name) => SENDING.contains(&name) || self.verifies(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_part_knows_what_it_sees_and_no_part_what_goes_on_inside() {
        let by = |name: &str| {
            let metric = Metric::named(name).unwrap();
            [Part::Whole, Part::ProduceOnly, Part::VerifyOnly].map(|part| part.knows(metric))
        };
        for name in ["sent", "acked", "failed", "late", "late_rate", "rate"] {
            assert_eq!(by(name), [true; 3], "{name}");
        }
        for name in ["schedule.p99", "ack.max", "never_sent"] {
            assert_eq!(by(name), [true, true, false], "{name}");
        }
        for name in
            ["lost", "unseen", "filtered", "duplicated", "dup_rate", "reordered", "handled", "foreign", "e2e.p50"]
        {
            assert_eq!(by(name), [true, false, true], "{name}");
        }
        for name in [
            "redelivered",
            "committed_ahead",
            "failed_attempts",
            "handler.p99",
            "residence.p50",
            "commit.max",
            "recovery",
        ] {
            assert_eq!(by(name), [false; 3], "{name}");
        }
    }
}
