//! `docs/configuration.md` says what the structs do.

use std::fmt::Write;

use troupe_actors::{consumer_defaults_beside, producer_defaults_beside, refused_by_consumers, refused_by_producers};

use super::super::check::MOVED;
use super::super::{ConsumerConfig, ProducerConfig, SettingDoc, library, names};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

fn settings(docs: &[SettingDoc]) -> String {
    let mut table =
        String::from("| Setting | Default | Values | What it does, and why the default is that |\n|---|---|---|---|\n");
    for SettingDoc { name, values, default, why } in docs {
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        writeln!(table, "| `{name}` | {default} | {values} | {why} |").unwrap();
    }
    table
}

fn refused() -> String {
    let mut table = String::from("| Property | Of | Why, or what to use instead |\n|---|---|---|\n");
    for name in names::all() {
        // A value that nobody owns.
        let (consumers, producers) = (refused_by_consumers(name, "\u{1}"), refused_by_producers(name));
        let moved = MOVED.iter().find(|(moved, _)| *moved == name).map(|(_, instead)| ("consumers", *instead));
        let of = consumers.map(|why| ("consumers", why)).or_else(|| producers.map(|why| ("producers", why))).or(moved);
        if let Some((of, why)) = of.filter(|_| names::canonical(name) != "bootstrap.servers") {
            writeln!(table, "| `{name}` | {of} | {why} |").unwrap();
        }
    }
    table
}

/// The document with its generated parts as they should be.
fn document(now: &str) -> String {
    let mut document = now.to_owned();
    for (part, text) in [
        ("consumer", settings(ConsumerConfig::SETTINGS)),
        ("producer", settings(ProducerConfig::SETTINGS)),
        ("refused", refused()),
    ] {
        let (begin, end) = (format!("<!-- begin: {part} -->\n"), format!("<!-- end: {part} -->"));
        let from = document.find(&begin).unwrap() + begin.len();
        let to = document.find(&end).unwrap();
        document.replace_range(from..to, &format!("\n{text}\n"));
    }
    document
}

#[test]
fn the_document_names_every_setting_as_it_is() {
    let now = std::fs::read_to_string(PATH).unwrap();
    let right = document(&now);
    if std::env::var_os("TROUPE_BLESS").is_some() {
        // In one step: another test may be reading it.
        std::fs::write(format!("{PATH}.new"), right).unwrap();
        std::fs::rename(format!("{PATH}.new"), PATH).unwrap();
    } else {
        assert!(
            now == right,
            "docs/configuration.md is behind: TROUPE_BLESS=1 cargo test --lib config::tests::docs writes it"
        );
    }
}

#[test]
fn the_document_names_the_defaults_that_the_engine_gives_librdkafka() {
    let document = std::fs::read_to_string(PATH).unwrap();
    let mut rows: Vec<_> =
        document.lines().filter(|line| line.starts_with("| consumer `") || line.starts_with("| producer `")).collect();
    let of = |role: &'static str, defaults: Vec<(&'static str, String)>| defaults.into_iter().map(move |it| (role, it));
    let nothing = || std::iter::empty::<(&str, &str)>();
    let usual = producer_defaults_beside(nothing());
    let without_idempotence = producer_defaults_beside([("enable.idempotence", "false")]);
    let others = without_idempotence.into_iter().filter(|other| !usual.contains(other)).collect::<Vec<_>>();
    let of_producers = [usual, others].concat();
    let defaults = of("consumer", consumer_defaults_beside(nothing())).chain(of("producer", of_producers));
    for (role, (name, value)) in defaults {
        let row = format!("| {role} `{name}` | `{value}` | `{}` |", library::default(name).unwrap());
        let found = rows.iter().position(|line| line.starts_with(&row));
        rows.remove(found.unwrap_or_else(|| panic!("the document lacks {row}")));
    }
    assert!(rows.is_empty(), "no longer true: {rows:?}");
}

/// What only code can say.
const FOR_CODE: &[&str] = &[
    "async_batch_handler",
    "async_handler",
    "batch_handler",
    "cancellation_token",
    "external_offsets",
    "handler",
    "library_queue_records",
    "on_commit",
    "layer",
    "on_failure",
    "partition_handler",
    "pull",
    "rebalance_listener",
    "route",
    "runtime",
    "start",
];

/// What is said to a method that has another name, and that.
const PARTS: &[(&str, &str)] = &[
    ("max_retry_pause", "retry_pause"),
    ("dead_letter_topic", "dead_letters"),
    ("on_dead_letter_failure", "dead_letters"),
    ("max_dead_letters_in_a_row", "dead_letters"),
    ("max_dead_letter_ratio", "dead_letters"),
    ("dead_letter_window", "dead_letters"),
];

/// What is a property of librdkafka's, in one of the tables for these.
const PROPERTIES: &[&str] = &["bootstrap_servers", "property", "properties"];

#[test]
fn every_method_of_the_builders_is_a_setting_or_for_code_alone() {
    let source =
        |path: &str| std::fs::read_to_string(format!("{}/actors/src/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let folder = format!("{}/actors/src/consume/builder", env!("CARGO_MANIFEST_DIR"));
    let parts = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let consumer: String = parts.map(|part| source(&format!("consume/builder/{part}"))).collect();
    for (text, settings) in [
        (source("consume/builder.rs") + &consumer, ConsumerConfig::SETTINGS),
        (source("produce/builder.rs"), ProducerConfig::SETTINGS),
    ] {
        let methods: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("    pub fn ")?.split(['(', '<']).next()).collect();
        assert!(methods.contains(&"start"), "{methods:?}");
        for method in methods.iter().filter(|method| **method != "builder") {
            let known = settings.iter().any(|doc| doc.name == *method) || PARTS.iter().any(|(_, of)| of == method);
            let elsewhere = FOR_CODE.contains(method) || PROPERTIES.contains(method);
            assert!(known != elsewhere, "{method}: make it a setting in src/config, or name it in FOR_CODE");
        }
        for doc in settings.iter().filter(|doc| !PARTS.iter().any(|(part, _)| *part == doc.name)) {
            assert!(methods.contains(&doc.name), "{} is no method of the builder", doc.name);
        }
    }
}
