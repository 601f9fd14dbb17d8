//! What the app that has an engine in it may do with it: share its token, have several, stop it, read its state.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_troupe::consume::{Cause, CommitWhen, Consumer, ConsumerError, ConsumerHandle, DeadLetters, Outcome, Record};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Gate, Journal, On, Stage, eventually};
use crate::runtimes::{assert_all_committed, block_on, stage_with_two_hundred_records};

scenarios! {
    on both brokers:
        cancelling_the_shared_token_drains_commits_and_stops,
        a_token_that_is_cancelled_already_stops_the_consumer_at_once,
        a_consumer_that_a_handler_stops_cancels_the_shared_token_and_no_parent_of_it,
        engines_of_different_groups_in_one_process_each_get_everything,
        two_engines_of_one_group_in_one_process_share_the_partitions,
        dropping_the_last_handle_hands_the_partitions_to_another_member,
        a_stop_whose_last_commit_is_never_answered_does_not_say_that_it_drained,
        any_deadline_is_a_deadline,
        state_is_read_at_a_high_rate_during_load;
}

const STOP: Duration = Duration::from_secs(20);

fn cancelling_the_shared_token_drains_commits_and_stops(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 2000, 20);
    let (journal, token) = (Journal::default(), CancellationToken::new());
    let consumer = {
        let journal = journal.clone();
        let handler = move |record: Record| {
            let journal = journal.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                journal.note("a", &record);
            }
        };
        let builder = stage.consumer("g").async_handler(handler);
        builder.cancellation_token(token.clone()).start().unwrap()
    };
    eventually("it works", || journal.of(0).len() > 50 && journal.of(1).len() > 50);
    token.cancel();
    let stopped = block_on(consumer.wait()).unwrap();
    assert!(stopped.drained && consumer.state().stopping, "{stopped:?}");
    let handled = [(0, journal.of(0).len() as i64), (1, journal.of(1).len() as i64)];
    assert_eq!(stage.committed("g"), handled.into(), "exactly what was handled is committed");
    assert!(journal.len() < 4000, "it did not run to the end");
}

fn a_token_that_is_cancelled_already_stops_the_consumer_at_once(on: On) {
    let (stage, token) = (stage_with_two_hundred_records(on), CancellationToken::new());
    token.cancel();
    let builder = stage.consumer("g").handler(|_: &Record| ());
    let consumer = builder.cancellation_token(token).start().unwrap();
    assert!(block_on(consumer.wait()).unwrap().drained);
}

fn a_consumer_that_a_handler_stops_cancels_the_shared_token_and_no_parent_of_it(on: On) {
    let stage = stage_with_two_hundred_records(on);
    let everyone = CancellationToken::new();
    let shared = everyone.child_token();
    let handler = |record: &Record| match record.offset().0 {
        30 => Outcome::Stop { cause: Cause::new("enough") },
        _ => Outcome::Done,
    };
    let builder = stage.consumer("g").handler(handler);
    let consumer = builder.cancellation_token(shared.clone()).start().unwrap();
    block_on(shared.cancelled());
    let error = block_on(consumer.wait()).unwrap_err();
    assert!(matches!(error, ConsumerError::StoppedByHandler { .. }), "{error}");
    assert!(!everyone.is_cancelled());
}

fn engines_of_different_groups_in_one_process_each_get_everything(on: On) {
    let stage = stage_with_two_hundred_records(on);
    let started: Vec<_> = ["g", "h", "i"]
        .into_iter()
        .map(|group| {
            let journal = Journal::default();
            let notes = journal.clone();
            let builder = stage.consumer(group).worker_threads(1);
            let consumer = builder.handler(move |record: &Record| notes.note(group, record)).start();
            (consumer.unwrap(), journal)
        })
        .collect();
    for (consumer, journal) in started {
        eventually("all is handled", || journal.len() == 200);
        consumer.shutdown_blocking(STOP).unwrap();
        journal.assert_exactly_once_in_order(2, 100);
    }
    assert_all_committed(&stage);
}

/// A member of the group that notes what it handles.
fn noting(stage: &Stage, name: &'static str, journal: &Journal) -> ConsumerHandle {
    let journal = journal.clone();
    let builder = stage.steady_consumer("g").worker_threads(1);
    builder.handler(move |record: &Record| journal.note(name, record)).start().unwrap()
}

fn assigned(consumer: &ConsumerHandle) -> usize {
    consumer.state().partitions.len()
}

