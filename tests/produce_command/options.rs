//! How records are sent: how fast, where to, compressed, with headers.

use std::time::Instant;

use rdkafka::message::Headers as _;

use super::*;

impl Stage {
    /// Name and value of all headers, by the record's value.
    fn headers(&self) -> BTreeMap<String, Vec<(String, String)>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers()).set("group.id", "reader").set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut headers = BTreeMap::new();
        for _ in 0..self.stored().iter().map(Vec::len).sum() {
            let record = consumer.poll(PATIENCE).expect("a record").unwrap();
            let of = |header: Header<'_, &[u8]>| (header.key.to_owned(), text(header.value.unwrap()).to_owned());
            let all = record.headers().map_or(Vec::new(), |headers| headers.iter().map(of).collect());
            headers.insert(text(record.payload().unwrap()).to_owned(), all);
        }
        headers
    }
}

#[test]
fn a_rate_is_kept() {
    let stage = Stage::new();
    let input: String = (0..100).map(|number| format!("{number}\n")).collect();
    let begun = Instant::now();
    stage.produced(&["--rate", "200"], input.as_bytes());
    // The last of them is due after 99 spans of 5 ms, but for the grain of a timer.
    assert!(begun.elapsed() >= Duration::from_millis(490), "{:?}", begun.elapsed());
    assert_eq!(stage.values().len(), 100);
}

#[test]
fn columns_become_headers_of_their_names_without_their_quotes() {
    let stage = Stage::new();
    let csv = b"id,origin,note\n1,EWR,\"a, \"\"b\"\"\"\n2,JFK,\n";
    stage.produced(&["--csv", "--key", "id", "--header", "note", "--header", "origin"], csv);
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = stage.headers();
    assert_eq!(headers["1,EWR,\"a, \"\"b\"\"\""], [header("note", "a, \"b\""), header("origin", "EWR")]);
    assert_eq!(headers["2,JFK,"], [header("note", ""), header("origin", "JFK")]);
    let output = stage.produce(&["--csv", "--header", "nothing"], csv);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there is no column nothing; the columns are id, origin, note"));
}

#[test]
fn the_partitioner_that_is_asked_for_places_the_records() {
    let stage = Stage::new();
    let input: String = (0..400).map(|number| format!("k{number}:v\n")).collect();
    stage.produced(&["--key-separator", ":", "--partitioner", "round_robin"], input.as_bytes());
    let counts: Vec<_> = stage.stored().iter().map(Vec::len).collect();
    assert_eq!(counts, [100; PARTITIONS as usize]);
    let output = stage.produce(&["--partitioner", "murmur3"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("consistent_random"), "{}", text(&output.stderr));
}

#[test]
fn compressed_records_arrive_and_a_codec_that_is_none_is_refused() {
    let stage = Stage::new();
    for codec in ["gzip", "lz4", "snappy", "none"] {
        stage.produced(&["--compression", codec], b"a line\n");
    }
    assert_eq!(stage.values(), ["a line"; 4]);
    let output = stage.produce(&["--compression", "rar"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--compression"), "{}", text(&output.stderr));
    let shown =
        stage.command(&["--compression", "gzip", "--partitioner", "sticky", "--print-config", "-"]).output().unwrap();
    let shown = text(&shown.stdout);
    assert!(shown.lines().any(|line| line.contains("gzip") && line.contains("--compression")), "{shown}");
    assert!(shown.lines().any(|line| line.contains("sticky") && line.contains("--partitioner")), "{shown}");
}

#[test]
fn fewer_acks_without_idempotence_off_are_a_misuse_and_with_it_they_are_taken() {
    let stage = Stage::new();
    let output = stage.produce(&["-X", "acks=1"], b"a line\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("set `enable.idempotence` to `false`"), "{}", text(&output.stderr));
    for acks in ["acks=0", "acks=1"] {
        stage.produced(&["-X", acks, "-X", "enable.idempotence=false"], b"a line\n");
    }
    assert_eq!(stage.values(), ["a line"; 2]);
}
