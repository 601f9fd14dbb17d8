//! Partitions that the app names itself, in a group that only remembers, or in none.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_troupe::consume::{ConsumerBuilder, ConsumerError, Record};
use kafka_troupe::ids::{NextOffset, TopicPartition};

use crate::fixture::{Gate, Journal, On, Stage, eventually, is_revoking};

scenarios! {
    on both brokers:
        named_partitions_start_at_their_groups_commit_and_commit_to_it,
        named_partitions_without_a_group_commit_nothing,
        consumers_that_name_different_partitions_share_a_group_without_a_rebalance,
        named_partitions_of_several_topics_are_read_and_no_others,
        a_stop_commits_what_handlers_of_named_partitions_have_finished,
        the_app_may_keep_the_offsets_of_partitions_it_names_with_a_group_or_without,
        a_worker_of_a_named_partition_that_dies_is_replaced,
        a_partition_that_does_not_exist_ends_it_with_its_name,
        what_does_not_go_together_is_refused;
    on Apache Kafka, "the embedded broker takes commits of anyone":
        a_group_that_has_members_takes_no_commits_of_named_partitions_and_the_consumer_says_so;
}

const STOP: Duration = Duration::from_secs(20);

impl Stage {
    fn partition(&self, number: i32) -> TopicPartition {
        TopicPartition::new(&*self.topic, number)
    }

    /// A consumer of these partitions in group `group`.
    fn by_hand<const N: usize>(&self, group: &str, numbers: [i32; N]) -> ConsumerBuilder {
        self.consumer(group).topics::<String>([]).partitions(numbers.map(|number| self.partition(number)))
    }
}

fn noting(builder: ConsumerBuilder, name: &'static str, journal: &Journal) -> ConsumerBuilder {
    let journal = journal.clone();
    builder.handler(move |record: &Record| journal.note(name, record))
}

fn named_partitions_start_at_their_groups_commit_and_commit_to_it(on: On) {
    let stage = Stage::new(on, 3);
    stage.produce(0, 100, 20);
    stage.plant("g", &[(0, 40, b"")]);
    let journal = Journal::default();
    let first = noting(stage.by_hand("g", [0, 2]), "a", &journal).start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 100), (2, 100)].into());
    let state = first.state();
    assert_eq!(state.partitions.iter().map(|p| p.partition).collect::<Vec<_>>(), [0, 2]);
    assert!(first.shutdown_blocking(STOP).unwrap().drained);
    stage.produce(100, 50, 20);
    let second = noting(stage.by_hand("g", [0, 2]), "b", &journal).start().unwrap();
    eventually("the rest is committed", || stage.committed("g") == [(0, 150), (2, 150)].into());
    assert_eq!(second.state().invariants, Default::default());
    second.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), (40..150).collect::<Vec<_>>());
    assert_eq!((journal.of(1), journal.of(2)), (vec![], (0..150).collect()));
}

fn named_partitions_without_a_group_commit_nothing(on: On) {
    let stage = Stage::new(on, 3);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let builder = stage.standalone().topics::<String>([]).partitions([stage.partition(1), stage.partition(1)]);
    let consumer = noting(builder, "a", &journal).start().unwrap();
    eventually("all is handled", || consumer.state().partitions.iter().any(|p| p.watermark == 100));
    assert_eq!(consumer.state().partitions.len(), 1);
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    assert_eq!(consumer.state().counters.commits, 0);
    assert_eq!((journal.of(1), journal.len()), ((0..100).collect(), 100));
}

fn consumers_that_name_different_partitions_share_a_group_without_a_rebalance(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 500, 20);
    let journal = Journal::default();
    let [a, b] = [("a", 0), ("b", 1)]
        .map(|(name, number)| noting(stage.by_hand("g", [number]), name, &journal).start().unwrap());
    eventually("all is committed", || stage.committed("g") == [(0, 500), (1, 500)].into());
    assert!(a.shutdown_blocking(STOP).unwrap().drained);
    stage.produce(500, 100, 20);
    eventually("the other goes on", || stage.committed("g") == [(0, 500), (1, 600)].into());
    let counters = b.state().counters;
    assert_eq!((counters.assigned, counters.revoked, counters.lost), (1, 0, 0));
    b.shutdown_blocking(STOP).unwrap();
    assert_eq!((journal.of(0), journal.of(1)), ((0..500).collect(), (0..600).collect()));
}

fn named_partitions_of_several_topics_are_read_and_no_others(on: On) {
    let stage = Stage::new(on, 3);
    let other = stage.another_topic(3);
    stage.produce(0, 50, 20);
    other.produce(0, 70, 20);
    let journal = Journal::default();
    let builder = stage.consumer("g").topics::<String>([]).partitions([stage.partition(2), other.partition(0)]);
    let consumer = noting(builder, "a", &journal).start().unwrap();
    eventually("all is handled", || journal.len() == 120);
    assert_eq!((journal.of(0).len(), journal.of(1).len(), journal.of(2).len()), (70, 0, 50));
    consumer.shutdown_blocking(STOP).unwrap();
    let group = stage.group("g");
    assert_eq!(stage.committed_of(&group), BTreeMap::from([(2, 50)]));
    assert_eq!(other.committed_of(&group), BTreeMap::from([(0, 70)]));
}

