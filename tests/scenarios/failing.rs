use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kafka_troupe::consume::{Cause, ConsumerError, Handler, Outcome, PartitionContext, Record};
use kafka_troupe::ids::TopicPartition;

use crate::fixture::{Gate, Journal, On, Stage, eventually, noting_slowly};

scenarios! {
    on both brokers:
        a_handler_that_panics_fails_its_record_and_the_record_is_tried_again,
        a_record_that_keeps_failing_holds_only_its_partition,
        a_worker_that_dies_is_replaced_and_nothing_is_lost,
        a_dead_worker_on_the_apps_runtime_never_shares_its_partition_with_its_successor,
        a_handler_that_says_stop_ends_the_engine_with_an_error_that_names_the_record,
        a_partitions_handler_keeps_its_state_and_is_built_anew_after_a_panic,
        a_handler_that_panics_when_it_is_built_or_dropped_is_counted,
        a_broker_that_goes_away_and_comes_back_loses_and_repeats_nothing,
        a_stop_ends_by_its_deadline_when_a_handler_is_stuck;
    on the embedded broker, "which answers requests with the errors that a test asks for":
        a_last_commit_that_is_refused_in_passing_is_sent_again,
        a_commit_that_fails_while_running_is_not_counted_as_done,
        a_last_commit_of_a_member_that_the_group_has_moved_on_without_is_given_up_at_once;
}

const STOP: Duration = Duration::from_secs(20);

fn a_handler_that_panics_fails_its_record_and_the_record_is_tried_again(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 20);
    let (journal, panics) = (Journal::default(), Arc::new(AtomicUsize::new(0)));
    let consumer = {
        let (journal, panics) = (journal.clone(), Arc::clone(&panics));
        let handler = move |record: &Record| {
            if record.partition().0 == 0 && record.offset().0 == 50 && record.attempt() < 3 {
                panics.fetch_add(1, Ordering::SeqCst);
                panic!("not this one");
            }
            journal.note("a", record);
        };
        let pause = Duration::from_millis(10);
        stage.lone_consumer("g").handler(handler).retry_pause(pause, pause).start().unwrap()
    };
    eventually("all is handled", || journal.len() == 200);
    eventually("all is committed", || consumer.state().partitions.iter().all(|p| p.committed == Some(100)));
    let state = consumer.state();
    let failed = state.partitions.iter().find(|p| p.partition == 0).unwrap();
    assert!(failed.last_error.as_ref().unwrap().contains("not this one"), "{failed:?}");
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, 100);
    assert_eq!(panics.load(Ordering::SeqCst), 2);
    assert_eq!((state.counters.panics, state.counters.retries), (2, 2));
}

fn a_record_that_keeps_failing_holds_only_its_partition(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let consumer = {
        let journal = journal.clone();
        let handler = move |record: &Record| {
            if record.partition().0 == 0 && record.offset().0 == 10 {
                return Err("never");
            }
            journal.note("a", record);
            Ok(())
        };
        stage.consumer("g").handler(handler).worker_threads(1).start().unwrap()
    };
    eventually("the other partition is done", || journal.of(1).len() == 100);
    eventually("what is finished is committed", || {
        let committed = stage.committed("g");
        committed.get(&0) == Some(&10) && committed.get(&1) == Some(&100)
    });
    let stopped = consumer.shutdown_blocking(STOP).unwrap();
    assert!(stopped.drained, "a backoff is not waited for: {stopped:?}");
    assert_eq!(stage.committed("g")[&0], 10);
}

fn a_worker_that_dies_is_replaced_and_nothing_is_lost(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 1000, 20);
    let journal = Journal::default();
    let consumer = stage.consumer("g").async_handler(noting_slowly(&journal, "a")).start().unwrap();
    eventually("some is handled", || journal.of(0).len() > 100);
    let before = consumer.state();
    consumer.kill_worker(&TopicPartition::new(stage.topic.as_str(), 0));
    eventually("all is handled", || journal.distinct() == 2000);
    eventually("all is committed", || consumer.state().partitions.iter().all(|p| p.committed == Some(1000)));
    let after = consumer.state();
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(after.counters.workers_replaced, 1);
    assert!(after.partitions[0].epoch > before.partitions[0].epoch, "a new epoch");
    assert_eq!(after.partitions[1].epoch, before.partitions[1].epoch, "the other partition is left alone");
    // What had finished and not been reported, at most a quarter of the commit interval and the record in the handler, runs again.
    assert!(journal.of(0).len() <= 1000 + 60, "{} handled", journal.of(0).len());
    let offsets = journal.of(0);
    let rewinds = offsets.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!(rewinds <= 1, "in order but for the one restart");
}

