use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::consume::handler::{Failure, FailureKind};
use crate::consume::{Json, Layer, Timeout, typed};

const SECOND: Duration = Duration::from_secs(1);

fn failed(kind: FailureKind, cause: &'static str) -> Result<Outcome, Failure> {
    Err(Failure::new(kind, cause))
}

fn outcomes(tested: &Tested) -> Vec<Result<Outcome, Failure>> {
    tested.attempts.iter().map(|attempt| attempt.outcome.clone()).collect()
}

#[test]
fn a_record_comes_with_all_that_it_was_given_and_offsets_go_on() {
    let handler = |record: &Record| -> Result<(), String> {
        Err(format!(
            "{}@{} {:?} {:?} {:?} {:?} {}",
            record.topic_partition(),
            record.offset(),
            record.key(),
            record.value(),
            record.header("h"),
            record.timestamp(),
            record.attempt()
        ))
    };
    let partition = TopicPartition::new("orders", 3);
    let mut test = HandlerTest::handler(handler).at(partition, Offset(41)).max_attempts(1);
    let record = TestRecord::value("v").key("k").header("h", Some(b"x")).timestamp(5);
    let end = |cause: &'static str| TestedEnd::Exhausted { cause: cause.into() };
    assert_eq!(test.feed(record).end, end("orders-3@41 Some([107]) Some([118]) Some([120]) Some(5) 1"));
    assert_eq!(test.feed(TestRecord::tombstone()).end, end("orders-3@42 None None None None 1"));
}

#[test]
fn attempts_and_their_pauses_take_the_clocks_time_and_no_other() {
    let begun = std::time::Instant::now();
    let mut test = HandlerTest::async_handler(|record: Record| async move {
        sleep(SECOND * 3600).await;
        if record.attempt() < 3 { Err("not yet") } else { Ok(()) }
    });
    test = test.retry_pause(SECOND * 10, SECOND * 60);
    let tested = test.feed(TestRecord::value("v"));
    let not_yet = failed(FailureKind::Error, "not yet");
    assert_eq!(outcomes(&tested), [not_yet.clone(), not_yet, Ok(Outcome::Done)]);
    assert_eq!((tested.end, tested.attempts[0].took), (TestedEnd::Done, SECOND * 3600));
    assert_eq!(tested.took, SECOND * (3 * 3600 + 10 + 20));
    assert!(begun.elapsed() < SECOND * 30);
}

#[test]
fn layers_and_typed_input_are_part_of_it() {
    let handler = typed(|Json(seconds): Json<u32>, _: Record| sleep(SECOND * seconds));
    let mut test = HandlerTest::async_handler(Timeout::new(SECOND * 5).layer(handler)).max_attempts(2);
    assert_eq!(test.feed(TestRecord::value("4")).end, TestedEnd::Done);
    let slow = test.feed(TestRecord::value("6"));
    let late = failed(FailureKind::Timeout, "took longer than 5s");
    assert_eq!(outcomes(&slow), [late.clone(), late]);
    assert_eq!(slow.end, TestedEnd::Exhausted { cause: "took longer than 5s".into() });
    let undecodable = test.feed(TestRecord::value("six"));
    assert_eq!(undecodable.attempts.len(), 1);
    assert!(matches!(undecodable.end, TestedEnd::Exhausted { .. }));
}

#[test]
fn a_handler_is_told_that_its_partition_goes_and_dropped_at_the_deadline() {
    let mut test = HandlerTest::async_handler(|record: Record| async move {
        record.revoking().cancelled().await;
        sleep(SECOND * if record.value() == Some(b"slow") { 4 } else { 2 }).await;
    });
    test.revoke_after(SECOND * 60);
    let tested = test.feed(TestRecord::value("fast"));
    assert_eq!((tested.end, tested.took), (TestedEnd::Done, SECOND * 62));
    let next = test.feed(TestRecord::value("next"));
    assert_eq!((next.attempts, next.end), (vec![], TestedEnd::Left));

    let mut test = test.at(TopicPartition::new("test", 1), Offset(0));
    test.revoke_after(SECOND);
    let tested = test.feed(TestRecord::value("slow"));
    assert_eq!((tested.attempts, tested.end, tested.took), (vec![], TestedEnd::Left, SECOND * 4));
}

#[test]
fn a_pause_ends_when_the_partition_goes() {
    let mut test = HandlerTest::handler(|_: &Record| Err::<(), _>("no")).retry_pause(SECOND * 10, SECOND * 10);
    test.revoke_after(SECOND);
    let tested = test.feed(TestRecord::tombstone());
    assert_eq!((tested.attempts.len(), tested.end, tested.took), (1, TestedEnd::Left, SECOND));
}

