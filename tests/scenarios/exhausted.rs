//! Records that fail as often as they may, and what an app decides about failures.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::consume::{
    Cause, ConsumerBuilder, ConsumerError, FailedRecord, FailureKind, OnExhausted, Order, Outcome, Record,
};
use kafka_troupe::ids::{Offset, TopicPartition};

use crate::fixture::{Journal, On, Stage, eventually};

scenarios! {
    on both brokers:
        a_record_that_fails_as_often_as_it_may_ends_the_engine_with_an_error_that_names_it,
        a_partition_that_a_record_has_stopped_is_shown_and_goes_on_when_it_is_resumed,
        the_app_decides_case_by_case_what_a_failure_means,
        a_policy_that_panics_is_as_if_there_were_none;
}

const STOP: Duration = Duration::from_secs(20);
const ORDERS: [Order; 3] = [Order::Partition, Order::Key, Order::Unordered];

/// A handler that fails at one record of partition 0, and notes the attempts at it and all other records.
fn failing(builder: ConsumerBuilder, at: i64, journal: &Journal, attempts: &Arc<Mutex<Vec<u32>>>) -> ConsumerBuilder {
    let (journal, attempts) = (journal.clone(), Arc::clone(attempts));
    let pause = Duration::from_millis(2);
    builder.retry_pause(pause, pause).handler(move |record: &Record| {
        if record.partition().0 == 0 && record.offset().0 == at {
            attempts.lock().unwrap().push(record.attempt());
            return Err("no good");
        }
        journal.note("a", record);
        Ok(())
    })
}

fn a_record_that_fails_as_often_as_it_may_ends_the_engine_with_an_error_that_names_it(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        stage.produce(0, 50, 20);
        let (journal, attempts) = (Journal::default(), Arc::default());
        let builder = failing(stage.consumer("g"), 20, &journal, &attempts).order(order);
        let consumer = builder.max_attempts(3).start().unwrap();
        let ended = consumer.wait_blocking().unwrap_err();
        let expected = ConsumerError::Exhausted {
            partition: TopicPartition::new(stage.topic.as_str(), 0),
            offset: Offset(20),
            attempts: 3,
            cause: "no good".to_owned(),
        };
        assert_eq!(ended, expected, "{order:?}");
        assert_eq!(*attempts.lock().unwrap(), [1, 2, 3]);
        assert_eq!(stage.committed("g")[&0], 20, "{order:?}: what lies below is committed, the record is not");
        // Whoever comes next has it again, and what was finished above it is not.
        let successor = failing(stage.consumer("g"), 1000, &journal, &attempts).order(order).start().unwrap();
        eventually("all is committed", || stage.committed("g") == [(0, 50), (1, 50)].into());
        successor.shutdown_blocking(STOP).unwrap();
        assert_eq!((journal.len(), journal.distinct()), (100, 100), "{order:?}: each once");
    }
}

