//! What is wrong is named with its place, what was found and what is allowed.

use troupe_actors::consume::{Consumer, Record};
use troupe_actors::produce::Producer;

use super::super::{ConfigError, ProducerConfig, Sources};

fn refused(text: &str) -> String {
    let error = Sources::new().toml("t.toml", text).and_then(Sources::load).map(drop);
    error.err().unwrap_or_else(|| panic!("this was taken: {text}")).to_string()
}

#[test]
fn a_wrong_value_is_named_with_its_place_what_was_found_and_what_is_allowed() {
    for (line, expected) in [
        ("order = 'keys'", r#"9: consumer.order: "keys": one of partition, key, unordered is expected"#),
        ("order = ['key']", "9: consumer.order: a list: one of partition, key, unordered is expected"),
        ("concurrency = 'many'", r#"15: consumer.concurrency: "many": a whole number is expected"#),
        ("concurrency = '7'", r#"15: consumer.concurrency: "7": a whole number is expected"#),
        ("concurrency = 0", "15: consumer.concurrency: 0: it must be above 0"),
        ("concurrency = -3", "15: consumer.concurrency: -3: it must not be below 0"),
        ("concurrency = 1.5", "15: consumer.concurrency: 1.5: a whole number is expected"),
        ("max_attempts = 4294967296", "16: consumer.max_attempts: 4294967296: it must be 0 to 4294967295"),
        ("drain_deadline = 3", "18: consumer.drain_deadline: 3: a duration carries its unit"),
        ("drain_deadline = '3 days'", r#"18: consumer.drain_deadline: "3 days": " days" is none of the units"#),
        ("listener_deadline = '0s'", r#"21: consumer.listener_deadline: "0s": it must be above 0"#),
        ("max_buffered_bytes = '4MB'", r#"22: consumer.max_buffered_bytes: "4MB": "MB" is none of the units B, KiB"#),
        (
            "max_buffered_records = 1073741825",
            "24: consumer.max_buffered_records: 1073741825: it must be 1 to 1073741824",
        ),
        ("memory_budget = 99999999999999999999", "17: consumer.memory_budget: this number is too large"),
        ("topics = 'orders'", r#"10: consumer.topics: "orders": a list, as in ["a", "b"] is expected"#),
        ("partitions = ['orders']", r#"14: consumer.partitions: "orders": use a topic and a partition of it"#),
        (
            "retry_topics = ['orders.retry']",
            r#"16: consumer.retry_topics: "orders.retry": use a topic and for how long"#,
        ),
        (
            "retry_topics = ['orders.retry=10']",
            r#"16: consumer.retry_topics: "orders.retry=10": a duration carries its unit"#,
        ),
        ("partitions = ['orders:-1']", r#"14: consumer.partitions: "orders:-1": use a topic"#),
        ("standalone = 'yes'", r#"14: consumer.standalone: "yes": true or false is expected"#),
        ("commit_when = '0 records'", r#"15: consumer.commit_when: "0 records": a commit every 0 records"#),
        ("start_at = 2024-06-30", r#"12: consumer.start_at: "2024-06-30": a time has a date, a time of day and where"#),
        ("start_at = 'soon'", r#"12: consumer.start_at: "soon": use committed, earliest, latest, a time"#),
        ("kafka.fetch.min.bytes = 'x'", r#"25: consumer.kafka.fetch.min.bytes: "x": Invalid value"#),
        ("kafka.ssl.truststore.location = 'x'", r#"33: consumer.kafka.ssl.truststore.location: "x": Java TrustStores"#),
        ("kafka = 'x'", "9: consumer.kafka: librdkafka's properties stand in a table"),
        ("order 'key'", "7: no TOML: "),
    ] {
        let error = refused(&format!("# é\n[consumer]\n{line}\n"));
        assert!(error.starts_with(&format!("t.toml:3:{expected}")), "{line}: {error}");
    }
}

#[test]
fn a_name_that_does_not_exist_is_named_with_the_nearest_that_does() {
    for (text, expected) in [
        ("[consumer]\nordr = 'key'", "t.toml:2:8: there is no consumer.ordr; did you mean consumer.order?"),
        ("[consumer]\nzebra = 1", "t.toml:2:9: there is no consumer.zebra"),
        ("[consumer]\nfetch.min.bytes = 1", "did you mean consumer.kafka.fetch.min.bytes?"),
        ("[producer]\nacks = 1", "did you mean producer.kafka.acks?"),
        ("[producer]\norder = 'key'", "there is no producer.order"),
        ("[consumer.order]\nby = 'key'", "there is no consumer.order.by; did you mean consumer.order?"),
        ("[consumr]", "t.toml:1:2: there is no consumr; did you mean consumer?"),
        ("[consumr]\norder = 'key'", "there is no consumr.order; did you mean consumer.order?"),
        ("order = 'key'", "t.toml:1:1: there is no order; did you mean consumer.order?"),
        ("linger = '1s'", "there is no linger; did you mean producer.linger?"),
        ("bootstrap.servers = 'x'", "there is no bootstrap.servers; did you mean kafka.bootstrap.servers?"),
        (
            "[kafka]\nbootstrap.server = 'x'",
            "there is no kafka.bootstrap.server; did you mean kafka.bootstrap.servers?",
        ),
        ("[[consumer]]\norder = 'key'", "consumer: it is a table"),
    ] {
        let error = refused(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_property_that_the_engine_owns_is_refused_with_the_reason() {
    for (text, expected) in [
        (
            "consumer.kafka.enable.auto.commit = true",
            "refused: the engine commits exactly what is processed; leave it out",
        ),
        ("kafka.enable.partition.eof = false", "refused: the end-of-partition offset closes the gap"),
        ("consumer.kafka.group.id = 'g'", "refused: use group_id in [consumer]"),
        ("kafka.auto.offset.reset = 'latest'", "refused: use auto_offset_reset in [consumer]"),
        ("producer.kafka.linger.ms = 5", "producer.kafka.linger.ms is refused: use `linger`"),
        ("kafka.queue.buffering.max.messages = 5", "refused: use `buffer_records`"),
        ("producer.kafka.transactional.id = 'x'", "refused: transactions are not supported"),
        ("consumer.kafka.batch.size = 1", "refused: it is for producers, in [producer.kafka]"),
        ("producer.kafka.fetch.min.bytes = 1", "refused: it is for consumers, in [consumer.kafka]"),
    ] {
        let error = refused(text);
        assert!(error.starts_with("t.toml:1:") && error.contains(expected), "{text}: {error}");
    }
    for (text, named) in [
        ("producer.kafka.acks = 1", "t.toml:1:23: producer.kafka.acks is refused: 0 and 1 leave idempotence"),
        ("[kafka]\nrequest.required.acks = 0", "t.toml:2:25: kafka.request.required.acks is refused"),
        ("[producer.kafka]\nenable.idempotence = true\nacks = '0'", "t.toml:3:8: producer.kafka.acks is refused"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(named), "{text}: {error}");
    }
    let apart = "producer.kafka.acks = 1\nkafka.enable.idempotence = false";
    Sources::new().toml("t.toml", apart).unwrap().load().unwrap();
    // As it would be anyway.
    let own = "consumer.kafka.enable.auto.commit = false\nkafka.batch.size = 1\nkafka.fetch.min.bytes = 1";
    let config = Sources::new().toml("t.toml", own).unwrap().load().unwrap();
    assert_eq!(
        config.consumer.kafka.iter().map(|it| it.0).collect::<Vec<_>>(),
        ["enable.auto.commit", "fetch.min.bytes"]
    );
    assert_eq!(config.producer.kafka.iter().collect::<Vec<_>>(), [("batch.size", "1")]);
}

#[test]
fn variables_are_told_by_their_names() {
    let refused = |name: &str, value: &str| {
        Sources::new().variables([(name, value)]).and_then(Sources::load).map(drop).unwrap_err().to_string()
    };
    let wrong = "TROUPE_CONSUMER__ORDER: consumer.order: \"keys\": one of partition, key, unordered is expected";
    assert_eq!(refused("TROUPE_CONSUMER__ORDER", "keys"), wrong);
    assert!(
        refused("TROUPE_CONSUMER__ORDR", "key").ends_with("there is no consumer.ordr; did you mean consumer.order?")
    );
    assert!(
        refused("TROUPE_CONSUMR__ORDER", "key").ends_with("there is no consumr.order; did you mean consumer.order?")
    );
    assert!(refused("TROUPE_KAFKA__SASL_PASWORD", "x").ends_with("did you mean kafka.sasl.password?"));
    assert!(refused("TROUPE_CONSUMER_ORDER", "key").ends_with("did you mean TROUPE_CONSUMER__ORDER?"));
    assert!(refused("TROUPE_KAFKA_SASL_PASSWORD", "x").ends_with("did you mean TROUPE_KAFKA__SASL_PASSWORD?"));
    assert!(
        refused("TROUPE_CONSUMER__CONCURRENCY", "").ends_with("consumer.concurrency: \"\": a whole number is expected")
    );
    assert!(refused("TROUPE_CONSUMER__TOPICS", "[a").contains("begins like a list"));
    let own = [
        ("TROUPE_CONSUMER__TOPICS", r#"["^a{1,2}", "b"]"#),
        ("TROUPE_CONSUMER__KAFKA__FETCH_MIN_BYTES", "7"),
        ("TROUPE_KAFKA__SASL_PASSWORD", " 007 "),
        // Kubernetes makes such of services, and others have theirs.
        ("TROUPE_CONSUMER_PORT", "tcp://10.0.0.1:80"),
        ("TROUPE_KAFKA_SERVICE_HOST", "10.0.0.1"),
        ("TROUPE_TEST_KAFKA", "skip"),
        ("CONSUMER__ORDER", "keys"),
    ];
    let config = Sources::new().variables(own).unwrap().load().unwrap();
    assert_eq!(config.consumer.topics, ["^a{1,2}", "b"]);
    assert_eq!(config.consumer.kafka.get("fetch.min.bytes"), Some("7"));
    assert_eq!(config.producer.kafka.get("sasl.password"), Some(" 007 "));
}

#[test]
fn a_file_that_is_not_there_is_the_environments_fault() {
    let error = Sources::new().file("/nowhere/troupe.toml").map(drop).unwrap_err();
    assert!(
        matches!(&error, ConfigError::Unreadable { .. }) && error.to_string() == "cannot read /nowhere/troupe.toml"
    );
}

#[test]
fn nothing_is_said_twice_by_one_source() {
    let error = refused("[kafka]\nclient.id = 'a'\n'client.id' = 'b'");
    assert!(error.ends_with("it is set already, as kafka.client.id at t.toml:2:13"), "{error}");
    let error = refused("[kafka]\nacks = '1'\nrequest.required.acks = '0'");
    assert!(error.contains("it is set already"), "{error}");
}

#[test]
fn what_is_overridden_has_to_be_right_too() {
    let sources = Sources::new().toml("t.toml", "consumer.order = 'keys'").unwrap();
    let error = sources.variables([("TROUPE_CONSUMER__ORDER", "key")]).unwrap().load().unwrap_err().to_string();
    assert!(error.starts_with("t.toml:1:"), "{error}");
}

#[test]
fn a_bound_that_is_refused_here_is_refused_by_the_builders_too() {
    let consumer =
        || Consumer::builder().bootstrap_servers("localhost:1").group_id("g").topics(["t"]).handler(|_: &Record| ());
    for (name, builder) in [
        ("concurrency = 0", consumer().concurrency(0)),
        ("partition_concurrency = 0", consumer().partition_concurrency(0)),
        ("worker_threads = 0", consumer().worker_threads(0)),
        ("max_buffered_records = 0", consumer().max_buffered_records(0)),
        ("max_buffered_records = 1073741825", consumer().max_buffered_records((1 << 30) + 1)),
        ("max_buffered_bytes = 0", consumer().max_buffered_bytes(0)),
        ("max_total_buffered_records = 0", consumer().max_total_buffered_records(0)),
        ("max_total_buffered_bytes = 0", consumer().max_total_buffered_bytes(0)),
        ("commit_rate = 0", consumer().commit_rate(0)),
    ] {
        assert!(builder.start().is_err(), "{name}");
        refused(&format!("[consumer]\n{name}"));
    }
    let producer = || Producer::builder().bootstrap_servers("localhost:1");
    for (name, builder) in [
        ("actors = 65", producer().actors(65)),
        ("actors = 0", producer().actors(0)),
        ("batch_records = 0", producer().batch_records(0)),
        ("batch_records = 65537", producer().batch_records(65_537)),
        ("batch_bytes = 0", producer().batch_bytes(0)),
        ("batch_bytes = 1073741825", producer().batch_bytes((1 << 30) + 1)),
        ("buffer_records = 0", producer().buffer_records(0)),
        ("buffer_records = 2147483648", producer().buffer_records(1 << 31)),
        ("buffer_bytes = 0", producer().buffer_bytes(0)),
    ] {
        assert!(builder.start().is_err(), "{name}");
        refused(&format!("[producer]\n{name}"));
    }
    assert_eq!(ProducerConfig::default().actors, 1);
}
