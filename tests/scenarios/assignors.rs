use std::time::Duration;

use kafka_troupe::consume::{ConsumerError, ConsumerHandle};

use crate::fixture::{Journal, On, Stage, eventually, noting_slowly};

scenarios! {
    on Apache Kafka, "the embedded broker ends the process where first assignors differ":
        members_that_prefer_different_assignors_agree_on_one_they_share,
        with_every_assignor_members_join_and_leave_and_nothing_is_lost_or_repeated,
        a_member_that_shares_no_assignor_with_its_group_is_told_so_and_disturbs_nobody;
}

const STOP: Duration = Duration::from_secs(20);

fn member(stage: &Stage, name: &'static str, assignors: &str, journal: &Journal) -> ConsumerHandle {
    let builder = stage.steady_consumer("g").property("partition.assignment.strategy", assignors);
    builder.async_handler(noting_slowly(journal, name)).start().unwrap()
}

fn members_that_prefer_different_assignors_agree_on_one_they_share(on: On) {
    let stage = Stage::new(on, 6);
    let (count, journal) = (2500, Journal::default());
    stage.produce(0, count, 50);
    let shared = |members: &[&ConsumerHandle], each: usize| members.iter().all(|m| m.state().partitions.len() == each);
    let a = member(&stage, "a", "range,roundrobin", &journal);
    eventually("one has all", || shared(&[&a], 6) && journal.len() > 100);
    let b = member(&stage, "b", "roundrobin,range", &journal);
    eventually("two share", || shared(&[&a, &b], 3));
    let c = member(&stage, "c", "roundrobin", &journal);
    eventually("three share", || shared(&[&a, &b, &c], 2));
    eventually("all work", || ["a", "b", "c"].iter().all(|name| journal.entries().iter().any(|e| e.member == *name)));
    let all = i64::try_from(count).unwrap();
    eventually("all is committed", || {
        let committed = stage.committed("g");
        committed.len() == 6 && committed.values().all(|offset| *offset == all)
    });
    for consumer in [a, b, c] {
        assert_eq!(consumer.state().invariants, Default::default());
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    }
    journal.assert_exactly_once_in_order(6, all);
}

fn with_every_assignor_members_join_and_leave_and_nothing_is_lost_or_repeated(on: On) {
    let classic = ["range", "roundrobin", "cooperative-sticky"].map(|name| ("partition.assignment.strategy", name));
    let new = ["range", "uniform"].map(|name| ("group.remote.assignor", name));
    for (property, assignor) in classic.into_iter().chain(new) {
        let stage = Stage::new(on, 6);
        let (count, journal) = (1500, Journal::default());
        stage.produce(0, count, 50);
        let member = |name| {
            let builder = match property {
                "group.remote.assignor" => stage.new_protocol_consumer("g"),
                _ => stage.steady_consumer("g"),
            };
            builder.property(property, assignor).async_handler(noting_slowly(&journal, name)).start().unwrap()
        };
        let shared = |members: &[&ConsumerHandle], each: usize| {
            eventually(&format!("{property}={assignor}: {each} each"), || {
                members.iter().all(|member| member.state().partitions.len() == each)
            });
            let before = journal.len();
            eventually("they work", || journal.len() > before + 200);
        };
        let a = member("a");
        shared(&[&a], 6);
        let b = member("b");
        shared(&[&a, &b], 3);
        let c = member("c");
        shared(&[&a, &b, &c], 2);
        assert!(a.shutdown_blocking(STOP).unwrap().drained);
        shared(&[&b, &c], 3);
        let all = i64::try_from(count).unwrap();
        eventually("all is committed", || {
            let committed = stage.committed("g");
            committed.len() == 6 && committed.values().all(|offset| *offset == all)
        });
        for consumer in [b, c] {
            assert_eq!(consumer.state().invariants, Default::default());
            assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        }
        journal.assert_exactly_once_in_order(6, all);
    }
}

fn a_member_that_shares_no_assignor_with_its_group_is_told_so_and_disturbs_nobody(on: On) {
    let stage = Stage::new(on, 2);
    let (count, journal) = (1000, Journal::default());
    stage.produce(0, count, 50);
    let a = member(&stage, "a", "range", &journal);
    eventually("it works", || journal.len() > 100);
    let epochs = || a.state().partitions.iter().map(|p| (p.partition, p.epoch)).collect::<Vec<_>>();
    let before = epochs();
    let stranger = member(&stage, "stranger", "roundrobin", &journal);
    let error = stranger.wait_blocking().unwrap_err();
    assert!(matches!(error, ConsumerError::Kafka { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&stage.group("g")) && text.contains("partition.assignment.strategy"), "{text}");
    let all = i64::try_from(count).unwrap();
    eventually("all is committed", || a.state().partitions.iter().all(|p| p.committed == Some(all)));
    assert_eq!(epochs(), before, "no rebalance");
    a.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, all);
}
