#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::Write;

use clap::Parser;
use kafka_troupe::config::tool::has;

use super::*;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    connect: Connect,
}

/// What these options come to, for this role; `FILE` stands for a file with that content.
fn settings(role: Role, options: &[&str], file: &str, variables: &[(&str, &str)]) -> Result<Connection, String> {
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config.write_all(file.as_bytes()).unwrap();
    let path = config.path().to_str().unwrap();
    let options = options.iter().map(|option| if *option == "FILE" { path } else { option });
    let command = Command::try_parse_from(["command"].into_iter().chain(options)).unwrap();
    command.connect.put_together(role, &[], variables.iter().copied()).and_then(Connection::with_brokers).map_err(
        |error| {
            assert!(error.is::<Misuse>(), "{error:#}");
            format!("{error:#}")
        },
    )
}

fn resolve(options: &[&str], file: &str) -> Result<Connection, String> {
    settings(Role::Neither, options, file, &[])
}

/// What these properties come to, each by its own option.
fn given(role: Role, properties: &[(&str, &str)]) -> Result<Connection, String> {
    let assignments: Vec<_> = properties.iter().map(|(name, value)| format!("-X{name}={value}")).collect();
    let mut options: Vec<_> = assignments.iter().map(String::as_str).collect();
    options.push("--bootstrap-server=127.0.0.1:1");
    settings(role, &options, "", &[])
}

fn names(connection: &Connection) -> Vec<&str> {
    connection.properties().iter().map(|(name, _)| name).filter(|name| *name != "bootstrap.servers").collect()
}

#[test]
fn an_option_wins_over_the_file_whatever_name_it_uses() {
    let file = "bootstrap.servers=file:1\nmax.request.size=1000\nacks=1\nclient.id=file\n";
    let connection = resolve(&["--command-config", "FILE"], file).unwrap();
    assert_eq!(connection.servers(), "file:1");
    assert_eq!(connection.get("message.max.bytes"), Some("1000"));
    let options =
        ["--bootstrap-server", "option:2", "--command-config", "FILE", "-X", "message.max.bytes=2000", "-Xacks=all"];
    let connection = resolve(&options, file).unwrap();
    assert_eq!(connection.servers(), "option:2");
    assert_eq!(connection.get("message.max.bytes"), Some("2000"));
    assert_eq!(connection.get("request.required.acks"), Some("all"));
    assert_eq!(connection.get("client.id"), Some("file"));
    assert_eq!(connection.timeout(), Duration::from_secs(10));
}

#[test]
fn without_brokers_it_is_said_where_to_name_them() {
    let error = resolve(&["-X", "client.id=me"], "").unwrap_err();
    assert!(error.contains("--bootstrap-server HOST:PORT"), "{error}");
    assert!(resolve(&["-X", "bootstrap.servers=x:1"], "").is_ok());
}

#[test]
fn a_value_that_librdkafka_does_not_take_names_its_property() {
    let error = given(Role::Producer, &[("request.timeout.ms", "soon")]).unwrap_err();
    assert!(error.starts_with("property request.timeout.ms: ") && error.contains("soon"), "{error}");
    let error = given(Role::Producer, &[("max.request.size", "1")]).unwrap_err();
    assert!(error.starts_with("property max.request.size: "), "{error}");
}

#[test]
fn what_nobody_knows_is_left_out() {
    let unknown = [("client.idd", "x"), ("max.poll.records", "5"), ("key.serializer", "x.Y")];
    let connection = given(Role::Consumer, &unknown).unwrap();
    assert!(names(&connection).is_empty(), "{connection:?}");
}

#[test]
fn producers_and_consumers_get_their_own_and_what_both_have() {
    let properties = [("group.instance.id", "g"), ("batch.size", "1000"), ("client.id", "c")];
    let of = |role| given(role, &properties).unwrap();
    assert_eq!(names(&of(Role::Producer)), ["batch.size", "client.id"]);
    assert_eq!(names(&of(Role::Consumer)), ["client.id", "group.instance.id"]);
    let config = of(Role::Neither).client_config();
    assert_eq!(config.get("client.id"), Some("c"));
    assert_eq!((config.get("group.instance.id"), config.get("batch.size")), (None, None));
}

