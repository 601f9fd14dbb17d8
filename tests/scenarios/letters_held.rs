//! Dead letters that are long on their way, or cannot be written for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_troupe::broker::{RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::consume::{
    ConsumerBuilder, ConsumerError, ConsumerHandle, DeadLetterState, OnDeadLetterFailure, Order, Outcome,
    PartitionPhase, Record, RetryTopics,
};
use kafka_troupe::ids::{NextOffset, Offset, TopicPartition};

use crate::fixture::{Journal, On, Stage, eventually};
use crate::letters::{counts, found, letters_to};

scenarios! {
    on both brokers:
        a_letter_too_large_by_its_headers_is_written_with_short_ones,
        letters_whose_request_was_too_large_for_the_topic_keep_their_cause,
        a_record_too_large_for_the_dead_letters_stops_the_engine_with_the_command_that_lets_it_in,
        a_consumer_that_starts_while_no_broker_answers_looks_for_the_topic_when_one_does;
    on the embedded broker, "requests can be made to fail there":
        while_a_dead_letter_is_on_its_way_only_its_key_or_partition_waits,
        a_dead_letter_on_its_way_is_waited_for_when_its_partition_goes_and_not_written_by_the_next_owner,
        a_dead_letter_that_a_seek_or_a_death_cuts_off_is_not_written_twice,
        a_record_that_was_on_its_way_to_a_retry_topic_counts_as_retried_whatever_is_said_of_it_later,
        dead_letters_that_cannot_be_written_are_named_and_tried_again_until_they_can,
        a_stop_does_not_wait_for_a_dead_letter_that_cannot_be_written,
        a_producer_of_dead_letters_that_fails_for_good_is_replaced_and_loses_none;
    on Apache Kafka, "the embedded broker's topics do not go":
        a_dead_letter_topic_that_is_deleted_is_not_created_by_itself_and_is_waited_for;
}

const STOP: Duration = Duration::from_secs(20);
const ORDERS: [Order; 3] = [Order::Partition, Order::Key, Order::Unordered];
/// The record of each partition that is given up.
const BAD: i64 = 3;

/// A topic for dead letters that takes none until it is let; what is read has to be there before.
struct Held {
    letters: Stage,
}

impl Held {
    fn new(stage: &Stage) -> Self {
        let letters = stage.another_topic(1);
        let busy = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
        stage.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[busy; 10_000]);
        Self { letters }
    }

    fn let_go(&self) {
        self.letters.broker.embedded().stop_failing_requests(RDKafkaApiKey::Produce);
    }
}

fn give_up_bad(builder: ConsumerBuilder, member: &'static str, journal: &Journal) -> ConsumerBuilder {
    let notes = journal.clone();
    builder.handler(move |record: &Record| {
        if record.offset().0 == BAD {
            return Outcome::DeadLetter { cause: "hopeless".into() };
        }
        notes.note(member, record);
        Outcome::Done
    })
}

fn dead(consumer: &ConsumerHandle) -> DeadLetterState {
    consumer.state().dead_letters.unwrap()
}

fn once(partitions: i32) -> BTreeMap<(i32, i64), usize> {
    (0..partitions).map(|partition| ((partition, BAD), 1)).collect()
}