#[test]
fn a_handler_with_state_keeps_it_and_is_built_anew_after_a_panic() {
    struct Counts(u32);
    impl Handler for Counts {
        type Answer = Outcome;

        async fn handle(&mut self, record: &Record) -> Outcome {
            self.0 += 1;
            assert!(record.value() != Some(b"bad") || record.attempt() > 1, "bad");
            Outcome::Stop { cause: self.0.to_string().into() }
        }
    }
    let mut test = HandlerTest::partition_handler(|_: &PartitionContext| Counts(0));
    let mut count = |value: &str| match test.feed(TestRecord::value(value)).end {
        TestedEnd::Stopped { cause } => cause.to_string(),
        end => format!("{end:?}"),
    };
    assert_eq!([count("a"), count("b"), count("bad"), count("c")], ["1", "2", "1", "2"]);
}

#[test]
fn a_record_that_is_given_up_has_one_attempt_and_a_cause() {
    let hopeless = || Outcome::DeadLetter { cause: "hopeless".into() };
    let tested = HandlerTest::handler(move |_: &Record| hopeless()).feed(TestRecord::tombstone());
    assert_eq!(outcomes(&tested), [Ok(hopeless())]);
    assert_eq!(tested.end, TestedEnd::DeadLettered { cause: "hopeless".into() });
}

#[test]
fn another_partition_has_a_handler_of_its_own() {
    struct Built(String);
    impl Handler for Built {
        type Answer = Outcome;

        async fn handle(&mut self, _: &Record) -> Outcome {
            Outcome::Stop { cause: self.0.clone().into() }
        }
    }
    let factory = |context: &PartitionContext| Built(format!("{}", context.topic_partition()));
    let stopped = |cause: &'static str| TestedEnd::Stopped { cause: cause.into() };
    let mut test = HandlerTest::partition_handler(factory);
    assert_eq!(test.feed(TestRecord::tombstone()).end, stopped("test-0"));
    let mut test = test.at(TopicPartition::new("other", 1), Offset(0));
    assert_eq!(test.feed(TestRecord::tombstone()).end, stopped("other-1"));
}

#[test]
fn attempts_that_the_handler_asks_for_do_not_exhaust_the_record() {
    let handler = |record: &Record| match record.attempt() {
        1..=20 => Ok(Outcome::Retry { after: SECOND, cause: "later".into() }),
        21 => Err("no"),
        _ => Ok(Outcome::Done),
    };
    let mut test = HandlerTest::handler(handler).max_attempts(2).retry_pause(SECOND, SECOND * 9);
    let tested = test.feed(TestRecord::tombstone());
    assert_eq!((tested.attempts.len(), tested.end, tested.took), (22, TestedEnd::Done, SECOND * 21));
}

#[test]
fn what_the_app_decides_about_a_failure_counts() {
    let handler = |_: &Record| Err::<(), _>("no");
    let pass_over = |failed: &FailedRecord<'_>| (failed.record.attempt() == 2).then_some(Outcome::Done);
    let tested = HandlerTest::handler(handler).on_failure(pass_over).feed(TestRecord::tombstone());
    assert_eq!((tested.attempts.len(), tested.end), (2, TestedEnd::PassedOver));
}

/// Of each call, its records' offsets and attempts.
type Given = Rc<RefCell<Vec<Vec<(i64, u32)>>>>;

fn batches<R: IntoOutcomes + 'static>(answer: impl Fn(&[Record]) -> R + 'static) -> (HandlerTest, Given) {
    let given = Given::default();
    let test = HandlerTest::batch_handler({
        let given = Rc::clone(&given);
        move |records: &[Record]| {
            let call = records.iter().map(|record| (record.offset().0, record.attempt())).collect();
            given.borrow_mut().push(call);
            answer(records)
        }
    });
    (test.retry_pause(SECOND, SECOND), given)
}

fn three() -> [TestRecord; 3] {
    ["a", "b", "c"].map(TestRecord::value)
}

fn ends(tested: &[Tested]) -> Vec<TestedEnd> {
    tested.iter().map(|tested| tested.end.clone()).collect()
}

#[test]
fn a_batch_handler_gets_what_is_fed_in_one_call() {
    let (mut test, given) = batches(|_| ());
    assert_eq!(ends(&test.feed_batch(three())), vec![TestedEnd::Done; 3]);
    assert_eq!(test.feed(TestRecord::tombstone()).end, TestedEnd::Done);
    assert_eq!(*given.borrow(), [vec![(0, 1), (1, 1), (2, 1)], vec![(3, 1)]]);
    assert_eq!(test.feed_batch([]), []);
}