fn a_dead_worker_on_the_apps_runtime_never_shares_its_partition_with_its_successor(on: On) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = Stage::new(on, 1);
    stage.produce(0, 300, 20);
    let (journal, busy, overlaps) =
        (Journal::default(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let consumer = {
        let (journal, busy, overlaps) = (journal.clone(), Arc::clone(&busy), Arc::clone(&overlaps));
        let handler = move |record: Record| {
            let (journal, busy, overlaps) = (journal.clone(), Arc::clone(&busy), Arc::clone(&overlaps));
            async move {
                struct Busy(Arc<AtomicBool>);
                impl Drop for Busy {
                    fn drop(&mut self) {
                        self.0.store(false, Ordering::SeqCst);
                    }
                }
                overlaps.fetch_add(usize::from(busy.swap(true, Ordering::SeqCst)), Ordering::SeqCst);
                let _busy = Busy(busy);
                tokio::time::sleep(Duration::from_millis(2)).await;
                journal.note("a", &record);
            }
        };
        stage.consumer("g").async_handler(handler).runtime(runtime.handle().clone()).start().unwrap()
    };
    let partition = TopicPartition::new(stage.topic.as_str(), 0);
    for killed in 1..=3 {
        let seen = journal.len();
        eventually("it runs", || journal.len() > seen + 20);
        consumer.kill_worker(&partition);
        eventually("it is replaced", || consumer.state().counters.workers_replaced == killed);
    }
    eventually("all is handled", || journal.distinct() == 300);
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(overlaps.load(Ordering::SeqCst), 0);
}

fn a_handler_that_says_stop_ends_the_engine_with_an_error_that_names_the_record(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 20);
    let handler = |record: &Record| match (record.partition().0, record.offset().0) {
        (1, 30) => Outcome::Stop { cause: Cause::new("enough") },
        _ => Outcome::Done,
    };
    let consumer = stage.consumer("g").handler(handler).start().unwrap();
    let error = consumer.wait_blocking().unwrap_err();
    let partition = TopicPartition::new(stage.topic.as_str(), 1);
    let expected =
        ConsumerError::StoppedByHandler { partition, offset: kafka_troupe::ids::Offset(30), cause: "enough".into() };
    assert_eq!(error, expected);
    assert_eq!(stage.committed("g")[&1], 30, "what came before is committed, the record is not");
    assert!(consumer.cancellation_token().is_cancelled());
}

fn a_partitions_handler_keeps_its_state_and_is_built_anew_after_a_panic(on: On) {
    struct Counting {
        seen: u32,
        from: i64,
        journal: Journal,
        built: Arc<AtomicUsize>,
    }
    impl Handler for Counting {
        type Answer = ();
        async fn handle(&mut self, record: &Record) {
            if record.offset().0 == 60 && record.attempt() == 1 {
                panic!("torn");
            }
            self.seen += 1;
            assert_eq!(i64::from(self.seen), record.offset().0 - self.from + 1, "every record since it was built");
            self.journal.note("a", record);
            self.built.load(Ordering::SeqCst);
        }
    }
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 20);
    let (journal, built) = (Journal::default(), Arc::new(AtomicUsize::new(0)));
    let consumer = {
        let (journal, built) = (journal.clone(), Arc::clone(&built));
        let factory = move |context: &PartitionContext| {
            built.fetch_add(1, Ordering::SeqCst);
            Counting { seen: 0, from: context.position().0, journal: journal.clone(), built: Arc::clone(&built) }
        };
        let pause = Duration::from_millis(1);
        stage.lone_consumer("g").partition_handler(factory).retry_pause(pause, pause).start().unwrap()
    };
    eventually("all is handled", || journal.len() == 200);
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, 100);
    assert_eq!(built.load(Ordering::SeqCst), 4, "two partitions, two panics");
}

