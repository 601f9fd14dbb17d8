//! Records that have failed, and the topics in which they wait until they are tried again.

use std::collections::BTreeMap;

use kafka_troupe::broker::{RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::consume::{
    BatchBounds, ConsumerError, ConsumerHandle, Failure, FailureKind, OnDeadLetterFailure, Order, Outcome,
    RETRY_DUE_HEADER, Record, RetryTopics,
};
use kafka_troupe::ids::Offset;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::fixture::{Journal, On, PATIENCE, Stage, eventually, since_1970};
use crate::letters::{counts, found, letters_to};
use crate::process;
use crate::retries::{ORDERS, STOP, Story, all_committed, fails_first, millis, quick};

scenarios! {
    on both brokers:
        a_record_that_fails_waits_in_each_retry_topic_in_turn_and_is_tried_with_its_story_until_it_is_dead,
        records_of_batches_and_records_that_are_pulled_wait_too,
        a_retry_topic_that_is_missing_ends_the_consumer_with_the_command_that_creates_it,
        a_record_that_its_retry_topic_does_not_take_stops_the_engine_uncommitted,
        without_a_topic_for_dead_letters_the_last_retry_decides_as_if_there_were_none,
        a_deploy_that_fails_at_everything_stops_before_the_topic_has_run_into_its_retries,
        a_member_that_is_killed_among_retries_repeats_those_alone_that_were_not_committed;
    on the embedded broker, "requests can be made to fail there":
        a_record_that_cannot_be_put_off_holds_the_watermark_and_is_tried_there_until_it_can;
}

fn a_record_that_fails_waits_in_each_retry_topic_in_turn_and_is_tried_with_its_story_until_it_is_dead(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        let (first, second, letters) = (stage.another_topic(2), stage.another_topic(1), stage.another_topic(1));
        // Before now, so that the time of writing is another one.
        let begun = since_1970() - 60_000;
        let producer: BaseProducer = stage.client().create().unwrap();
        for number in 0..40 {
            for partition in 0..2 {
                let (key, value) = (format!("k{}", number % 7), format!("{partition}/{number}"));
                let record = BaseRecord::to(&stage.topic).partition(partition).timestamp(begun + number);
                producer.send(record.key(&key).payload(&value)).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
        let story = Story::default();
        let (notes, last) = (story.clone(), second.topic.clone());
        let handler = move |record: &Record| {
            notes.note(record);
            let number = record.origin().map_or(record.offset(), |origin| origin.offset).0;
            match number % 20 {
                3 => Err(Failure::new(FailureKind::Error, "never")),
                5 if record.topic() != last => Err(Failure::new(FailureKind::Error, "not yet")),
                // These two wait nowhere.
                7 => Err(Failure::new(FailureKind::Undecodable, "no order")),
                9 => Ok(Outcome::DeadLetter { cause: "hopeless".into() }),
                _ => Ok(Outcome::Done),
            }
        };
        let delays = [400, 700];
        let steps = [(&first.topic, millis(delays[0])), (&second.topic, millis(delays[1]))];
        let consumer = quick(&stage, order)
            .retry_topics(RetryTopics::new(steps))
            .dead_letters(letters_to(&letters))
            .handler(handler)
            .start()
            .unwrap();
        let dead = || consumer.state().dead_letters.unwrap();
        eventually("all is through", || {
            let dead = dead();
            (dead.written, dead.retried) == (12, 16) && all_committed(&stage, &[&stage, &first, &second])
        });
        assert_eq!((dead().topic.as_deref(), dead().failures), (Some(&*letters.topic), 0));
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        for partition in 0..2 {
            for number in 0..40_i64 {
                let seen = story.of(&format!("{partition}/{number}"));
                let topics: Vec<_> = seen.iter().map(|seen| &*seen.topic).collect();
                let (own, a, b) = (&*stage.topic, &*first.topic, &*second.topic);
                let expected = match number % 20 {
                    3 => vec![own, own, a, a, b, b],
                    5 => vec![own, own, a, a, b],
                    _ => vec![own],
                };
                assert_eq!(topics, expected, "{order:?} {partition}/{number}");
                for (seen, attempt) in seen.iter().zip(1..) {
                    assert_eq!((seen.attempt, seen.timestamp), (attempt, Some(begun + number)), "{order:?}: {seen:?}");
                    let from = (seen.topic != stage.topic).then(|| (stage.topic.clone(), partition, number));
                    assert_eq!(seen.origin, from, "{order:?}");
                }
                for (at, delay) in [(2, delays[0]), (4, delays[1])] {
                    let Some([before, after]) = seen.get(at - 1..=at) else { continue };
                    let due = after.due.unwrap();
                    assert!(due >= before.at + delay as i64 && after.at >= due, "{order:?}: {before:?}, {after:?}");
                }
            }
        }
        let found = found(&letters);
        assert_eq!(found.len(), 12, "{order:?}");
        for letter in &found {
            let (_, offset) = letter.source();
            let (attempts, message) = match offset % 20 {
                3 => ("6", "never"),
                7 => ("1", "no order"),
                _ => ("1", "hopeless"),
            };
            assert_eq!((letter.header("attempts"), letter.header("message")), (Some(attempts), Some(message)));
            assert_eq!(
                (letter.header("topic"), letter.key.as_deref()),
                (Some(&*stage.topic), Some(&*format!("k{}", offset % 7)))
            );
            assert_eq!(letter.header("timestamp"), Some(&*(begun + offset).to_string()));
            assert_eq!(
                letter.headers.iter().filter(|(name, _)| name.ends_with("errors.topic")).count(),
                1,
                "one story"
            );
            assert!(letter.headers.iter().all(|(name, _)| name != RETRY_DUE_HEADER), "it waits no more");
        }
    }
}

fn records_of_batches_and_records_that_are_pulled_wait_too(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        let retry = stage.another_topic(1);
        stage.produce(0, 30, 20);
        let steps = || RetryTopics::new([(&retry.topic, millis(300))]);
        let is_early = |record: &Record| record.origin().is_none() && record.offset().0 % 10 == 0;
        let story = Story::default();
        let notes = story.clone();
        let consumer = quick(&stage, order)
            .retry_topics(steps())
            .batch_handler(BatchBounds::default().records(20), move |records: &[Record]| {
                let answers = records.iter().map(|record| {
                    notes.note(record);
                    if is_early(record) { Err(Failure::new(FailureKind::Error, "not yet")) } else { Ok(Outcome::Done) }
                });
                answers.collect::<Vec<_>>()
            })
            .start()
            .unwrap();
        let retried = |consumer: &ConsumerHandle| consumer.state().dead_letters.map_or(0, |letters| letters.retried);
        eventually("all is committed", || retried(&consumer) == 3 && all_committed(&stage, &[&stage, &retry]));
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        let (consumer, records) = quick(&stage, order).retry_topics(steps()).pull().unwrap();
        stage.produce(30, 30, 20);
        eventually("all is committed", || {
            for pulled in records.poll_blocking(millis(20)) {
                story.note(&pulled.record);
                let early = is_early(&pulled.record);
                pulled.completion.answer(if early {
                    Err(Failure::new(FailureKind::Error, "not yet"))
                } else {
                    Ok(Outcome::Done)
                });
            }
            retried(&consumer) == 3 && all_committed(&stage, &[&stage, &retry])
        });
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        for number in (0..60).step_by(10) {
            let seen = story.of(&format!("{number:020}"));
            let last = seen.last().unwrap();
            assert_eq!((&*last.topic, last.attempt), (&*retry.topic, 3), "{order:?} {number}");
            assert!(last.at >= last.due.unwrap(), "{order:?} {number}");
        }
    }
}

fn a_retry_topic_that_is_missing_ends_the_consumer_with_the_command_that_creates_it(on: On) {
    let stage = Stage::new(on, 3);
    stage.produce(0, 10, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let missing = format!("{}-retry", stage.topic);
    let there = stage.another_topic(1);
    let retries = RetryTopics::new([(there.topic.clone(), millis(10)), (missing.clone(), millis(20))]);
    let builder = quick(&stage, Order::Unordered).retry_topics(retries);
    let ended =
        builder.handler(move |record: &Record| notes.note("a", record)).start().unwrap().wait_blocking().unwrap_err();
    let servers = stage.broker.bootstrap_servers();
    let command = format!("kafka-topics.sh --bootstrap-server {servers} --create --topic {missing} --partitions 3");
    assert_eq!(ended, ConsumerError::NoSuchRetryTopic { topic: missing, command: command.clone() });
    assert!(ended.to_string().ends_with(&command), "{ended}");
    assert_eq!((journal.len(), stage.committed("g")), (0, BTreeMap::new()));
}

fn a_record_that_its_retry_topic_does_not_take_stops_the_engine_uncommitted(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        stage.produce(0, 10, 5000);
        let (retry, letters) = match on {
            On::Embedded => (stage.another_topic(1), stage.another_topic(1)),
            On::Kafka => (Stage::on(stage.broker.clone(), 1, &[("max.message.bytes", "1000")]), stage.another_topic(1)),
        };
        if on == On::Embedded {
            let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
            stage.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[too_large; 10]);
        }
        let story = Story::default();
        let member = || {
            let to = letters_to(&letters).on_failure(OnDeadLetterFailure::Stop);
            let retries = RetryTopics::new([(&retry.topic, millis(200))]);
            quick(&stage, order).retry_topics(retries).dead_letters(to).handler(fails_first(&story)).start().unwrap()
        };
        let ended = member().wait_blocking().unwrap_err();
        let ConsumerError::RetryRefused { offset, topic, reason, .. } = &ended else { panic!("{ended}") };
        assert_eq!((*offset, topic), (Offset(0), &retry.topic), "{order:?}");
        let command = format!("--alter --topic {topic} --add-config max.message.bytes=16384");
        assert!(reason.ends_with(&command), "{reason}");
        assert_eq!(stage.committed("g").get(&0).copied().unwrap_or(0), 0, "{order:?}");
        match on {
            On::Embedded => stage.broker.embedded().stop_failing_requests(RDKafkaApiKey::Produce),
            On::Kafka => retry.configure("max.message.bytes", "16384"),
        }
        let successor = member();
        eventually("all is committed", || all_committed(&stage, &[&stage, &retry]) && retry.ends() == [(0, 1)].into());
        assert!(successor.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(counts(&found(&retry)), [((0, 0), 1)].into(), "{order:?}");
    }
}

fn without_a_topic_for_dead_letters_the_last_retry_decides_as_if_there_were_none(on: On) {
    let stage = Stage::new(on, 1);
    let retry = stage.another_topic(1);
    stage.produce(0, 10, 20);
    let builder = quick(&stage, Order::Unordered).retry_topics(RetryTopics::new([(&retry.topic, millis(100))]));
    let handler = |record: &Record| {
        let number = record.origin().map_or(record.offset(), |origin| origin.offset).0;
        if number == 4 { Err("never") } else { Ok(()) }
    };
    let ended = builder.handler(handler).start().unwrap().wait_blocking().unwrap_err();
    let ConsumerError::Exhausted { partition, offset, attempts, .. } = &ended else { panic!("{ended}") };
    assert_eq!((&*partition.topic, *offset, *attempts), (&*retry.topic, Offset(0), 4));
    assert_eq!(stage.committed("g"), [(0, 10)].into());
    assert_eq!(retry.committed_of(&stage.group("g")).get(&0).copied().unwrap_or(0), 0);
}

fn a_deploy_that_fails_at_everything_stops_before_the_topic_has_run_into_its_retries(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        let (retry, letters) = (stage.another_topic(1), stage.another_topic(1));
        stage.produce(0, 50, 20);
        let builder = quick(&stage, order).retry_topics(RetryTopics::new([(&retry.topic, millis(50))]));
        let builder = builder.dead_letters(letters_to(&letters).max_in_a_row(5));
        let ended = builder.handler(|_: &Record| Err::<(), _>("broken")).start().unwrap().wait_blocking().unwrap_err();
        assert!(matches!(ended, ConsumerError::DeadLetterLimit { .. }), "{order:?}: {ended}");
        assert!(ended.to_string().contains("5 in a row (max_in_a_row)"), "{ended}");
        assert_eq!(retry.ends(), [(0, 5)].into(), "{order:?}");
        // In a retry topic all may be hopeless.
        assert!(letters.ends()[&0] <= 5, "{order:?}");
    }
}

