//! Each setting reaches its builder, and the defaults are the builders' own.

use serde::Deserialize;
use troupe_actors::consume::Consumer;
use troupe_actors::produce::Producer;

use super::super::{Config, ConsumerConfig, Origin, ProducerConfig, Setting, SettingDoc, Sources};

/// A value of each setting that is not its default, as a variable has it, and as it is shown.
const CONSUMER: &[(&str, &str, &str)] = &[
    ("topics", "a, b", "a,b"),
    ("partitions", "a:0,b:1", "a:0,b:1"),
    ("group_id", "g", "g"),
    ("standalone", "true", "true"),
    ("start_at", "2024-06-30T18:00:00+02:00", "1719763200000"),
    ("auto_offset_reset", "latest", "latest"),
    ("order", "key", "key"),
    ("concurrency", "7", "7"),
    ("partition_concurrency", "8", "8"),
    ("worker_threads", "3", "3"),
    ("max_buffered_records", "9", "9"),
    ("max_buffered_bytes", "1024", "1KiB"),
    ("max_total_buffered_records", "99", "99"),
    ("max_total_buffered_bytes", "1MiB", "1MiB"),
    ("memory_budget", "2GiB", "2GiB"),
    ("max_poll_records", "10", "10"),
    ("retry_pause", "60s", "1m"),
    ("max_retry_pause", "30s", "30s"),
    ("max_attempts", "4294967295", "4294967295"),
    ("on_exhausted", "stop_partition", "stop_partition"),
    ("retry_topics", "r=10s, s=300s", "r=10s,s=5m"),
    ("allow_reordering", "true", "true"),
    ("dead_letter_topic", "d", "d"),
    ("on_dead_letter_failure", "stop", "stop"),
    ("max_dead_letters_in_a_row", "5", "5"),
    ("max_dead_letter_ratio", "0.25", "0.25"),
    ("dead_letter_window", "50", "50"),
    ("commit_when", "500 records", "500 records"),
    ("await_commits", "true", "true"),
    ("commit_rate", "2MiB", "2MiB"),
    ("client_auto_commit", "true", "true"),
    ("drain_deadline", "1500ms", "1500ms"),
    ("commit_deadline", "1s", "1s"),
    ("listener_deadline", "1s", "1s"),
    ("stop_deadline", "10s", "10s"),
    ("slow_record_after", "10s", "10s"),
    ("blocked_thread_after", "1s", "1s"),
    ("on_log_rewind", "continue", "continue"),
    ("on_offset_out_of_range", "earliest", "earliest"),
];

const PRODUCER: &[(&str, &str, &str)] = &[
    ("linger", "20ms", "20ms"),
    ("batch_records", "65536", "65536"),
    ("batch_bytes", "1GiB", "1GiB"),
    ("actors", "64", "64"),
    ("buffer_records", "1000", "1000"),
    ("buffer_bytes", "128MiB", "128MiB"),
    ("metadata_timeout", "5s", "5s"),
    ("partitioner", "round_robin", "round_robin"),
];

fn builders(config: &Config) -> String {
    format!("{:?} {:?}", config.consumer.builder(), config.producer.builder())
}

fn load(table: &str, name: &str, value: &str) -> Config {
    let variable = format!("TROUPE_{table}__{name}").to_ascii_uppercase();
    Sources::new().variables([(variable, value)]).unwrap().load().unwrap_or_else(|error| panic!("{error}"))
}

fn row<'a>(settings: &'a [Setting], name: &str) -> &'a Setting {
    settings.iter().find(|each| each.name == name).unwrap_or_else(|| panic!("{name} is not shown"))
}

#[test]
fn what_is_not_set_leaves_the_builders_as_they_are() {
    let untouched = format!("{:?} {:?}", Consumer::builder(), Producer::builder());
    assert_eq!(builders(&Sources::new().load().unwrap()), untouched);
}

#[test]
fn every_setting_reaches_its_builder_and_is_shown_with_its_default_and_origin() {
    let untouched = builders(&Sources::new().load().unwrap());
    for (table, samples, docs) in
        [("consumer", CONSUMER, ConsumerConfig::SETTINGS), ("producer", PRODUCER, ProducerConfig::SETTINGS)]
    {
        let named: Vec<_> = samples.iter().map(|(name, ..)| *name).collect();
        assert_eq!(named, docs.iter().map(|doc| doc.name).collect::<Vec<_>>(), "a sample each, in their order");
        for ((name, value, shown), SettingDoc { default, .. }) in samples.iter().zip(docs) {
            let config = load(table, name, value);
            assert_ne!(builders(&config), untouched, "{table}.{name} is not applied");
            let settings = if table == "consumer" { config.consumer_settings() } else { config.producer_settings() };
            let setting = row(&settings, &format!("{table}.{name}"));
            assert_eq!((setting.value.as_str(), setting.default.as_str()), (*shown, *default), "{name}");
            let variable = format!("TROUPE_{table}__{name}").to_ascii_uppercase();
            assert_eq!(setting.origin, Origin::Variable(variable));
            // The others are as they were.
            let others = settings.iter().filter(|each| each.name != setting.name);
            assert!(
                others.into_iter().all(|each| each.origin == Origin::Default && each.value == each.default),
                "{name}"
            );
        }
    }
}

