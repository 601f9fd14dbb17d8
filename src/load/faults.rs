//! What is done to the group in the midst of a run, and when.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kafka_troupe::config::tool::parse_duration;
use serde::{Serialize, Serializer};

use super::clock::shown;

/// One thing that is done to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) what: Blow,
    /// From the beginning of the load, behind the warm-up.
    pub(crate) at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Blow {
    /// One more member.
    Join,
    /// The oldest member finishes, commits and leaves.
    Leave,
    /// The oldest member is killed, by SIGKILL.
    Kill,
}

impl Blow {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Kill => "kill",
        }
    }
}

/// In the order of their times, or why it cannot be: a run ends before, or nobody is left.
pub(crate) fn planned(mut faults: Vec<Fault>, members: u16, load: Option<Duration>) -> Result<Vec<Fault>, String> {
    faults.sort_by_key(|fault| fault.at);
    let mut left = members;
    for fault in &faults {
        if let Some(load) = load.filter(|load| fault.at >= *load) {
            return Err(format!("--fault {fault}: the load is over after {load:?}"));
        }
        left = match fault.what {
            Blow::Join => left.saturating_add(1),
            Blow::Leave | Blow::Kill if left > 1 => left - 1,
            Blow::Leave | Blow::Kill => {
                return Err(format!(
                    "--fault {fault}: the group would be without a member; --members, or a join before it, gives it another"
                ));
            }
        };
    }
    Ok(faults)
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || "it is join@TIME, leave@TIME or kill@TIME, as in kill@10s".to_owned();
        let (what, at) = text.split_once('@').ok_or_else(usage)?;
        let what = [Blow::Join, Blow::Leave, Blow::Kill].into_iter().find(|blow| blow.name() == what);
        Ok(Self { what: what.ok_or_else(usage)?, at: parse_duration(at)? })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.what.name(), shown(self.at))
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<Fault> {
        text.split(',').map(|fault| fault.parse().unwrap()).collect()
    }

    #[test]
    fn a_fault_is_read_and_written_the_same() {
        for text in ["join@5s", "leave@90s", "kill@200ms", "kill@0s"] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        for text in ["", "kill", "kill@", "freeze@1s", "kill@soon", "@3s"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }

    #[test]
    fn faults_come_in_the_order_of_their_times_and_leave_somebody() {
        let planned = |text, members| planned(faults(text), members, Some(Duration::from_secs(30)));
        assert_eq!(planned("kill@9s,join@3s", 1).unwrap(), faults("join@3s,kill@9s"));
        assert!(planned("kill@3s,join@9s", 1).unwrap_err().contains("--fault kill@3s: the group would be without"));
        assert!(planned("kill@3s,leave@4s", 2).unwrap_err().contains("--fault leave@4s"));
        assert!(planned("leave@3s,kill@4s", 3).is_ok());
        assert!(planned("join@30s", 1).unwrap_err().contains("--fault join@30s: the load is over after 30s"));
    }
}