#[test]
fn the_first_of_a_batch_that_is_not_done_holds_back_those_behind_it() {
    let (mut test, given) = batches(|records| {
        let fails = |record: &Record| record.value() == Some(b"b") && record.attempt() == 1;
        let answer = |record| if fails(record) { Err("not yet") } else { Ok(()) };
        records.iter().map(answer).collect::<Vec<_>>()
    });
    let tested = test.feed_batch(three());
    assert_eq!(*given.borrow(), [vec![(0, 1), (1, 1), (2, 1)], vec![(1, 2), (2, 1)]]);
    assert_eq!(ends(&tested), vec![TestedEnd::Done; 3]);
    let attempts = |tested: &Tested| tested.attempts.len();
    assert_eq!(tested.iter().map(attempts).collect::<Vec<_>>(), [1, 2, 1], "the third was held back, not tried");
    assert_eq!(tested.iter().map(|tested| tested.took).collect::<Vec<_>>(), [Duration::ZERO, SECOND, SECOND]);
}

#[test]
fn a_call_that_fails_as_a_whole_is_followed_by_one_for_each_record_alone_and_exhausts_none() {
    let (test, given) = batches(|records| {
        if records.iter().any(|record| record.value() == Some(b"b")) {
            Err(Failure::new(FailureKind::Undecodable, "b"))?;
        }
        Ok::<_, Failure>(())
    });
    let tested = test.max_attempts(1).feed_batch(three());
    assert_eq!(*given.borrow(), [vec![(0, 1), (1, 1), (2, 1)], vec![(0, 2)], vec![(1, 1)], vec![(2, 1)]]);
    assert_eq!(ends(&tested), [TestedEnd::Done, TestedEnd::Exhausted { cause: "b".into() }, TestedEnd::Done]);
    let shared = failed(FailureKind::Undecodable, "b");
    assert_eq!(outcomes(&tested[0]), [shared.clone(), Ok(Outcome::Done)], "the failure keeps its kind");
}

#[test]
fn a_batch_that_panics_and_one_with_too_few_answers_fail_as_a_whole() {
    let (mut test, given) = batches(|records| {
        assert!(records.len() == 1, "several");
        vec![(); records.len()]
    });
    let tested = test.feed_batch(three());
    assert_eq!(outcomes(&tested[0])[0], failed(FailureKind::Panic, "panicked: several"));
    assert_eq!((ends(&tested), given.borrow().len()), (vec![TestedEnd::Done; 3], 4));

    let (mut test, _) = batches(|_| vec![()]);
    let tested = test.feed_batch(three());
    assert_eq!(outcomes(&tested[0])[0], failed(FailureKind::Error, "1 outcomes for a batch of 3 records"));
    assert_eq!(ends(&tested), vec![TestedEnd::Done; 3]);
}

#[test]
fn what_lies_behind_a_stop_in_its_batch_is_left() {
    let (mut test, given) = batches(|records| {
        let stop = |record: &Record| record.value() == Some(b"b");
        let answer = |record| if stop(record) { Outcome::Stop { cause: "full".into() } } else { Outcome::Done };
        records.iter().map(answer).collect::<Vec<_>>()
    });
    let tested = test.feed_batch(three());
    assert_eq!(ends(&tested), [TestedEnd::Done, TestedEnd::Stopped { cause: "full".into() }, TestedEnd::Left]);
    assert_eq!((tested[2].attempts.len(), given.borrow().len()), (0, 1));
}

#[test]
fn an_asynchronous_batch_is_dropped_when_its_partition_goes() {
    let mut test = HandlerTest::async_batch_handler(|records: Arc<[Record]>| async move {
        records[0].revoking().cancelled().await;
        sleep(SECOND * 60).await;
    });
    test.revoke_after(SECOND);
    let tested = test.feed_batch(three());
    assert_eq!(ends(&tested), vec![TestedEnd::Left; 3]);
    assert_eq!((tested[2].attempts.len(), tested[2].took), (0, SECOND * 4));
}

#[test]
fn other_handlers_get_a_batch_one_after_the_other() {
    let handler = |record: &Record| {
        let is_bad = record.value() == Some(b"b");
        if is_bad { Err(Failure::new(FailureKind::Undecodable, "b")) } else { Ok(()) }
    };
    let tested = HandlerTest::handler(handler).feed_batch(three());
    assert_eq!(ends(&tested), [TestedEnd::Done, TestedEnd::Exhausted { cause: "b".into() }, TestedEnd::Done]);
}