#[test]
fn every_property_that_is_passed_on_starts_a_client() {
    let properties = [
        ("bootstrap.servers", "127.0.0.1:1"),
        ("metadata.max.age.ms", "60000"),
        ("linger.ms", "1"),
        ("buffer.memory", "33554432"),
        ("batch.size", "16384"),
        ("compression.type", "gzip"),
        ("acks", "all"),
        ("retries", "2147483647"),
        ("delivery.timeout.ms", "120000"),
        ("max.request.size", "1048576"),
        ("max.in.flight.requests.per.connection", "5"),
        ("max.partition.fetch.bytes", "1048576"),
        ("fetch.max.wait.ms", "100"),
        ("session.timeout.ms", "10000"),
        ("group.id", "g"),
        ("group.instance.id", "i"),
        ("isolation.level", "read_committed"),
        ("auto.offset.reset", "none"),
        ("enable.auto.commit", "true"),
        ("reconnect.backoff.ms", "50"),
        ("connections.max.idle.ms", "540000"),
    ];
    let _producer = given(Role::Producer, &properties).unwrap().producer().start().unwrap();
    let handler = |_: &kafka_troupe::Record| kafka_troupe::Outcome::Done;
    let consumer =
        given(Role::Consumer, &properties).unwrap().consumer().topics(["t"]).handler(handler).start().unwrap();
    consumer.shutdown_blocking(Duration::from_secs(5)).unwrap();
}

#[test]
fn tls_and_scram_name_the_feature_where_it_is_missing() {
    for asked in [
        &[("security.protocol", "SSL")][..],
        &[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN")],
        &[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "SCRAM-SHA-512")],
        &[("sasl.mechanism", "SCRAM-SHA-256")],
    ] {
        let refused = given(Role::Consumer, asked).err().unwrap_or_default();
        assert_eq!(refused.contains("cargo install kafka-troupe --features tls"), !has("ssl"), "{refused}");
        assert_eq!(refused.is_empty(), has("ssl"), "{refused}");
    }
}

#[test]
fn sasl_without_a_mechanism_is_kerberos_which_is_not_there() {
    let error = given(Role::Consumer, &[("security.protocol", "SASL_PLAINTEXT")]).unwrap_err();
    assert!(error.contains("Kerberos"), "{error}");
}

#[test]
fn what_a_protocol_does_without_is_left_out() {
    let properties =
        [("ssl.truststore.location", "/nowhere"), ("sasl.jaas.config", "x"), ("security.protocol", "PLAINTEXT")];
    assert_eq!(names(&given(Role::Consumer, &properties).unwrap()), ["security.protocol"]);
}

