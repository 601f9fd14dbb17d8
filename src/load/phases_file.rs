//! Phases as a TOML file has them, with the line and the key of whatever is wrong in it.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_troupe::config::tool::parse_duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::phases::Phase;
use super::schedule::Arrivals;

/// The highest rate of a phase.
const MOST: u64 = 10_000_000;
/// The most steps of a phase.
const MOST_STEPS: u64 = 1_000;
const EXAMPLE: &str = "[[phase]]\nkind = \"constant\"\nrate = 1000\nduration = \"30s\"";

/// Reads the phases of a file.
///
/// # Errors
/// What is wrong, with the line: `line 7: phase 2: rate: ...`.
pub(crate) fn parse(text: &str) -> Result<Vec<Phase>, String> {
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(text.len(), |span| span.start);
        format!("line {}: {}", line(at), error.message())
    })?;
    let mut phases = Vec::new();
    let mut list = None;
    for (name, value) in table.get_ref() {
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("phase", DeValue::Array(entries)) => list = Some(entries),
            (name, _) => {
                return Err(format!("line {}: {name}: there are only tables [[phase]]", line(name_at(&table, name))));
            }
        }
    }
    for (number, entry) in (1..).zip(list.into_iter().flat_map(|list| list.iter())) {
        let DeValue::Table(table) = entry.get_ref() else {
            return Err(format!("line {}: phase {number} is no table: write [[phase]]", line(entry.span().start)));
        };
        let keys = Keys { table, number, at: entry.span().start };
        let read = keys.read().map_err(|Wrong { at, key, why }| match key {
            Some(key) => format!("line {}: phase {number}: {key}: {why}", line(at)),
            None => format!("line {}: phase {number}: {why}", line(at)),
        })?;
        let late_warmup = read.iter().any(|it| it.warmup) && phases.iter().any(|it: &Phase| !it.warmup);
        if late_warmup {
            let at = keys.span("warmup");
            return Err(format!("line {}: phase {number}: warmup: only the first phases can be it", line(at)));
        }
        phases.extend(read);
    }
    match phases.iter().any(|it| !it.warmup) {
        true => Ok(phases),
        false if phases.is_empty() => Err(format!("it has no phase, as in\n{EXAMPLE}")),
        false => Err("all of its phases are warm-up: one has to be measured".to_owned()),
    }
}

fn name_at(table: &Spanned<DeTable<'_>>, name: &str) -> usize {
    let entry = table.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == name);
    entry.map_or(0, |(key, _)| key.span().start)
}

/// The keys of one phase.
struct Keys<'a> {
    table: &'a DeTable<'a>,
    /// Among the phases, from 1.
    number: u32,
    at: usize,
}

struct Wrong {
    at: usize,
    key: Option<String>,
    why: String,
}

impl Keys<'_> {
    fn read(&self) -> Result<Vec<Phase>, Wrong> {
        let kind = match self.value("kind") {
            Some((at, value)) => {
                value.as_str().map(|kind| (at, kind)).ok_or_else(|| wrong(at, "kind", "it is a text"))?
            }
            None => return Err(self.lacks("kind", "constant, poisson, ramp or step")),
        };
        let allowed: &[&str] = match kind.1 {
            "constant" | "poisson" => &["rate"],
            "ramp" => &["from", "to"],
            "step" => &["from", "to", "steps"],
            other => {
                return Err(wrong(kind.0, "kind", format!("it is constant, poisson, ramp or step, and not {other:?}")));
            }
        };
        self.check_names(kind.1, allowed)?;
        let duration = self.duration()?;
        let warmup = match self.value("warmup") {
            None => false,
            Some((at, value)) => value.as_bool().ok_or_else(|| wrong(at, "warmup", "it is true or false"))?,
        };
        let number = self.number;
        let phase = |from, to, arrivals, duration| Phase { number, step: None, from, to, arrivals, duration, warmup };
        let rate = |key| self.number(key, 1, MOST, "records a second");
        Ok(match kind.1 {
            "constant" => {
                let rate = rate("rate")?;
                vec![phase(rate, rate, Arrivals::Constant, duration)]
            }
            "poisson" => {
                let rate = rate("rate")?;
                vec![phase(rate, rate, Arrivals::Poisson, duration)]
            }
            "ramp" => vec![phase(rate("from")?, rate("to")?, Arrivals::Constant, duration)],
            _ => {
                let (from, to) = (rate("from")?, rate("to")?);
                let steps = self.number("steps", 2, MOST_STEPS, "steps")?;
                let rate = |step: u64| {
                    (i128::from(from) + (i128::from(to) - i128::from(from)) * i128::from(step) / i128::from(steps - 1))
                        as u64
                };
                let each = duration / steps as u32;
                let step = |step: u64| Phase {
                    step: Some((step as u32 + 1, steps as u32)),
                    ..phase(rate(step), rate(step), Arrivals::Constant, each)
                };
                (0..steps).map(step).collect()
            }
        })
    }

    fn check_names(&self, kind: &str, own: &[&str]) -> Result<(), Wrong> {
        let known: BTreeSet<&str> = ["kind", "duration", "warmup"].iter().chain(own).copied().collect();
        for (name, _) in self.table {
            let name_ = name.get_ref().as_ref();
            if !known.contains(name_) {
                let names = known.iter().copied().collect::<Vec<_>>().join(", ");
                return Err(wrong(
                    name.span().start,
                    name_,
                    format!("a phase of the kind {kind} has no such key: there are {names}"),
                ));
            }
        }
        Ok(())
    }

    fn duration(&self) -> Result<Duration, Wrong> {
        let Some((at, value)) = self.value("duration") else {
            return Err(self.lacks("duration", "a text as in \"30s\""));
        };
        let text = value.as_str().ok_or_else(|| wrong(at, "duration", "it is a text, as in \"30s\""))?;
        let duration = parse_duration(text).map_err(|why| wrong(at, "duration", why.to_string()))?;
        let fits = (Duration::from_millis(1)..=Duration::from_secs(366 * 86_400)).contains(&duration);
        if fits { Ok(duration) } else { Err(wrong(at, "duration", "it is 1ms to 366 days")) }
    }

    fn number(&self, key: &str, least: u64, most: u64, unit: &str) -> Result<u64, Wrong> {
        let Some((at, value)) = self.value(key) else {
            return Err(self.lacks(key, unit));
        };
        let number = match value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| wrong(at, key, format!("it is a whole number of {unit}, {least} to {most}")))
    }

    fn value(&self, key: &str) -> Option<(usize, &DeValue<'_>)> {
        let entry = self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key);
        entry.map(|(_, value)| (value.span().start, value.get_ref()))
    }

    fn span(&self, key: &str) -> usize {
        self.value(key).map_or(self.at, |(at, _)| at)
    }

    fn lacks(&self, key: &str, what: &str) -> Wrong {
        Wrong { at: self.at, key: None, why: format!("it lacks {key}: {what}") }
    }
}

