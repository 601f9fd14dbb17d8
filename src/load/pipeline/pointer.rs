use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A place in a JSON document, as RFC 6901 writes it: `/order/id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer(String);

impl Pointer {
    /// The text that stands there.
    pub(crate) fn text_in<'a>(&self, document: &'a Value) -> Option<&'a str> {
        document.pointer(&self.0)?.as_str()
    }

    /// A document with `text` at that place, in objects, and `filler`, of text that needs no escapes.
    pub(crate) fn document(&self, text: &str, filler: &str) -> String {
        let names: Vec<String> = self.0[1..].split('/').map(|it| it.replace("~1", "/").replace("~0", "~")).collect();
        let beside = if names[0] == "filler" { "padding" } else { "filler" };
        let opened = names.iter().map(|name| format!("{{{}:", Value::from(name.as_str()))).collect::<String>();
        format!("{opened}\"{text}\"{},\"{beside}\":\"{filler}\"}}", "}".repeat(names.len() - 1))
    }
}

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let escapes_are_known = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if text.starts_with('/') && escapes_are_known {
            Ok(Self(text.to_owned()))
        } else {
            Err("it is a JSON pointer, which begins with /, as in /order/id; ~1 stands for a / in a name, ~0 for a ~"
                .to_owned())
        }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_is_made_has_the_text_where_the_pointer_leads() {
        for text in ["/id", "/order/id", "/a~1b/~0c/0", "/", "/filler", "/filler/padding", "/\"q\"/id"] {
            let pointer: Pointer = text.parse().unwrap();
            let document: Value = serde_json::from_str(&pointer.document("it", "xxx")).unwrap();
            assert_eq!(pointer.text_in(&document), Some("it"), "{text}: {document}");
            assert_eq!(pointer.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for text in ["", "id", "order/id", "/a~b", "/a~", "/~2"] {
            assert!(text.parse::<Pointer>().is_err(), "{text}");
        }
    }
}
