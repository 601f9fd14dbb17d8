//! `lost==0 && e2e.p99<50ms && dup_rate<0.001`: what has to hold of a run's figures.

use std::str::FromStr;

use serde::Serialize;

use super::figures::{Figures, Metric};
use super::sample::milliseconds;

/// Gates that all have to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gates(Vec<Gate>);

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gate {
    text: String,
    metric: Metric,
    comparison: Comparison,
    /// In the unit of [`Figures::value`].
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
    Unequal,
}

/// The longer signs first, for they begin with the shorter ones.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];
const UNITS: [(&str, f64); 4] = [("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];

/// How a gate came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct GateResult {
    pub(crate) gate: String,
    /// Latencies in microseconds; `None` where the run has no such figure.
    pub(crate) value: Option<f64>,
    /// `None` where there is nothing to compare.
    pub(crate) held: Option<bool>,
    /// Whether the value is a time.
    #[serde(skip)]
    pub(crate) timed: bool,
}

impl GateResult {
    /// The value with its unit; empty where there is none.
    pub(crate) fn shown(&self) -> String {
        let value = self.value.map(|value| if self.timed { milliseconds(value as u64) } else { value.to_string() });
        value.unwrap_or_default()
    }
}

impl Gates {
    /// Those of several assertions.
    pub(crate) fn all(assertions: &[Self]) -> Self {
        Self(assertions.iter().flat_map(|gates| gates.0.iter().cloned()).collect())
    }

    pub(crate) fn of(&self, figures: &Figures) -> Vec<GateResult> {
        let result = |gate: &Gate| {
            let value = figures.value(gate.metric);
            let timed = matches!(gate.metric, Metric::Latency(..) | Metric::Recovery);
            GateResult { gate: gate.text.clone(), value, held: value.map(|value| gate.holds(value)), timed }
        };
        self.0.iter().map(result).collect()
    }

    /// The name of the first one that is about a figure which is not `known`.
    pub(crate) fn beyond(&self, known: impl Fn(Metric) -> bool) -> Option<&str> {
        let gate = self.0.iter().find(|gate| !known(gate.metric))?;
        gate.text.split(['<', '>', '=', '!']).next().map(str::trim)
    }

    /// Whether one of them is about this count, or the share that it is.
    pub(crate) fn name(&self, count: &str) -> bool {
        self.0.iter().any(|gate| match gate.metric {
            Metric::Count(name) => name == count,
            Metric::Ratio(name) => name == "dup_rate" && count == "duplicated",
            Metric::Rate | Metric::Latency(..) | Metric::Recovery => false,
        })
    }
}

impl FromStr for Gates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split("&&").map(|gate| gate.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>', '=', '!']);
        let sign =
            at.and_then(|at| COMPARISONS.iter().find(|(sign, _)| text[at..].starts_with(sign)).map(|it| (at, it)));
        let Some((at, (sign, comparison))) = sign else {
            return Err(format!(
                "{text:?} compares nothing: a gate is NAME, one of < <= > >= == !=, and a number, as in lost==0"
            ));
        };
        let (name, limit) = (text[..at].trim(), text[at + sign.len()..].trim());
        let Some(metric) = Metric::named(name) else {
            return Err(format!("there is no figure {name:?}: there are {}", Metric::names()));
        };
        let limit = limit_of(metric, limit).ok_or_else(|| wrong_limit(metric, name, limit))?;
        Ok(Self { text: text.to_owned(), metric, comparison: *comparison, limit })
    }
}

fn limit_of(metric: Metric, text: &str) -> Option<f64> {
    let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    match metric {
        Metric::Latency(..) | Metric::Recovery => {
            let digits = text.trim_end_matches(|it: char| it.is_alphabetic());
            let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..])?.1;
            Some(number(digits)? * unit)
        }
        Metric::Ratio(_) => match text.strip_suffix('%') {
            Some(percent) => Some(number(percent)? / 100.0),
            None => number(text),
        },
        Metric::Count(_) | Metric::Rate => number(text),
    }
}