fn while_a_dead_letter_is_on_its_way_only_its_key_or_partition_waits(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        // Each key twice.
        stage.produce(0, 20, 2);
        stage.produce(0, 20, 2);
        let held = Held::new(&stage);
        let journal = Journal::default();
        let notes = journal.clone();
        let consumer = stage
            .consumer("g")
            .order(order)
            .dead_letters(letters_to(&held.letters))
            .handler(move |record: &Record| {
                if (record.partition().0, record.offset().0) == (0, BAD) {
                    return Outcome::DeadLetter { cause: "hopeless".into() };
                }
                notes.note("a", record);
                Outcome::Done
            })
            .start()
            .unwrap();
        // Of its partition: those before it; all but those of its key; all.
        let meanwhile = [3, 38, 39][order as usize];
        eventually("it is on its way, and what need not wait is done", || {
            dead(&consumer).on_the_way == 1 && journal.of(1).len() == 40 && journal.of(0).len() == meanwhile
        });
        eventually("what is below it is committed", || stage.committed("g") == [(0, BAD), (1, 40)].into());
        let state = consumer.state();
        let partition = &state.partitions[0];
        assert_eq!(partition.oldest_in_flight.as_ref().map(|held| held.offset), Some(BAD), "{order:?}: it is named");
        assert_eq!(journal.of(0).len(), meanwhile, "{order:?}");
        held.let_go();
        eventually("all is committed", || stage.committed("g") == [(0, 40), (1, 40)].into());
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!((journal.len(), journal.distinct()), (79, 79), "{order:?}");
        assert_eq!(counts(&found(&held.letters)), once(1), "{order:?}");
    }
}

fn a_dead_letter_on_its_way_is_waited_for_when_its_partition_goes_and_not_written_by_the_next_owner(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        stage.produce(0, 20, 20);
        let held = Held::new(&stage);
        let journal = Journal::default();
        let member = |name| {
            // Of the new protocol: in a classic group the embedded broker refuses the last commit.
            let builder = stage.new_protocol_consumer("g").order(order).drain_deadline(Duration::from_secs(25));
            give_up_bad(builder, name, &journal).dead_letters(letters_to(&held.letters)).start().unwrap()
        };
        let first = member("a");
        eventually("both letters are on their way", || dead(&first).on_the_way == 2);
        let second = member("b");
        eventually("a partition is to go", || {
            first.state().partitions.iter().any(|partition| partition.phase == PartitionPhase::Revoking)
        });
        assert_eq!(dead(&first).on_the_way, 2, "{order:?}");
        held.let_go();
        eventually("all is committed", || stage.committed("g") == [(0, 20), (1, 20)].into());
        eventually("the second has its share", || second.state().partitions.len() == 1);
        assert!(first.shutdown_blocking(STOP).unwrap().drained);
        assert!(second.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(counts(&found(&held.letters)), once(2), "{order:?}");
        assert_eq!((journal.len(), journal.distinct()), (38, 38), "{order:?}: nothing twice");
    }
}

fn a_dead_letter_that_a_seek_or_a_death_cuts_off_is_not_written_twice(on: On) {
    for (order, dies) in ORDERS.into_iter().flat_map(|order| [(order, false), (order, true)]) {
        let stage = Stage::new(on, 1);
        stage.produce(0, 20, 20);
        let held = Held::new(&stage);
        let journal = Journal::default();
        let builder = stage.consumer("g").order(order).drain_deadline(Duration::from_millis(100));
        let builder = give_up_bad(builder, "a", &journal).dead_letters(letters_to(&held.letters));
        let consumer = builder.start().unwrap();
        eventually("the letter is on its way", || dead(&consumer).on_the_way == 1);
        let partition = TopicPartition::new(stage.topic.as_str(), 0);
        let epoch = || consumer.state().partitions[0].epoch;
        let before = epoch();
        if dies {
            consumer.kill_worker(&partition);
        } else {
            consumer.seek(partition, NextOffset(BAD)).wait_blocking().unwrap();
        }
        eventually("it is on its way again, in another epoch", || {
            !consumer.state().partitions.is_empty() && epoch() > before && dead(&consumer).on_the_way == 1
        });
        held.let_go();
        eventually("all is committed", || stage.committed("g") == [(0, 20)].into());
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(counts(&found(&held.letters)), once(1), "{order:?}, dies: {dies}");
    }
}

