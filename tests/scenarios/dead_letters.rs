//! Records that nobody can process, and the topic that takes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka_troupe::consume::{
    BatchBounds, ConsumerBuilder, ConsumerError, Failure, FailureKind, Order, Outcome, Record,
};
use kafka_troupe::ids::Offset;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::fixture::{Journal, On, PATIENCE, Stage, eventually, since_1970};
use crate::letters::{counts, found, letters_to};
use crate::process;

scenarios! {
    on both brokers:
        what_cannot_be_processed_is_stored_among_the_dead_letters_with_its_story_and_what_is_behind_it_goes_on,
        records_of_batches_and_records_that_are_pulled_are_given_up_one_by_one,
        a_dead_letter_topic_that_is_missing_ends_the_consumer_with_the_command_that_creates_it,
        a_pattern_that_matches_the_dead_letter_topic_ends_the_consumer_before_its_first_record,
        without_a_topic_for_them_a_record_that_is_given_up_stops_the_engine_with_the_setting_that_is_missing,
        a_deploy_that_fails_at_everything_stops_at_the_limit_and_its_successor_finds_the_rest,
        a_share_of_dead_letters_above_the_limit_stops_the_engine,
        a_member_that_is_killed_among_dead_letters_repeats_those_alone_that_were_not_committed;
}

const STOP: Duration = Duration::from_secs(20);
const ORDERS: [Order; 3] = [Order::Partition, Order::Key, Order::Unordered];

fn hopeless() -> Outcome {
    Outcome::DeadLetter { cause: "hopeless".into() }
}

/// Each tenth record is given up, in one way or another, and the others are noted.
fn handle(record: &Record, journal: &Journal) -> Result<Outcome, Failure> {
    match record.offset().0 % 30 {
        0 => Ok(hopeless()),
        10 => Err("no good".into()),
        20 => Err(Failure::new(FailureKind::Undecodable, "no order")),
        _ => {
            journal.note("a", record);
            Ok(Outcome::Done)
        }
    }
}

/// Each tenth of so many records, of two partitions, once.
fn each_tenth(count: i64) -> BTreeMap<(i32, i64), usize> {
    (0..2).flat_map(|partition| (0..count).step_by(10).map(move |offset| ((partition, offset), 1))).collect()
}

fn committed(stage: &Stage, count: i64) -> bool {
    stage.committed("g") == [(0, count), (1, count)].into()
}

fn quick(stage: &Stage, order: Order) -> ConsumerBuilder {
    let pause = Duration::from_millis(2);
    stage.consumer("g").order(order).retry_pause(pause, pause).max_attempts(2)
}

fn what_cannot_be_processed_is_stored_among_the_dead_letters_with_its_story_and_what_is_behind_it_goes_on(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        let letters = stage.another_topic(2);
        // Before now, and not so long that retention takes them.
        let begun = since_1970() - 60_000;
        let producer: BaseProducer = stage.client().create().unwrap();
        for number in 0..90 {
            let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some("t1") });
            let headers = headers.insert(Header { key: "none", value: None::<&str> });
            let key = format!("k{}", number % 7);
            let value = format!("v{number}");
            for partition in 0..2 {
                let record = BaseRecord::to(&stage.topic).partition(partition).timestamp(begun + number);
                let record = record.key(&key).payload(&value).headers(headers.clone());
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
        let journal = Journal::default();
        let notes = journal.clone();
        let consumer = quick(&stage, order)
            .dead_letters(letters_to(&letters))
            .handler(move |record: &Record| handle(record, &notes))
            .start()
            .unwrap();
        eventually("all is committed", || committed(&stage, 90));
        let state = consumer.state();
        let dead = state.dead_letters.unwrap();
        assert_eq!((dead.written, dead.on_the_way, dead.failures, dead.trouble), (18, 0, 0, None));
        assert_eq!((state.counters.exhausted, state.counters.passed_over), (12, 0));
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!((journal.len(), journal.distinct()), (162, 162), "{order:?}: the others, once each");
        let found = found(&letters);
        assert_eq!(counts(&found), each_tenth(90), "{order:?}");
        for letter in &found {
            let (_, offset) = letter.source();
            let (key, value) = (format!("k{}", offset % 7), format!("v{offset}"));
            assert_eq!((letter.key.as_deref(), letter.value.as_deref()), (Some(&*key), Some(&*value)));
            let own = [("trace".to_owned(), Some("t1".to_owned())), ("none".to_owned(), None)];
            assert_eq!(letter.headers[..2], own);
            let (attempts, message) = match offset % 30 {
                0 => ("1", "hopeless"),
                10 => ("2", "no good"),
                _ => ("1", "no order"),
            };
            assert_eq!((letter.header("attempts"), letter.header("message")), (Some(attempts), Some(message)));
            assert_eq!(letter.header("topic"), Some(&*stage.topic));
            assert_eq!(letter.header("timestamp"), Some(&*(begun + offset).to_string()));
            assert_eq!(letter.header("group"), Some(&*stage.group("g")));
        }
    }
}

