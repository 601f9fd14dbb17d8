//! Commits that brokers refuse: what is repeated, what is held, what ends the consumer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_troupe::broker::{RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::consume::{CommitError, CommitWhen, PartitionPhase, Record};
use kafka_troupe::ids::NextOffset;

use crate::fixture::{Gate, Journal, On, Stage, eventually};

scenarios! {
    on the embedded broker, "which answers requests with the errors that a test asks for":
        with_the_interval_awaited_nothing_goes_on_while_a_commit_is_not_answered,
        with_the_interval_awaited_a_record_that_comes_later_waits_for_the_answer_too,
        by_the_interval_work_goes_on_while_commits_fail,
        the_clients_last_commit_is_repeated_when_it_is_refused,
        a_last_commit_is_repeated_until_its_deadline_where_that_may_help,
        a_commit_that_fails_is_repeated_until_it_is_stored_whatever_the_error,
        a_commit_of_a_member_that_is_out_of_its_group_is_made_by_who_has_the_partition_next,
        a_commit_refused_for_good_ends_the_consumer_and_who_waits_for_it,
        the_coordinator_may_move_between_commits;
}

const STOP: Duration = Duration::from_secs(20);
const FAILED: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT;

fn millis(millis: u64) -> CommitWhen {
    CommitWhen::Interval(Duration::from_millis(millis))
}

fn with_the_interval_awaited_nothing_goes_on_while_a_commit_is_not_answered(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 2000, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let slowly = move |record: Record| {
        let notes = notes.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            notes.note("a", &record);
        }
    };
    let builder = stage.lone_consumer("g").async_handler(slowly).commit_when(millis(50)).await_commits(true);
    stage.broker.embedded().fail_requests(RDKafkaApiKey::OffsetCommit, &[FAILED; 60]);
    let consumer = builder.start().unwrap();
    eventually("a commit fails", || consumer.state().counters.failed_commits >= 2);
    let standing = journal.len();
    eventually("and again", || consumer.state().counters.failed_commits >= 5);
    assert_eq!(journal.len(), standing, "it stands still");
    stage.broker.embedded().stop_failing_requests(RDKafkaApiKey::OffsetCommit);
    eventually("all is committed", || consumer.state().partitions[0].committed == Some(2000));
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(1, 2000);
}

fn with_the_interval_awaited_a_record_that_comes_later_waits_for_the_answer_too(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 1, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let builder = stage.consumer("g").handler(move |record: &Record| notes.note("a", record));
    stage.broker.embedded().fail_requests(RDKafkaApiKey::OffsetCommit, &[FAILED; 60]);
    let consumer = builder.commit_when(millis(50)).await_commits(true).start().unwrap();
    eventually("a commit fails", || consumer.state().counters.failed_commits >= 1);
    stage.produce(1, 1, 20);
    eventually("the record is there", || consumer.state().counters.delivered == 2);
    eventually("and the commit fails again", || consumer.state().counters.failed_commits >= 4);
    assert_eq!(journal.len(), 1, "it waits");
    stage.broker.embedded().stop_failing_requests(RDKafkaApiKey::OffsetCommit);
    eventually("all is committed", || stage.committed("g") == [(0, 2)].into());
    consumer.shutdown_blocking(STOP).unwrap();
}

fn by_the_interval_work_goes_on_while_commits_fail(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 500, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    stage.broker.embedded().fail_requests(RDKafkaApiKey::OffsetCommit, &[FAILED; 1000]);
    let consumer = stage.lone_consumer("g").handler(move |record: &Record| notes.note("a", record)).start().unwrap();
    eventually("all is handled", || journal.len() == 500);
    eventually("a commit has failed", || consumer.state().counters.failed_commits >= 2);
    assert!(consumer.state().partitions[0].last_error.is_some());
    stage.broker.embedded().stop_failing_requests(RDKafkaApiKey::OffsetCommit);
    eventually("all is committed", || stage.committed("g") == [(0, 500)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(1, 500);
}

fn the_clients_last_commit_is_repeated_when_it_is_refused(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let (gate, waiting) = (Gate::default(), Gate::default());
    let (at_gate, reached) = (gate.clone(), waiting.clone());
    let builder = stage.consumer("g").client_auto_commit().property("auto.commit.interval.ms", "50");
    let handler = move |record: &Record| {
        if record.offset().0 == 10 {
            reached.open();
            at_gate.wait();
        }
    };
    let consumer = builder.handler(handler).start().unwrap();
    waiting.wait();
    eventually("what was handed out is committed", || stage.committed("g") == [(0, 50)].into());
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS];
    stage.broker.embedded().fail_requests(RDKafkaApiKey::OffsetCommit, &refused);
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(consumer.shutdown_blocking(STOP).unwrap().drained));
        eventually("no other is begun", || {
            consumer.state().partitions.iter().all(|p| p.phase == PartitionPhase::Revoking)
        });
        gate.open();
    });
    assert_eq!(stage.committed("g"), [(0, 11)].into(), "what no handler has had is not lost");
}

