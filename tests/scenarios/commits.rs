//! Commit strategies: what each commits while it runs and at its end, and what a crash would cost with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use kafka_troupe::broker::{RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::consume::{CommitError, CommitReport, CommitWhen, ConsumerBuilder, PartitionPhase, Record};
use kafka_troupe::ids::{NextOffset, TopicPartition};

use crate::fixture::{Gate, Journal, On, Stage, eventually};

scenarios! {
    on both brokers:
        every_strategy_has_committed_everything_at_the_end,
        by_records_and_by_chunks_commits_are_made_while_it_runs,
        with_every_record_awaited_none_is_begun_before_the_one_before_is_committed,
        with_every_seventh_record_awaited_at_most_seven_are_finished_and_not_committed,
        with_every_chunk_awaited_at_most_a_chunk_is_finished_and_not_committed,
        where_the_app_commits_nothing_else_is_committed_not_even_at_the_stop,
        the_app_commits_all_that_is_finished_and_chosen_offsets_of_chosen_partitions,
        offsets_past_the_watermark_are_committed_only_when_told_so,
        what_is_committed_past_the_watermark_stays_committed_when_a_worker_dies,
        a_commit_that_the_app_asked_for_is_awaited_at_the_stop,
        a_callback_is_told_of_every_commit_and_may_panic,
        the_clients_auto_commit_is_ahead_of_the_handlers_and_taken_back_at_the_stop,
        the_clients_auto_commit_is_taken_back_to_what_a_handler_never_finished;
    on the embedded broker, "which answers requests with the errors that a test asks for":
        with_the_interval_awaited_nothing_goes_on_while_a_commit_is_not_answered,
        with_the_interval_awaited_a_record_that_comes_later_waits_for_the_answer_too,
        by_the_interval_work_goes_on_while_commits_fail,
        commits_that_are_awaited_go_on_as_fast_as_their_rate_allows,
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

fn every_strategy_has_committed_everything_at_the_end(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 600, 20);
    let strategies = [
        (millis(20), false),
        (millis(20), true),
        (millis(60_000), false),
        (CommitWhen::Records(7), false),
        (CommitWhen::Records(7), true),
        (CommitWhen::Chunk, false),
        (CommitWhen::Chunk, true),
    ];
    let members = strategies.iter().zip(0..).map(|((when, awaited), number)| {
        let (group, journal) = (format!("g{number}"), Journal::default());
        let notes = journal.clone();
        let builder = stage.consumer(&group).handler(move |record: &Record| notes.note("a", record));
        (group, journal, builder.commit_when(*when).await_commits(*awaited).start().unwrap())
    });
    for (group, journal, consumer) in members.collect::<Vec<_>>() {
        eventually("all is handled", || journal.len() == 1200);
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        journal.assert_exactly_once_in_order(2, 600);
        assert_eq!(stage.committed(&group), [(0, 600), (1, 600)].into(), "{group}");
        assert_eq!(consumer.state().invariants, Default::default());
    }
}

fn by_records_and_by_chunks_commits_are_made_while_it_runs(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 60, 20);
    for (group, when) in [("records", CommitWhen::Records(10)), ("chunk", CommitWhen::Chunk)] {
        let consumer = stage.consumer(group).handler(|_: &Record| ()).commit_when(when).start().unwrap();
        eventually("all is committed", || consumer.state().partitions.iter().any(|p| p.committed == Some(60)));
        assert_eq!(stage.committed(group), [(0, 60)].into());
        consumer.shutdown_blocking(STOP).unwrap();
    }
}

/// Handles `count` records of one partition, and looks before each what the group has committed. Gives the most that a crash would have
/// repeated of what was finished.
fn most_uncommitted(stage: &Stage, group: &str, builder: ConsumerBuilder, count: u64) -> u64 {
    let (most, handled) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    std::thread::scope(|scope| {
        let (asked, ask) = mpsc::sync_channel::<mpsc::SyncSender<i64>>(0);
        scope.spawn(move || {
            for answer in ask {
                let _ = answer.send(stage.committed(group).get(&0).copied().unwrap_or(0));
            }
        });
        let (worst, done) = (Arc::clone(&most), Arc::clone(&handled));
        let consumer = builder
            .handler(move |record: &Record| {
                let (answer, committed) = mpsc::sync_channel(1);
                asked.send(answer).unwrap();
                let uncommitted = record.offset().0 - committed.recv().unwrap();
                worst.fetch_max(uncommitted as u64, Ordering::Relaxed);
                done.fetch_add(1, Ordering::Relaxed);
            })
            .start()
            .unwrap();
        eventually("all is handled", || handled.load(Ordering::Relaxed) == count);
        consumer.shutdown_blocking(STOP).unwrap();
    });
    most.load(Ordering::Relaxed)
}

