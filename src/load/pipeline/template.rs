//! Values of JSON with an identity in them.

use memchr::memmem;
use serde_json::Value;

use crate::load::payload::MINIMUM;
use crate::load::sizes::Content;

use super::identity::DIGITS;
use super::pointer::Pointer;

/// What stands in a line for the identity.
const PLACE: &[u8] = b"{{id}}";

/// How a value of the generator, whose first [`MINIMUM`] bytes are its head, becomes JSON.
#[derive(Clone, Debug)]
pub(super) enum Template {
    /// A line that has a place for the identity.
    Line,
    /// Made around the identity, with filler to make it as large as the value; larger, where it cannot be less.
    Made { before: Vec<u8>, between: Vec<u8>, after: Vec<u8> },
}

impl Template {
    pub(super) fn new(content: &Content, pointer: &Pointer) -> Self {
        const FILLER: &str = "x";
        if let Content::Lines(_) = content {
            return Self::Line;
        }
        let place = String::from_utf8_lossy(PLACE);
        let document = pointer.document(&place, FILLER);
        // A name may be like the place: what stands for the identity is the last of them.
        let (before, rest) = document.rsplit_once(&*place).unwrap_or_default();
        let (between, after) = rest.rsplit_once(FILLER).unwrap_or_default();
        Self::Made { before: before.into(), between: between.into(), after: after.into() }
    }

    pub(super) fn write(&self, value: &[u8], identity: &[u8], into: &mut Vec<u8>) {
        into.clear();
        match self {
            Self::Line => {
                let line = value.get(MINIMUM..).unwrap_or_default();
                let at = memmem::find(line, PLACE).unwrap_or(line.len());
                into.extend_from_slice(&line[..at]);
                into.extend_from_slice(identity);
                into.extend_from_slice(line.get(at + PLACE.len()..).unwrap_or_default());
            }
            Self::Made { before, between, after } => {
                for part in [before, identity, between] {
                    into.extend_from_slice(part);
                }
                into.resize(into.len().max(value.len().saturating_sub(after.len())), b'x');
                into.extend_from_slice(after);
            }
        }
    }
}

impl Template {
    /// How many bytes come of a value of so many.
    pub(super) fn length(&self, value: usize) -> usize {
        match self {
            Self::Line => (value + DIGITS).saturating_sub(MINIMUM + PLACE.len()),
            Self::Made { before, between, after } => value.max(before.len() + DIGITS + between.len() + after.len()),
        }
    }
}

/// Whether a line has a place for the identity, once, where the pointer leads.
///
/// # Errors
/// As text, why not.
pub(crate) fn check(line: &[u8], pointer: &Pointer) -> Result<(), String> {
    let mut places = memmem::find_iter(line, PLACE);
    let (Some(at), None) = (places.next(), places.next()) else {
        return Err(format!("it has to have {{{{id}}}} once, at {pointer}"));
    };
    // Digits that no text has by chance.
    let digits: String = (0..DIGITS).map(|at| char::from(b'a' + (at * at % 23) as u8)).collect();
    let text = [&line[..at], digits.as_bytes(), &line[at + PLACE.len()..]].concat();
    let document: Value = serde_json::from_slice(&text).map_err(|error| format!("it is no JSON: {error}"))?;
    let leads = pointer.text_in(&document) == Some(&digits);
    if leads { Ok(()) } else { Err(format!("{pointer} does not lead to {{{{id}}}}, in quotes")) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    fn pointer() -> Pointer {
        "/order/id".parse().unwrap()
    }

    fn written(content: &Content, pointer: &Pointer, value: &[u8]) -> String {
        let mut into = b"what was there before".to_vec();
        let template = Template::new(content, pointer);
        template.write(value, "7".repeat(DIGITS).as_bytes(), &mut into);
        assert_eq!(into.len(), template.length(value.len()));
        String::from_utf8(into).unwrap()
    }

    #[test]
    fn an_identity_takes_the_place_that_was_kept_for_it() {
        let line = r#"{"order": {"total": 10000000000000000000001, "id": "{{id}}"}}"#;
        assert_eq!(check(line.as_bytes(), &pointer()), Ok(()));
        let content = Content::lines(line.as_bytes()).unwrap();
        let value = [&[0; MINIMUM], line.as_bytes()].concat();
        // The rest stays as it was written.
        assert_eq!(written(&content, &pointer(), &value), line.replace("{{id}}", &"7".repeat(DIGITS)));
    }

    #[test]
    fn what_is_made_has_the_size_of_the_value_or_the_least_there_can_be() {
        for text in ["/order/id", "/filler", "/x/{{id}}/x"] {
            let pointer = text.parse().unwrap();
            let made = |size| written(&Content::Filler("100".parse().unwrap()), &pointer, &vec![0; size]);
            assert_eq!(made(300).len(), 300, "{text}");
            assert!((DIGITS..DIGITS + 50).contains(&made(MINIMUM).len()), "{}", made(MINIMUM));
            for size in [MINIMUM, 150, 151, 300] {
                let document: Value = serde_json::from_str(&made(size)).unwrap();
                assert_eq!(pointer.text_in(&document), Some(&*"7".repeat(DIGITS)), "{document}");
            }
        }
    }

    #[test]
    fn a_line_without_a_place_at_the_pointer_is_refused() {
        for (text, why) in [
            (r#"{"order": {"id": "x"}}"#, "once, at /order/id"),
            (r#"{"order": {"id": "{{id}}", "again": "{{id}}"}}"#, "once"),
            (r#"{"order": {"id": "{{id}}""#, "no JSON"),
            (r#"{"order": {"id": {{id}}}}"#, "no JSON"),
            (r#"{"id": "{{id}}"}"#, "does not lead"),
            (r#"{"order": {"id": "a{{id}}"}}"#, "does not lead"),
        ] {
            let refused = check(text.as_bytes(), &pointer()).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