fn records_of_batches_and_records_that_are_pulled_are_given_up_one_by_one(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        let letters = stage.another_topic(1);
        stage.produce(0, 90, 20);
        let journal = Journal::default();
        let notes = journal.clone();
        let bounds = BatchBounds::default().records(20);
        // What is held back behind a record that is not done is given again: only what counts is noted.
        let consumer = quick(&stage, order)
            .dead_letters(letters_to(&letters))
            .batch_handler(bounds, move |records: &[Record]| {
                let mut held_back = false;
                let answers = records.iter().map(|record| {
                    let silent = Journal::default();
                    let answer = handle(record, if held_back { &silent } else { &notes });
                    held_back |= order == Order::Partition && answer != Ok(Outcome::Done);
                    answer
                });
                answers.collect::<Vec<_>>()
            })
            .start()
            .unwrap();
        eventually("all is committed", || committed(&stage, 90));
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!((journal.len(), journal.distinct()), (162, 162), "{order:?}: the others, once each");
        assert_eq!(counts(&found(&letters)), each_tenth(90), "{order:?}, batches");

        let letters = stage.another_topic(1);
        stage.produce(90, 90, 20);
        let (consumer, records) = quick(&stage, order).dead_letters(letters_to(&letters)).pull().unwrap();
        let journal = Journal::default();
        eventually("all is committed", || {
            for pulled in records.poll_blocking(Duration::from_millis(20)) {
                pulled.completion.answer(handle(&pulled.record, &journal));
            }
            committed(&stage, 180)
        });
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!((journal.len(), journal.distinct()), (162, 162), "{order:?}: the others, once each");
        let later: BTreeMap<_, _> = each_tenth(180).into_iter().filter(|((_, offset), _)| *offset >= 90).collect();
        assert_eq!(counts(&found(&letters)), later, "{order:?}, pulled");
    }
}

fn a_dead_letter_topic_that_is_missing_ends_the_consumer_with_the_command_that_creates_it(on: On) {
    let stage = Stage::new(on, 3);
    stage.produce(0, 10, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let missing = format!("{}-dead-letters", stage.topic);
    let consumer = stage
        .consumer("g")
        .dead_letters(kafka_troupe::consume::DeadLetters::to(&missing))
        .handler(move |record: &Record| notes.note("a", record))
        .start()
        .unwrap();
    let ended = consumer.wait_blocking().unwrap_err();
    let servers = stage.broker.bootstrap_servers();
    let command = format!("kafka-topics.sh --bootstrap-server {servers} --create --topic {missing} --partitions 3");
    assert_eq!(ended, ConsumerError::NoSuchDeadLetterTopic { topic: missing.clone(), command: command.clone() });
    assert!(ended.to_string().ends_with(&command), "{ended}");
    assert_eq!((journal.len(), stage.committed("g")), (0, BTreeMap::new()));
    // It was looked for, and not created by that.
    let again = stage.consumer("g").dead_letters(kafka_troupe::consume::DeadLetters::to(&missing));
    let ended = again.handler(|_: &Record| ()).start().unwrap().wait_blocking().unwrap_err();
    assert!(matches!(ended, ConsumerError::NoSuchDeadLetterTopic { .. }), "{ended}");
}

fn a_pattern_that_matches_the_dead_letter_topic_ends_the_consumer_before_its_first_record(on: On) {
    let stage = Stage::new(on, 1);
    let letters = stage.another_topic(1);
    stage.produce(0, 10, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let both = format!("^({}|{})$", stage.topic, letters.topic);
    let consumer = stage
        .consumer("g")
        .topics([both])
        .dead_letters(letters_to(&letters))
        .handler(move |record: &Record| notes.note("a", record))
        .start()
        .unwrap();
    let ended = consumer.wait_blocking().unwrap_err();
    assert!(ended.to_string().contains(&format!("the topic {} is read", letters.topic)), "{ended}");
    assert_eq!(journal.len(), 0);
}

fn without_a_topic_for_them_a_record_that_is_given_up_stops_the_engine_with_the_setting_that_is_missing(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        stage.produce(0, 50, 20);
        let handler = |record: &Record| if record.offset() == Offset(20) { hopeless() } else { Outcome::Done };
        let ended = quick(&stage, order).handler(handler).start().unwrap().wait_blocking().unwrap_err();
        assert!(matches!(ended, ConsumerError::NoDeadLetterTopic { offset: Offset(20), .. }), "{order:?}: {ended}");
        assert!(ended.to_string().contains("dead_letter_topic"), "{ended}");
        assert_eq!(stage.committed("g")[&0], 20, "{order:?}");
    }
}

fn a_deploy_that_fails_at_everything_stops_at_the_limit_and_its_successor_finds_the_rest(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        let letters = stage.another_topic(1);
        stage.produce(0, 50, 20);
        let broken = Arc::new(AtomicBool::new(true));
        let journal = Journal::default();
        let member = || {
            let (broken, notes) = (Arc::clone(&broken), journal.clone());
            let to = letters_to(&letters).max_in_a_row(5);
            let handler = move |record: &Record| {
                if broken.load(Ordering::Relaxed) && record.offset().0 >= 10 {
                    return hopeless();
                }
                notes.note("a", record);
                Outcome::Done
            };
            quick(&stage, order).dead_letters(to).handler(handler).start().unwrap()
        };
        let ended = member().wait_blocking().unwrap_err();
        assert!(matches!(ended, ConsumerError::DeadLetterLimit { offset: Offset(15), .. }), "{order:?}: {ended}");
        assert!(ended.to_string().contains("5 in a row (max_in_a_row)"), "{ended}");
        assert_eq!(stage.committed("g"), [(0, 15)].into(), "{order:?}");
        broken.store(false, Ordering::Relaxed);
        let successor = member();
        eventually("all is committed", || stage.committed("g") == [(0, 50)].into());
        assert!(successor.shutdown_blocking(STOP).unwrap().drained);
        let expected: BTreeMap<_, _> = (10..15).map(|offset| ((0, offset), 1)).collect();
        assert_eq!(counts(&found(&letters)), expected, "{order:?}");
        assert_eq!((journal.len(), journal.distinct()), (45, 45), "{order:?}: what is no dead letter, once each");
    }
}