fn two_engines_of_one_group_in_one_process_share_the_partitions(on: On) {
    let (stage, journal) = (Stage::new(on, 4), Journal::default());
    let (a, b) = (noting(&stage, "a", &journal), noting(&stage, "b", &journal));
    eventually("both share the partitions", || assigned(&a) == 2 && assigned(&b) == 2);
    stage.produce(0, 100, 20);
    eventually("all is handled", || journal.len() >= 400);
    a.shutdown_blocking(STOP).unwrap();
    b.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(4, 100);
    let by_a = journal.entries().iter().filter(|entry| entry.member == "a").count();
    assert_eq!(by_a, 200);
}

fn dropping_the_last_handle_hands_the_partitions_to_another_member(on: On) {
    let (stage, journal) = (Stage::new(on, 4), Journal::default());
    let (a, b) = (noting(&stage, "a", &journal), noting(&stage, "b", &journal));
    eventually("both share the partitions", || assigned(&a) == 2 && assigned(&b) == 2);
    let token = a.cancellation_token();
    drop(a.clone());
    stage.produce(0, 10, 20);
    eventually("all is handled", || journal.len() >= 40);
    assert!(!token.is_cancelled() && assigned(&a) == 2, "one handle is left");
    drop(a);
    block_on(token.cancelled());
    eventually("b has them all", || assigned(&b) == 4);
    stage.produce(10, 10, 20);
    eventually("b handles them all", || journal.len() >= 80);
    b.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(4, 20);
}

#[test]
fn a_configuration_that_cannot_work_is_an_error_that_says_what_to_do() {
    let complete =
        || Consumer::builder().bootstrap_servers("127.0.0.1:1").group_id("g").topics(["t"]).handler(|_: &Record| ());
    let without = || Consumer::builder().handler(|_: &Record| ());
    let none: [&str; 0] = [];
    let cases = [
        (without().group_id("g").topics(["t"]), "bootstrap.servers is missing"),
        (complete().bootstrap_servers(""), "bootstrap.servers is missing"),
        (without().bootstrap_servers("b:1").topics(["t"]), "group.id is missing"),
        (complete().topics(none), "a topic is missing"),
        (complete().topics([""]), "a topic's name is empty"),
        (Consumer::builder().bootstrap_servers("b:1").group_id("g").topics(["t"]), "a handler is missing"),
        (complete().property("enable.auto.commit", "true"), "leave it out"),
        (complete().properties([("client.id", "me"), ("enable.partition.eof", "false")]), "leave it out"),
        (complete().property("auto.offset.reset", "sometimes"), "use earliest, latest or none"),
        (complete().property("no.such.property", "hunter2"), "no.such.property"),
        (complete().property("session.timeout.ms", "soon"), "session.timeout.ms"),
        (complete().property("session.timeout.ms", "0"), "session.timeout.ms"),
        (complete().max_buffered_records(0), "max_buffered_records"),
        (complete().max_buffered_bytes(0), "max_buffered_bytes"),
        (complete().worker_threads(0), "worker_threads must be above 0"),
        (complete().listener_deadline(Duration::ZERO), "listener_deadline must be above 0"),
        (complete().commit_when(CommitWhen::Interval(Duration::ZERO)), "the commit interval must be above 0"),
        (complete().dead_letters(DeadLetters::to("t")), "the topic t is read"),
        (complete().dead_letters(DeadLetters::to("")), "the dead-letter topic has no name"),
        (complete().dead_letters(DeadLetters::to("d").max_ratio(1.5, 10)), "from 0 to 1"),
        (complete().dead_letters(DeadLetters::to("d").max_in_a_row(0)), "must be above 0"),
        (complete().dead_letters(DeadLetters::to("d").property("linger.ms", "5")), "use `linger`"),
        (complete().dead_letters(DeadLetters::to("d").property("no.such.property", "hunter2")), "no.such.property"),
    ];
    for (builder, says) in cases {
        match builder.start() {
            Err(ConsumerError::Configuration { reason }) => {
                assert!(reason.contains(says), "{reason:?} does not say {says:?}");
                assert!(!reason.contains("hunter2"), "a value may be a secret: {reason:?}");
            }
            other => panic!("{says}: {other:?}"),
        }
    }
}

