//! `troupe verifiable-consumer` beside Kafka's own VerifiableConsumer: the same topic, the same course of events, the same story.
//!
//! On Apache Kafka, unless `TROUPE_TEST_KAFKA=skip` says not to.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod member;
mod story;
#[path = "../verifiable/mod.rs"]
mod verifiable;

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use member::Member;
use story::{Story, fields};
use verifiable::{KAFKA, PATIENCE, Whose, eventually, skipped, topic};

const PARTITIONS: i32 = 4;

/// Appends `count` records to each partition.
fn produce(topic: &str, partitions: i32, count: usize) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", KAFKA.bootstrap_servers()).create().unwrap();
    for number in 0..count {
        for partition in 0..partitions {
            let text = number.to_string();
            let record = BaseRecord::to(topic).partition(partition).key(&text).payload(&text);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
}

/// One member consumes, another joins, more comes, the first leaves in good order, more comes, the second leaves.
fn course(whose: Whose, topic: &str, arguments: &[&str]) -> [Story; 2] {
    let group = format!("{topic}-{whose:?}");
    let consumed = |members: &[&Member]| members.iter().map(|member| member.story().consumed()).sum::<u64>();
    produce(topic, PARTITIONS, 100);
    let mut first = Member::start(whose, topic, &group, arguments);
    let all = PARTITIONS as u64 * 100;
    eventually("the first consumes all there is", || consumed(&[&first]) == all);
    let mut second = Member::start(whose, topic, &group, arguments);
    let share = |member: &Member| member.story().assigned().len();
    eventually("they share the partitions", || share(&first) == 2 && share(&second) == 2);
    produce(topic, PARTITIONS, 100);
    eventually("both consume", || consumed(&[&first, &second]) == 2 * all);
    first.end();
    eventually("the second has everything", || share(&second) == PARTITIONS as usize);
    produce(topic, PARTITIONS, 100);
    eventually("it consumes the rest", || consumed(&[&first, &second]) == 3 * all);
    second.end();
    [first.story(), second.story()]
}

/// Both tools through the same course: each story holds, and they are the same.
fn side_by_side(arguments: &[&str]) {
    if skipped() {
        return;
    }
    let (ours, javas) = std::thread::scope(|scope| {
        let (of_ours, of_java) = (topic(PARTITIONS), topic(PARTITIONS));
        let ours = scope.spawn(move || course(Whose::Ours, &of_ours, arguments));
        let javas = scope.spawn(move || course(Whose::Java, &of_java, arguments));
        (ours.join().unwrap(), javas.join().unwrap())
    });
    for stories in [&ours, &javas] {
        let mut offsets = BTreeMap::<i64, Vec<i64>>::new();
        for story in stories {
            story.assert_it_holds();
            story.consumed_offsets().for_each(|(partition, offset)| offsets.entry(partition).or_default().push(offset));
        }
        for (partition, mut offsets) in offsets {
            offsets.sort_unstable();
            assert_eq!(offsets, (0..300).collect::<Vec<_>>(), "partition {partition}: each once");
        }
    }
    for (ours, javas) in ours.iter().zip(&javas) {
        ours.assert_time_goes_on();
        assert_eq!(ours.course(), javas.course(), "{arguments:?}: partitions come and go alike");
        for (name, fields) in fields(javas) {
            assert_eq!(story::fields(ours).get(&name), Some(&fields), "{name} has the same fields in the same order");
        }
        let names = |story| story::fields(story).into_keys().collect::<BTreeSet<_>>();
        assert_eq!(names(ours), names(javas));
    }
}

#[test]
fn in_a_classic_group_with_range() {
    side_by_side(&["--assignment-strategy", "org.apache.kafka.clients.consumer.RangeAssignor"]);
}

#[test]
fn in_a_classic_group_with_round_robin() {
    side_by_side(&["--assignment-strategy", "org.apache.kafka.clients.consumer.RoundRobinAssignor"]);
}

#[test]
fn in_a_classic_group_with_cooperative_sticky() {
    side_by_side(&["--assignment-strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"]);
}

#[test]
fn in_a_group_of_the_new_protocol_with_uniform() {
    side_by_side(&["--group-protocol", "consumer", "--group-remote-assignor", "uniform"]);
}

#[test]
fn in_a_group_of_the_new_protocol_with_range() {
    side_by_side(&["--group-protocol", "consumer", "--group-remote-assignor", "range"]);
}

#[test]
fn a_member_that_gets_nothing_says_so_in_both_protocols() {
    if skipped() {
        return;
    }
    for arguments in [&["--group-protocol", "classic"], &["--group-protocol", "consumer"]] {
        let topic = topic(1);
        let mut first = Member::start(Whose::Ours, &topic, &topic, arguments);
        eventually("the first has the partition", || first.story().assigned().len() == 1);
        let mut idle = Member::start(Whose::Ours, &topic, &topic, arguments);
        let told = || {
            idle.story()
                .assignments()
                .iter()
                .any(|(name, partitions)| name == "partitions_assigned" && partitions.is_empty())
        };
        eventually(&format!("the second is told of nothing, {arguments:?}"), || {
            told() || first.story().assigned().is_empty() && idle.story().assigned().len() == 1
        });
        first.end();
        idle.end();
    }
}

#[test]
fn on_many_keys_at_once_the_story_holds_and_ends_with_the_asked_number_of_records() {
    if skipped() {
        return;
    }
    for order in ["key", "unordered"] {
        let topic = topic(PARTITIONS);
        produce(&topic, PARTITIONS, 500);
        let arguments = ["--order", order, "--concurrency", "50", "--max-messages", "700", "--verbose"];
        let mut member = Member::start(Whose::Ours, &topic, &topic, &arguments);
        assert!(member.wait().success());
        let story = member.story();
        story.assert_it_holds();
        assert_eq!(story.named("record_data").count(), 700);
        let committed: i64 = story.last_committed().values().sum();
        assert_eq!((story.consumed(), committed), (700, 700), "{order}");
        // The rest is another's.
        let mut next = Member::start(Whose::Ours, &topic, &topic, &["--max-messages", "1300"]);
        assert!(next.wait().success());
        assert_eq!(next.story().consumed(), 1300);
    }
}

#[test]
fn what_javas_options_cannot_mean_here_is_refused_and_told_on_stderr() {
    let mut member = Member::refused(&["--assignment-strategy", "org.apache.kafka.clients.consumer.StickyAssignor"]);
    assert_eq!(member.wait().code(), Some(2));
}