fn a_record_that_was_on_its_way_to_a_retry_topic_counts_as_retried_whatever_is_said_of_it_later(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        let retry = stage.another_topic(1);
        stage.produce(0, 20, 20);
        let held = Held::new(&stage);
        let seen = Arc::new(AtomicUsize::new(0));
        let handler = {
            let seen = Arc::clone(&seen);
            move |record: &Record| {
                if record.origin().is_some() || record.offset().0 != BAD {
                    return Ok(Outcome::Done);
                }
                match seen.fetch_add(1, Ordering::SeqCst) {
                    0 => Err("not yet"),
                    _ => Ok(Outcome::DeadLetter { cause: "hopeless".into() }),
                }
            }
        };
        let builder = stage.consumer("g").order(order).drain_deadline(Duration::from_millis(100)).max_attempts(1);
        let builder = if order == Order::Unordered { builder } else { builder.allow_reordering() };
        let consumer = builder
            .retry_topics(RetryTopics::new([(&retry.topic, Duration::from_millis(1))]))
            .dead_letters(letters_to(&held.letters))
            .handler(handler)
            .start()
            .unwrap();
        eventually("it is on its way to the retry topic", || dead(&consumer).on_the_way == 1);
        consumer.seek(TopicPartition::new(stage.topic.as_str(), 0), NextOffset(BAD)).wait_blocking().unwrap();
        eventually("it is given up", || seen.load(Ordering::SeqCst) == 2 && dead(&consumer).on_the_way == 1);
        held.let_go();
        eventually("all is committed", || {
            let group = stage.group("g");
            stage.committed("g") == [(0, 20)].into() && retry.committed_of(&group) == [(0, 1)].into()
        });
        assert_eq!((dead(&consumer).retried, dead(&consumer).written), (1, 0), "{order:?}");
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!((counts(&found(&retry)), found(&held.letters).len()), (once(1), 0), "{order:?}");
    }
}

fn a_letter_too_large_by_its_headers_is_written_with_short_ones(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        // Of 10,000 bytes each.
        stage.produce(0, 20, 5000);
        let letters = match on {
            On::Embedded => stage.another_topic(1),
            On::Kafka => Stage::on(stage.broker.clone(), 1, &[("max.message.bytes", "11000")]),
        };
        if on == On::Embedded {
            // With the others of its request, and alone.
            stage.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[too_large(order); 2]);
        }
        let consumer = stage
            .consumer("g")
            .order(order)
            .dead_letters(letters_to(&letters).on_failure(OnDeadLetterFailure::Stop))
            .handler(|record: &Record| match record.offset().0 {
                BAD => Outcome::DeadLetter { cause: "no such customer ".repeat(200).into() },
                _ => Outcome::Done,
            })
            .start()
            .unwrap();
        eventually("all is committed", || stage.committed("g") == [(0, 20)].into());
        assert_eq!((dead(&consumer).written, dead(&consumer).failures), (1, 0), "{order:?}");
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        let [letter] = &found(&letters)[..] else { panic!("one letter") };
        assert_eq!((letter.source(), letter.value.as_ref().map(String::len)), ((0, BAD), Some(5000)), "{order:?}");
        assert_eq!(letter.header("message"), Some("no such customer no such cust…"), "{order:?}");
        assert_eq!((letter.header("attempts"), letter.header("group")), (Some("1"), None), "{order:?}");
    }
}

/// What a broker says of a request that is larger than the topic takes, or than its segments are.
fn too_large(order: Order) -> RDKafkaRespErr {
    match order {
        Order::Key => RDKafkaRespErr::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
        _ => RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    }
}