#[test]
fn a_broker_that_cannot_be_reached_neither_fails_the_start_nor_holds_up_the_stop() {
    // Port 1 of loopback refuses; 192.0.2.1 is reserved for documentation and answers nothing, if it can be routed to at all.
    for servers in ["127.0.0.1:1", "192.0.2.1:9092", "no-such-host.invalid:9092"] {
        let begun = Instant::now();
        let builder = Consumer::builder().bootstrap_servers(servers).group_id("g").topics(["t"]);
        let consumer = builder.handler(|_: &Record| ()).start().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "{servers}: {:?} to start", begun.elapsed());
        eventually("the poller runs", || consumer.state().counters.wakes > 0);
        let begun = Instant::now();
        let stopped = consumer.shutdown_blocking(Duration::from_secs(2));
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(2500), "{servers}: {took:?} to stop: {stopped:?}");
        assert!(stopped.is_ok_and(|stopped| stopped.drained), "{servers}");
    }
}

fn a_stop_whose_last_commit_is_never_answered_does_not_say_that_it_drained(on: On) {
    let (stage, gate) = (Stage::alone(on, 1), Gate::default());
    stage.produce(0, 5, 20);
    let held = gate.clone();
    let builder = stage.consumer("g").handler(move |_: &Record| held.wait());
    let consumer = builder.start().unwrap();
    eventually("a handler holds a record", || consumer.state().partitions.iter().any(|p| p.in_flight == 1));
    stage.broker.take_down();
    gate.open();
    let stopped = consumer.shutdown_blocking(Duration::from_secs(3));
    stage.broker.bring_up();
    assert_eq!(stage.committed("g"), [].into());
    match stopped {
        Ok(stopped) => assert!(!stopped.drained, "{stopped:?}"),
        // librdkafka's close waits for the commit as well, for as long as a session lasts.
        Err(error) => assert!(matches!(error, ConsumerError::StopDeadline { .. }), "{error}"),
    }
}

fn any_deadline_is_a_deadline(on: On) {
    for deadline in [Duration::ZERO, Duration::MAX] {
        let (stage, gate) = (Stage::new(on, 1), Gate::default());
        stage.produce(0, 3, 20);
        let held = gate.clone();
        let consumer = stage
            .consumer("g")
            .handler(move |_: &Record| held.wait())
            .drain_deadline(Duration::MAX)
            .commit_deadline(Duration::MAX)
            .stop_deadline(Duration::MAX)
            .retry_pause(Duration::MAX, Duration::MAX)
            .start()
            .unwrap();
        eventually("a handler holds a record", || consumer.state().partitions.iter().any(|p| p.in_flight == 1));
        let stopped = block_on(async {
            let shutdown = consumer.shutdown(deadline);
            if deadline == Duration::MAX {
                gate.open();
            }
            shutdown.await
        });
        gate.open();
        match stopped {
            Ok(stopped) => assert_eq!(stopped.drained, deadline == Duration::MAX, "{stopped:?}"),
            Err(error) => assert!(
                deadline.is_zero() && matches!(error, ConsumerError::StopDeadline { .. }),
                "{deadline:?}: {error}"
            ),
        }
    }
}

fn state_is_read_at_a_high_rate_during_load(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce(0, 5000, 100);
    let journal = Journal::default();
    let consumer = {
        let journal = journal.clone();
        let builder = stage.lone_consumer("g").commit_when(CommitWhen::Interval(Duration::from_millis(5)));
        builder.handler(move |record: &Record| journal.note("a", record)).start().unwrap()
    };
    struct Raise<'a>(&'a AtomicBool);
    impl Drop for Raise<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut watermarks = [0; 4];
                while !over.load(Ordering::SeqCst) {
                    let state = consumer.state();
                    for partition in &state.partitions {
                        let before = &mut watermarks[partition.partition as usize];
                        assert!(partition.watermark >= *before, "a watermark went back: {partition:?}");
                        assert!(partition.committed.unwrap_or(0) <= partition.watermark, "{partition:?}");
                        *before = partition.watermark;
                    }
                    let text = serde_json::to_string(&state).unwrap();
                    assert!(text.contains(r#""counters""#), "{text}");
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Also when a wait fails: the scope waits for its threads.
        let _over = Raise(&over);
        eventually("all is handled", || journal.len() == 20_000);
        eventually("it was read often", || reads.load(Ordering::SeqCst) > 1000);
    });
    consumer.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(4, 5000);
    assert_eq!(consumer.state().invariants, Default::default());
}
