//! On an Apache Kafka, which outlives the run.

use kafka_troupe::broker::LocalKafka;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::*;

#[test]
fn on_apache_kafka_members_share_skewed_keys_and_the_topic_is_gone_in_the_end() {
    if std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip") {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
        return;
    }
    let kafka = LocalKafka::start().unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().unwrap();
    let arguments = format!(
        "--bootstrap-server {} --rate 1000 --duration 3s --warmup 1s --members 2 --producers 2 --order key --concurrency 50 \
         --keys zipf:1.1:500 --work sleep:1ms --arrivals poisson",
        kafka.bootstrap_servers()
    );
    let (code, result) = measured(&arguments, folder.path());
    assert_eq!(code, 0, "{result}");
    assert!((3_500..4_500).contains(&result["figures"]["sent"].as_u64().unwrap()), "{result}");
    assert_eq!(result["broker"], kafka.bootstrap_servers());

    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap_servers()).create().unwrap();
    let patience = Duration::from_secs(30);
    let topic = result["plan"]["topic"].as_str().unwrap();
    let until = Instant::now() + patience;
    while client.fetch_metadata(None, patience).unwrap().topics().iter().any(|it| it.name() == topic) {
        assert!(Instant::now() < until, "{topic} is still there");
        std::thread::yield_now();
    }
    // And so is the group.
    let groups = client.fetch_group_list(None, patience).unwrap();
    assert!(groups.groups().iter().all(|it| it.name() != result["plan"]["group"].as_str().unwrap()));

    // They are left where the log can tell more of what is wrong, and the report says so.
    let servers = kafka.bootstrap_servers();
    let failed = |arguments: &str| {
        let folder = tempfile::tempdir().unwrap();
        let arguments = format!("--bootstrap-server {servers} --in-flight 10 --records 20 --warmup 0s {arguments}");
        let output = load(&arguments, folder.path()).output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
        stdout
    };
    let unseen = failed("--work sleep:10m --drain 1s");
    assert!(unseen.contains("\ntopic troupe-load-") && unseen.contains(" are left, to look into"), "{unseen}");
    for tool in ["kafka-topics.sh", "kafka-consumer-groups.sh"] {
        assert!(unseen.contains(&format!("{tool} --bootstrap-server {servers} --delete --")), "{unseen}");
    }
    let slow = failed("--assert ack.max<1us");
    assert!(!slow.contains("are left"), "{slow}");
}