fn a_stop_commits_what_handlers_of_named_partitions_have_finished(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 20, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let consumer = {
        let (journal, gate) = (journal.clone(), gate.clone());
        let handler = move |record: &Record| {
            if record.offset().0 == 7 {
                gate.wait();
            }
            journal.note("a", record);
        };
        stage.by_hand("g", [0]).handler(handler).start().unwrap()
    };
    eventually("the handler holds record 7", || journal.len() == 7);
    let stopping = std::thread::spawn({
        let consumer = consumer.clone();
        move || consumer.shutdown_blocking(STOP)
    });
    eventually("its handlers are to finish", || is_revoking(&consumer));
    gate.open();
    assert!(stopping.join().unwrap().unwrap().drained);
    assert_eq!(stage.committed("g"), [(0, 8)].into());
    assert_eq!(journal.of(0), (0..8).collect::<Vec<_>>());
}

fn the_app_may_keep_the_offsets_of_partitions_it_names_with_a_group_or_without(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let named = || [stage.partition(0), stage.partition(1)];
    let with = stage.by_hand("g", [0, 1]);
    let without = stage.standalone().topics::<String>([]).partitions(named());
    for builder in [with, without, stage.standalone()] {
        let journal = Journal::default();
        let knows = stage.partition(1);
        let builder = builder.external_offsets(move |_| Ok::<_, String>([(knows.clone(), NextOffset(30))]));
        let consumer = noting(builder, "a", &journal).start().unwrap();
        eventually("all is handled", || journal.len() == 70);
        consumer.shutdown_blocking(STOP).unwrap();
        assert_eq!((journal.of(0), journal.of(1)), ((0..50).collect(), (30..50).collect()));
    }
    assert!(stage.committed("g").is_empty());
}

fn a_worker_of_a_named_partition_that_dies_is_replaced(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let consumer = noting(stage.by_hand("g", [0, 1]), "a", &journal).start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 100), (1, 100)].into());
    consumer.kill_worker(&stage.partition(0));
    eventually("it is replaced", || consumer.state().counters.workers_replaced == 1);
    stage.produce(100, 100, 20);
    eventually("the rest is committed", || stage.committed("g") == [(0, 200), (1, 200)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, 200);
}

fn a_partition_that_does_not_exist_ends_it_with_its_name(on: On) {
    let stage = Stage::new(on, 3);
    for builder in
        [stage.by_hand("g", [0, 3]), stage.standalone().topics::<String>([]).partitions([stage.partition(3)])]
    {
        let consumer = builder.handler(|_: &Record| ()).start().unwrap();
        let error = consumer.wait_blocking().unwrap_err();
        assert_eq!(error, ConsumerError::UnknownPartition { partition: stage.partition(3), partitions: 3 });
        assert!(error.to_string().contains(&format!("{}-3 does not exist", stage.topic)), "{error}");
    }
    let missing = TopicPartition::new("missing", 0);
    let builder = stage.consumer("g").topics::<String>([]).partitions([missing]).handler(|_: &Record| ());
    let error = builder.start().unwrap().wait_blocking().unwrap_err();
    assert_eq!(error, ConsumerError::UnknownTopic { topic: "missing".to_owned() });
}

fn what_does_not_go_together_is_refused(on: On) {
    let stage = Stage::new(on, 1);
    let named = || stage.by_hand("g", [0]).handler(|_: &Record| ());
    let standalone = || stage.standalone().handler(|_: &Record| ());
    for (refused, why) in [
        (named().topics([&stage.topic]), "leave one out"),
        (named().partitions([TopicPartition::new(&*stage.topic, -1)]), "numbered from 0"),
        (named().partitions([]), "a topic is missing"),
        (named().client_auto_commit(), "for a group's members"),
        (standalone().client_auto_commit(), "for a group's members"),
        (named().property("group.instance.id", "a"), "shares partitions out"),
        (standalone().partitions([stage.partition(0)]), "leave one out"),
    ] {
        let error = refused.start().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

fn a_group_that_has_members_takes_no_commits_of_named_partitions_and_the_consumer_says_so(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let member = noting(stage.consumer("g"), "member", &journal).start().unwrap();
    eventually("the member has it all", || stage.committed("g") == [(0, 50), (1, 50)].into());
    let named = noting(stage.by_hand("g", [0]), "named", &journal).start().unwrap();
    stage.produce(50, 10, 20);
    eventually("it stops", || named.state().stopping);
    let error = named.wait_blocking().unwrap_err().to_string();
    assert!(error.contains(&stage.group("g")) && error.contains("has members"), "{error}");
    eventually("the member goes on", || stage.committed("g") == [(0, 60), (1, 60)].into());
    member.shutdown_blocking(STOP).unwrap();
}
