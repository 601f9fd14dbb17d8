use std::fmt;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use kafka_troupe::consume::Stopped;
use kafka_troupe::{ConsumerError, ConsumerHandle};

use super::output::Printed;

/// What the command has done, in the end.
#[derive(Debug)]
pub(super) struct Report {
    printed: Printed,
    committed: Committed,
    took: Duration,
}

/// How much of what was printed the group knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Committed {
    All,
    /// A last commit did not go through, or a partition was lost: the group gets some of it again.
    Part,
    /// There is no group.
    Nothing,
}

impl Report {
    pub(super) fn new(
        printed: Printed,
        in_group: bool,
        consumer: &ConsumerHandle,
        ended: &Result<Stopped, ConsumerError>,
        took: Duration,
    ) -> Self {
        let counters = consumer.state().counters;
        let missed = counters.drains_uncommitted + counters.lost;
        let committed = match ended {
            _ if !in_group => Committed::Nothing,
            Err(ConsumerError::StopDeadline { .. } | ConsumerError::Engine { .. }) => Committed::Part,
            _ if missed > 0 => Committed::Part,
            _ => Committed::All,
        };
        Self { printed, committed, took }
    }

    pub(super) fn log(&self) {
        let committed = match self.committed {
            Committed::All => "all",
            Committed::Part => "part",
            Committed::Nothing => "nothing",
        };
        let (Printed { records, bytes }, seconds) = (self.printed, self.took.as_secs_f64());
        tracing::info!(records, bytes, committed, seconds, "consumed");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Printed { records, bytes } = self.printed;
        let (count, noun) = (HumanCount(records), if records == 1 { "record" } else { "records" });
        write!(f, "{count} {noun} ({}) in {:.1} s; ", HumanBytes(bytes), self.took.as_secs_f64())?;
        f.write_str(match self.committed {
            Committed::All => "all committed",
            Committed::Part => "not all committed: the group gets some of them again",
            Committed::Nothing => "nothing committed, for there is no group",
        })
    }
}