#[test]
fn without_idempotence_the_requests_in_flight_are_bounded_from_wherever_that_is_said() {
    let name = "producer.kafka.max.in.flight.requests.per.connection";
    let settings = |more: &[(&str, &str)]| {
        let off = ("TROUPE_PRODUCER__KAFKA__ENABLE_IDEMPOTENCE", "false");
        let variables = more.iter().copied().chain([off]).map(|(name, value)| (name.to_owned(), value.to_owned()));
        Sources::new().variables(variables).unwrap().load().unwrap().producer_settings()
    };
    let unset = settings(&[]);
    let setting = row(&unset, name);
    assert_eq!((&*setting.value, &*setting.default, &setting.origin), ("5", "5", &Origin::Default));
    let set = settings(&[("TROUPE_PRODUCER__KAFKA__MAX_IN_FLIGHT", "1")]);
    let of_flight: Vec<_> = set.iter().filter(|setting| setting.name.contains("in.flight")).collect();
    let [one] = of_flight[..] else { panic!("{of_flight:?}") };
    assert_eq!((&*one.value, &*one.default), ("1", "5"));
    let idempotent = Sources::new().load().unwrap().producer_settings();
    assert!(idempotent.iter().all(|setting| setting.name != name));
}

#[test]
fn the_documented_defaults_are_the_structs() {
    let of = |defaults: toml::Table, docs: &[SettingDoc]| {
        for doc in docs {
            match defaults.get(doc.name) {
                Some(toml::Value::String(text)) => assert_eq!(text, doc.default, "{}", doc.name),
                Some(toml::Value::Array(list)) => assert!(list.is_empty() && doc.default.is_empty(), "{}", doc.name),
                Some(toml::Value::Integer(number)) => assert_eq!(number.to_string(), doc.default, "{}", doc.name),
                Some(toml::Value::Float(number)) => assert_eq!(number.to_string(), doc.default, "{}", doc.name),
                Some(toml::Value::Boolean(value)) => assert_eq!(value.to_string(), doc.default, "{}", doc.name),
                // The builder decides, in one way or in others.
                None => assert!(UNSET.contains(&(doc.name, doc.default)), "{}", doc.name),
                other => panic!("{}: {other:?}", doc.name),
            }
        }
        let fields: Vec<_> = defaults.keys().filter(|name| *name != "kafka").collect();
        assert!(fields.iter().all(|name| docs.iter().any(|doc| doc.name == name.as_str())), "{fields:?}");
    };
    /// `ConsumerBuilder::start` says so.
    const UNSET: &[(&str, &str)] = &[
        ("group_id", ""),
        ("dead_letter_topic", ""),
        ("auto_offset_reset", "earliest"),
        ("order", "partition"),
        ("concurrency", "100"),
        ("partition_concurrency", "as many as in all"),
        ("worker_threads", "one per processor"),
    ];
    of(toml::Table::try_from(ConsumerConfig::default()).unwrap(), ConsumerConfig::SETTINGS);
    of(toml::Table::try_from(ProducerConfig::default()).unwrap(), ProducerConfig::SETTINGS);
}

#[test]
fn what_code_changes_is_shown_as_codes() {
    let mut config = load("consumer", "max_attempts", "3");
    config.consumer.max_attempts = 5;
    config.consumer.kafka.set("client.id", "me");
    let settings = config.consumer_settings();
    let attempts = row(&settings, "consumer.max_attempts");
    assert_eq!((attempts.value.as_str(), &attempts.origin), ("5", &Origin::Code));
    let client = row(&settings, "consumer.kafka.client.id");
    assert_eq!((client.value.as_str(), client.default.as_str(), &client.origin), ("me", "rdkafka", &Origin::Code));
}

#[test]
fn an_app_makes_them_parts_of_its_own_configuration() {
    #[derive(Deserialize)]
    struct App {
        name: String,
        input: ConsumerConfig,
        output: ProducerConfig,
    }
    let text = "name = 'billing'\n[input]\norder = 'key'\nstart_at = '2024-06-30T16:00:00Z'\nkafka.client.id = 'me'\n\
                [output]\nbatch_bytes = 4096\nlinger = '1s'";
    let app: App = toml::from_str(text).unwrap();
    let expected = load("consumer", "order", "key").consumer.order;
    assert_eq!(
        (app.name.as_str(), app.input.order, app.input.kafka.get("client.id")),
        ("billing", expected, Some("me"))
    );
    assert_eq!((app.output.batch_bytes, app.output.linger.as_millis()), (4096, 1000));
    let error = toml::from_str::<App>("name = 'x'\n[input]\nordr = 'key'\n[output]").err().unwrap().to_string();
    assert!(error.contains("unknown field `ordr`"), "{error}");
    // What is shown of one is read as the same.
    let consumer = load("consumer", "drain_deadline", "1500ms").consumer;
    let again: ConsumerConfig = toml::Table::try_from(&consumer).unwrap().try_into().unwrap();
    assert_eq!(again, consumer);
}