fn wrong_limit(metric: Metric, name: &str, limit: &str) -> String {
    let wanted = match metric {
        Metric::Latency(..) | Metric::Recovery => "a number with its unit, us, ms or s, as in 50ms",
        Metric::Ratio(_) => "a share, as in 0.001 or 0.1%",
        Metric::Count(_) => "a count, without a unit",
        Metric::Rate => "records a second, without a unit",
    };
    format!("{name} is compared with {wanted}, and not with {limit:?}")
}

impl Gate {
    fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Equal => value == self.limit,
            Comparison::Unequal => value != self.limit,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::super::figures::Latency;
    use super::super::latencies::Summary;
    use super::*;

    fn figures() -> Figures {
        let summary =
            Summary { min: 1, p50: 2, p90: 3, p99: 49_999, p99_9: 60_000, p99_99: 70_000, max: 80_000, count: 9 };
        let latency = Latency { end_to_end: Some(summary), ..Latency::default() };
        Figures {
            handled: 10_000,
            duplicated: 5,
            latency,
            rate: 1_000.0,
            recovery: Some(3_000_000),
            ..Figures::default()
        }
    }

    fn held(text: &str) -> Vec<Option<bool>> {
        text.parse::<Gates>().unwrap().of(&figures()).iter().map(|it| it.held).collect()
    }

    #[test]
    fn all_of_them_are_looked_at_each_in_its_unit() {
        assert_eq!(held("lost==0 && e2e.p99<50ms && dup_rate<0.001"), [Some(true); 3]);
        assert_eq!(held("e2e.p99.9<=60ms&&e2e.p99.9<0.06s && e2e.max==80000us"), [Some(true), Some(false), Some(true)]);
        assert_eq!(held("dup_rate<0.05% && duplicated != 5 && rate >= 1000"), [Some(false), Some(false), Some(true)]);
        assert_eq!(held("duplicated>4 && duplicated>5 && e2e.min<2µs"), [Some(true), Some(false), Some(true)]);
        assert_eq!(held("e2e.p99<49.9ms && e2e.p99>=49ms"), [Some(false), Some(true)]);
        assert_eq!(held("recovery<=3s && recovery<2500ms"), [Some(true), Some(false)]);
        // There are no confirmations to speak of.
        assert_eq!(held("ack.p50<1s"), [None]);
    }

    #[test]
    fn each_is_shown_as_it_was_written_and_says_what_it_is_about() {
        let text = "lost==0 && e2e.p99 < 50ms";
        let results = text.parse::<Gates>().unwrap().of(&figures());
        assert_eq!(results.iter().map(|it| it.gate.as_str()).collect::<Vec<_>>(), ["lost==0", "e2e.p99 < 50ms"]);
        assert!(text.parse::<Gates>().unwrap().name("lost"));
        assert!(!text.parse::<Gates>().unwrap().name("duplicated"));
        let counts = |metric| matches!(metric, Metric::Count(_));
        assert_eq!(text.parse::<Gates>().unwrap().beyond(counts), Some("e2e.p99"));
        assert_eq!("lost==0".parse::<Gates>().unwrap().beyond(counts), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_there_is() {
        let refused = |text: &str| text.parse::<Gates>().unwrap_err();
        assert!(refused("losst==0").contains("lost, unseen, filtered, duplicated"), "{}", refused("losst==0"));
        assert!(refused("e2e.p98<1ms").contains("p99.99"), "{}", refused("e2e.p98<1ms"));
        for (text, why) in [
            ("e2e.p99<50", "us, ms or s"),
            ("e2e.p99<50min", "us, ms or s"),
            ("lost==0ms", "without a unit"),
            ("lost==-1", "without a unit"),
            ("recovery<10", "us, ms or s"),
            ("rate>1k", "records a second"),
            ("dup_rate<x", "0.1%"),
            ("lost", "compares nothing"),
            ("lost=0", "compares nothing"),
            ("lost==0 &&", "compares nothing"),
            ("", "compares nothing"),
        ] {
            assert!(refused(text).contains(why), "{text}: {}", refused(text));
        }
    }
}
