//! The app asks for records, and answers each when and where it likes.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::Stream;
use kafka_troupe::consume::{CommitWhen, ConsumerHandle, Order, Outcome, Pulled, Records};
use kafka_troupe::ids::TopicPartition;

use crate::fixture::{Journal, On, PATIENCE, Stage, eventually};

scenarios! {
    on both brokers:
        what_is_answered_is_committed_whatever_the_order_and_the_thread,
        a_commit_counts_every_answer_given_before_it,
        a_record_whose_completion_is_dropped_comes_again_and_is_not_committed_before,
        an_answer_may_ask_for_another_attempt,
        an_app_that_does_not_poll_for_long_stays_in_its_group,
        a_poll_without_records_ends_in_time_without_any_runtime_and_at_once_when_the_consumer_stops,
        a_stream_gives_one_record_after_the_other_and_ends_with_the_consumer,
        who_never_answers_gets_no_more_than_the_bound,
        in_partition_order_the_next_record_comes_when_the_one_before_is_done,
        in_key_order_only_the_key_waits,
        what_is_not_taken_is_not_waited_for_when_a_partition_goes,
        members_that_pull_hand_over_without_loss_or_repeats,
        an_answer_that_comes_after_the_end_changes_nothing,
        a_worker_that_dies_gives_what_was_not_answered_to_its_successor;
}

const STOP: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(50);

/// Polls until so many records have come.
fn pull(records: &Records, count: usize) -> Vec<Pulled> {
    let mut pulled = Vec::new();
    eventually("the records come", || {
        pulled.extend(records.poll_blocking(SOON));
        pulled.len() >= count
    });
    assert_eq!(pulled.len(), count);
    pulled
}

fn offsets(pulled: &[Pulled]) -> Vec<i64> {
    pulled.iter().map(|each| each.record.offset().0).collect()
}

fn committed(consumer: &ConsumerHandle) -> Option<i64> {
    consumer.state().partitions.first().and_then(|partition| partition.committed)
}

fn what_is_answered_is_committed_whatever_the_order_and_the_thread(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 1200, 20);
    let (consumer, records) = stage.lone_consumer("g").pull().unwrap();
    let mut pulled = pull(&records, 1200);
    assert_eq!(offsets(&pulled), (0..1200).collect::<Vec<_>>(), "in offset order");
    assert_eq!(consumer.state().partitions[0].in_flight, 1200);
    let rest = pulled.split_off(700);
    let first = pulled.remove(0);
    std::thread::scope(|scope| {
        scope.spawn(|| pulled.into_iter().rev().for_each(|each| each.completion.done()));
    });
    eventually("its answers are taken up", || consumer.state().partitions[0].in_flight == 501);
    assert_eq!(committed(&consumer), None, "the first is not answered");
    first.completion.done();
    eventually("what is answered is committed", || stage.committed("g") == [(0, 700)].into());
    rest.into_iter().for_each(|each| each.completion.done());
    eventually("all is committed", || stage.committed("g") == [(0, 1200)].into());
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    assert_eq!(consumer.state().invariants, Default::default());
}

fn a_commit_counts_every_answer_given_before_it(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 3000, 20);
    let (consumer, records) = stage.consumer("g").commit_when(CommitWhen::Manual).pull().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut answered = 0;
    while answered < 3000 {
        for each in records.poll_blocking(SOON) {
            each.completion.done();
            answered += 1;
        }
        runtime.block_on(consumer.commit()).unwrap();
        if answered > 0 {
            assert_eq!(stage.committed("g"), [(0, answered)].into(), "what was answered when the commit began");
        }
    }
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    assert_eq!(consumer.state().invariants, Default::default());
}

fn a_record_whose_completion_is_dropped_comes_again_and_is_not_committed_before(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 10, 20);
    let pause = Duration::from_millis(5);
    let (consumer, records) = stage.consumer("g").retry_pause(pause, pause).pull().unwrap();
    for each in pull(&records, 10) {
        match each.record.offset().0 {
            4 => drop(each),
            _ => each.completion.done(),
        }
    }
    let again = pull(&records, 1).remove(0);
    assert_eq!((again.record.offset().0, again.record.attempt()), (4, 2));
    eventually("what lies below is committed", || stage.committed("g") == [(0, 4)].into());
    assert!(consumer.state().partitions[0].last_error.as_ref().unwrap().contains("dropped without an answer"));
    again.completion.done();
    eventually("all is committed", || stage.committed("g") == [(0, 10)].into());
    consumer.shutdown_blocking(STOP).unwrap();
}

