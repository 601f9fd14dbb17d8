use std::ops::Range;

use memchr::memmem;
use serde_json::Value;

use super::identity::DIGITS;
use super::pointer::Pointer;

/// What stands in a payload for the identity.
const PLACE: &str = "{{id}}";

/// A value as it is sent, and where its identity goes, if into the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) text: Vec<u8>,
    pub(crate) place: Option<Range<usize>>,
}

impl Template {
    /// Some value, as it is.
    pub(crate) fn fixed(text: &[u8]) -> Self {
        Self { text: text.to_vec(), place: None }
    }

    /// JSON with `{{id}}` at the pointer's place.
    ///
    /// # Errors
    /// As text, where it is not.
    pub(crate) fn json(text: &[u8], pointer: &Pointer) -> Result<Self, String> {
        let mut places = memmem::find_iter(text, PLACE);
        let (Some(at), None) = (places.next(), places.next()) else {
            return Err(format!("it has to have {PLACE} once, at {pointer}"));
        };
        // Digits that no text has by chance.
        let digits: String = (0..DIGITS).map(|at| char::from(b'a' + (at * at % 23) as u8)).collect();
        let text = [&text[..at], digits.as_bytes(), &text[at + PLACE.len()..]].concat();
        let document: Value = serde_json::from_slice(&text).map_err(|error| format!("it is no JSON: {error}"))?;
        if pointer.text_in(&document) == Some(&digits) {
            Ok(Self { text, place: Some(at..at + DIGITS) })
        } else {
            Err(format!("{pointer} does not lead to {PLACE}, in quotes"))
        }
    }

    /// A JSON document of so many bytes; more, where it cannot be less.
    ///
    /// # Errors
    /// None that can be.
    pub(crate) fn made(pointer: &Pointer, size: usize) -> Result<Self, String> {
        let least = pointer.document(PLACE, "").len() - PLACE.len() + DIGITS;
        let filler = "x".repeat(size.saturating_sub(least));
        Self::json(pointer.document(PLACE, &filler).as_bytes(), pointer)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    fn pointer() -> Pointer {
        "/order/id".parse().unwrap()
    }

    #[test]
    fn an_identity_takes_the_place_that_was_kept_for_it() {
        let text = r#"{"order": {"total": 10000000000000000000001, "id": "{{id}}"}}"#;
        let mut template = Template::json(text.as_bytes(), &pointer()).unwrap();
        template.text[template.place.clone().unwrap()].fill(b'7');
        // The rest stays as it was written.
        assert_eq!(String::from_utf8(template.text).unwrap(), text.replace(PLACE, &"7".repeat(DIGITS)));
    }

    #[test]
    fn what_is_made_has_the_size_that_was_asked_for_or_the_least_there_can_be() {
        assert_eq!(Template::made(&pointer(), 300).unwrap().text.len(), 300);
        let least = Template::made(&pointer(), 1).unwrap().text.len();
        assert!((DIGITS..DIGITS + 50).contains(&least), "{least}");
    }

    #[test]
    fn a_payload_without_a_place_at_the_pointer_is_refused() {
        for (text, why) in [
            (r#"{"order": {"id": "x"}}"#, "once, at /order/id"),
            (r#"{"order": {"id": "{{id}}", "again": "{{id}}"}}"#, "once"),
            (r#"{"order": {"id": "{{id}}""#, "no JSON"),
            (r#"{"order": {"id": {{id}}}}"#, "no JSON"),
            (r#"{"id": "{{id}}"}"#, "does not lead"),
            (r#"{"order": {"id": "a{{id}}"}}"#, "does not lead"),
        ] {
            let refused = Template::json(text.as_bytes(), &pointer()).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
