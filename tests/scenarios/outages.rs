use std::time::{Duration, Instant};

use kafka_troupe::broker::LocalKafka;
use kafka_troupe::consume::ConsumerHandle;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::fixture::spawning::starting;
use crate::fixture::{Broker, Journal, On, PATIENCE, Stage, eventually, noting_slowly};

scenarios! {
    on Apache Kafka, "the embedded broker is not a process that can be ended or frozen":
        a_broker_that_is_restarted_in_good_order_costs_no_rebalance_and_no_repeats,
        a_broker_that_is_killed_and_restarted_costs_no_rebalance_and_no_repeats,
        a_broker_that_is_frozen_for_twenty_seconds_costs_no_rebalance_and_no_repeats,
        a_node_of_three_that_is_killed_leaves_leadership_and_coordination_to_the_others;
    at length on Apache Kafka:
        six_restarts_and_a_minute_of_frost_cost_no_rebalance_and_no_repeats;
}

const STOP: Duration = Duration::from_secs(20);

fn epochs(consumer: &ConsumerHandle) -> Vec<(i32, u64)> {
    consumer.state().partitions.iter().map(|p| (p.partition, p.epoch)).collect()
}

/// A member whose session outlasts what is done to the broker.
fn member(stage: &Stage, journal: &Journal) -> ConsumerHandle {
    let builder = stage.consumer("g").property("session.timeout.ms", "60000");
    builder.async_handler(noting_slowly(journal, "a")).start().unwrap()
}

/// Does something to the broker while a member works, and sees each record handled once, in order, by an assignment that never changed.
fn unshaken(stage: &Stage, harm: impl FnOnce()) {
    let count = 1500;
    stage.produce(0, count, 50);
    let journal = Journal::default();
    let consumer = member(stage, &journal);
    eventually("some is handled and committed", || {
        journal.len() > 200 && consumer.state().partitions.iter().all(|p| p.committed.is_some())
    });
    let before = epochs(&consumer);
    harm();
    stage.produce(count, count, 50);
    let all = i64::try_from(2 * count).unwrap();
    eventually("all is committed", || consumer.state().partitions.iter().all(|p| p.committed == Some(all)));
    assert_eq!(epochs(&consumer), before, "no rebalance");
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    journal.assert_exactly_once_in_order(stage.partitions, all);
    assert_eq!(consumer.state().invariants, Default::default());
}

fn a_broker_that_is_restarted_in_good_order_costs_no_rebalance_and_no_repeats(on: On) {
    let stage = Stage::alone(on, 2);
    unshaken(&stage, || {
        stage.broker.own_kafka().terminate(1).unwrap();
        stage.broker.own_kafka().restart(1).unwrap();
    });
}

fn a_broker_that_is_killed_and_restarted_costs_no_rebalance_and_no_repeats(on: On) {
    let stage = Stage::alone(on, 2);
    unshaken(&stage, || {
        stage.broker.own_kafka().kill(1);
        stage.broker.own_kafka().restart(1).unwrap();
    });
}

fn six_restarts_and_a_minute_of_frost_cost_no_rebalance_and_no_repeats(on: On) {
    let stage = Stage::alone(on, 2);
    unshaken(&stage, || {
        let kafka = stage.broker.own_kafka();
        for round in 0..6 {
            if round % 2 == 0 {
                kafka.terminate(1).unwrap();
            } else {
                kafka.kill(1);
            }
            kafka.restart(1).unwrap();
        }
        freeze(&stage, Duration::from_secs(28));
        freeze(&stage, Duration::from_secs(28));
    });
}

/// Freezes the broker for a while, less than `PATIENCE`.
fn freeze(stage: &Stage, span: Duration) {
    stage.broker.own_kafka().freeze(1).unwrap();
    let until = Instant::now() + span;
    eventually("the frost is over", || Instant::now() > until);
    stage.broker.own_kafka().thaw(1).unwrap();
}

fn a_broker_that_is_frozen_for_twenty_seconds_costs_no_rebalance_and_no_repeats(on: On) {
    let stage = Stage::alone(on, 2);
    unshaken(&stage, || freeze(&stage, Duration::from_secs(20)));
}

fn a_node_of_three_that_is_killed_leaves_leadership_and_coordination_to_the_others(on: On) {
    assert_eq!(on, On::Kafka);
    let stage = Stage::on(Broker::Own(starting(|| LocalKafka::builder().nodes(3).start()).unwrap().into()), 6, &[]);
    unshaken(&stage, || {
        let (victim, led) = coordinator(&stage, &stage.group("g"));
        assert!(led > 0, "node {victim} leads partitions of the topic as well");
        stage.broker.own_kafka().kill(victim);
        eventually("its leaderships move", || leaders(&stage, &stage.topic).iter().all(|leader| *leader != victim));
        assert_ne!(coordinator(&stage, &stage.group("g")).0, victim);
    });
}

/// The leaders of a topic's partitions, by number of the partition.
fn leaders(stage: &Stage, topic: &str) -> Vec<usize> {
    let client: BaseConsumer = stage.client().create().unwrap();
    let metadata = client.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut leaders: Vec<_> = metadata.topics()[0].partitions().iter().map(|p| (p.id(), p.leader())).collect();
    leaders.sort_unstable();
    leaders.into_iter().map(|(_, leader)| usize::try_from(leader).unwrap_or(0)).collect()
}

/// The node that coordinates a group, and how many of the topic's partitions it leads.
///
/// A group belongs to the partition of the offsets topic that its name's hash says, and is coordinated by that partition's leader.
fn coordinator(stage: &Stage, group: &str) -> (usize, usize) {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let of_offsets = leaders(stage, "__consumer_offsets");
    let index = usize::try_from(hash & 0x7fff_ffff).unwrap() % of_offsets.len();
    let node = of_offsets[index];
    (node, leaders(stage, &stage.topic).iter().filter(|leader| **leader == node).count())
}