fn an_answer_may_ask_for_another_attempt(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 1, 20);
    let (consumer, records) = stage.consumer("g").pull().unwrap();
    let pulled = pull(&records, 1).remove(0);
    pulled.completion.answer(Outcome::Retry { after: Duration::from_millis(1), cause: "not now".into() });
    let pulled = pull(&records, 1).remove(0);
    assert_eq!(pulled.record.attempt(), 2);
    pulled.completion.answer(Ok::<_, String>(()));
    eventually("it is committed", || stage.committed("g") == [(0, 1)].into());
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_poll_without_records_ends_in_time_without_any_runtime_and_at_once_when_the_consumer_stops(on: On) {
    let stage = Stage::new(on, 1);
    let (consumer, mut records) = stage.consumer("g").pull().unwrap();
    // A runtime without timers.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for wait in [0, 30, 60, 10] {
        let (begun, wait) = (Instant::now(), Duration::from_millis(wait));
        assert!(runtime.block_on(records.poll(wait)).is_empty());
        assert!(begun.elapsed() >= wait && begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    }
    assert!(!records.is_over());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("it is a member", || consumer.state().partitions.len() == 1);
            consumer.shutdown_blocking(STOP).unwrap();
        });
        assert!(runtime.block_on(records.poll(Duration::MAX)).is_empty());
    });
    assert!(records.is_over());
    assert!(records.poll_blocking(Duration::MAX).is_empty());
}

fn an_app_that_does_not_poll_for_long_stays_in_its_group(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 20, 20);
    // librdkafka throws out who does not poll for so long. It cannot be less than the session.
    let (session, interval) = (("session.timeout.ms", "3000"), ("max.poll.interval.ms", "3000"));
    let builder = stage.consumer("g").properties([session, interval]);
    let (consumer, records) = builder.max_poll_records(10).pull().unwrap();
    let first = pull(&records, 10);
    let since = Instant::now();
    eventually("longer than that passes", || since.elapsed() > Duration::from_millis(4500));
    first.into_iter().for_each(|each| each.completion.done());
    pull(&records, 10).into_iter().for_each(|each| each.completion.done());
    eventually("all is committed", || stage.committed("g") == [(0, 20)].into());
    let counters = consumer.state().counters;
    assert_eq!((counters.lost, counters.revoked, counters.assigned), (0, 0, 1));
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_stream_gives_one_record_after_the_other_and_ends_with_the_consumer(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 30, 20);
    let (consumer, mut records) = stage.consumer("g").pull().unwrap();
    let mut seen = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    eventually("all has come", || {
        while let Poll::Ready(next) = Pin::new(&mut records).poll_next(&mut context) {
            let next = next.unwrap();
            seen.push(next.record.offset().0);
            next.completion.done();
        }
        seen.len() == 30
    });
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    consumer.shutdown_blocking(STOP).unwrap();
    assert!(matches!(Pin::new(&mut records).poll_next(&mut context), Poll::Ready(None)));
    assert_eq!(stage.committed("g"), [(0, 30)].into());
}

fn who_never_answers_gets_no_more_than_the_bound(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 1000, 20);
    let (consumer, records) = stage.lone_consumer("g").max_buffered_records(100).pull().unwrap();
    let mut pulled = pull(&records, 200);
    assert!(records.poll_blocking(SOON).is_empty());
    assert!(consumer.state().partitions.iter().all(|p| p.buffered_records == 100 && p.in_flight == 100));
    // Whatever is answered makes room, in however many portions the pumps see it.
    for answered in [1, 39, 160] {
        pulled.drain(..answered).for_each(|each| each.completion.done());
        pulled.extend(pull(&records, answered));
    }
    drop(records);
    consumer.wait_blocking().unwrap();
}

fn in_partition_order_the_next_record_comes_when_the_one_before_is_done(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 5, 20);
    let pause = Duration::from_millis(5);
    let builder = stage.lone_consumer("g").order(Order::Partition).retry_pause(pause, pause);
    let (consumer, records) = builder.pull().unwrap();
    for offset in 0..5 {
        for attempt in 1..=2 {
            let pulled = pull(&records, 2);
            assert_eq!(offsets(&pulled), [offset; 2], "one of each partition");
            for each in pulled {
                assert_eq!(each.record.attempt(), attempt);
                if attempt == 2 {
                    each.completion.done();
                }
            }
        }
    }
    eventually("all is committed", || stage.committed("g") == [(0, 5), (1, 5)].into());
    consumer.shutdown_blocking(STOP).unwrap();
}