fn a_share_of_dead_letters_above_the_limit_stops_the_engine(on: On) {
    let stage = Stage::new(on, 1);
    let letters = stage.another_topic(1);
    stage.produce(0, 200, 20);
    // Of the first hundred each tenth fails, and each third of the rest.
    let fails = |offset: i64| if offset < 100 { offset % 10 == 0 } else { offset % 3 == 0 };
    let handler = move |record: &Record| if fails(record.offset().0) { hopeless() } else { Outcome::Done };
    let to = letters_to(&letters).max_ratio(0.2, 30);
    let ended = stage.consumer("g").dead_letters(to).handler(handler).start().unwrap().wait_blocking().unwrap_err();
    let ConsumerError::DeadLetterLimit { offset, .. } = &ended else { panic!("{ended}") };
    assert!(ended.to_string().contains("6 among the last 30 records (max_ratio)"), "{ended}");
    // 90, and then 102, 105, ...
    assert_eq!(*offset, Offset(117));
    assert_eq!(stage.committed("g"), [(0, 117)].into());
    assert_eq!(found(&letters).len(), (0..117).filter(|offset| fails(*offset)).count());
}

fn a_member_that_is_killed_among_dead_letters_repeats_those_alone_that_were_not_committed(on: On) {
    // So many that it is not through with them before the test has seen the first.
    const RECORDS: i64 = 1500;
    let stage = Stage::new(on, 1);
    let letters = stage.another_topic(1);
    let producer: BaseProducer = stage.client().create().unwrap();
    for number in 0..RECORDS {
        let value = format!("order {number}");
        producer.send(BaseRecord::<str, _>::to(&stage.topic).payload(&value)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    // Its handler gives up each fifth record, half of them after three attempts that take some time.
    let member = || process::tool_like(&stage, "dead_letters", "g", &[&letters.topic]);
    let is_dead = |offset: i64| matches!(offset % 10, 4 | 7);
    let mut killed = member();
    eventually("some are written", || letters.ends()[&0] >= 20);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let committed = stage.committed("g").get(&0).copied().unwrap_or(0);
    assert!(committed < RECORDS, "it was killed half way");
    let mut successor = member();
    eventually("all is committed", || stage.committed("g") == [(0, RECORDS)].into());
    assert!(successor.wait().unwrap().success());
    let counts = counts(&found(&letters));
    let expected: Vec<_> = (0..RECORDS).filter(|offset| is_dead(*offset)).map(|offset| (0, offset)).collect();
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), expected, "none is lost");
    for ((_, offset), count) in counts {
        let most = if offset < committed { 1 } else { 2 };
        assert!(count <= most, "{offset}, of {committed} committed: {count} times");
    }
}