fn a_record_that_cannot_be_put_off_holds_the_watermark_and_is_tried_there_until_it_can(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        let (retry, letters) = (stage.another_topic(1), stage.another_topic(1));
        stage.produce(0, 20, 20);
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        stage.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[refused; 10_000]);
        let story = Story::default();
        let builder = quick(&stage, order).retry_topics(RetryTopics::new([(&retry.topic, millis(200))]));
        let builder = builder.dead_letters(letters_to(&letters)).handler(fails_first(&story));
        let consumer = builder.start().unwrap();
        let dead = || consumer.state().dead_letters.unwrap();
        eventually("it was tried again", || dead().failures > 2);
        let trouble = dead().trouble.unwrap();
        assert!(trouble.contains(&format!("--operation Write --topic {}", retry.topic)), "{trouble}");
        let state = consumer.state();
        let source = state.partitions.iter().find(|partition| partition.topic == stage.topic).unwrap();
        let named = format!("{}-0 offset 0 cannot be written to the retry topic {}", stage.topic, retry.topic);
        assert!(source.last_error.clone().unwrap().starts_with(&named), "{source:?}");
        assert_eq!(source.watermark, 0, "{order:?}");
        assert_eq!(stage.committed("g").get(&0).copied().unwrap_or(0), 0, "{order:?}");
        stage.broker.embedded().stop_failing_requests(RDKafkaApiKey::Produce);
        eventually("all is committed", || dead().retried == 1 && all_committed(&stage, &[&stage, &retry]));
        assert_eq!(dead().trouble, None);
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(counts(&found(&retry)), [((0, 0), 1)].into(), "{order:?}");
    }
}

