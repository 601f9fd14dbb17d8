use std::fmt;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use kafka_troupe::consume::Stopped;
use kafka_troupe::{ConsumerError, ConsumerHandle};

use super::output::Printed;

/// What the command has done, in the end.
#[derive(Debug)]
pub(super) struct Report {
    what: What,
    committed: Committed,
    took: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Printed(Printed),
    /// Done by workers, with so many attempts that had to be repeated.
    Worked {
        records: u64,
        dead_letters: u64,
        repeated: u64,
    },
}

/// How much of it the group knows of.
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
        what: What,
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
        Self { what, committed, took }
    }

    pub(super) fn log(&self) {
        let committed = match self.committed {
            Committed::All => "all",
            Committed::Part => "part",
            Committed::Nothing => "nothing",
        };
        let seconds = self.took.as_secs_f64();
        match self.what {
            What::Printed(Printed { records, bytes }) => {
                tracing::info!(records, bytes, committed, seconds, "consumed");
            }
            What::Worked { records, dead_letters, repeated } => {
                tracing::info!(records, dead_letters, repeated, committed, seconds, "consumed");
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = match self.what {
            What::Printed(Printed { records, .. }) | What::Worked { records, .. } => records,
        };
        write!(f, "{} {} ", HumanCount(records), if records == 1 { "record" } else { "records" })?;
        match self.what {
            What::Printed(Printed { bytes, .. }) => write!(f, "({}) ", HumanBytes(bytes))?,
            What::Worked { dead_letters, repeated, .. } => {
                f.write_str("done")?;
                if dead_letters > 0 {
                    write!(f, ", {} to the dead letters", HumanCount(dead_letters))?;
                }
                if repeated > 0 {
                    write!(f, ", attempts repeated: {}", HumanCount(repeated))?;
                }
                f.write_str(if dead_letters + repeated > 0 { ", " } else { " " })?;
            }
        }
        write!(f, "in {:.1} s; ", self.took.as_secs_f64())?;
        f.write_str(match self.committed {
            Committed::All => "all committed",
            Committed::Part => "not all committed: the group gets some of them again",
            Committed::Nothing => "nothing committed, for there is no group",
        })
    }
}
