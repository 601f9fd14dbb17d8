//! Beside Java's own client: it says where keys go and what numbers are as bytes. Null keys are compared on a broker, where both write.
//!
//! Needs a JDK and Kafka's jars, unless `TROUPE_TEST_KAFKA=skip` says not to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::num::NonZeroU32;
use std::process::Stdio;

use kafka_troupe::broker::LocalKafka;
use troupe_actors::produce::{Encode, murmur2, partition_of_key};

const COUNTS: [u32; 7] = [1, 2, 3, 8, 12, 100, 1000];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys of every length up to 70, some of them text, and the empty one; the bytes are of a generator that is always the same.
fn keys() -> Vec<Vec<u8>> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let random = (0..700).map(|n| (0..n / 10).map(|_| byte()).collect::<Vec<u8>>()).collect::<BTreeSet<_>>();
    let texts = ["N14228", "schlüssel", "a", "ab", "abc", "abcd"].map(|text| text.as_bytes().to_vec());
    random.into_iter().chain(texts).collect()
}

#[test]
fn keys_go_where_javas_client_puts_them_and_numbers_are_its_serializers_bytes() {
    if std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip") {
        eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
        return;
    }
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/producer/Vectors.java");
    let mut java = LocalKafka::tool(program).unwrap();
    let mut child = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let keys = keys();
    let mut input = child.stdin.take().unwrap();
    // Java reads it all before it writes.
    for key in &keys {
        writeln!(input, "{}", hex(key)).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    let (vectors, rest) = output.split_at(output.find("\nshort").unwrap() + 1);
    assert_eq!(vectors.lines().count(), keys.len());
    for (key, line) in keys.iter().zip(vectors.lines()) {
        let mut fields = line.split(' ');
        assert_eq!(fields.next(), Some(&*hex(key)));
        let numbers: Vec<i32> = fields.map(|number| number.parse().unwrap()).collect();
        let partition = |count: u32| partition_of_key(key, NonZeroU32::new(count).unwrap()).0;
        let ours: Vec<_> = [murmur2(key) as i32].into_iter().chain(COUNTS.map(partition)).collect();
        assert_eq!(ours, numbers, "{}", hex(key));
    }
    let bytes = |of: &dyn Encode| hex(&of.encode().unwrap().unwrap());
    let expected: BTreeMap<_, _> = rest.lines().filter_map(|line| line.split_once(' ')).collect();
    let ours = [
        ("short", bytes(&-2_i16)),
        ("integer", bytes(&-123_456_789_i32)),
        ("long", bytes(&(i64::MIN + 7))),
        ("float", bytes(&1.5_f32)),
        ("double", bytes(&-0.1_f64)),
        ("string", bytes(&"Grüße")),
        ("null", None::<&str>.encode().unwrap().is_none().to_string()),
    ];
    for (kind, ours) in ours {
        assert_eq!(ours, expected[kind], "{kind}");
    }
}
