//! Records that have failed, and the topics in which they wait until they are tried again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::broker::{RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::consume::{
    AutoOffsetReset, BatchBounds, ConsumerBuilder, ConsumerError, ConsumerHandle, Failure, FailureKind,
    OnDeadLetterFailure, Order, Outcome, RETRY_DUE_HEADER, Record, RetryTopics, StartAt,
};
use kafka_troupe::ids::Offset;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::fixture::{Journal, On, PATIENCE, Stage, eventually, since_1970};
use crate::letters::{counts, found, letters_to};
use crate::process;

scenarios! {
    on both brokers:
        a_record_that_fails_waits_in_each_retry_topic_in_turn_and_is_tried_with_its_story_until_it_is_dead,
        records_of_batches_and_records_that_are_pulled_wait_too,
        a_record_that_waits_longer_than_its_member_may_go_without_a_poll_keeps_its_member_in_the_group,
        a_record_that_waits_is_left_to_the_next_owner_for_whom_it_is_due_at_the_same_time,
        a_record_waits_also_where_a_consumer_would_begin_at_the_end,
        a_retry_topic_that_is_missing_ends_the_consumer_with_the_command_that_creates_it,
        a_record_that_its_retry_topic_does_not_take_stops_the_engine_uncommitted,
        without_a_topic_for_dead_letters_the_last_retry_decides_as_if_there_were_none,
        a_deploy_that_fails_at_everything_stops_before_the_topic_has_run_into_its_retries,
        a_member_that_is_killed_among_retries_repeats_those_alone_that_were_not_committed;
    on the embedded broker, "requests can be made to fail there":
        a_record_that_cannot_be_put_off_holds_the_watermark_and_is_tried_there_until_it_can;
}

const STOP: Duration = Duration::from_secs(20);
const ORDERS: [Order; 3] = [Order::Partition, Order::Key, Order::Unordered];

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Two attempts in each topic.
fn quick(stage: &Stage, order: Order) -> ConsumerBuilder {
    let builder = stage.steady_consumer("g").order(order).retry_pause(millis(2), millis(2)).max_attempts(2);
    if order == Order::Unordered { builder } else { builder.allow_reordering() }
}

fn all_committed(stage: &Stage, topics: &[&Stage]) -> bool {
    let group = stage.group("g");
    topics.iter().all(|topic| {
        let ends: BTreeMap<_, _> = topic.ends().into_iter().filter(|(_, end)| *end > 0).collect();
        topic.committed_of(&group) == ends
    })
}

/// One attempt at a record, as the handler saw it.
#[derive(Debug, Clone)]
struct Seen {
    topic: String,
    attempt: u32,
    at: i64,
    due: Option<i64>,
    origin: Option<(String, i32, i64)>,
    timestamp: Option<i64>,
}

/// What handlers saw of each record, told apart by their values, in order.
#[derive(Clone, Default)]
struct Story(Arc<Mutex<BTreeMap<String, Vec<Seen>>>>);

impl Story {
    fn note(&self, record: &Record) {
        let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
        let due = record.header(RETRY_DUE_HEADER).map(|due| String::from_utf8(due.to_vec()).unwrap().parse().unwrap());
        let origin = record.origin().map(|from| (from.topic.to_owned(), from.partition.0, from.offset.0));
        let (topic, attempt, timestamp) = (record.topic().to_owned(), record.attempt(), record.timestamp());
        let seen = Seen { topic, attempt, at: since_1970(), due, origin, timestamp };
        self.0.lock().unwrap().entry(value).or_default().push(seen);
    }

    fn of(&self, value: &str) -> Vec<Seen> {
        self.0.lock().unwrap().get(value).cloned().unwrap_or_default()
    }

    fn attempts(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }
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

/// Fails at the first record in the topic where it is read first, and notes all attempts.
fn fails_first(story: &Story) -> impl Fn(&Record) -> Result<(), &'static str> + Send + Sync + use<> {
    let notes = story.clone();
    move |record| {
        notes.note(record);
        if record.origin().is_none() && record.offset() == Offset(0) { Err("not yet") } else { Ok(()) }
    }
}

/// Until when the next record of this topic waits, with a partition that nobody has paused.
fn waits(consumer: &ConsumerHandle, topic: &str) -> Option<i64> {
    let state = consumer.state();
    let mut partitions = state.partitions.iter().filter(|partition| partition.topic == topic && !partition.paused);
    partitions.find_map(|partition| partition.waits_until)
}