fn a_partition_that_a_record_has_stopped_is_shown_and_goes_on_when_it_is_resumed(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        stage.produce(0, 50, 20);
        let (journal, attempts) = (Journal::default(), Arc::<Mutex<Vec<u32>>>::default());
        let mended = Arc::new(Mutex::new(false));
        let (notes, seen, good) = (journal.clone(), Arc::clone(&attempts), Arc::clone(&mended));
        let pause = Duration::from_millis(2);
        let builder = stage.consumer("g").retry_pause(pause, pause).max_attempts(2).order(order);
        let consumer = builder
            .on_exhausted(OnExhausted::StopPartition)
            .handler(move |record: &Record| {
                if record.partition().0 == 0 && record.offset().0 == 20 && !*good.lock().unwrap() {
                    seen.lock().unwrap().push(record.attempt());
                    return Err("no good");
                }
                notes.note("a", record);
                Ok(())
            })
            .start()
            .unwrap();
        let stopped = || {
            let partition = consumer.state().partitions.into_iter().find(|partition| partition.partition == 0);
            partition.and_then(|partition| partition.stopped_at).map(|at| (at.offset, at.attempts, at.cause))
        };
        eventually("the partition is stopped", || stopped() == Some((20, 2, "no good".to_owned())));
        eventually("the other is through", || journal.of(1).len() == 50);
        assert!(!consumer.state().stopping);
        let partition = || [TopicPartition::new(stage.topic.as_str(), 0)];
        consumer.resume(partition()).unwrap();
        eventually("it is tried again, and stopped again", || {
            attempts.lock().unwrap().len() == 4 && stopped().is_some()
        });
        assert_eq!(*attempts.lock().unwrap(), [1, 2, 1, 2]);
        *mended.lock().unwrap() = true;
        consumer.resume(partition()).unwrap();
        eventually("all is committed", || stage.committed("g") == [(0, 50), (1, 50)].into());
        assert_eq!(stopped(), None);
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!((journal.len(), journal.distinct()), (100, 100), "{order:?}: each once");
        assert_eq!(consumer.state().counters.exhausted, 2);
    }
}

fn the_app_decides_case_by_case_what_a_failure_means(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        stage.produce(0, 50, 20);
        let (journal, told) = (Journal::default(), Arc::<Mutex<Vec<_>>>::default());
        let (notes, tell) = (journal.clone(), Arc::clone(&told));
        let consumer = stage
            .consumer("g")
            .order(order)
            .on_failure(move |failed: &FailedRecord<'_>| {
                tell.lock().unwrap().push((failed.record.offset().0, failed.record.attempt(), failed.kind));
                match failed.cause.to_string().as_str() {
                    "bad record" => Some(Outcome::Done),
                    "busy" => Some(Outcome::Retry { after: Duration::from_millis(1), cause: failed.cause.clone() }),
                    "panicked: broken" => Some(Outcome::Stop { cause: Cause::new("it is broken") }),
                    _ => None,
                }
            })
            .handler(move |record: &Record| {
                match (record.offset().0, record.attempt()) {
                    (5, _) => return Err("bad record"),
                    (7, 1..=20) => return Err("busy"),
                    (40, _) => panic!("broken"),
                    _ => notes.note("a", record),
                }
                Ok(())
            })
            .start()
            .unwrap();
        let ended = consumer.wait_blocking().unwrap_err();
        assert!(matches!(&ended, ConsumerError::StoppedByHandler { offset: Offset(40), .. }), "{order:?}: {ended}");
        let mut expected: Vec<_> = (1..=20).map(|attempt| (7, attempt, FailureKind::Error)).collect();
        expected.push((5, 1, FailureKind::Error));
        expected.push((40, 1, FailureKind::Panic));
        let mut told = told.lock().unwrap().clone();
        told.sort_by_key(|(offset, attempt, _)| (*offset, *attempt));
        expected.sort_by_key(|(offset, attempt, _)| (*offset, *attempt));
        if order == Order::Partition {
            assert_eq!(told, expected);
            assert_eq!(stage.committed("g"), [(0, 40)].into());
        } else {
            // The panic may end it before the busy record is through.
            assert!(told.iter().all(|each| expected.contains(each)), "{told:?}");
        }
        assert_eq!(consumer.state().counters.passed_over, 1);
        assert!(!journal.of(0).contains(&5) && !journal.of(0).contains(&40));
    }
}

fn a_policy_that_panics_is_as_if_there_were_none(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let (journal, attempts) = (Journal::default(), Arc::default());
    let builder = failing(stage.consumer("g"), 20, &journal, &attempts).on_failure(|_| panic!("torn"));
    let ended = builder.max_attempts(2).start().unwrap().wait_blocking().unwrap_err();
    assert!(matches!(ended, ConsumerError::Exhausted { offset: Offset(20), attempts: 2, .. }), "{ended}");
    assert_eq!(*attempts.lock().unwrap(), [1, 2]);
}