fn a_handler_that_panics_when_it_is_built_or_dropped_is_counted(on: On) {
    struct Torn(Journal);
    impl Handler for Torn {
        type Answer = ();
        async fn handle(&mut self, record: &Record) {
            self.0.note("a", record);
        }
    }
    impl Drop for Torn {
        fn drop(&mut self) {
            panic!("not to be let go");
        }
    }
    let stage = Stage::new(on, 1);
    stage.produce(0, 10, 20);
    let (journal, built) = (Journal::default(), Arc::new(AtomicUsize::new(0)));
    let consumer = {
        let journal = journal.clone();
        let factory = move |_: &PartitionContext| {
            assert!(built.fetch_add(1, Ordering::SeqCst) > 0, "not at once");
            Torn(journal.clone())
        };
        let pause = Duration::from_millis(1);
        stage.lone_consumer("g").partition_handler(factory).retry_pause(pause, pause).start().unwrap()
    };
    eventually("all is handled", || journal.len() == 10);
    assert_eq!(consumer.state().counters.panics, 1, "the build");
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(consumer.state().counters.panics, 2, "and the drop");
    journal.assert_exactly_once_in_order(1, 10);
}

fn a_broker_that_goes_away_and_comes_back_loses_and_repeats_nothing(on: On) {
    let stage = Stage::alone(on, 2);
    stage.produce(0, 500, 20);
    let journal = Journal::default();
    // The session outlasts the outage: Kafka takes a few seconds to start again.
    let builder = stage.lone_consumer("g").property("session.timeout.ms", "30000");
    let consumer = builder.async_handler(noting_slowly(&journal, "a")).start().unwrap();
    eventually("some is handled", || journal.len() > 100);
    stage.broker.take_down();
    eventually("what was fetched is handled, or the outage is noticed", || {
        journal.len() == 1000 || consumer.state().counters.failed_commits > 0
    });
    stage.broker.bring_up();
    stage.produce(500, 500, 20);
    eventually("all is handled", || journal.distinct() == 2000);
    eventually("all is committed", || consumer.state().partitions.iter().all(|p| p.committed == Some(1000)));
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(2, 1000);
}

fn a_stop_ends_by_its_deadline_when_a_handler_is_stuck(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 3, 20);
    let gate = Gate::default();
    let consumer = {
        let gate = gate.clone();
        let handler = move |record: &Record| {
            if record.partition().0 == 1 && record.offset().0 == 1 {
                gate.wait();
            }
        };
        stage.consumer("g").handler(handler).worker_threads(2).start().unwrap()
    };
    eventually("the handler is stuck, the rest done", || {
        let partitions = consumer.state().partitions;
        partitions.len() == 2
            && partitions[0].committed == Some(3)
            && partitions[1].in_flight == 1
            && partitions[1].committed == Some(1)
    });
    let begun = std::time::Instant::now();
    let stopped = consumer.shutdown_blocking(Duration::from_secs(2)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!stopped.drained);
    assert_eq!(stopped.unfinished.iter().map(|r| (r.partition, r.offset)).collect::<Vec<_>>(), [(1, 1)]);
    gate.open();
    assert_eq!(stage.committed("g"), [(0, 3), (1, 1)].into());
}

fn a_last_commit_that_is_refused_in_passing_is_sent_again(on: On) {
    use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS as REFUSED;
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let consumer = stage.finished_and_uncommitted("g", &journal, 100);
    assert!(stage.committed("g").is_empty(), "nothing is committed before the stop");
    stage.broker.embedded().fail_requests(kafka_troupe::broker::RDKafkaApiKey::OffsetCommit, &[REFUSED; 3]);
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(stage.committed("g"), [(0, 50), (1, 50)].into());
    assert_eq!(consumer.state().counters.failed_commits, 3);
}

fn a_commit_that_fails_while_running_is_not_counted_as_done(on: On) {
    use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE as FAILED;
    let stage = Stage::new(on, 1);
    stage.broker.embedded().fail_requests(kafka_troupe::broker::RDKafkaApiKey::OffsetCommit, &[FAILED; 2]);
    stage.produce(0, 50, 20);
    let consumer = stage.consumer("g").handler(|_: &Record| ()).start().unwrap();
    eventually("it failed, and was told so", || consumer.state().counters.failed_commits > 0);
    eventually("it is committed all the same", || consumer.state().partitions[0].committed == Some(50));
    assert_eq!(stage.committed("g"), [(0, 50)].into());
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_last_commit_of_a_member_that_the_group_has_moved_on_without_is_given_up_at_once(on: On) {
    use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION as SUPERSEDED;
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let consumer = stage.finished_and_uncommitted("g", &journal, 50);
    stage.broker.embedded().fail_requests(kafka_troupe::broker::RDKafkaApiKey::OffsetCommit, &[SUPERSEDED]);
    let stopped = consumer.shutdown_blocking(STOP).unwrap();
    assert!(!stopped.drained, "what was finished is not committed: {stopped:?}");
    assert_eq!(consumer.state().counters.drains_uncommitted, 1);
    assert!(stage.committed("g").is_empty());
}
