use std::time::Duration;

use kafka_troupe::consume::ConsumerHandle;

use crate::fixture::{Journal, On, Stage, eventually, noting_slowly};

scenarios! {
    on Apache Kafka, "the embedded broker knows no static members":
        a_static_member_that_restarts_finds_its_partitions_and_disturbs_nobody;
}

const STOP: Duration = Duration::from_secs(20);

fn static_member(stage: &Stage, name: &'static str, journal: &Journal) -> ConsumerHandle {
    let builder = stage.consumer("g").property("session.timeout.ms", "30000").property("group.instance.id", name);
    builder.async_handler(noting_slowly(journal, name)).start().unwrap()
}

fn epochs(consumer: &ConsumerHandle) -> Vec<(i32, u64)> {
    consumer.state().partitions.iter().map(|p| (p.partition, p.epoch)).collect()
}

fn a_static_member_that_restarts_finds_its_partitions_and_disturbs_nobody(on: On) {
    let stage = Stage::new(on, 4);
    let (count, journal) = (2000, Journal::default());
    stage.produce(0, count, 50);
    let a = static_member(&stage, "a", &journal);
    let b = static_member(&stage, "b", &journal);
    eventually("both share the partitions", || a.state().partitions.len() == 2 && b.state().partitions.len() == 2);
    eventually("both work", || ["a", "b"].iter().all(|name| journal.entries().iter().any(|e| e.member == *name)));
    let (of_a, of_b) = (epochs(&a), epochs(&b));
    assert!(a.shutdown_blocking(STOP).unwrap().drained);
    let a = static_member(&stage, "a", &journal);
    eventually("it has its partitions back", || a.state().partitions.len() == 2);
    assert!(epochs(&a).iter().zip(&of_a).all(|(now, before)| now.0 == before.0), "{:?} to {of_a:?}", epochs(&a));
    let all = i64::try_from(count).unwrap();
    eventually("all is committed", || stage.committed("g").values().all(|offset| *offset == all));
    assert_eq!(epochs(&b), of_b, "the other one was left alone");
    a.shutdown_blocking(STOP).unwrap();
    b.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(4, all);
}