fn a_record_that_waits_longer_than_its_member_may_go_without_a_poll_keeps_its_member_in_the_group(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        let retry = stage.another_topic(1);
        stage.produce(0, 10, 20);
        let story = Story::default();
        let consumer = quick(&stage, order)
            .property("session.timeout.ms", "3000")
            .property("max.poll.interval.ms", "3000")
            .retry_topics(RetryTopics::new([(&retry.topic, millis(5000))]))
            .slow_record_after(millis(500))
            .handler(fails_first(&story))
            .start()
            .unwrap();
        eventually("it waits, and is not paused", || waits(&consumer, &retry.topic).is_some());
        let state = consumer.state();
        let assigned = state.counters.assigned;
        let waiting = state.partitions.iter().find(|partition| partition.topic == retry.topic).unwrap();
        assert!(
            waiting.watermark_holder.is_none() && waiting.in_flight == 0,
            "it is none that takes long: {waiting:?}"
        );
        // Others go on meanwhile, and are committed.
        stage.produce(10, 10, 20);
        eventually("the others are committed", || stage.committed("g") == [(0, 20)].into());
        eventually("it is done", || all_committed(&stage, &[&stage, &retry]) && story.attempts() == 22);
        let seen = story.of(&format!("{:020}", 0));
        assert!(seen[2].at >= seen[2].due.unwrap() && seen[2].at - seen[1].at >= 5000, "{seen:?}");
        let counters = consumer.state().counters;
        assert_eq!((counters.assigned, counters.revoked, counters.lost), (assigned, 0, 0), "{order:?}: it stayed");
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    }
}

fn a_record_that_waits_is_left_to_the_next_owner_for_whom_it_is_due_at_the_same_time(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        let retry = stage.another_topic(1);
        stage.produce_to(&[0], 0, 10, 20);
        let story = Story::default();
        let member = |delay| {
            let retries = RetryTopics::new([(&retry.topic, millis(delay))]);
            quick(&stage, order)
                .drain_deadline(STOP)
                .retry_topics(retries)
                .handler(fails_first(&story))
                .start()
                .unwrap()
        };
        // So long that nobody waits for it here.
        let first = member(600_000);
        eventually("it waits", || waits(&first, &retry.topic).is_some());
        let due = waits(&first, &retry.topic);
        eventually("what sent it there is committed", || stage.committed("g").get(&0) == Some(&10));
        let second = member(600_000);
        eventually("the second has a part", || !second.state().partitions.is_empty());
        let waiting = || [&first, &second].map(|member| waits(member, &retry.topic));
        eventually("it waits with one of the two", || waiting().iter().flatten().count() == 1);
        assert_eq!(waiting().into_iter().find(Option::is_some), Some(due), "{order:?}: it is due when it was");
        let (leaves, stays) = if waiting()[0].is_some() { (first, second) } else { (second, first) };
        let begun = std::time::Instant::now();
        assert!(leaves.shutdown_blocking(STOP).unwrap().drained);
        assert!(begun.elapsed() < STOP / 2, "{order:?}: a record that is not due is waited for by nobody");
        eventually("it waits with the other", || waits(&stays, &retry.topic) == due);
        assert!(stays.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!((story.attempts(), retry.committed_of(&stage.group("g"))), (11, BTreeMap::new()), "{order:?}");
        // A wait is never longer than the topic's delay, which is shorter now.
        let last = member(100);
        eventually("it is done", || all_committed(&stage, &[&retry]));
        assert!(last.shutdown_blocking(STOP).unwrap().drained);
        let seen = story.of(&format!("{:020}", 0));
        assert_eq!(seen.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2, 3], "{order:?}: {seen:?}");
    }
}

fn a_record_waits_also_where_a_consumer_would_begin_at_the_end(on: On) {
    for at_end in [false, true] {
        let stage = Stage::new(on, 1);
        let retry = stage.another_topic(1);
        let story = Story::default();
        let member = |delay| {
            let builder =
                quick(&stage, Order::Unordered).retry_topics(RetryTopics::new([(&retry.topic, millis(delay))]));
            let builder = if at_end { builder.start_at(StartAt::Latest) } else { builder };
            builder.auto_offset_reset(AutoOffsetReset::Latest).handler(fails_first(&story)).start().unwrap()
        };
        let first = member(600_000);
        eventually("it is there", || first.state().partitions.len() == 2);
        stage.produce(0, 1, 20);
        eventually("it waits", || waits(&first, &retry.topic).is_some());
        eventually("that is committed", || stage.committed("g") == [(0, 1)].into());
        assert!(first.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(retry.committed_of(&stage.group("g")), BTreeMap::new(), "nothing is finished there");
        // It never waits for longer than the topic's delay, which is shorter now.
        let second = member(100);
        eventually("it is done", || all_committed(&stage, &[&retry]));
        assert!(second.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(story.attempts(), 3, "at the end: {at_end}");
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
