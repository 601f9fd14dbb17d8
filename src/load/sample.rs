use std::fmt;

use serde::Serialize;

use super::latencies::Summary;

/// What is the case at one second of the run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Since the warm-up began.
    pub(crate) seconds: f64,
    pub(crate) phase: Phase,
    /// Records a second that the schedule wants; `None` where there is no schedule.
    pub(crate) target: Option<u64>,
    /// Records since the last sample.
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) done: u64,
    /// Confirmed and not handled.
    pub(crate) lag: u64,
    /// Confirmed and, as far as the members know, not committed: what Kafka's own tools call the group's lag.
    pub(crate) uncommitted: u64,
    /// Sent and not answered.
    pub(crate) in_flight: u64,
    /// End to end, of the load, since the last sample.
    pub(crate) end_to_end: Option<Summary>,
    /// From the intended send to the confirmation, likewise.
    pub(crate) produce_ack: Option<Summary>,
    /// Of handlers, since the start: they were to fail, and are made again.
    pub(crate) failed_attempts: u64,
    /// Since the start.
    pub(crate) late: u64,
    pub(crate) duplicated: u64,
    /// Committed, and no handler is through with them.
    pub(crate) committed_ahead: u64,
    /// Of these, the ones that were committed already at the last sample: passed over, unless a handler still has them.
    pub(crate) lost: u64,
    /// Processor time of this process since the last sample.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) rss_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// A backlog is made.
    Fill,
    Warmup,
    Load,
    Drain,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fill => "fill",
            Self::Warmup => "warmup",
            Self::Load => "load",
            Self::Drain => "drain",
        })
    }
}

impl Sample {
    /// The next sample of the same phase becomes part of this one: what was counted is added up, of what was measured the worse remains.
    pub(crate) fn absorb(&mut self, next: &Self) {
        let worse = |one: &mut Option<Summary>, other: Option<Summary>| match (one.as_mut(), other) {
            (Some(one), Some(other)) => one.worsen(&other),
            (None, other) => *one = other,
            (Some(_), None) => {}
        };
        worse(&mut self.end_to_end, next.end_to_end);
        worse(&mut self.produce_ack, next.produce_ack);
        self.cpu_seconds = self.cpu_seconds.zip(next.cpu_seconds).map(|(one, other)| one + other);
        (self.seconds, self.target) = (next.seconds, next.target);
        (self.failed_attempts, self.late, self.duplicated) = (next.failed_attempts, next.late, next.duplicated);
        self.sent += next.sent;
        self.acked += next.acked;
        self.done += next.done;
        self.lag = self.lag.max(next.lag);
        self.uncommitted = self.uncommitted.max(next.uncommitted);
        self.in_flight = self.in_flight.max(next.in_flight);
        self.committed_ahead = self.committed_ahead.max(next.committed_ahead);
        self.lost = self.lost.max(next.lost);
        self.rss_bytes = self.rss_bytes.max(next.rss_bytes);
    }

    pub(crate) const HEADER: &str = "    time  phase     target      sent     acked      done       lag  in-flight        p50        p99      p99.9        max  retries    late   dup  ahead  lost";
}

/// One line below [`Sample::HEADER`].
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.map_or_else(|| "-".to_owned(), |target| target.to_string());
        write!(
            f,
            "{:>7.0}s  {:6}  {target:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>9}",
            self.seconds, self.phase, self.sent, self.acked, self.done, self.lag, self.in_flight
        )?;
        let latency = |of: fn(&Summary) -> u64| {
            self.end_to_end.as_ref().map_or_else(|| "-".to_owned(), |summary| milliseconds(of(summary)))
        };
        for latency in [latency(|it| it.p50), latency(|it| it.p99), latency(|it| it.p99_9), latency(|it| it.max)] {
            write!(f, "  {latency:>9}")?;
        }
        write!(
            f,
            "  {:>7}  {:>6}  {:>4}  {:>5}  {:>4}",
            self.failed_attempts, self.late, self.duplicated, self.committed_ahead, self.lost
        )
    }
}

/// Microseconds, for people: `0.123ms`, `12.3ms`, `1234ms`.
pub(crate) fn milliseconds(micros: u64) -> String {
    let millis = micros as f64 / 1e3;
    match micros {
        0..10_000 => format!("{millis:.3}ms"),
        10_000..1_000_000 => format!("{millis:.1}ms"),
        _ => format!("{millis:.0}ms"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sample in which nothing happened.
    pub(crate) fn sample(seconds: f64, phase: Phase) -> Sample {
        Sample {
            seconds,
            phase,
            target: Some(1_000),
            sent: 0,
            acked: 0,
            done: 0,
            lag: 0,
            uncommitted: 0,
            in_flight: 0,
            end_to_end: None,
            produce_ack: None,
            failed_attempts: 0,
            late: 0,
            duplicated: 0,
            committed_ahead: 0,
            lost: 0,
            cpu_seconds: None,
            rss_bytes: None,
        }
    }

    #[test]
    fn a_line_stands_below_its_header() {
        let summary =
            Summary { min: 1, p50: 812, p90: 2, p99: 12_345, p99_9: 123_456, p99_99: 3, max: 1_234_567, count: 5 };
        let mut sample = Sample {
            sent: 1_001,
            acked: 999,
            done: 998,
            lag: 7,
            in_flight: 2,
            end_to_end: Some(summary),
            failed_attempts: 38,
            late: 4,
            duplicated: 5,
            committed_ahead: 6,
            lost: 7,
            ..sample(12.04, Phase::Load)
        };
        let line = sample.to_string();
        assert_eq!(line.len(), Sample::HEADER.len());
        assert!(
            line.ends_with("0.812ms     12.3ms    123.5ms     1235ms       38       4     5      6     7"),
            "{line}"
        );
        (sample.end_to_end, sample.target) = (None, None);
        assert_eq!(sample.to_string().len(), Sample::HEADER.len());
    }
}