#[test]
fn no_secret_is_in_debug_or_in_an_error() {
    let jaas = "sasl.jaas.config=org.x.PlainLoginModule required username=\"u\" password=\"hunter2\";";
    let options = [
        "--bootstrap-server",
        "x:1",
        "-X",
        "security.protocol=SASL_PLAINTEXT",
        "-X",
        "sasl.mechanism=PLAIN",
        "-X",
        jaas,
        "-X",
        "SASL.Password=hunter2",
        "--command-config",
        "FILE",
    ];
    let file = "ssl.keystore.password=hunter2\nsasl.password=hunter2";
    let command = Command::try_parse_from(["command"].into_iter().chain(options)).unwrap();
    let connection = resolve(&options, file).unwrap();
    assert_eq!(connection.get("sasl.password"), Some("hunter2"));
    let shown = format!("{command:?} {connection:?} {:?}", connection.producer());
    assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");

    let malformed = Command::try_parse_from(["command", "-X", "sasl.password:hunter2"]).unwrap();
    assert!(!format!("{malformed:?}").contains("hunter2"));

    for (options, file) in [
        (&["--bootstrap-server", "x:1", "-X", "sasl.password:hunter2"][..], ""),
        (&["-X", "sasl.password=hunter2"], ""),
        (&["--bootstrap-server", "x:1", "--command-config", "FILE"], "a=\\uhunter2"),
        (
            &[
                "--bootstrap-server",
                "x:1",
                "-X",
                "security.protocol=SASL_PLAINTEXT",
                "-X",
                "sasl.mechanism=PLAIN",
                "-X",
                "sasl.jaas.config=hunter2",
            ],
            "",
        ),
        (&["--bootstrap-server", "x:1", "-X", "security.protocol=hunter3", "-X", "sasl.password=hunter2"], ""),
    ] {
        let error = resolve(options, file).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_kafka_that_is_not_there_is_named_with_what_librdkafka_says() {
    // A port that was ours a moment ago, and is nobody's now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("127.0.0.1:{port}");
    let connection = resolve(&["--bootstrap-server", &server, "--timeout", "300ms"], "").unwrap();
    let error = connection.reach(None, &tokio_util::sync::CancellationToken::new()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach Kafka at {server} within 300ms")), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
}

#[test]
fn a_first_contact_that_is_waited_for_ends_with_a_signal() {
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    let connection = resolve(&["--bootstrap-server", "127.0.0.1:1"], "").unwrap();
    assert!(connection.reach(None, &stop).unwrap_err().is::<crate::cli::exit::Interrupted>());
}

#[test]
fn a_topic_is_found_or_missing_and_does_not_come_into_being_by_asking() {
    let broker = kafka_troupe::broker::EmbeddedBroker::start().unwrap();
    broker.create_topic("flights", 3).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let connection = resolve(&["--bootstrap-server", broker.bootstrap_servers()], "").unwrap();
    assert_eq!(connection.reach_topic("flights", &stop).unwrap(), 3);
    assert_eq!(connection.reach(None, &stop).unwrap().partitions, None);
    for _ in 0..2 {
        let error = connection.reach_topic("fligths", &stop).unwrap_err().to_string();
        assert!(error.contains("topic fligths does not exist") && error.contains("--create-topic"), "{error}");
    }
}

#[test]
fn files_give_way_to_variables_and_variables_to_options() {
    let folder = tempfile::tempdir().unwrap();
    let (settings_file, java) = (folder.path().join("troupe.toml"), folder.path().join("client.properties"));
    std::fs::write(
        &settings_file,
        "[kafka]\nbootstrap.servers = 's:1'\nclient.id = 's'\n[producer]\nlinger = '1ms'\n[producer.kafka]\nacks = 0\nenable.idempotence = false\n",
    )
    .unwrap();
    std::fs::write(&java, "bootstrap.servers=j:1\nclient.id=j\nlinger.ms=2\nacks=1\n").unwrap();
    let (settings_file, java) = (settings_file.display().to_string(), java.display().to_string());
    let variables = [
        ("TROUPE_KAFKA__BOOTSTRAP_SERVERS", "v:1"),
        ("TROUPE_KAFKA__CLIENT_ID", "v"),
        ("TROUPE_PRODUCER__LINGER", "3ms"),
        ("TROUPE_KAFKA__REQUEST_REQUIRED_ACKS", "-1"),
    ];
    let assignments = ["-Xbootstrap.servers=x:1", "-Xclient.id=x", "-Xlinger.ms=4", "-Xacks=all"];
    let steps: [(&[&str], &[_], _); 4] = [
        (&["--config", &settings_file], &[], ("s:1", "s", 1, "0")),
        (&["--command-config", &java], &[], ("j:1", "j", 2, "1")),
        (&[], &variables, ("v:1", "v", 3, "-1")),
        (&assignments, &variables, ("x:1", "x", 4, "all")),
    ];
    // Each with all before it.
    let mut options: Vec<&str> = Vec::new();
    for (more, variables, (servers, client, linger, acks)) in steps {
        options.extend(more);
        let connection = settings(Role::Producer, &options, "", variables).unwrap();
        assert_eq!(connection.servers(), servers);
        assert_eq!(connection.get("client.id"), Some(client));
        assert_eq!(connection.config().producer.linger, Duration::from_millis(linger));
        assert_eq!(connection.get("acks"), Some(acks), "whatever it is called, and in whichever table");
    }
    options.extend(["--bootstrap-server", "o:1"]);
    assert_eq!(settings(Role::Producer, &options, "", &variables).unwrap().servers(), "o:1");
}

#[test]
fn a_login_is_put_together_from_wherever_its_parts_come() {
    let file = "[kafka]\nsecurity.protocol = 'SASL_PLAINTEXT'\nbootstrap.servers = 'x:1'\n";
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config.write_all(file.as_bytes()).unwrap();
    let options = ["--config", config.path().to_str().unwrap(), "-Xsasl.username=alice"];
    let variables = [("TROUPE_KAFKA__SASL_MECHANISM", "PLAIN"), ("TROUPE_KAFKA__SASL_PASSWORD", "hunter2")];
    let connection = settings(Role::Neither, &options, "", &variables).unwrap();
    let client = connection.client_config();
    let parts = ["security.protocol", "sasl.mechanisms", "sasl.username", "sasl.password"].map(|name| client.get(name));
    assert_eq!(parts, [Some("SASL_PLAINTEXT"), Some("PLAIN"), Some("alice"), Some("hunter2")]);
    assert!(!format!("{connection:?}").contains("hunter2"));
}