fn in_key_order_only_the_key_waits(on: On) {
    let stage = Stage::new(on, 1);
    // Keys are the records' numbers: twice the same ten.
    stage.produce(0, 10, 1);
    stage.produce(0, 10, 1);
    let (consumer, records) = stage.lone_consumer("g").order(Order::Key).pull().unwrap();
    let mut pulled = pull(&records, 10);
    assert!(records.poll_blocking(SOON).is_empty());
    let seventh = pulled.remove(7);
    seventh.completion.done();
    let next = pull(&records, 1).remove(0);
    assert_eq!((next.record.offset().0, next.record.key()), (17, Some(&b"7"[..])));
    next.completion.done();
    pulled.into_iter().for_each(|each| each.completion.done());
    pull(&records, 9).into_iter().for_each(|each| each.completion.done());
    eventually("all is committed", || stage.committed("g") == [(0, 20)].into());
    consumer.shutdown_blocking(STOP).unwrap();
}

fn what_is_not_taken_is_not_waited_for_when_a_partition_goes(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 1000, 20);
    let (consumer, records) = stage.consumer("g").max_poll_records(10).pull().unwrap();
    let mut taken = 0;
    eventually("some come", || {
        let batch = records.poll_blocking(SOON);
        taken += batch.len();
        batch.done();
        taken >= 10
    });
    eventually("more is laid out", || consumer.state().partitions[0].buffered_records > 100);
    let begun = Instant::now();
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    assert!(begun.elapsed() < STOP / 2, "it took {:?}", begun.elapsed());
    assert_eq!(stage.committed("g"), [(0, taken as i64)].into());
}

fn members_that_pull_hand_over_without_loss_or_repeats(on: On) {
    let stage = Stage::new(on, 4);
    let count = 1500;
    stage.produce(0, count, 20);
    let journal = Journal::default();
    let start = || {
        let builder = match on {
            On::Embedded => stage.new_protocol_consumer("g"),
            On::Kafka => stage.steady_consumer("g"),
        };
        builder.max_poll_records(7).pull().unwrap()
    };
    let work = |records: Records| {
        while !records.is_over() {
            for each in records.poll_blocking(SOON) {
                journal.note("a", &each.record);
                std::thread::park_timeout(Duration::from_micros(300));
                each.completion.done();
            }
        }
        // What was begun has been answered, and the stop waits for no more.
        drop(records);
    };
    let (first, of_first) = start();
    std::thread::scope(|scope| {
        scope.spawn(|| work(of_first));
        eventually("the first works", || journal.len() > 300);
        let (second, of_second) = start();
        scope.spawn(|| work(of_second));
        eventually("they share", || second.state().partitions.len() == 2 && first.state().partitions.len() == 2);
        assert!(first.shutdown_blocking(STOP).unwrap().drained);
        eventually("all is handled", || journal.distinct() == 4 * count);
        eventually("all is committed", || stage.committed("g").values().sum::<i64>() == 4 * count as i64);
        second.shutdown_blocking(STOP).unwrap();
    });
    journal.assert_exactly_once_in_order(4, count as i64);
}

fn an_answer_that_comes_after_the_end_changes_nothing(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 10, 20);
    let (consumer, records) = stage.consumer("g").pull().unwrap();
    let pulled = pull(&records, 10);
    let stopped = consumer.shutdown_blocking(Duration::from_secs(2)).unwrap();
    assert_eq!((stopped.drained, stopped.unfinished.len()), (false, 10));
    pulled.into_iter().for_each(|each| each.completion.done());
    assert!(stage.committed("g").is_empty());
}

fn a_worker_that_dies_gives_what_was_not_answered_to_its_successor(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 20, 20);
    let (consumer, records) = stage.consumer("g").pull().unwrap();
    let mut pulled = pull(&records, 20);
    let kept = pulled.split_off(15);
    pulled.into_iter().for_each(|each| each.completion.done());
    eventually("it is committed", || stage.committed("g") == [(0, 15)].into());
    consumer.kill_worker(&TopicPartition::new(stage.topic.as_str(), 0));
    let again = pull(&records, 5);
    assert_eq!(offsets(&again), offsets(&kept));
    kept.into_iter().for_each(|each| each.completion.done());
    assert!(consumer.state().partitions[0].in_flight == 5, "the answers of the epoch before change nothing");
    again.into_iter().for_each(|each| each.completion.done());
    eventually("all is committed", || stage.committed("g") == [(0, 20)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(consumer.state().invariants, Default::default());
}