fn with_every_record_awaited_none_is_begun_before_the_one_before_is_committed(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 30, 20);
    let builder = stage.consumer("g").commit_when(CommitWhen::Records(1)).await_commits(true);
    assert_eq!(most_uncommitted(&stage, "g", builder, 30), 0);
}

fn with_every_seventh_record_awaited_at_most_seven_are_finished_and_not_committed(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 60, 20);
    let builder = stage.consumer("g").commit_when(CommitWhen::Records(7)).await_commits(true);
    // Six, for the seventh one's end begins the commit that the eighth waits for.
    assert_eq!(most_uncommitted(&stage, "g", builder, 60), 6);
}

fn with_every_chunk_awaited_at_most_a_chunk_is_finished_and_not_committed(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 40, 20);
    // Chunks of ten records at most.
    let builder = stage.consumer("g").commit_when(CommitWhen::Chunk).await_commits(true).max_buffered_records(10);
    let most = most_uncommitted(&stage, "g", builder, 40);
    assert!((1..10).contains(&most), "{most}");
}

fn where_the_app_commits_nothing_else_is_committed_not_even_at_the_stop(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let builder = stage.consumer("g").handler(move |record: &Record| notes.note("a", record));
    let consumer = builder.commit_when(CommitWhen::Manual).start().unwrap();
    eventually("all is handled", || journal.len() == 50);
    consumer.commit_offsets([(TopicPartition::new(&*stage.topic, 0), NextOffset(20))]).wait_blocking().unwrap();
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(stage.committed("g"), [(0, 20)].into());
}

fn the_app_commits_all_that_is_finished_and_chosen_offsets_of_chosen_partitions(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let builder = stage.consumer("g").handler(move |record: &Record| notes.note("a", record));
    let consumer = builder.commit_when(CommitWhen::Manual).start().unwrap();
    eventually("all is handled", || consumer.state().counters.finished == 100);
    let second = || TopicPartition::new(&*stage.topic, 1);
    consumer.commit_offsets([(second(), NextOffset(7))]).wait_blocking().unwrap();
    assert_eq!(stage.committed("g"), [(1, 7)].into());
    let below = consumer.commit_offsets([(second(), NextOffset(6))]).wait_blocking();
    assert!(matches!(below, Err(CommitError::BelowCommitted { .. })), "{below:?}");
    let other = consumer.commit_offsets([(TopicPartition::new("other", 0), NextOffset(6))]).wait_blocking();
    assert!(matches!(other, Err(CommitError::NotAssigned { .. })), "{other:?}");
    consumer.commit().wait_blocking().unwrap();
    assert_eq!(stage.committed("g"), [(0, 50), (1, 50)].into());
    consumer.commit().wait_blocking().expect("nothing to commit is no error");
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(consumer.commit().wait_blocking(), Err(CommitError::Ended));
}

