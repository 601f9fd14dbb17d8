//! The head of a record's value, in hexadecimal digits: text that an application can carry along whatever it does to the value.
//!
//! Its checksum is over itself alone. In a header the CRC-32 of the value as it was sent follows, in eight digits more: who expects values to come out
//! unchanged has them compared.

use crate::load::payload::{MINIMUM, Odd, Payload};

use super::pointer::Pointer;

/// The header that holds it.
pub(crate) const HEADER: &str = "troupe-load";
/// Digits of the identity alone.
pub(crate) const DIGITS: usize = 2 * MINIMUM;
/// With the value's checksum.
pub(crate) const DIGITS_IN_HEADER: usize = DIGITS + 8;

/// Where a record of OUT says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    InHeader,
    InJson(Pointer),
}

/// What a record of OUT is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// One of the run's, and whether its value is another than was sent, where that can be told.
    Ours { payload: Payload, altered: bool },
    /// Of another run.
    Foreign,
    /// It begins like an identity, and does not fit its checksum.
    Damaged,
    /// It says nothing of itself.
    Nameless,
}

/// Writes the first [`DIGITS`] of `text`.
pub(crate) fn write(payload: &Payload, run: u64, text: &mut [u8]) {
    let mut head = [0; MINIMUM];
    payload.write(run, &mut head);
    digits(&head, text);
}

/// The same for a header: [`DIGITS_IN_HEADER`].
pub(crate) fn write_for_header(payload: &Payload, run: u64, value: &[u8], text: &mut [u8; DIGITS_IN_HEADER]) {
    write(payload, run, text);
    digits(&crc32fast::hash(value).to_be_bytes(), &mut text[DIGITS..]);
}

impl Carried {
    /// Where it is in JSON.
    pub(crate) fn pointer(&self) -> Option<String> {
        match self {
            Self::InHeader => None,
            Self::InJson(pointer) => Some(pointer.to_string()),
        }
    }

    /// Who a record is. `header` is the value of its header [`HEADER`].
    pub(crate) fn find(&self, run: u64, header: Option<&[u8]>, value: Option<&[u8]>) -> Found {
        match self {
            Self::InHeader => header.map_or(Found::Nameless, |header| {
                let found = header.get(..DIGITS).map_or(Found::Damaged, |text| read(run, text));
                // What is under our name is ours, or was.
                match (found, header.get(DIGITS..).and_then(bytes::<4>)) {
                    (Found::Ours { payload, .. }, Some(crc)) if header.len() == DIGITS_IN_HEADER => {
                        let altered = crc32fast::hash(value.unwrap_or_default()).to_be_bytes() != crc;
                        Found::Ours { payload, altered }
                    }
                    (Found::Foreign, _) => Found::Foreign,
                    _ => Found::Damaged,
                }
            }),
            Self::InJson(pointer) => {
                let document = value.and_then(|value| serde_json::from_slice::<serde_json::Value>(value).ok());
                let text = document.as_ref().and_then(|document| pointer.text_in(document));
                text.map_or(Found::Nameless, |text| read(run, text.as_bytes()))
            }
        }
    }
}

fn read(run: u64, text: &[u8]) -> Found {
    const MAGIC: &[u8] = b"54724c64";
    if !text.starts_with(MAGIC) {
        return Found::Nameless;
    }
    let Some(head) = bytes::<MINIMUM>(text) else { return Found::Damaged };
    match Payload::read(run, &head) {
        Ok(payload) => Found::Ours { payload, altered: false },
        Err(Odd::Foreign) => Found::Foreign,
        Err(_) => Found::Damaged,
    }
}

fn digits(bytes: &[u8], text: &mut [u8]) {
    const DIGIT: &[u8; 16] = b"0123456789abcdef";
    for (byte, two) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        two[0] = DIGIT[usize::from(byte >> 4)];
        two[1] = DIGIT[usize::from(byte & 15)];
    }
}

/// All of a text as `N` bytes.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |it: u8| char::from(it).to_digit(16).map(|it| it as u8);
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, two) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(two[0])? << 4 | digit(two[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(sequence: u64) -> Payload {
        Payload { producer: 3, sequence, key: Some(7), key_sequence: 5, intended: 1 << 60, warm_up: false }
    }

    fn header(sequence: u64, value: &[u8]) -> [u8; DIGITS_IN_HEADER] {
        let mut text = [0; DIGITS_IN_HEADER];
        write_for_header(&payload(sequence), 9, value, &mut text);
        text
    }

    fn in_header(header: &[u8], value: &[u8]) -> Found {
        Carried::InHeader.find(9, Some(header), Some(value))
    }

    proptest! {
        #[test]
        fn a_header_says_who_a_record_is_and_whether_its_value_is_another(sequence: u64, value: Vec<u8>, other: Vec<u8>) {
            let header = header(sequence, &value);
            prop_assert!(header.iter().all(u8::is_ascii_hexdigit));
            let payload = payload(sequence);
            prop_assert_eq!(in_header(&header, &value), Found::Ours { payload, altered: false });
            prop_assert_eq!(in_header(&header, &other), Found::Ours { payload, altered: value != other });
            prop_assert_eq!(Carried::InHeader.find(8, Some(&header), None), Found::Foreign);
        }

        #[test]
        fn a_digit_that_turned_is_seen(sequence: u64, at in 8..DIGITS, digit in b'0'..=b'9') {
            let mut header = header(sequence, b"");
            prop_assume!(header[at] != digit);
            header[at] = digit;
            prop_assert_eq!(in_header(&header, b""), Found::Damaged);
        }

        #[test]
        fn a_header_of_ours_that_was_cut_is_damaged(left in 0..DIGITS_IN_HEADER) {
            prop_assert_eq!(in_header(&header(1, b"")[..left], b""), Found::Damaged);
        }
    }

    #[test]
    fn json_says_it_where_the_pointer_leads() {
        let text = |sequence| String::from_utf8(header(sequence, b"")[..DIGITS].to_vec()).unwrap();
        let at = Carried::InJson("/orders/1/id".parse().unwrap());
        let find = |value: &str| at.find(9, None, Some(value.as_bytes()));
        let value = format!(r#"{{"orders": [null, {{"total": 1.5, "id": "{}"}}]}}"#, text(4));
        assert_eq!(find(&value), Found::Ours { payload: payload(4), altered: false });
        assert_eq!(at.find(8, None, Some(value.as_bytes())), Found::Foreign);
        assert_eq!(find(&value.replace("54724c64", "54724c640")), Found::Damaged);
        for other in ["{}", "", "[1", r#"{"orders": [null, {"id": 4}]}"#, r#"{"orders": [null, {"id": "4"}]}"#] {
            assert_eq!(find(other), Found::Nameless, "{other}");
        }
        assert_eq!(at.find(9, None, None), Found::Nameless);
    }

    #[test]
    fn a_record_without_the_header_has_no_name() {
        assert_eq!(Carried::InHeader.find(9, None, Some(b"x")), Found::Nameless);
        assert_eq!(in_header(b"something else", b""), Found::Damaged);
    }
}
