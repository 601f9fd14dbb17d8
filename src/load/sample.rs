use std::fmt;

use serde::Serialize;

use super::latencies::Summary;

/// What is the case at one second of the run. Figures are `None` where there is nobody on this host to know them: of what is sent, where another host
/// sends; of what is handled, where nobody looks; of members, where an application of somebody's has its own.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// Since the warm-up began.
    pub(crate) seconds: f64,
    pub(crate) phase: Phase,
    /// Records a second that the schedule wants; `None` where there is no schedule.
    pub(crate) target: Option<u64>,
    /// Records since the last sample.
    pub(crate) sent: Option<u64>,
    pub(crate) acked: Option<u64>,
    /// Handled, or come out of somebody's application.
    pub(crate) done: Option<u64>,
    /// Confirmed and not done.
    pub(crate) lag: Option<u64>,
    /// Confirmed and, as far as the members know, not committed: what Kafka's own tools call the group's lag.
    pub(crate) uncommitted: Option<u64>,
    /// Sent and not answered.
    pub(crate) in_flight: Option<u64>,
    /// End to end, of the load, since the last sample.
    pub(crate) end_to_end: Option<Summary>,
    /// From the intended send to the confirmation, likewise.
    pub(crate) produce_ack: Option<Summary>,
    /// Of handlers, since the start: they were to fail, and are made again.
    pub(crate) failed_attempts: Option<u64>,
    /// Since the start.
    pub(crate) late: Option<u64>,
    pub(crate) duplicated: Option<u64>,
    pub(crate) reordered: Option<u64>,
    /// Committed, and no handler is through with them.
    pub(crate) committed_ahead: Option<u64>,
    /// Of these, the ones that were committed already at the last sample: passed over, unless a handler still has them.
    pub(crate) lost: Option<u64>,
    /// Processor time of this process since the last sample.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) rss_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// A backlog is made.
    Fill,
    Warmup,
    #[default]
    Load,
    /// Members handle what is left.
    Drain,
    /// For what has not come out of somebody's application.
    Wait,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fill => "fill",
            Self::Warmup => "warmup",
            Self::Load => "load",
            Self::Drain => "drain",
            Self::Wait => "wait",
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
        let add = |one: &mut Option<u64>, next: Option<u64>| *one = one.zip(next).map(|(one, next)| one + next);
        let most = |one: &mut Option<u64>, next: Option<u64>| *one = next.max(*one);
        worse(&mut self.end_to_end, next.end_to_end);
        worse(&mut self.produce_ack, next.produce_ack);
        self.cpu_seconds = self.cpu_seconds.zip(next.cpu_seconds).map(|(one, other)| one + other);
        (self.seconds, self.target) = (next.seconds, next.target);
        (self.late, self.duplicated, self.reordered) = (next.late, next.duplicated, next.reordered);
        self.failed_attempts = next.failed_attempts;
        add(&mut self.sent, next.sent);
        add(&mut self.acked, next.acked);
        add(&mut self.done, next.done);
        most(&mut self.lag, next.lag);
        most(&mut self.uncommitted, next.uncommitted);
        most(&mut self.in_flight, next.in_flight);
        most(&mut self.committed_ahead, next.committed_ahead);
        most(&mut self.lost, next.lost);
        most(&mut self.rss_bytes, next.rss_bytes);
    }

    pub(crate) const HEADER: &str = "    time  phase     target      sent     acked      done       lag  in-flight        p50        p99      p99.9        max  retries    late   dup  reord  ahead  lost";
}

/// One line below [`Sample::HEADER`].
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        write!(f, "{:>7.0}s  {:6}", self.seconds, self.phase)?;
        for shown in [self.target, self.sent, self.acked, self.done, self.lag] {
            write!(f, "  {:>8}", count(shown))?;
        }
        write!(f, "  {:>9}", count(self.in_flight))?;
        let latency = |of: fn(&Summary) -> u64| {
            self.end_to_end.as_ref().map_or_else(|| "-".to_owned(), |summary| milliseconds(of(summary)))
        };
        for latency in [latency(|it| it.p50), latency(|it| it.p99), latency(|it| it.p99_9), latency(|it| it.max)] {
            write!(f, "  {latency:>9}")?;
        }
        let [retries, late, duplicated, reordered, ahead, lost] =
            [self.failed_attempts, self.late, self.duplicated, self.reordered, self.committed_ahead, self.lost]
                .map(count);
        write!(f, "  {retries:>7}  {late:>6}  {duplicated:>4}  {reordered:>5}  {ahead:>5}  {lost:>4}")
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

    /// A sample of which nothing is known but the target.
    pub(crate) fn sample(seconds: f64, phase: Phase) -> Sample {
        Sample { seconds, phase, target: Some(1_000), ..Sample::default() }
    }

    #[test]
    fn a_line_stands_below_its_header() {
        let summary =
            Summary { min: 1, p50: 812, p90: 2, p99: 12_345, p99_9: 123_456, p99_99: 3, max: 1_234_567, count: 5 };
        let known = Sample {
            sent: Some(1_001),
            acked: Some(999),
            done: Some(998),
            lag: Some(7),
            in_flight: Some(2),
            end_to_end: Some(summary),
            failed_attempts: Some(38),
            late: Some(4),
            duplicated: Some(5),
            reordered: Some(8),
            committed_ahead: Some(6),
            lost: Some(7),
            ..sample(12.04, Phase::Load)
        };
        let line = known.to_string();
        assert_eq!(line.len(), Sample::HEADER.len());
        assert!(
            line.ends_with("0.812ms     12.3ms    123.5ms     1235ms       38       4     5      8      6     7"),
            "{line}"
        );
        let unknown = Sample { target: None, ..sample(12.04, Phase::Wait) }.to_string();
        assert_eq!(unknown.len(), Sample::HEADER.len());
        assert_eq!(unknown.matches(" -").count(), 16, "{unknown}");
    }

    #[test]
    fn two_samples_add_up_what_is_counted_keep_the_worse_of_what_is_measured_and_make_nothing_up() {
        let one = |sent, lag| Sample { sent: Some(sent), lag: Some(lag), ..sample(1.0, Phase::Load) };
        let mut both = one(2, 9);
        both.absorb(&one(3, 4));
        assert_eq!((both.sent, both.lag, both.acked), (Some(5), Some(9), None));
    }
}