fn offsets_past_the_watermark_are_committed_only_when_told_so(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let (gate, waiting) = (Gate::default(), Gate::default());
    let (at_gate, reached) = (gate.clone(), waiting.clone());
    let builder = stage.consumer("g").handler(move |record: &Record| {
        if record.offset().0 == 10 {
            reached.open();
            at_gate.wait();
        }
    });
    let consumer = builder.start().unwrap();
    waiting.wait();
    let at = |offset| [(TopicPartition::new(&*stage.topic, 0), NextOffset(offset))];
    let refused = consumer.commit_offsets(at(30)).wait_blocking().unwrap_err();
    assert!(matches!(refused, CommitError::PastWatermark { watermark: NextOffset(10), .. }), "{refused:?}");
    consumer.commit_offsets_past_watermark(at(30)).wait_blocking().unwrap();
    assert_eq!(stage.committed("g"), [(0, 30)].into());
    gate.open();
    eventually("the rest is committed", || stage.committed("g") == [(0, 50)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(consumer.state().invariants, Default::default());
}

fn what_is_committed_past_the_watermark_stays_committed_when_a_worker_dies(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let (notes, at_gate) = (journal.clone(), gate.clone());
    let builder = stage.consumer("g").async_handler(move |record: Record| {
        let (notes, at_gate) = (notes.clone(), at_gate.clone());
        async move {
            notes.note("a", &record);
            let first = notes.of(0).iter().filter(|offset| **offset == record.offset().0).count() == 1;
            match record.offset().0 {
                10 if first => {
                    at_gate.open();
                    std::future::pending::<()>().await;
                }
                20 => std::future::pending().await,
                _ => {}
            }
        }
    });
    let consumer = builder.drain_deadline(Duration::from_millis(100)).start().unwrap();
    gate.wait();
    let partition = TopicPartition::new(&*stage.topic, 0);
    consumer.commit_offsets_past_watermark([(partition.clone(), NextOffset(30))]).wait_blocking().unwrap();
    consumer.kill_worker(&partition);
    eventually("its successor comes to 20", || journal.of(0).last() == Some(&20));
    // It commits all that is due: nothing may be.
    consumer.commit().wait_blocking().unwrap();
    consumer.shutdown_blocking(Duration::from_secs(2)).unwrap();
    assert_eq!(stage.committed("g"), [(0, 30)].into());
}

fn a_commit_that_the_app_asked_for_is_awaited_at_the_stop(on: On) {
    for _ in 0..10 {
        let stage = Stage::new(on, 1);
        stage.produce(0, 50, 20);
        let consumer = stage.consumer("g").handler(|_: &Record| ()).commit_when(CommitWhen::Manual).start().unwrap();
        eventually("all is handled", || consumer.state().counters.finished == 50);
        let commit = consumer.commit();
        consumer.shutdown_blocking(STOP).unwrap();
        assert_eq!((commit.wait_blocking(), stage.committed("g")), (Ok(()), [(0, 50)].into()));
    }
}

fn a_callback_is_told_of_every_commit_and_may_panic(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let builder = stage.consumer("g").handler(|_: &Record| ()).on_commit(move |report: &CommitReport| {
        let first = report.partitions[0].clone();
        tell.lock().unwrap().push((first.topic_partition.partition.0, first.offset.0, first.error));
        panic!("as asked");
    });
    let consumer = builder.start().unwrap();
    eventually("it is told", || told.lock().unwrap().last() == Some(&(0, 50, None)));
    stage.produce(50, 10, 20);
    eventually("and again", || told.lock().unwrap().last() == Some(&(0, 60, None)));
    consumer.shutdown_blocking(STOP).unwrap();
}

fn the_clients_auto_commit_is_ahead_of_the_handlers_and_taken_back_at_the_stop(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let (gate, waiting) = (Gate::default(), Gate::default());
    let (at_gate, reached) = (gate.clone(), waiting.clone());
    let builder = stage.consumer("g").client_auto_commit().property("auto.commit.interval.ms", "50");
    let consumer = builder
        .handler(move |record: &Record| {
            if record.offset().0 == 10 {
                reached.open();
                at_gate.wait();
            }
        })
        .start()
        .unwrap();
    waiting.wait();
    // A crash now would lose the 40 records that no handler has finished.
    eventually("what was handed out is committed", || stage.committed("g") == [(0, 50)].into());
    eventually("the handler is behind", || consumer.state().partitions[0].watermark == 10);
    // What is begun is finished, and nothing else.
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(consumer.shutdown_blocking(STOP).unwrap().drained));
        eventually("no other is begun", || {
            consumer.state().partitions.iter().all(|p| p.phase == PartitionPhase::Revoking)
        });
        gate.open();
    });
    assert_eq!(stage.committed("g"), [(0, 11)].into());
    assert!(stage.consumer("g").client_auto_commit().await_commits(true).handler(|_: &Record| ()).start().is_err());
}

fn the_clients_auto_commit_is_taken_back_to_what_a_handler_never_finished(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let builder = stage.consumer("g").client_auto_commit().property("auto.commit.interval.ms", "50");
    let consumer = builder
        .async_handler(|record: Record| async move {
            if record.offset().0 == 10 {
                std::future::pending::<()>().await;
            }
        })
        .drain_deadline(Duration::from_millis(100))
        .start()
        .unwrap();
    eventually("what was handed out is committed", || stage.committed("g") == [(0, 50)].into());
    eventually("the handler is behind", || consumer.state().partitions[0].watermark == 10);
    assert!(!consumer.shutdown_blocking(Duration::from_secs(2)).unwrap().drained);
    assert_eq!(stage.committed("g"), [(0, 10)].into());
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

fn commits_that_are_awaited_go_on_as_fast_as_their_rate_allows(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let builder = stage.consumer("g").commit_when(CommitWhen::Records(1)).await_commits(true).commit_rate(50_000);
    let consumer = builder.handler(move |record: &Record| notes.note("a", record)).start().unwrap();
    eventually("it begins", || journal.len() > 0);
    let begun = Instant::now();
    eventually("all is handled", || journal.len() == 100);
    // The rate allows it in 160 ms; a look each 100 ms would take 10 s.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    consumer.shutdown_blocking(STOP).unwrap();
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
