//! What the producing host tells the verifying one: how many records there were. Nothing in OUT can say that.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ledger::Sent;

/// Of the fields below. Another number is refused.
pub(super) const SCHEMA: u32 = 1;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(super) schema: u32,
    pub(crate) run: RunId,
    /// Of the keys and fillers.
    pub(crate) seed: u64,
    pub(crate) keys: String,
    /// IN.
    pub(crate) topic: String,
    /// Where OUT ended when the run began, by partition; without it OUT is read from its beginning.
    pub(crate) verify_topic: Option<Ends>,
    /// Where the identity is, if not in the header.
    pub(crate) id_pointer: Option<String>,
    pub(crate) producers: Vec<OfProducer>,
    pub(crate) acked: u64,
    /// Records of the load, by their intended time, and how many of them were late; whether there was a schedule to hold.
    pub(crate) scheduled: u64,
    pub(crate) late: u64,
    pub(crate) open_loop: bool,
    /// Confirmed records of the load a second.
    pub(crate) rate: f64,
    /// The broker fell behind for good; and the phases in which it did, or whose schedule was not held, where there are several. Older ones do not say.
    #[serde(default)]
    pub(crate) queued: bool,
    #[serde(default)]
    pub(crate) queued_phases: Vec<String>,
    #[serde(default)]
    pub(crate) overdue_phases: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ends {
    pub(crate) topic: String,
    pub(crate) ends: Vec<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfProducer {
    /// Its sequences are 0 to this, without it.
    pub(crate) sent: u64,
    /// The ones that the broker did not confirm.
    pub(crate) failed: BTreeSet<u64>,
}

/// A run by its number: up to 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct RunId(pub(crate) u64);

impl Manifest {
    /// `None` for one that is not there as a whole: it may be on its way.
    ///
    /// # Errors
    /// As text: it is none, or of another version.
    pub(crate) fn read(text: &[u8]) -> Result<Option<Self>, String> {
        let read: Self = match serde_json::from_slice(text) {
            Err(error) if error.is_eof() => return Ok(None),
            read => read.map_err(|error| format!("it is no manifest: {error}"))?,
        };
        if read.schema == SCHEMA {
            Ok(Some(read))
        } else {
            Err(format!("its schema is {}, and this troupe reads {SCHEMA}", read.schema))
        }
    }

    pub(crate) fn sent(&self) -> Sent {
        Sent {
            sequences: self.producers.iter().map(|it| it.sent).collect(),
            failed: self.producers.iter().map(|it| it.failed.clone()).collect(),
        }
    }
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = (1..=16).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        number.map(Self).ok_or_else(|| "it is 1 to 16 hexadecimal digits, as in 1f or 00063aa2c5e9f1d2".to_owned())
    }
}

impl TryFrom<String> for RunId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.to_string()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            schema: SCHEMA,
            run: RunId(0x1f),
            seed: 7,
            keys: "uniform:10".to_owned(),
            topic: "in".to_owned(),
            verify_topic: Some(Ends { topic: "out".to_owned(), ends: vec![5, 0] }),
            id_pointer: None,
            producers: vec![
                OfProducer { sent: 9, failed: BTreeSet::from([3]) },
                OfProducer { sent: 8, failed: BTreeSet::new() },
            ],
            acked: 16,
            scheduled: 12,
            late: 1,
            open_loop: true,
            rate: 100.5,
            queued: true,
            queued_phases: vec!["2 ramp".to_owned()],
            overdue_phases: vec!["1 constant".to_owned(), "2 ramp".to_owned()],
        }
    }

    #[test]
    fn what_is_written_is_read_and_another_version_is_not() {
        let text = serde_json::to_string(&manifest()).unwrap();
        assert!(text.contains(r#""run":"000000000000001f""#), "{text}");
        assert_eq!(Manifest::read(text.as_bytes()), Ok(Some(manifest())));
        for there in 0..text.len() {
            assert_eq!(Manifest::read(&text.as_bytes()[..there]), Ok(None));
        }
        // One of before phases were judged.
        let (before, _) = text.split_once(r#","queued":"#).unwrap();
        let none = Vec::<String>::new;
        let older = Manifest { queued: false, queued_phases: none(), overdue_phases: none(), ..manifest() };
        assert_eq!(Manifest::read(format!("{before}}}").as_bytes()), Ok(Some(older)));
        assert_eq!(manifest().sent().sequences, [9, 8]);
        let later = text.replace("\"schema\":1", "\"schema\":2");
        assert!(Manifest::read(later.as_bytes()).unwrap_err().contains("schema is 2"));
        assert!(Manifest::read(b"{}").unwrap_err().contains("no manifest"));
    }

    #[test]
    fn a_run_is_told_by_hexadecimal_digits() {
        assert_eq!("1f".parse(), Ok(RunId(0x1f)));
        assert_eq!("00063aa2c5e9f1d2".parse::<RunId>().unwrap().to_string(), "00063aa2c5e9f1d2");
        for text in ["", "0x1f", "+1", "nightly", "00000000000000001"] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