fn letters_whose_request_was_too_large_for_the_topic_keep_their_cause(on: On) {
    const LARGE: i64 = 40;
    // In partition order there is one letter at a time.
    for order in [Order::Key, Order::Unordered] {
        let stage = Stage::new(on, 1);
        stage.produce(0, 40, 20);
        // Of 18,600 bytes.
        stage.produce(40, 1, 9300);
        stage.produce(41, 40, 20);
        let letters = match on {
            On::Embedded => stage.another_topic(1),
            On::Kafka => Stage::on(stage.broker.clone(), 1, &[("max.message.bytes", "20000")]),
        };
        if on == On::Embedded {
            stage.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[too_large(order)]);
        }
        let cause = "no such customer ".repeat(100);
        let told = cause.clone();
        let consumer = stage
            .consumer("g")
            .order(order)
            .dead_letters(letters_to(&letters).on_failure(OnDeadLetterFailure::Stop))
            .handler(move |_: &Record| Outcome::DeadLetter { cause: told.clone().into() })
            .start()
            .unwrap();
        eventually("all is committed", || stage.committed("g") == [(0, 81)].into());
        assert_eq!((dead(&consumer).written, dead(&consumer).failures), (81, 0), "{order:?}");
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        let found = found(&letters);
        assert_eq!(counts(&found), (0..81).map(|offset| ((0, offset), 1)).collect(), "{order:?}");
        for letter in &found {
            let (_, offset) = letter.source();
            let is_short = on == On::Kafka && offset == LARGE;
            let (message, group) = match is_short {
                true => ("no such customer no such cust…", None),
                false => (&*cause, Some(stage.group("g"))),
            };
            let told = (letter.header("message"), letter.header("group").map(str::to_owned));
            assert_eq!(told, (Some(message), group), "{order:?}, offset {offset}");
        }
    }
}

fn a_record_too_large_for_the_dead_letters_stops_the_engine_with_the_command_that_lets_it_in(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        stage.produce(0, 20, 5000);
        let letters = match on {
            On::Embedded => stage.another_topic(1),
            On::Kafka => Stage::on(stage.broker.clone(), 1, &[("max.message.bytes", "1000")]),
        };
        if on == On::Embedded {
            let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
            stage.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[too_large; 10]);
        }
        let journal = Journal::default();
        let member = || {
            let to = letters_to(&letters).on_failure(OnDeadLetterFailure::Stop);
            give_up_bad(stage.consumer("g").order(order), "a", &journal).dead_letters(to).start().unwrap()
        };
        let ended = member().wait_blocking().unwrap_err();
        let ConsumerError::DeadLetterRefused { offset, topic, reason, .. } = &ended else { panic!("{ended}") };
        assert_eq!((*offset, topic), (Offset(BAD), &letters.topic), "{order:?}");
        let command = format!("--alter --topic {topic} --add-config max.message.bytes=16384");
        assert!(reason.contains("too large") && reason.ends_with(&command), "{reason}");
        assert_eq!(stage.committed("g"), [(0, BAD)].into(), "{order:?}");
        match on {
            On::Embedded => stage.broker.embedded().stop_failing_requests(RDKafkaApiKey::Produce),
            On::Kafka => letters.configure("max.message.bytes", "16384"),
        }
        let successor = member();
        eventually("all is committed", || stage.committed("g") == [(0, 20)].into());
        assert!(successor.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(counts(&found(&letters)), once(1), "{order:?}");
    }
}

fn a_consumer_that_starts_while_no_broker_answers_looks_for_the_topic_when_one_does(on: On) {
    let stage = Stage::alone(on, 1);
    let letters = stage.another_topic(1);
    stage.produce(0, 20, 20);
    stage.broker.take_down();
    let journal = Journal::default();
    let begun = Instant::now();
    let builder = give_up_bad(stage.consumer("g"), "a", &journal);
    let consumer = builder.dead_letters(letters_to(&letters)).start().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "the start waits for no broker");
    stage.broker.bring_up();
    eventually("all is committed", || consumer.state().partitions.iter().any(|p| p.committed == Some(20)));
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    assert_eq!((counts(&found(&letters)), journal.len()), (once(1), 19));
}

