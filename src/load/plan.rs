use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kafka_troupe::config::tool::parse_duration;
use kafka_troupe::consume::Order;
use serde::{Serialize, Serializer};

use super::keys::{KeyText, Keys};
use super::schedule::Arrivals;

/// What a run does, with nothing left open.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    /// What the records of this run are told by.
    #[serde(serialize_with = "as_hex")]
    pub(crate) run: u64,
    pub(crate) seed: u64,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) partitions: u32,
    pub(crate) producers: u16,
    pub(crate) members: u16,
    pub(crate) pace: Pace,
    #[serde(serialize_with = "as_seconds", rename = "warmup_seconds")]
    pub(crate) warmup: Duration,
    pub(crate) length: Length,
    #[serde(serialize_with = "as_seconds", rename = "drain_seconds")]
    pub(crate) drain: Duration,
    /// Bytes of a value.
    pub(crate) record_size: usize,
    #[serde(serialize_with = "as_text")]
    pub(crate) keys: Keys,
    #[serde(serialize_with = "as_debug")]
    pub(crate) order: Order,
    pub(crate) concurrency: Option<usize>,
    #[serde(serialize_with = "as_text")]
    pub(crate) work: Work,
    /// The most records that may be sent and not handled, where the broker could not keep more.
    pub(crate) most_outstanding: Option<u64>,
}

/// When producers send.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    /// By a schedule, whatever becomes of what was sent before: so many records a second, of all producers.
    OpenLoop {
        rate: u64,
        #[serde(serialize_with = "as_name")]
        arrivals: Arrivals,
    },
    /// As answers come: so many records are unanswered at any time.
    ClosedLoop { in_flight: u32 },
}

/// How long the load lasts, after the warm-up.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Length {
    #[serde(serialize_with = "as_seconds")]
    Seconds(Duration),
    Records(u64),
}

/// What the handler does for each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    None,
    /// It waits and lets others run.
    Sleep(Duration),
    /// It computes, and keeps its thread.
    Spin(Duration),
}

impl Pace {
    /// Records a second that are wanted; 0 where there is no schedule.
    pub(crate) fn rate(self) -> u64 {
        match self {
            Self::OpenLoop { rate, .. } => rate,
            Self::ClosedLoop { .. } => 0,
        }
    }
}

impl Plan {
    /// What a record takes in a log that is written record by record: its batch's head comes on top.
    pub(crate) fn bytes_in_log(record_size: usize) -> u64 {
        const BATCH_HEAD_AND_LENGTHS: usize = 61 + 32;
        (record_size + KeyText::LEN + BATCH_HEAD_AND_LENGTHS) as u64
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            Some(("sleep", duration)) => Ok(Self::Sleep(parse_duration(duration)?)),
            Some(("spin", duration)) => Ok(Self::Spin(parse_duration(duration)?)),
            _ => Err("it is none, sleep:DURATION or spin:DURATION, as in sleep:10ms".to_owned()),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Sleep(duration) => write!(f, "sleep:{duration:?}"),
            Self::Spin(duration) => write!(f, "spin:{duration:?}"),
        }
    }
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_hex<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:016x}"))
}

fn as_seconds<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.as_secs_f64())
}

fn as_name<S: Serializer>(value: &Arrivals, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.name())
}

fn as_debug<S: Serializer>(value: &Order, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:?}").to_string().to_lowercase())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn work_is_read_and_written_the_same() {
        for text in ["none", "sleep:10ms", "spin:20ms"] {
            assert_eq!(text.parse::<Work>().unwrap().to_string(), text);
        }
        for text in ["", "sleep", "sleep:", "spin:fast", "nap:1s"] {
            assert!(text.parse::<Work>().is_err(), "{text}");
        }
    }
}
