//! Members that stop at a bad moment, and are missed by nobody: the group does not wait for their sessions to end.

use std::time::{Duration, Instant};

use kafka_troupe::consume::Record;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::fixture::{On, PATIENCE, Stage, eventually};

scenarios! {
    on Apache Kafka, "which tells who is in a group":
        a_member_without_partitions_leaves_its_group_when_it_stops,
        a_member_that_stops_while_it_joins_leaves_when_that_join_is_over;
}

const STOP: Duration = Duration::from_secs(20);
/// As long as nobody would wait for.
const SESSION: (&str, &str) = ("session.timeout.ms", "45000");

/// How many members the group has, dead ones included that it still waits for.
fn members(stage: &Stage) -> usize {
    let client: BaseConsumer = stage.client().create().unwrap();
    let mut groups = None;
    // Refused in passing while Kafka makes the topic that it keeps them in.
    eventually("the group can be listed", || {
        groups = client.fetch_group_list(Some(&stage.group("g")), PATIENCE).ok();
        groups.is_some()
    });
    groups.unwrap().groups().iter().map(|group| group.members().len()).sum()
}

fn a_member_without_partitions_leaves_its_group_when_it_stops(on: On) {
    for assignor in ["cooperative-sticky", "range"] {
        let stage = Stage::new(on, 1);
        let start = || {
            let consumer = stage.consumer("g").property(SESSION.0, SESSION.1);
            let consumer = consumer.property("partition.assignment.strategy", assignor);
            consumer.handler(|_: &Record| ()).start().unwrap()
        };
        let (first, second) = (start(), start());
        let has = |consumer: &kafka_troupe::consume::ConsumerHandle| consumer.state().partitions.len();
        eventually("both are in, and one has nothing", || members(&stage) == 2 && has(&first) + has(&second) == 1);
        let (idle, busy) = if has(&first) == 0 { (first, second) } else { (second, first) };
        assert!(idle.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(members(&stage), 1, "{assignor}: it has left");
        busy.shutdown_blocking(STOP).unwrap();
        assert_eq!(members(&stage), 0, "{assignor}: so has the other");
    }
}

fn a_member_that_stops_while_it_joins_leaves_when_that_join_is_over(on: On) {
    let stage = Stage::new(on, 2);
    let eager = ("partition.assignment.strategy", "range");
    // It is in the group, and keeps everybody waiting while it is not polled.
    let slow: BaseConsumer = stage
        .client()
        .set("group.id", stage.group("g"))
        .set(SESSION.0, SESSION.1)
        .set("heartbeat.interval.ms", "100")
        .set(eager.0, eager.1)
        .create()
        .unwrap();
    slow.subscribe(&[&stage.topic]).unwrap();
    eventually("it is in", || {
        slow.poll(Duration::ZERO);
        slow.assignment().unwrap().count() == 2
    });
    let joins = stage.consumer("g").property(SESSION.0, SESSION.1).property(eager.0, eager.1);
    let joins = joins.handler(|_: &Record| ()).start().unwrap();
    eventually("it joins", || members(&stage) == 2);
    let stop = std::thread::spawn({
        let joins = joins.clone();
        move || joins.shutdown_blocking(STOP)
    });
    // librdkafka itself waits for 5 s.
    let begun = Instant::now();
    eventually("longer than that passes", || begun.elapsed() > Duration::from_secs(6));
    assert!(!stop.is_finished(), "it waits");
    eventually("the join is over, and it stops", || {
        slow.poll(Duration::ZERO);
        stop.is_finished()
    });
    assert!(stop.join().unwrap().unwrap().drained);
    assert_eq!(members(&stage), 1, "it has left");
}