fn wrong(at: usize, key: &str, why: impl Into<String>) -> Wrong {
    Wrong { at, key: Some(key.to_owned()), why: why.into() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: &str = r#"
# Every kind.
[[phase]]
kind = "constant"
rate = 1_000
duration = "2s"
warmup = true

[[phase]]
kind = "poisson"
rate = 500
duration = "10s"

[[phase]]
kind = "ramp"
from = 500
to = 5000
duration = "1m"

[[phase]]
kind = "step"
from = 100
to = 300
steps = 3
duration = "30s"
"#;

    #[test]
    fn each_kind_is_read() {
        let phase = |number, step, (from, to), arrivals, seconds, warmup| Phase {
            number,
            step,
            from,
            to,
            arrivals,
            duration: Duration::from_secs(seconds),
            warmup,
        };
        let expected = [
            phase(1, None, (1_000, 1_000), Arrivals::Constant, 2, true),
            phase(2, None, (500, 500), Arrivals::Poisson, 10, false),
            phase(3, None, (500, 5_000), Arrivals::Constant, 60, false),
            phase(4, Some((1, 3)), (100, 100), Arrivals::Constant, 10, false),
            phase(4, Some((2, 3)), (200, 200), Arrivals::Constant, 10, false),
            phase(4, Some((3, 3)), (300, 300), Arrivals::Constant, 10, false),
        ];
        assert_eq!(parse(ALL).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_key() {
        for (from, to, why) in [
            (
                "rate = 1_000",
                "rate = 0",
                "line 5: phase 1: rate: it is a whole number of records a second, 1 to 10000000",
            ),
            ("rate = 500", "rate = \"fast\"", "line 11: phase 2: rate: it is a whole number"),
            ("duration = \"10s\"", "duration = \"soon\"", "line 12: phase 2: duration: "),
            ("duration = \"10s\"", "duration = 10", "line 12: phase 2: duration: it is a text"),
            ("duration = \"10s\"", "duration = \"0s\"", "line 12: phase 2: duration: it is 1ms to"),
            ("duration = \"1m\"", "", "line 14: phase 3: it lacks duration"),
            (
                "to = 5000",
                "till = 5000",
                "line 17: phase 3: till: a phase of the kind ramp has no such key: there are duration, from",
            ),
            ("steps = 3", "steps = 1", "line 24: phase 4: steps: it is a whole number of steps, 2 to 1000"),
            ("kind = \"ramp\"", "kind = \"rampe\"", "line 15: phase 3: kind: it is constant, poisson, ramp or step"),
            ("kind = \"step\"", "", "line 20: phase 4: it lacks kind"),
            ("rate = 500", "rate 500", "line 11: "),
            ("# Every kind.", "rate = 3", "line 2: rate: there are only tables [[phase]]"),
        ] {
            let told = parse(&ALL.replacen(from, to, 1)).unwrap_err();
            assert!(told.starts_with(why), "{told}");
        }
        // The first two may both be warm-up.
        assert!(parse(&ALL.replacen("rate = 500", "rate = 500\nwarmup = true", 1)).unwrap()[1].warmup);
        let late = ALL.replacen("from = 500", "from = 500\nwarmup = true", 1);
        assert_eq!(parse(&late).unwrap_err(), "line 17: phase 3: warmup: only the first phases can be it");
        assert!(parse("").unwrap_err().contains("[[phase]]"));
        assert!(parse("phase = 3").unwrap_err().starts_with("line 1: phase: "));
        let warm = "[[phase]]\nkind = 'constant'\nrate = 1\nduration = '1s'\nwarmup = true";
        assert!(parse(warm).unwrap_err().contains("one has to be measured"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_every_complaint_has_a_line_of_the_text(cut in 0..ALL.len(), with in "[a-z0-9=\"\\[\\]\n ]{0,6}") {
            let text = format!("{}{with}{}", &ALL[..cut], &ALL[(cut + with.len()).min(ALL.len())..]);
            if let Err(why) = parse(&text)
                && let Some(rest) = why.strip_prefix("line ")
            {
                let line: usize = rest.split(':').next().unwrap().parse().unwrap();
                prop_assert!((1..=text.matches('\n').count() + 1).contains(&line), "{why}");
            }
        }
    }
}
