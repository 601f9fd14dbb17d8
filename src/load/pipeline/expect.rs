use std::fmt;
use std::str::FromStr;

/// What an application may do to records; unless something is said, each comes out once, and those of a key in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expect {
    /// It leaves records out on purpose.
    pub(crate) filtered: bool,
    /// It may send a record out more than once.
    pub(crate) at_least_once: bool,
    /// It keeps no order.
    pub(crate) unordered: bool,
    /// It changes no value: those that come out are held to the checksum of what went in.
    pub(crate) unchanged: bool,
}

const EACH: &str = "each";
const NAMES: [&str; 4] = ["filtered", "at-least-once", "unordered", "unchanged"];

impl Expect {
    fn flags(&mut self) -> [&mut bool; 4] {
        [&mut self.filtered, &mut self.at_least_once, &mut self.unordered, &mut self.unchanged]
    }
}

impl FromStr for Expect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut expect = Self::default();
        if text == EACH {
            return Ok(expect);
        }
        for word in text.split(',') {
            let at = NAMES.iter().position(|name| *name == word);
            let Some(at) = at else {
                return Err(format!("it is each, alone, or some of {}, separated by commas", NAMES.join(", ")));
            };
            *expect.flags()[at] = true;
        }
        Ok(expect)
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut expect = *self;
        let said = expect.flags().into_iter().zip(NAMES).filter(|(said, _)| **said).map(|(_, name)| name);
        let said: Vec<_> = said.collect();
        f.write_str(if said.is_empty() { EACH } else { "" })?;
        f.write_str(&said.join(","))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_read_and_written_the_same() {
        for text in ["each", "filtered", "at-least-once", "filtered,at-least-once,unordered", "unchanged"] {
            assert_eq!(text.parse::<Expect>().unwrap().to_string(), text);
        }
        for text in ["", "each,filtered", "filtered,", "exactly-once"] {
            assert!(text.parse::<Expect>().unwrap_err().contains("at-least-once"), "{text}");
        }
    }
}