fn dead_letters_that_cannot_be_written_are_named_and_tried_again_until_they_can(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        stage.produce(0, 20, 20);
        let letters = stage.another_topic(1);
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        stage.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[refused; 10_000]);
        let journal = Journal::default();
        let builder = give_up_bad(stage.consumer("g").order(order), "a", &journal);
        let consumer = builder.dead_letters(letters_to(&letters)).start().unwrap();
        eventually("it was tried again", || dead(&consumer).failures > 2);
        let state = consumer.state();
        let trouble = state.dead_letters.unwrap().trouble.unwrap();
        assert!(trouble.contains(&format!("--operation Write --topic {}", letters.topic)), "{trouble}");
        let last = state.partitions[0].last_error.clone().unwrap();
        let named =
            format!("{}-0 offset {BAD} cannot be written to the dead-letter topic {}", stage.topic, letters.topic);
        assert!(last.starts_with(&named), "{last}");
        eventually("what is below it is committed", || stage.committed("g") == [(0, BAD)].into());
        assert_eq!(state.partitions[0].watermark_holder.as_ref().map(|holder| holder.offset), Some(BAD));
        stage.broker.embedded().stop_failing_requests(RDKafkaApiKey::Produce);
        eventually("all is committed", || stage.committed("g") == [(0, 20)].into());
        assert_eq!(dead(&consumer).trouble, None);
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!((counts(&found(&letters)), journal.len()), (once(1), 19), "{order:?}");
    }
}

fn a_producer_of_dead_letters_that_fails_for_good_is_replaced_and_loses_none(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        stage.produce(0, 20, 20);
        let letters = stage.another_topic(1);
        // To an idempotent producer that is the end.
        let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        stage.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[fatal]);
        let journal = Journal::default();
        let builder = give_up_bad(stage.steady_consumer("g").order(order), "a", &journal);
        let consumer = builder.dead_letters(letters_to(&letters)).start().unwrap();
        eventually("all is committed", || stage.committed("g") == [(0, 20), (1, 20)].into());
        let state = dead(&consumer);
        assert!(state.failures >= 1, "{order:?}: none met the producer's end");
        assert_eq!((state.written, state.on_the_way, state.trouble), (2, 0, None), "{order:?}");
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!((counts(&found(&letters)), journal.len()), (once(2), 38), "{order:?}");
    }
}

fn a_stop_does_not_wait_for_a_dead_letter_that_cannot_be_written(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        stage.produce(0, 20, 20);
        let letters = stage.another_topic(1);
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        stage.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[refused; 10_000]);
        let journal = Journal::default();
        let builder = stage.consumer("g").order(order).drain_deadline(STOP);
        let consumer = give_up_bad(builder, "a", &journal).dead_letters(letters_to(&letters)).start().unwrap();
        // Then its pauses are longer than half a second.
        eventually("it has failed often", || dead(&consumer).failures >= 4);
        let begun = Instant::now();
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert!(begun.elapsed() < STOP / 2, "{order:?}: {:?}", begun.elapsed());
        assert_eq!(stage.committed("g"), [(0, BAD)].into(), "{order:?}");
    }
}

fn a_dead_letter_topic_that_is_deleted_is_not_created_by_itself_and_is_waited_for(on: On) {
    let stage = Stage::new(on, 2);
    let letters = stage.another_topic(1);
    stage.produce_to(&[0], 0, 20, 20);
    let journal = Journal::default();
    let builder = give_up_bad(stage.consumer("g"), "a", &journal);
    let consumer = builder.dead_letters(letters_to(&letters)).start().unwrap();
    eventually("one is written", || dead(&consumer).written == 1);
    letters.delete_topic();
    stage.produce_to(&[1], 0, 20, 20);
    let command = format!("--create --topic {}", letters.topic);
    let told = || dead(&consumer).trouble.is_some_and(|trouble| trouble.contains(&command));
    eventually("the topic's absence is told, with what to do", told);
    eventually("what is below it is committed", || stage.committed("g").get(&1) == Some(&BAD));
    // It was refused often enough by then for a producer that creates topics to have done so.
    letters.create_topic().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 20), (1, 20)].into());
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    assert_eq!(counts(&found(&letters)), [((1, BAD), 1)].into(), "the other one went with the old topic");
}
