#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn why(line: &str) -> String {
    parse(line.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_word_or_an_object_is_an_answer() {
    let answers = [
        ("ok", Answer::Done),
        ("ok\r", Answer::Done),
        ("error no such customer", Answer::Failed { cause: "no such customer".to_owned() }),
        ("error", Answer::Failed { cause: "the worker gives no reason".to_owned() }),
        (r#"{"outcome":"done"}"#, Answer::Done),
        (r#"{"outcome":"retry"}"#, Answer::Retry { after: PAUSE, cause: "the worker asks for it".to_owned() }),
        (
            r#"{"cause":"busy\n","after_ms":250,"outcome":"retry"}"#,
            Answer::Retry { after: Duration::from_millis(250), cause: "busy".to_owned() },
        ),
        (r#"{"outcome":"dead_letter","cause":"no date"}"#, Answer::DeadLetter { cause: "no date".to_owned() }),
        (r#"{"outcome":"stop","cause":"disk full"}"#, Answer::Stop { cause: "disk full".to_owned() }),
    ];
    for (line, answer) in answers {
        assert_eq!(parse(line.as_bytes()), Ok(answer), "{line}");
    }
}

#[test]
fn anything_else_is_none_and_says_why() {
    for line in ["", "OK", "ok ", " ok", "errors", "done", "[]", "42"] {
        assert!(why(line).contains("which is no answer: ok, error TEXT, or"), "{line:?}: {}", why(line));
    }
    assert!(why("{").contains("EOF while parsing"));
    assert!(why(r#"{"outcome":"maybe"}"#).contains("unknown variant `maybe`, expected one of `done`"));
    assert!(why(r#"{"cause":"x"}"#).contains("missing field `outcome`"));
    assert!(why(r#"{"outcome":"done","offset":1}"#).contains("unknown field `offset`"));
    assert!(why(r#"{"outcome":"stop","after_ms":1}"#).contains("after_ms goes with the outcome retry"));
    assert!(why(r#"{"outcome":"retry","after_ms":86400001}"#).contains("after_ms is 86400000 at most"));
    assert!(why(r#"{"outcome":"retry","after_ms":-1}"#).contains("expected u64"));
}

#[test]
fn of_a_line_that_is_no_answer_so_much_is_shown_as_a_log_can_take() {
    let long = "ü".repeat(10_000);
    assert!(why(&long).starts_with(&format!("it wrote \"{}...\", ", "ü".repeat(100))));
    assert!(why("\x1b[2J").contains(r"\u{1b}[2J"), "a terminal must not obey it");
}

#[test]
fn more_than_one_line_for_a_record_is_no_answer() {
    let mut heard = Heard::default();
    heard.push(b"ok\nDEBUG: sent\n");
    let why = heard.answer().unwrap_err().to_string();
    assert_eq!(why, "it wrote \"DEBUG: sent\", after it had answered already: a record has one line of answer");
}

#[test]
fn a_line_without_an_end_is_too_long_at_its_bound() {
    let mut heard = Heard::default();
    heard.push(&[b'x'; LONGEST_ANSWER]);
    assert_eq!(heard.answer(), Ok(None));
    heard.push(b"x");
    assert!(heard.answer().unwrap_err().to_string().contains("65536 bytes at most"));
}

#[test]
fn a_record_is_what_consume_prints_and_its_attempt() {
    let record = RecordToPrint {
        topic: "t",
        partition: 3,
        offset: 17,
        timestamp: Some(5),
        key: Some(b"\xff"),
        value: Some(b"a\nb"),
    };
    let mut line = Vec::new();
    append_record(&mut line, record, [("n", None)], 2);
    let text = r#"{"topic":"t","partition":3,"offset":17,"timestamp":5,"key_base64":"/w==","value":"a\nb","headers":[{"name":"n","value":null}],"attempt":2}"#;
    assert_eq!(String::from_utf8(line).unwrap(), format!("{text}\n"));
}

fn answer() -> impl Strategy<Value = (Value, Answer)> {
    let cause = "[a-zA-Z\"\\\\\u{1}é]([ -~é\u{1}]{0,40}[a-zA-Z\"\\\\é])?";
    prop_oneof![
        Just((json!({"outcome": "done"}), Answer::Done)),
        (cause, 0..86_400_001_u64).prop_map(|(cause, ms)| (
            json!({"outcome": "retry", "cause": cause, "after_ms": ms}),
            Answer::Retry { after: Duration::from_millis(ms), cause }
        )),
        cause.prop_map(|cause| (json!({"outcome": "dead_letter", "cause": cause}), Answer::DeadLetter { cause })),
        cause.prop_map(|cause| (json!({"outcome": "stop", "cause": cause}), Answer::Stop { cause })),
    ]
}

proptest! {
    #[test]
    fn whatever_a_worker_writes_is_an_answer_or_named_in_short(line in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        match parse(&line) {
            Ok(Answer::Done) => {
                let is_one = line.starts_with(b"ok") || line.starts_with(b"{");
                prop_assert!(is_one);
            }
            Ok(Answer::Failed { cause } | Answer::Retry { cause, .. } | Answer::DeadLetter { cause } | Answer::Stop { cause }) => {
                prop_assert!(cause.chars().count() <= CAUSE + 3);
            }
            // Each character may be escaped.
            Err(no) => prop_assert!(no.to_string().chars().count() < 10 * EXCERPT + 300),
        }
    }

    #[test]
    fn an_outcome_is_read_as_it_is_meant((line, answer) in answer()) {
        prop_assert_eq!(parse(line.to_string().as_bytes()), Ok(answer));
    }

    #[test]
    fn an_answer_is_the_same_in_whatever_pieces_it_comes(
        (line, answer) in answer(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        behind in "(\n|[a-z]{1,5})?",
    ) {
        let bytes = format!("{line}\n{behind}").into_bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let (mut heard, mut from) = (Heard::default(), 0);
        for cut in cuts {
            heard.push(&bytes[from..cut]);
            from = cut;
            let line_is_whole = cut > line.to_string().len();
            prop_assert_eq!(heard.answer().is_ok_and(|answer| answer.is_none()), !line_is_whole);
        }
        prop_assert_eq!(heard.answer().ok(), behind.is_empty().then_some(Some(answer)));
    }

    #[test]
    fn a_record_is_one_line_whatever_it_holds(
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        value in proptest::option::of(".{0,40}"),
        attempt in any::<u32>(),
    ) {
        let value = value.as_deref().map(str::as_bytes);
        let record = RecordToPrint { topic: "t", partition: 0, offset: 1, timestamp: None, key: key.as_deref(), value };
        let mut line = Vec::new();
        append_record(&mut line, record, [], attempt);
        prop_assert_eq!(memchr::memchr_iter(b'\n', &line).collect::<Vec<_>>(), [line.len() - 1]);
        let read: Value = serde_json::from_slice(&line).unwrap();
        prop_assert_eq!(&read["attempt"], &json!(attempt));
        prop_assert_eq!(read["value"].as_str().map(str::as_bytes), value);
    }
}