fn a_member_that_is_killed_among_retries_repeats_those_alone_that_were_not_committed(on: On) {
    // So many that it is not through with them before the test has seen the first.
    const RECORDS: i64 = 1500;
    let stage = Stage::new(on, 1);
    let made = |name: &str| {
        let topic = Stage { topic: format!("{}.{name}", stage.topic), partitions: 1, broker: stage.broker.clone() };
        topic.create_topic().unwrap();
        topic
    };
    let (first, second, letters) = (made("retry-500ms"), made("retry-1s"), made("dead"));
    let producer: BaseProducer = stage.client().create().unwrap();
    for number in 0..RECORDS {
        let value = format!("order {number}");
        producer.send(BaseRecord::<str, _>::to(&stage.topic).payload(&value)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let member = || process::tool_like(&stage, "retry_topics", "g", &[]);
    let mut killed = member();
    eventually("some are put off", || first.ends()[&0] >= 20);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let committed = stage.committed("g").get(&0).copied().unwrap_or(0);
    let is_hopeless = |offset: &i64| offset % 10 == 4;
    let put_off: Vec<_> = (0..RECORDS).filter(|offset| matches!(offset % 10, 4 | 7)).collect();
    let hopeless: Vec<_> = (0..RECORDS).filter(is_hopeless).collect();
    let mut successor = member();
    eventually("all is through", || all_committed(&stage, &[&stage, &first, &second]) && second.ends()[&0] > 0);
    successor.kill().unwrap();
    successor.wait().unwrap();
    for (topic, expected) in [(&first, &put_off), (&second, &hopeless), (&letters, &hopeless)] {
        let counts = counts(&found(topic));
        assert_eq!(counts.keys().map(|(_, offset)| *offset).collect::<Vec<_>>(), *expected, "none is lost");
        for ((_, offset), count) in counts {
            let most = if offset < committed && topic.topic == first.topic { 1 } else { 2 };
            assert!(count <= most, "{} {offset}, of {committed} committed: {count} times", topic.topic);
        }
    }
}
