use std::time::Duration;

use kafka_troupe::consume::{ConsumerError, ConsumerHandle};
use rdkafka::error::RDKafkaErrorCode;

use crate::fixture::{Journal, On, Stage, eventually, noting_slowly};

scenarios! {
    on Apache Kafka, "the embedded broker knows no static members":
        a_static_member_that_restarts_finds_its_partitions_and_disturbs_nobody,
        the_partitions_of_a_static_member_that_stops_wait_for_it_until_its_session_times_out,
        a_static_member_whose_name_another_takes_ends_and_says_so_and_the_other_goes_on,
        under_the_new_protocol_the_one_that_comes_second_ends_and_says_so;
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

fn the_partitions_of_a_static_member_that_stops_wait_for_it_until_its_session_times_out(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 50);
    let journal = Journal::default();
    let member = |name: &'static str| {
        let builder = stage.consumer("g").property("session.timeout.ms", "6000").property("group.instance.id", name);
        builder.async_handler(noting_slowly(&journal, name)).start().unwrap()
    };
    let (a, b) = (member("a"), member("b"));
    eventually("both share", || a.state().partitions.len() == 1 && b.state().partitions.len() == 1);
    eventually("all is committed", || stage.committed("g") == [(0, 100), (1, 100)].into());
    let moved = a.state().partitions[0].partition;
    assert!(a.shutdown_blocking(STOP).unwrap().drained);
    let stopped = std::time::Instant::now();
    stage.produce(100, 10, 50);
    eventually("the other gets them when the session is over", || b.state().partitions.len() == 2);
    // The last heartbeat came a moment before the stop.
    assert!(stopped.elapsed() > Duration::from_secs(4), "{:?}", stopped.elapsed());
    eventually("all is committed", || stage.committed("g") == [(0, 110), (1, 110)].into());
    b.shutdown_blocking(STOP).unwrap();
    assert!(journal.entries().iter().any(|e| e.member == "b" && e.partition == moved));
    journal.assert_exactly_once_in_order(2, 110);
}

fn a_static_member_whose_name_another_takes_ends_and_says_so_and_the_other_goes_on(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 300, 50);
    let journal = Journal::default();
    let first = static_member(&stage, "a", &journal);
    eventually("it has done its work", || stage.committed("g") == [(0, 300), (1, 300)].into());
    let second = static_member(&stage, "a", &journal);
    let error = first.wait_blocking().unwrap_err();
    let (group, instance) = (stage.group("g"), "a".to_owned());
    let code = RDKafkaErrorCode::FencedInstanceId;
    assert_eq!(error, ConsumerError::InstanceFenced { group: group.clone(), instance, code });
    let text = error.to_string();
    assert!(
        text.contains("group.instance.id a") && text.contains(&group) && text.contains("taken this one's place"),
        "{text}"
    );
    stage.produce(300, 100, 50);
    eventually("the other does the rest", || stage.committed("g") == [(0, 400), (1, 400)].into());
    second.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, 400);
}

fn under_the_new_protocol_the_one_that_comes_second_ends_and_says_so(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 300, 50);
    let journal = Journal::default();
    let member = || {
        let builder = stage.new_protocol_consumer("g").property("group.instance.id", "a");
        builder.async_handler(noting_slowly(&journal, "a")).start().unwrap()
    };
    let first = member();
    eventually("it works", || journal.len() > 100);
    let error = member().wait_blocking().unwrap_err();
    let (group, instance) = (stage.group("g"), "a".to_owned());
    let code = RDKafkaErrorCode::UnreleasedInstanceId;
    assert_eq!(error, ConsumerError::InstanceFenced { group, instance, code });
    eventually("the first goes on", || stage.committed("g") == [(0, 300), (1, 300)].into());
    first.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, 300);
}