fn a_last_commit_is_repeated_until_its_deadline_where_that_may_help(on: On) {
    use RDKafkaRespErr::*;
    let all: BTreeMap<_, _> = [(0, 50)].into();
    for (error, times, committed) in [
        (RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 3, all),
        (RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 1000, BTreeMap::new()),
        // It is others' by now.
        (RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, 1, BTreeMap::new()),
    ] {
        let stage = Stage::new(on, 1);
        stage.produce(0, 50, 20);
        let consumer = stage.finished_and_uncommitted("g", &Journal::default(), 50);
        stage.broker.embedded().fail_requests(RDKafkaApiKey::OffsetCommit, &vec![error; times]);
        let begun = Instant::now();
        let stopped = consumer.shutdown_blocking(STOP).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10), "{error:?}: {:?}", begun.elapsed());
        stage.broker.embedded().stop_failing_requests(RDKafkaApiKey::OffsetCommit);
        assert_eq!((stopped.drained, stage.committed("g")), (!committed.is_empty(), committed), "{error:?}");
    }
}

fn a_commit_that_fails_is_repeated_until_it_is_stored_whatever_the_error(on: On) {
    use RDKafkaRespErr::*;
    for error in [
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE,
        RD_KAFKA_RESP_ERR_UNKNOWN,
        RD_KAFKA_RESP_ERR__TRANSPORT,
    ] {
        let stage = Stage::new(on, 2);
        stage.produce(0, 100, 20);
        let journal = Journal::default();
        let notes = journal.clone();
        stage.broker.embedded().fail_requests(RDKafkaApiKey::OffsetCommit, &[error; 2]);
        let consumer =
            stage.lone_consumer("g").handler(move |record: &Record| notes.note("a", record)).start().unwrap();
        eventually(&format!("{error:?} passes"), || stage.committed("g") == [(0, 100), (1, 100)].into());
        consumer.shutdown_blocking(STOP).unwrap();
        journal.assert_exactly_once_in_order(2, 100);
        assert_eq!(consumer.state().invariants, Default::default());
    }
}

fn a_commit_of_a_member_that_is_out_of_its_group_is_made_by_who_has_the_partition_next(on: On) {
    use RDKafkaRespErr::*;
    for error in [
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH,
    ] {
        let stage = Stage::new(on, 2);
        stage.produce(0, 100, 20);
        let journal = Journal::default();
        let notes = journal.clone();
        stage.broker.embedded().fail_requests(RDKafkaApiKey::OffsetCommit, &[error; 1]);
        let consumer = stage.consumer("g").handler(move |record: &Record| notes.note("a", record)).start().unwrap();
        eventually(&format!("{error:?} passes"), || stage.committed("g") == [(0, 100), (1, 100)].into());
        consumer.shutdown_blocking(STOP).unwrap();
        // It lost the partitions, and had them again: what was not committed is repeated.
        assert_eq!(journal.distinct(), 200);
        assert_eq!(consumer.state().invariants, Default::default());
    }
}

fn a_commit_refused_for_good_ends_the_consumer_and_who_waits_for_it(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let consumer = stage.consumer("g").handler(|_: &Record| ()).commit_when(CommitWhen::Manual).start().unwrap();
    eventually("all is handled", || consumer.state().counters.finished == 50);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 10];
    stage.broker.embedded().fail_requests(RDKafkaApiKey::OffsetCommit, &refused);
    let answer = consumer.commit().wait_blocking();
    assert!(matches!(answer, Err(CommitError::Refused { offset: NextOffset(50), .. })), "{answer:?}");
    let ended = consumer.wait_blocking().unwrap_err().to_string();
    assert!(ended.contains("GroupAuthorizationFailed"), "{ended}");
    assert!(stage.committed("g").is_empty());
}

fn the_coordinator_may_move_between_commits(_: On) {
    use crate::fixture::Broker;
    let broker = kafka_troupe::broker::EmbeddedBroker::builder().brokers(3).start().unwrap();
    let stage = Stage::on(Broker::Embedded(broker.into()), 1, &[]);
    let journal = Journal::default();
    let notes = journal.clone();
    let consumer = stage.lone_consumer("g").handler(move |record: &Record| notes.note("a", record)).start().unwrap();
    let mut committed = 0;
    for (round, coordinator) in [1, 2, 3, 1, 2].into_iter().enumerate() {
        stage.broker.embedded().move_coordinator(&stage.group("g"), coordinator).unwrap();
        stage.produce(round * 50, 50, 20);
        eventually("it is committed", || {
            let now = stage.committed("g").get(&0).copied().unwrap_or(0);
            assert!(now >= committed, "went back from {committed} to {now}");
            committed = now;
            now == (round as i64 + 1) * 50
        });
    }
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(1, 250);
}
